//! `shoal-loadtest verify`: checks that the server's answers could have come from one copy of the data.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use clap::Args;

use super::access::AccessArguments;
use super::load::{duration, some_time};
use super::output::{check as check_reports, counted};
use super::run::stop_on_interrupt;
use crate::answer;
use crate::cluster::redirect::leads_elsewhere;
use crate::cluster::{Layout, Nodes};
use crate::error::Error;
use crate::limits::want_files;
use crate::patience::Patience;
use crate::report::number::{count, plain};
use crate::report::verify::VerifyReport;
use crate::report::{json, ticker};
use crate::run::GIVE_UP;
use crate::target::{Target, look_at};
use crate::verify::check::check;
use crate::verify::driver::{
    MOST_OPERATIONS, Recorded, Settings, Watch, record_watched, remove_keys, written_keys,
};
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
    /// Keep at most so many operations, at about 100 bytes each: the load ends early then, and what was kept is checked.
    #[arg(long, value_name = "N", default_value_t = MOST_OPERATIONS, value_parser = clap::value_parser!(u64).range(1..))]
    max_operations: u64,
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
    /// Write all that was found to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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

/// With more failures than one in this many operations, that nothing was found says little.
const FEW_FAILURES: u64 = 10;

pub(super) fn run(arguments: &VerifyArguments) -> Result<ExitCode, Error> {
    let stop = stop_on_interrupt()?;
    check_reports([&arguments.json])?;
    let (settings, servers) = settings(arguments, &stop)?;
    let watch = Watch::default();
    let mut before = 0;
    let line = |second, since: u64| {
        let answered = watch.answered.load(Relaxed);
        let rate = answered.saturating_sub(std::mem::replace(&mut before, answered)) / since;
        progress(second, &watch, rate)
    };
    let began = Instant::now();
    let recorded = ticker::accompany(arguments.quiet, line, || record_watched(&settings, &stop, &watch))?;
    // Later it changes nothing of what was recorded.
    let interrupted = stop.load(Relaxed);
    let (took, started) = (began.elapsed(), Instant::now());
    let violations = check(recorded.operations.clone());
    let doubts = doubts(&recorded);
    let report = VerifyReport {
        passed: violations.is_empty() && doubts.is_empty(),
        servers,
        took_s: took.as_secs_f64(),
        checked_s: started.elapsed().as_secs_f64(),
        interrupted,
        doubts,
        ended_early: ended_early(arguments, &recorded, took),
        ..VerifyReport::new(&settings, &recorded, &violations, arguments.show)
    };
    let written = arguments.json.as_ref().map_or(Ok(()), |path| json::write(path, &report));
    // Behind the file, since nobody may be there to read it, but in any case.
    show(&report);
    tidy(&settings, &recorded, &stop);
    written?;
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says that the load ended before it should, since no more operations are kept.
fn ended_early(arguments: &VerifyArguments, recorded: &Recorded, took: Duration) -> Option<String> {
    let most = arguments.max_operations;
    let is_early = recorded.full && arguments.requests.is_none_or(|requests| requests > most);
    is_early.then(|| {
        format!(
            "the load ended early, after {:.1} s: no more than {} are kept (--max-operations)",
            took.as_secs_f64(),
            counted(most, "operation", "operations")
        )
    })
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

/// What to do, and the names that the servers gave.
fn settings(arguments: &VerifyArguments, stop: &Arc<AtomicBool>) -> Result<(Settings, Vec<String>), Error> {
    let opening = arguments.access.opening();
    let targets = arguments.access.targets(&arguments.target)?;
    let servers = targets.iter().map(|target| look_at(target, &opening, stop)).collect::<Result<_, _>>()?;
    let nodes = Nodes::default();
    if arguments.cluster {
        // Refused by a server that is no cluster's, before anything is asked of it.
        Layout::read(&targets, &opening, &nodes, stop)?;
    }
    want_files(arguments.connections as usize * nodes.all().len().max(1))?;
    let usual = if arguments.requests.is_some() { Duration::MAX } else { USUAL };
    let settings = Settings {
        servers: targets.iter().map(Target::endpoint).collect(),
        cluster: arguments.cluster,
        opening: opening.commands(),
        clients: arguments.connections,
        pipeline: arguments.pipeline as usize,
        keys: arguments.keys,
        value_size: arguments.value_size as usize,
        duration: arguments.duration.unwrap_or(usual),
        limit: arguments.requests.unwrap_or(u64::MAX).min(arguments.max_operations),
        patience: Patience::until(arguments.patience, Arc::clone(stop)),
        give_up: GIVE_UP,
        seed: arguments.seed,
        run: new_run(),
    };
    Ok((settings, servers))
}

/// A time in which an answer may come.
fn patience(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < LEAST { Err("no answer comes in less than a millisecond".into()) } else { Ok(time) }
}

/// The least patience.
const LEAST: Duration = Duration::from_millis(1);

/// Prints what was found: how many of each kind there are, and some with the history of their key, the guilty
/// operations marked.
fn show(report: &VerifyReport) {
    println!(
        "{} by {} on {}, checked in {:.2} s",
        counted(report.operations, "operation", "operations"),
        counted(report.connections.into(), "connection", "connections"),
        counted(report.keys.into(), "key", "keys"),
        report.checked_s
    );
    if report.interrupted {
        println!("interrupted after {:.1} s: what was done until then was checked", report.took_s);
    }
    if let Some(first) = &report.first_failure {
        let hint = if leads_elsewhere(first) && !report.cluster {
            " (a node of a cluster: use --cluster)"
        } else {
            ""
        };
        println!("{}, the first: {}{hint}", counted(report.failures, "failure", "failures"), plain(first));
    }
    let violations: u64 = report.violations.iter().map(|(_, number)| number).sum();
    if violations > 0 {
        println!("{}:", counted(violations, "violation", "violations"));
    }
    for (kind, number) in &report.violations {
        println!("  {:>8} {kind}", count(*number));
    }
    if let Some(told) = &report.first_corruption {
        println!("the first corrupt value: {told}");
    }
    for history in &report.histories {
        println!("\n{} at key {}:", history.wrong, history.key);
        for operation in &history.operations {
            println!("{} {}", if operation.guilty { " >" } else { "  " }, operation.text);
        }
    }
    report.ended_early.iter().chain(&report.doubts).for_each(|told| println!("{told}"));
    if report.passed {
        println!("nothing wrong found");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::history::{Action, NEVER, Operation};

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
