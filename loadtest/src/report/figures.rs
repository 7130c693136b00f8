//! The figures of a run, computed once from its counts; the table, the JSON and the HTML show the same ones.
//!
//! They are read back from JSON to be shown again: a field that an older file does not have is empty then.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::known;
use super::number::{count, counted, micros};
use super::origin::Origin;
use super::scenario::ScenarioFigures;
use super::warnings::warnings;
use crate::arrivals::Spacing;
use crate::run::{Outcome, Settings};
use crate::series::Second;
use crate::tally::{CommandTally, EndpointTally, ErrorKind};
use crate::workload::{KEY_PLACES, VALUE_PLACES};

/// Everything a report says about a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// The servers as given.
    pub targets: Vec<String>,
    /// Name and version of the servers, where they tell.
    pub servers: Vec<String>,
    /// The workload's name.
    pub workload: String,
    /// The workload's keys, distribution, sizes and commands in words.
    pub asked: String,
    /// Connections in all.
    pub connections: usize,
    /// Generator threads.
    pub threads: usize,
    /// Requests under way per connection.
    pub pipeline: usize,
    /// The rate of an open loop in requests per second; its steps if it has some.
    pub rates: Vec<f64>,
    /// The same with the steps' durations.
    pub steps: Vec<StepFigures>,
    /// The requests of an open loop are spaced at random.
    pub poisson: bool,
    /// Seconds counted.
    pub elapsed_s: f64,
    /// Per command.
    pub commands: Vec<CommandFigures>,
    /// All commands together.
    pub total: CommandFigures,
    /// Per server or node, in the order of the counts per second; none if there is one only.
    pub endpoints: Vec<EndpointFigures>,
    /// How long connections took that were opened during the run, if any were.
    pub connect: Option<ConnectFigures>,
    /// Requests that a node of a cluster sent elsewhere or wanted again.
    pub redirects: u64,
    /// Bytes sent per second.
    pub sent_per_s: f64,
    /// Bytes received per second.
    pub received_per_s: f64,
    /// Requests whose connection broke before the answer came; percentiles count them with their waits until then.
    pub lost: u64,
    /// Connections that broke or could not be opened.
    pub broken: u64,
    /// Errors that are the answer to no request: those connections, and redirects that lead nowhere. With the error
    /// replies of all commands they are as many as [`Figures::errors`] lists.
    pub connection_errors: u64,
    /// Requests of an open loop that had no answer when the run ended.
    pub unanswered: u64,
    /// Connections of a closed loop on which an answer was waited for when the run ended, for 50 ms at least and for
    /// longer than ten times the 99.9th percentile or than any answer took.
    pub hanging: u64,
    /// How long the longest of them had waited, in microseconds.
    pub hanging_longest_us: f64,
    /// Errors by their text.
    pub errors: Vec<ErrorFigures>,
    /// The server's processes, if they run here.
    pub server: Option<ServerFigures>,
    /// The generator itself.
    pub generator: GeneratorFigures,
    /// The user ended it early.
    pub interrupted: bool,
    /// What makes the figures doubtful, one sentence each.
    pub warnings: Vec<String>,
    /// Latency of all commands by share of requests: (share, microseconds), denser towards 1.
    pub curve: Vec<(f64, f64)>,
    /// The run second by second.
    pub seconds: Vec<Second>,
    /// What was done to the servers meanwhile, in order.
    pub events: Vec<EventFigures>,
    /// What was claimed of these figures, in order.
    pub claims: Vec<ClaimFigures>,
    /// When, with what and where this was measured.
    pub origin: Origin,
    /// The scenario whose load this was; its JSON has this around the figures.
    #[serde(skip)]
    pub scenario: Option<Box<ScenarioFigures>>,
}

/// A rate of an open loop and how long it lasts; of several also what was counted in the whole seconds within it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepFigures {
    /// Requests per second.
    pub per_s: f64,
    /// For how many seconds from the end of the step before, the first one from the end of the warm-up; none for the
    /// rest of the run.
    pub seconds: Option<f64>,
    /// When it begins, in seconds from the end of the warm-up.
    pub from_s: f64,
    /// Seconds counted: those that belong to two steps are not; 0 where steps are not told apart.
    pub counted_s: f64,
    /// Requests answered in them.
    pub answered: u64,
    /// The same per second.
    pub answered_per_s: f64,
    /// Error replies, and connections that broke or could not be opened.
    pub errors: u64,
    /// Requests whose connection broke before the answer came.
    pub lost: u64,
    /// Median latency in microseconds of what was answered or lost in them.
    #[serde(with = "known")]
    pub p50_us: f64,
    /// 90th percentile.
    #[serde(with = "known")]
    pub p90_us: f64,
    /// 99th percentile.
    #[serde(with = "known")]
    pub p99_us: f64,
    /// 99.9th percentile.
    #[serde(with = "known")]
    pub p999_us: f64,
    /// Longest.
    #[serde(with = "known")]
    pub max_us: f64,
}

