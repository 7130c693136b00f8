//! `shoal-loadtest verify`: checks that the server's answers could have come from one copy of the data.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;

use super::load::duration;
use super::run::stop_on_interrupt;
use crate::error::Error;
use crate::report::number::count;
use crate::target::{Opening, Target, look_at};
use crate::verify::check::{around, check};
use crate::verify::driver::{Recorded, Settings, record, remove_keys};
use crate::verify::history::{Operation, Violation};

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
    /// How long to make load.
    #[arg(short, long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Stop after this many operations.
    #[arg(short = 'n', long)]
    requests: Option<u64>,
    /// Number of keys; every fourth is a counter. Few keys make many conflicts.
    #[arg(short, long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    keys: u32,
    /// The least length of values in bytes.
    #[arg(long, default_value_t = 64)]
    value_size: u32,
    /// How long an answer may take before it counts as lost.
    #[arg(long, default_value = "5s", value_parser = duration)]
    patience: Duration,
    /// The seed of what is asked.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many violations to show with their history.
    #[arg(long, default_value_t = 3)]
    show: usize,
    /// User name for AUTH.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// Password for AUTH.
    #[arg(short = 'a', long, env = "SHOAL_LOADTEST_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

/// How many operations of a key are shown with a violation.
const HISTORY: usize = 30;

/// With more failures than one in this many operations, that nothing was found says little.
const FEW_FAILURES: u64 = 10;

pub(super) fn run(arguments: &VerifyArguments) -> Result<ExitCode, Error> {
    let settings = settings(arguments)?;
    let stop = stop_on_interrupt()?;
    let recorded = record(&settings, &stop);
    let operations = recorded.operations.clone();
    let started = Instant::now();
    let violations = check(operations);
    let taken = started.elapsed();
    if let Err(error) = remove_keys(&settings) {
        eprintln!("the keys of this run could not be removed: {error}");
    }
    println!(
        "{} operations by {} connections on {} keys, checked in {:.2} s",
        count(recorded.operations.len() as u64),
        settings.clients,
        settings.keys,
        taken.as_secs_f64()
    );
    if let Some(first) = &recorded.first_failure {
        println!("{} failures, the first: {first}", count(recorded.failures));
    }
    if recorded.operations.is_empty() {
        println!("nothing was answered");
        return Ok(ExitCode::FAILURE);
    }
    if violations.is_empty() {
        let answered = recorded.operations.len() as u64;
        if recorded.failures * FEW_FAILURES > answered {
            println!("nothing wrong found, but too much went unanswered to say that all is well");
            return Ok(ExitCode::FAILURE);
        }
        println!("nothing wrong found");
        return Ok(ExitCode::SUCCESS);
    }
    show(&violations, &recorded, arguments.show);
    Ok(ExitCode::FAILURE)
}

fn settings(arguments: &VerifyArguments) -> Result<Settings, Error> {
    let opening =
        Opening { user: arguments.user.clone(), password: arguments.password.clone(), ..Opening::default() };
    let mut addresses = Vec::new();
    for name in &arguments.target {
        let target = Target::resolve(name)?;
        look_at(&target, &opening)?;
        addresses.push(target.address);
    }
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Settings {
        addresses,
        cluster: arguments.cluster,
        opening: opening.commands(),
        clients: arguments.connections,
        pipeline: arguments.pipeline as usize,
        keys: arguments.keys,
        value_size: arguments.value_size as usize,
        duration: if arguments.requests.is_some() { Duration::MAX } else { arguments.duration },
        limit: arguments.requests.unwrap_or(u64::MAX),
        patience: arguments.patience.max(Duration::from_millis(1)),
        seed: arguments.seed,
        run: since_epoch.as_nanos() as u64,
    })
}

/// Prints how many of each kind there are, and some with the history of their key.
fn show(violations: &[Violation], recorded: &Recorded, most: usize) {
    let mut kinds: Vec<_> = violations.iter().map(|violation| violation.wrong).collect();
    kinds.sort();
    println!("{} violations:", count(violations.len() as u64));
    for same in kinds.chunk_by(|a, b| a == b) {
        println!("  {:>8} {}", count(same.len() as u64), same[0]);
    }
    // One of each kind first: a thousand lost increments of one key tell the same story.
    kinds.dedup();
    let first_of = |wrong| violations.iter().position(|violation| violation.wrong == wrong);
    let mut order: Vec<usize> = kinds.into_iter().filter_map(first_of).collect();
    let others = (0..violations.len()).filter(|index| !order.contains(index));
    let others: Vec<usize> = others.take(most).collect();
    order.extend(others);
    for violation in order.into_iter().take(most).map(|index| &violations[index]) {
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
