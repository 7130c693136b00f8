//! `shoal-loadtest replay`: a recorded trace and its hit ratio.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::run::stop_on_interrupt;
use crate::error::Error;
use crate::replay::{Pace, Settings, replay};
use crate::report::json;
use crate::report::number::{bytes, count, percent};
use crate::target::{Opening, Target, look_at};
use crate::trace::{self, Trace};

#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    /// The trace: .rtr (16-byte records) or CSV (key,op,size,ttl,time).
    trace: PathBuf,
    /// The server as HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:6379")]
    target: String,
    /// Accesses per batch.
    #[arg(short = 'P', long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pipeline: u32,
    /// Accesses per second.
    #[arg(short, long, value_parser = rate)]
    rate: Option<f64>,
    /// How many times as fast as recorded: 1x, 10x, 0.5x, or max for as fast as the server answers. A trace without
    /// times can only be replayed at max or at a --rate.
    #[arg(long, default_value = "max", value_parser = speed, conflicts_with = "rate")]
    speed: Pace,
    /// Replay only so many accesses.
    #[arg(short = 'n', long)]
    requests: Option<usize>,
    /// The share of the accesses at the start that is not counted, from 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    warmup: f64,
    /// Empty the server first (FLUSHALL).
    #[arg(long)]
    flush: bool,
    /// User name for AUTH.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// Password for AUTH.
    #[arg(short = 'a', long, env = "SHOAL_LOADTEST_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Write the counts to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(arguments: &ReplayArguments) -> Result<ExitCode, Error> {
    let Trace { mut accesses, timed } = trace::read(&arguments.trace)?;
    accesses.truncate(arguments.requests.unwrap_or(usize::MAX));
    if matches!(arguments.speed, Pace::Recorded(_)) && !timed {
        return Err(Error::Usage(format!(
            "{}: the trace has no times, so it can only be replayed with --speed max or a --rate",
            arguments.trace.display()
        )));
    }
    json::check([&arguments.json])?;
    let opening =
        Opening { user: arguments.user.clone(), password: arguments.password.clone(), ..Opening::default() };
    let target = Target::resolve(&arguments.target)?;
    let server = look_at(&target, &opening)?;
    let stop = stop_on_interrupt()?;
    let settings = Settings {
        address: target.address,
        opening: opening.commands(),
        batch: arguments.pipeline as usize,
        pace: arguments.rate.map_or(arguments.speed, Pace::Rate),
        flush: arguments.flush,
        warmup: arguments.warmup,
    };
    let counts = replay(&settings, &accesses, &stop)
        .map_err(|source| Error::Connect { address: arguments.target.clone(), source })?;
    println!(
        "{} on {target} ({server}): {} accesses in {:.1} s, {} per second",
        arguments.trace.display(),
        count(counts.accesses),
        counts.seconds,
        count((counts.accesses as f64 / counts.seconds.max(1e-9)) as u64)
    );
    println!(
        "object hit ratio  {} of {} look-ups",
        percent(counts.object_hit_ratio()),
        count(counts.lookups)
    );
    println!("byte hit ratio    {} of {}", percent(counts.byte_hit_ratio()), bytes(counts.bytes as f64));
    if settings.pace != Pace::Max {
        println!("late              {:.3} s at most", counts.late);
    }
    println!("stored            {} values", count(counts.stored));
    if let Some(first) = &counts.first_error {
        println!("errors            {}, the first: {first}", count(counts.errors));
    }
    if let Some(path) = &arguments.json {
        json::write(path, &counts)?;
    }
    // Every look-up and every write was refused: the ratio above says nothing.
    let is_useful = counts.accesses == 0 || counts.errors < counts.accesses;
    Ok(if is_useful { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| "write a number of accesses per second".into())
}

/// `max`, or a number with an x behind it.
fn speed(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    let times = text.strip_suffix('x').unwrap_or(text).parse::<f64>().ok();
    let times = times.filter(|times| (0.001..=1e6).contains(times));
    times.map(Pace::Recorded).ok_or_else(|| "write 1x, 10x, 0.5x or max".into())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "write a number from 0 to 1".into())
}