/// What one server of several answered; latencies in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointFigures {
    /// The server's address.
    pub endpoint: String,
    /// Requests answered.
    pub answered: u64,
    /// Requests answered per second.
    pub per_s: f64,
    /// Error replies, and connections to it that broke or could not be opened.
    pub errors: u64,
    /// Requests whose connection broke before the answer came.
    pub lost: u64,
    /// Mean latency.
    #[serde(with = "known")]
    pub mean_us: f64,
    /// Median.
    #[serde(with = "known")]
    pub p50_us: f64,
    /// 90th percentile.
    #[serde(with = "known")]
    pub p90_us: f64,
    /// 99th percentile.
    #[serde(with = "known")]
    pub p99_us: f64,
    /// 99.9th percentile.
    #[serde(with = "known")]
    pub p999_us: f64,
    /// 99.99th percentile.
    #[serde(with = "known")]
    pub p9999_us: f64,
    /// Longest.
    #[serde(with = "known")]
    pub max_us: f64,
}

/// Something that was done to the servers during the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFigures {
    /// When, in seconds since the scenario began.
    pub at_s: f64,
    /// What, in a few words.
    pub text: String,
}

/// Something that was claimed of the figures of a part of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClaimFigures {
    /// As written.
    pub claim: String,
    /// Where the part begins, in seconds since the scenario began.
    pub from_s: f64,
    /// Where it ends.
    pub until_s: f64,
    /// What was measured.
    pub measured: String,
    /// The claim is true.
    pub passed: bool,
}

/// One command's figures; latencies in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandFigures {
    /// The command.
    pub command: String,
    /// Requests answered.
    pub answered: u64,
    /// Requests answered per second before the end.
    pub per_s: f64,
    /// Error replies.
    pub errors: u64,
    /// Requests whose connection broke before the answer came.
    pub lost: u64,
    /// The share of looked-up keys that were found.
    pub hit_ratio: Option<f64>,
    /// Answers to look-ups that told of some key neither a string nor a null nor an error.
    pub neither: u64,
    /// Answers that are no errors and look like none to the command, such as a null to SET.
    pub odd: u64,
    /// Mean latency.
    #[serde(with = "known")]
    pub mean_us: f64,
    /// Median.
    #[serde(with = "known")]
    pub p50_us: f64,
    /// 90th percentile.
    #[serde(with = "known")]
    pub p90_us: f64,
    /// 99th percentile.
    #[serde(with = "known")]
    pub p99_us: f64,
    /// 99.9th percentile.
    #[serde(with = "known")]
    pub p999_us: f64,
    /// 99.99th percentile.
    #[serde(with = "known")]
    pub p9999_us: f64,
    /// Longest.
    #[serde(with = "known")]
    pub max_us: f64,
    /// Latency by share of requests, as in [`Figures::curve`].
    pub curve: Vec<(f64, f64)>,
}

/// How long connections took to open (TCP, TLS and the opening commands), in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectFigures {
    /// Connections opened.
    pub opened: u64,
    /// Connections opened per second.
    pub per_s: f64,
    /// Mean.
    #[serde(with = "known")]
    pub mean_us: f64,
    /// Median.
    #[serde(with = "known")]
    pub p50_us: f64,
    /// 90th percentile.
    #[serde(with = "known")]
    pub p90_us: f64,
    /// 99th percentile.
    #[serde(with = "known")]
    pub p99_us: f64,
    /// 99.9th percentile.
    #[serde(with = "known")]
    pub p999_us: f64,
    /// 99.99th percentile.
    #[serde(with = "known")]
    pub p9999_us: f64,
    /// Longest.
    #[serde(with = "known")]
    pub max_us: f64,
}

/// Errors with the same text, or of the same kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorFigures {
    /// The first word.
    pub word: String,
    /// How many.
    pub count: u64,
    /// The first one.
    pub example: String,
    /// The others' texts differ.
    pub mixed: bool,
}

