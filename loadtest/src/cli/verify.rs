//! `shoal-loadtest verify`: checks that the server's answers could have come from one copy of the data.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use clap::Args;

use super::access::AccessArguments;
use super::load::{duration, some_time};
use super::output::counted;
use super::run::stop_on_interrupt;
use crate::answer;
use crate::cluster::redirect::leads_elsewhere;
use crate::cluster::{Layout, Nodes};
use crate::error::Error;
use crate::patience::Patience;
use crate::report::number::{count, plain};
use crate::report::ticker;
use crate::run::GIVE_UP;
use crate::target::{Target, look_at};
use crate::verify::check::{around, check, telling};
use crate::verify::driver::{Recorded, Settings, Watch, record_watched, remove_keys, written_keys};
use crate::verify::history::{Operation, Violation};
use crate::verify::new_run;

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The server as HOST:PORT; several share the connections.
    #[arg(long, default_value = "127.0.0.1:6379", value_delimiter = ',')]
    target: Vec<String>,
    /// The target is a node of a cluster: send each request to the owner of its key, follow redirects. One request
    /// at a time is under way per connection then.
    #[arg(long, conflicts_with = "pipeline")]
    cluster: bool,
    /// Connections, each with a thread of its own.
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// Requests under way per connection.
    #[arg(short = 'P', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipeline: u32,
    /// How long to make load; with -n whichever ends first [default: 10s, with -n until they are made]
    #[arg(short, long, value_parser = some_time)]
    duration: Option<Duration>,
    /// Stop after this many operations. Given up when no server has answered for 10 seconds.
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Number of keys; every fourth is a counter. Few keys make many conflicts.
    #[arg(short, long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    keys: u32,
    /// The least length of values in bytes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=MAX_VALUE))]
    value_size: u32,
    /// How long an answer may take before it counts as lost.
    #[arg(long, default_value = "5s", value_parser = patience)]
    patience: Duration,
    /// The seed of what is asked.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many violations to show with their history.
    #[arg(long, default_value_t = 3)]
    show: usize,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    access: AccessArguments,
}

/// The longest values whose replies are read.
const MAX_VALUE: i64 = answer::MAX_LENGTH as i64;

/// How long to make load if nothing is said.
const USUAL: Duration = Duration::from_secs(10);

/// How many operations of a key are shown with a violation.
const HISTORY: usize = 30;

/// With more failures than one in this many operations, that nothing was found says little.
const FEW_FAILURES: u64 = 10;

