//! A step of a scenario, checked, and how it reads in a report.

use std::fmt;
use std::time::Duration;

use super::claim::Claim;
use super::condition::Condition;
use crate::report::number::{counted, micros};

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name, for claims that compare with it.
    pub name: Option<String>,
    /// Its line in the file.
    pub line: usize,
    /// Not before this time since the scenario began.
    pub at: Option<Duration>,
    /// A failure does not end the scenario (it fails nevertheless).
    pub go_on: bool,
    /// What it does.
    pub action: Action,
}

/// What a step does. Names are those of processes; `nodes` stands for all nodes that run.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Puts the load on or off.
    Load(bool),
    /// Waits.
    Wait(Duration),
    /// Waits until all conditions hold.
    WaitUntil {
        /// All of them.
        conditions: Vec<Condition>,
        /// How long it may take.
        limit: Duration,
    },
    /// Starts or gracefully stops nodes until so many run.
    Scale {
        /// How many shall run.
        count: u32,
        /// How long it may take.
        limit: Duration,
    },
    /// SIGTERM, and waits for the end.
    Stop {
        /// Which process.
        name: String,
        /// How long it may take.
        limit: Duration,
    },
    /// SIGKILL.
    Kill {
        /// Which process.
        name: String,
    },
    /// SIGSTOP, and SIGCONT after a time if there is one.
    Pause {
        /// Which process.
        name: String,
        /// How long.
        time: Option<Duration>,
    },
    /// SIGCONT.
    Resume {
        /// Which process.
        name: String,
    },
    /// Starts a process that does not run, and waits until it answers.
    Start {
        /// Which process.
        name: String,
        /// How long it may take.
        limit: Duration,
    },
    /// Stops and starts one after the other, with a pause between them.
    RollingRestart {
        /// Which process.
        name: String,
        /// How long to wait between two.
        between: Duration,
        /// How long it may take.
        limit: Duration,
    },
    /// Cuts the groups off from each other.
    Partition {
        /// Names of processes; `client` is the load.
        groups: Vec<Vec<String>>,
    },
    /// Ends partitions, loss and delay.
    Heal,
    /// Loses this share of the packets that these send.
    Loss {
        /// From 0 to 1.
        share: f64,
        /// Names of processes.
        on: Vec<String>,
    },
    /// Delays the packets that these send.
    Delay {
        /// How long.
        time: Duration,
        /// Names of processes.
        on: Vec<String>,
    },
    /// Sends a command.
    Send {
        /// Words.
        command: Vec<String>,
        /// To which process.
        to: String,
    },
    /// Claims that must be true.
    Assert {
        /// All of them.
        claims: Vec<Claim>,
        /// About which time.
        window: Span,
    },
}

/// Which time the claims of a step are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Since the load was put on for the last time.
    Load,
    /// While a step took place.
    Of(String),
    /// Since a step began.
    Since(String),
    /// The last seconds.
    Last(Duration),
}

impl Action {
    /// How long it takes at least.
    pub fn least(&self) -> Duration {
        match self {
            Self::Wait(time) | Self::Pause { time: Some(time), .. } => *time,
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &Duration| micros(time.as_secs_f64() * 1e6);
        match self {
            Self::Load(true) => write!(f, "load on"),
            Self::Load(false) => write!(f, "load off"),
            Self::Wait(wait) => write!(f, "wait {}", time(wait)),
            Self::WaitUntil { conditions, .. } => write!(f, "wait until {}", joined(conditions, " and ")),
            Self::Scale { count, .. } => {
                write!(f, "scale to {}", counted((*count).into(), "node", "nodes"))
            }
            Self::Stop { name, .. } => write!(f, "stop {name}"),
            Self::Kill { name } => write!(f, "kill {name}"),
            Self::Pause { name, time: Some(pause) } => write!(f, "pause {name} for {}", time(pause)),
            Self::Pause { name, time: None } => write!(f, "pause {name}"),
            Self::Resume { name } => write!(f, "resume {name}"),
            Self::Start { name, .. } => write!(f, "start {name}"),
            Self::RollingRestart { name, .. } => write!(f, "rolling restart of {name}"),
            Self::Partition { groups } => {
                let groups: Vec<String> = groups.iter().map(|group| group.join(", ")).collect();
                write!(f, "partition {}", groups.join(" | "))
            }
            Self::Heal => write!(f, "heal"),
            Self::Loss { share, on } => write!(f, "loss {} % on {}", share * 100.0, on.join(", ")),
            Self::Delay { time: delay, on } => write!(f, "delay {} on {}", time(delay), on.join(", ")),
            Self::Send { command, to } => write!(f, "send {} to {to}", command.join(" ")),
            Self::Assert { claims, window } => {
                write!(f, "assert {}", joined(claims, ", "))?;
                match window {
                    Span::Load => Ok(()),
                    Span::Of(step) => write!(f, " during {step}"),
                    Span::Since(step) => write!(f, " since {step}"),
                    Span::Last(last) => write!(f, " in the last {}", time(last)),
                }
            }
        }
    }
}

fn joined(parts: &[impl fmt::Display], between: &str) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