/// What the server's processes used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerFigures {
    /// The processes.
    pub processes: Vec<u32>,
    /// Answered requests of others that are counted besides the run's own: those of a scenario's checker.
    pub others: u64,
    /// CPU time per answered request in microseconds.
    pub cpu_us: f64,
    /// CPUs kept busy.
    pub cpus: f64,
    /// Context switches per answered request.
    pub switches: f64,
    /// Resident memory at the end in bytes.
    pub resident: u64,
    /// How many of the processes ended meanwhile; what they used counts up to their last reading.
    pub ended: usize,
}

/// What the generator used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratorFigures {
    /// CPU time per answered request in microseconds.
    pub cpu_us: f64,
    /// CPUs kept busy by the busiest thread.
    pub busiest: f64,
    /// The largest share of time a thread was ready and had no CPU.
    pub starved: f64,
    /// How late the generator was: 99th percentile in microseconds.
    pub lag_p99_us: f64,
    /// How late it was at worst, in microseconds.
    pub lag_max_us: f64,
    /// The longest time one of its threads did not run though something was due, in microseconds.
    pub stood_us: f64,
    /// The share of the machine's CPU time that its host took away.
    pub stolen: f64,
}

impl Figures {
    /// True if only latencies are known, as of a log; what was counted besides them reads as zero.
    pub fn only_latencies(&self) -> bool {
        self.targets.is_empty()
    }

    /// True if something was measured: errors are answers too, but a run that got nothing else has measured nothing.
    pub fn is_useful(&self) -> bool {
        self.total.answered > self.total.errors
    }

    /// Computes the figures. `servers` are the names the servers gave.
    pub fn new(settings: &Settings, servers: &[String], outcome: &Outcome) -> Self {
        let seconds = outcome.elapsed.as_secs_f64();
        let commands = outcome.labels.iter().zip(&outcome.tally.commands);
        let latencies = outcome.tally.latencies();
        let total = CommandFigures::new("all", &outcome.tally.total(), seconds);
        let mut total = total.with_latencies(&latencies);
        let longest_wait_us = outcome.tally.longest_wait as f64 / 1e3;
        let usual_us = total.max_us.min(total.p999_us * UNUSUAL).max(STALLED_US);
        let hanging = outcome.tally.hanging.beyond((usual_us * 1e3) as u64);
        let stalled = (longest_wait_us > total.max_us.max(STALLED_US)).then_some(longest_wait_us);
        if let Some(wait) = stalled {
            total.max_us = wait;
        }
        let generator = GeneratorFigures::new(outcome);
        // What the server used was read at the end.
        let in_time = outcome.tally.total().in_time() as f64;
        let mut servers = servers.to_vec();
        servers.dedup();
        let mut figures = Self {
            targets: settings.targets.iter().map(ToString::to_string).collect(),
            servers,
            workload: settings.workload.name.clone(),
            asked: asked(settings),
            connections: settings.connections,
            threads: settings.threads,
            pipeline: settings.pipeline,
            rates: settings.rates.iter().map(|(rate, _)| *rate).collect(),
            steps: settings.rates.iter().map(|(rate, time)| StepFigures::new(*rate, *time)).collect(),
            poisson: !settings.rates.is_empty() && settings.spacing == Spacing::Poisson,
            elapsed_s: outcome.elapsed.as_secs_f64(),
            commands: commands.map(|(label, tally)| CommandFigures::new(label, tally, seconds)).collect(),
            endpoints: endpoints(outcome, seconds),
            connect: ConnectFigures::new(&outcome.tally.connect, seconds),
            redirects: outcome.tally.redirects,
            sent_per_s: per(outcome.tally.sent as f64, seconds),
            received_per_s: per(outcome.tally.received as f64, seconds),
            lost: outcome.tally.lost,
            broken: outcome.tally.broken,
            connection_errors: outcome.tally.connection_errors,
            unanswered: outcome.tally.unanswered,
            hanging,
            hanging_longest_us: if hanging > 0 { longest_wait_us } else { 0.0 },
            errors: outcome.tally.error_kinds.iter().map(ErrorFigures::new).collect(),
            server: outcome.server.map(|server| ServerFigures {
                processes: settings.processes.clone(),
                others: server.others,
                cpu_us: per(server.cpu as f64 / 1e3, in_time + server.others as f64),
                cpus: per(server.cpu as f64 / 1e9, seconds),
                switches: per(server.switches as f64, in_time + server.others as f64),
                resident: server.resident,
                ended: outcome.ended.len(),
            }),
            total,
            generator,
            interrupted: false,
            warnings: Vec::new(),
            curve: curve(&latencies),
            seconds: outcome.seconds.clone(),
            events: Vec::new(),
            claims: Vec::new(),
            origin: Origin::new(outcome.elapsed),
            scenario: None,
        };
        if let [only] = figures.commands.as_mut_slice() {
            // What was not even sent can only have been this command.
            *only = only.clone().with_latencies(&latencies);
            only.max_us = figures.total.max_us;
        }
        figures.warnings = warnings(&figures, settings, outcome, stalled);
        figures
    }