pub(super) fn run(arguments: &VerifyArguments) -> Result<ExitCode, Error> {
    let stop = stop_on_interrupt()?;
    let settings = settings(arguments, &stop)?;
    let watch = Watch::default();
    let mut before = 0;
    let line = |second, since: u64| {
        let answered = watch.answered.load(Relaxed);
        let rate = answered.saturating_sub(std::mem::replace(&mut before, answered)) / since;
        progress(second, &watch, rate)
    };
    let recorded = ticker::accompany(arguments.quiet, line, || record_watched(&settings, &stop, &watch))?;
    let started = Instant::now();
    let violations = check(recorded.operations.clone());
    println!(
        "{} by {} on {}, checked in {:.2} s",
        counted(recorded.operations.len() as u64, "operation", "operations"),
        counted(settings.clients.into(), "connection", "connections"),
        counted(settings.keys.into(), "key", "keys"),
        started.elapsed().as_secs_f64()
    );
    if let Some(first) = &recorded.first_failure {
        let hint = if leads_elsewhere(first) && !settings.cluster {
            " (a node of a cluster: use --cluster)"
        } else {
            ""
        };
        println!("{}, the first: {}{hint}", counted(recorded.failures, "failure", "failures"), plain(first));
    }
    if !violations.is_empty() {
        show(&violations, &recorded, arguments.show);
    }
    let doubts = doubts(&recorded);
    doubts.iter().for_each(|doubt| println!("{doubt}"));
    let all_is_well = violations.is_empty() && doubts.is_empty();
    if all_is_well {
        println!("nothing wrong found");
    }
    tidy(&settings, &recorded, &stop);
    Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why it is not known that all is well, even if nothing wrong was found.
fn doubts(recorded: &Recorded) -> Vec<String> {
    let answered = recorded.operations.iter().filter(|operation| operation.is_answered()).count() as u64;
    let mut doubts = Vec::new();
    if recorded.gave_up {
        doubts.push(format!("given up: no server has answered for {} s", GIVE_UP.as_secs()));
    }
    if answered == 0 {
        doubts.push("nothing was answered".to_owned());
    } else if recorded.failures.max(recorded.unanswered) * FEW_FAILURES > answered {
        doubts.push("too much went unanswered to say that all is well".to_owned());
    }
    if recorded.unread > 0 {
        let keys = counted(recorded.unread, "key", "keys");
        let why = plain(recorded.why_unread.as_deref().unwrap_or("interrupted"));
        doubts
            .push(format!("{keys} could not be read back at the end, so what they lost is not known: {why}"));
    }
    doubts
}

/// Removes the keys of the run.
fn tidy(settings: &Settings, recorded: &Recorded, stop: &AtomicBool) {
    let keys = written_keys(&recorded.operations);
    if keys.is_empty() {
        return;
    }
    // A ^C that has ended the load is not meant for this; the next one ends the program.
    let unmoved = AtomicBool::new(false);
    let stop = if stop.load(Relaxed) {
        eprintln!(
            "removing {} of this run; ^C again ends at once",
            counted(keys.len() as u64, "key", "keys")
        );
        &unmoved
    } else {
        stop
    };
    match remove_keys(settings, &keys, stop) {
        Ok(done) if done < keys.len() => {
            let left = (keys.len() - done) as u64;
            eprintln!("not removed: {} of this run", counted(left, "key", "keys"));
        }
        Ok(_) => {}
        Err(error) => {
            let told = answer::told(&error, settings.patience.most);
            eprintln!("the keys of this run could not be removed: {told}");
        }
    }
}

/// The line shown while the load goes on, with the answers per second of late.
fn progress(second: u64, watch: &Watch, rate: u64) -> String {
    let (failures, wrong) = (watch.failures.load(Relaxed), watch.wrong.load(Relaxed));
    let mut line = format!(
        "{second:>5} s  {:>11} operations  {:>9}/s",
        count(watch.answered.load(Relaxed)),
        count(rate)
    );
    for (number, what) in [(wrong, "wrong answers"), (failures, "failures")] {
        if number > 0 {
            line.push_str(&format!("  {what} {}", count(number)));
        }
    }
    line
}

fn settings(arguments: &VerifyArguments, stop: &Arc<AtomicBool>) -> Result<Settings, Error> {
    let opening = arguments.access.opening();
    let targets = arguments.access.targets(&arguments.target)?;
    for target in &targets {
        look_at(target, &opening, stop)?;
    }
    if arguments.cluster {
        // Refused by a server that is no cluster's, before anything is asked of it.
        Layout::read(&targets, &opening, &Nodes::default(), stop)?;
    }
    let usual = if arguments.requests.is_some() { Duration::MAX } else { USUAL };
    Ok(Settings {
        servers: targets.iter().map(Target::endpoint).collect(),
        cluster: arguments.cluster,
        opening: opening.commands(),
        clients: arguments.connections,
        pipeline: arguments.pipeline as usize,
        keys: arguments.keys,
        value_size: arguments.value_size as usize,
        duration: arguments.duration.unwrap_or(usual),
        limit: arguments.requests.unwrap_or(u64::MAX),
        patience: Patience::until(arguments.patience, Arc::clone(stop)),
        give_up: GIVE_UP,
        seed: arguments.seed,
        run: new_run(),
    })
}

/// A time in which an answer may come.
fn patience(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < LEAST { Err("no answer comes in less than a millisecond".into()) } else { Ok(time) }
}

/// The least patience.
const LEAST: Duration = Duration::from_millis(1);

/// Prints how many of each kind there are, and some with the history of their key.
fn show(violations: &[Violation], recorded: &Recorded, most: usize) {
    let mut kinds: Vec<_> = violations.iter().map(|violation| violation.wrong).collect();
    kinds.sort();
    println!("{}:", counted(violations.len() as u64, "violation", "violations"));
    for same in kinds.chunk_by(|a, b| a == b) {
        println!("  {:>8} {}", count(same.len() as u64), same[0]);
    }
    if let Some(told) = &recorded.first_corruption {
        println!("the first corrupt value: {told}");
    }
    for violation in telling(violations, most) {
        println!("\n{} at key {}:", violation.wrong, violation.operations[0].key);
        print_marked(&violation.operations, &around(&recorded.operations, violation, HISTORY));
    }
}

/// Prints a history, the guilty operations marked.
fn print_marked(guilty: &[Operation], history: &[Operation]) {
    for operation in history {
        println!("{} {operation}", if guilty.contains(operation) { " >" } else { "  " });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::history::{Action, NEVER};

    fn recorded(answered: usize, unanswered: u64) -> Recorded {
        let operation = |end| Operation { key: 0, client: 0, start: 0, end, action: Action::Delete };
        let mut operations = vec![operation(1); answered];
        operations.extend((0..unanswered).map(|_| operation(NEVER)));
        Recorded { operations, unanswered, failures: u64::from(unanswered > 0), ..Recorded::default() }
    }

    #[test]
    fn silence_is_not_success() {
        let well = |answered, unanswered| doubts(&recorded(answered, unanswered)).is_empty();
        assert!(well(1000, 0) && well(1000, 100));
        // One broken connection may have held many requests.
        assert!(!well(1000, 101) && !well(0, 1000) && !well(0, 0));
        assert!(!doubts(&Recorded { gave_up: true, ..recorded(1000, 0) }).is_empty());
    }

    #[test]
    fn keys_that_were_not_read_back_are_told() {
        let told = |unread, why: Option<&str>| {
            let why_unread = why.map(str::to_owned);
            doubts(&Recorded { unread, why_unread, ..recorded(1_000_000, 3) })
        };
        assert_eq!(told(0, None), [""; 0]);
        assert_eq!(
            told(1, Some("refused")),
            ["1 key could not be read back at the end, so what they lost is not known: refused"]
        );
        assert!(told(1500, None)[0].starts_with("1,500 keys could not be read back"));
    }

    #[test]
    fn the_line_says_what_was_found_so_far() {
        let watch = Watch::default();
        watch.answered.store(45_000, Relaxed);
        assert_eq!(progress(3, &watch, 9000), "    3 s       45,000 operations      9,000/s");
        watch.wrong.store(2, Relaxed);
        watch.failures.store(1, Relaxed);
        assert!(progress(3, &watch, 0).ends_with("  wrong answers 2  failures 1"));
    }
}