    /// All errors that are listed: error replies, and those that are the answer to no request.
    pub fn all_errors(&self) -> u64 {
        self.total.errors + self.connection_errors
    }

    /// The steps of the rate that were told apart; none if there is one rate, or none.
    pub fn told_steps(&self) -> impl Iterator<Item = &StepFigures> {
        self.steps.iter().filter(|step| step.counted_s > 0.0)
    }

    /// How requests are paced, in words.
    pub fn pace(&self) -> String {
        let spacing = if self.poisson { ", Poisson" } else { "" };
        match (self.steps.as_slice(), self.rates.as_slice()) {
            ([], []) => "closed loop".into(),
            // Files of older versions know no durations.
            ([], rates) => {
                let rates: Vec<String> = rates.iter().map(|per_s| rate(*per_s)).collect();
                format!("open loop at {} requests/s", rates.join(", then "))
            }
            (steps, _) => {
                let steps: Vec<String> = steps
                    .iter()
                    .map(|step| match step.seconds {
                        Some(seconds) => format!("{} for {}", rate(step.per_s), micros(seconds * 1e6)),
                        None => rate(step.per_s),
                    })
                    .collect();
                format!("open loop at {} requests/s{spacing}", steps.join(", then "))
            }
        }
    }
}

/// A rate as people write it.
fn rate(per_s: f64) -> String {
    if per_s < 10.0 { per_s.to_string() } else { count(per_s.round() as u64) }
}

impl StepFigures {
    /// What it is called: its rate.
    pub fn name(&self) -> String {
        format!("{}/s", rate(self.per_s))
    }

    fn new(per_s: f64, time: Duration) -> Self {
        Self { per_s, seconds: (time < Duration::MAX).then_some(time.as_secs_f64()), ..Self::default() }
    }
}

/// A quotient, 0 where there is nothing to divide by.
fn per(sum: f64, parts: f64) -> f64 {
    if parts > 0.0 { sum / parts } else { 0.0 }
}

/// A request that waits for longer than this at the end, and longer than any that was answered, shows a stall.
const STALLED_US: f64 = 50_000.0;
/// And so does one that waits for longer than so many times the 99.9th percentile: that others have waited for long
/// before must not hide it.
const UNUSUAL: f64 = 10.0;

/// How long an answer takes at most that is nothing unusual, in the unit of these latencies.
pub fn usual(latencies: &Histogram<u64>) -> u64 {
    let tail = latencies.value_at_quantile(0.999) as f64 * UNUSUAL;
    latencies.max().min(tail as u64)
}

/// Latency at shares from 0 to as close to 1 as there are requests to tell, twenty points per nine.
pub(super) fn curve(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    let nines = (latency.len().max(10) as f64).log10();
    let points = (nines * 20.0) as u32;
    let shares = (0..=points).map(|point| 1.0 - 10f64.powf(-f64::from(point) / 20.0));
    shares.map(|share| (share, latency.value_at_quantile(share) as f64 / 1e3)).collect()
}

/// How many commands of a workload are told.
const MOST_COMMANDS: usize = 8;

/// The workload in words.
fn asked(settings: &Settings) -> String {
    let workload = &settings.workload;
    let total: u64 = workload.commands.iter().map(|command| u64::from(command.weight)).sum();
    let commands = workload.commands.iter().map(|command| {
        let share = f64::from(command.weight) * 100.0 / total.max(1) as f64;
        let then = command.on_miss.as_ref().map(|line| format!(", on a miss {line}")).unwrap_or_default();
        let always = command.then.as_ref().map(|line| format!(", then {line}")).unwrap_or_default();
        format!("{share:.0} % {}{then}{always}", command.line)
    });
    let mut commands: Vec<String> = commands.collect();
    let others = commands.len().saturating_sub(MOST_COMMANDS);
    if others > 0 {
        commands.truncate(MOST_COMMANDS);
        commands.push(format!("and {}", counted(others as u64, "more command", "more commands")));
    }
    // Only what is asked for: commands may name all their keys and values themselves.
    let mut parts = Vec::new();
    if workload.asks_with(KEY_PLACES) {
        parts.push(counted(workload.keys, "key", "keys"));
        parts.push(workload.distribution.to_string());
    }
    if workload.asks_with(VALUE_PLACES) {
        parts.push(format!("values of {} bytes", workload.sizes));
    }
    parts.push(format!("seed {}", workload.seed));
    format!("{}; {}", commands.join("; "), parts.join(", "))
}

impl CommandFigures {
    /// Of what was counted in so many seconds.
    pub fn new(command: &str, tally: &CommandTally, seconds: f64) -> Self {
        let asked = tally.hits + tally.misses;
        let counts = Self {
            command: command.into(),
            answered: tally.answered(),
            per_s: per(tally.in_time() as f64, seconds),
            errors: tally.errors,
            lost: tally.lost.count(),
            hit_ratio: (asked > 0).then(|| tally.hits as f64 / asked as f64),
            neither: tally.neither,
            odd: tally.odd,
            ..Self::default()
        };
        counts.with_latencies(&tally.latencies())
    }

    /// The same counts with these latencies.
    fn with_latencies(self, latency: &Histogram<u64>) -> Self {
        let quantile = |share| latency.value_at_quantile(share) as f64 / 1e3;
        Self {
            mean_us: latency.mean() / 1e3,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            p9999_us: quantile(0.9999),
            max_us: latency.max() as f64 / 1e3,
            curve: curve(latency),
            ..self
        }
    }
}

fn endpoints(outcome: &Outcome, seconds: f64) -> Vec<EndpointFigures> {
    let tallies = &outcome.tally.endpoints;
    let named = outcome.endpoints.iter().zip(tallies).filter(|_| tallies.len() > 1);
    named.map(|(name, tally)| EndpointFigures::new(name, tally, seconds)).collect()
}

impl EndpointFigures {
    fn new(name: &str, tally: &EndpointTally, seconds: f64) -> Self {
        let latency = tally.latencies();
        let quantile = |share| latency.value_at_quantile(share) as f64 / 1e3;
        Self {
            endpoint: name.into(),
            answered: tally.latency.len(),
            per_s: per(tally.latency.len().saturating_sub(tally.late) as f64, seconds),
            errors: tally.errors,
            lost: tally.lost.count(),
            mean_us: latency.mean() / 1e3,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            p9999_us: quantile(0.9999),
            max_us: latency.max() as f64 / 1e3,
        }
    }
}

impl ConnectFigures {
    fn new(connect: &Histogram<u64>, seconds: f64) -> Option<Self> {
        let quantile = |share| connect.value_at_quantile(share) as f64 / 1e3;
        (!connect.is_empty()).then(|| Self {
            opened: connect.len(),
            per_s: per(connect.len() as f64, seconds),
            mean_us: connect.mean() / 1e3,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            p9999_us: quantile(0.9999),
            max_us: connect.max() as f64 / 1e3,
        })
    }
}

impl ErrorFigures {
    fn new(kind: &ErrorKind) -> Self {
        Self { word: kind.word.clone(), count: kind.count, example: kind.example.clone(), mixed: kind.mixed }
    }
}

impl GeneratorFigures {
    fn new(outcome: &Outcome) -> Self {
        let cpu: u64 = outcome.own.iter().map(|own| own.cpu).sum();
        let most = |part: fn(&crate::generator::OwnUsage) -> u64| {
            let shares = outcome.own.iter().map(|own| part(own) as f64 / own.wall.max(1) as f64);
            shares.fold(0.0, f64::max)
        };
        Self {
            cpu_us: per(cpu as f64 / 1e3, outcome.tally.answered() as f64),
            busiest: most(|own| own.cpu),
            starved: most(|own| own.waited),
            lag_p99_us: outcome.tally.lag.value_at_quantile(0.99) as f64 / 1e3,
            lag_max_us: outcome.tally.lag.max() as f64 / 1e3,
            stood_us: outcome.tally.stood as f64 / 1e3,
            stolen: outcome.stolen,
        }
    }
}
