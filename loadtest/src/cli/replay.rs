//! `shoal-loadtest replay`: a recorded trace and its hit ratio.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

use clap::Args;
use serde::Serialize;

use super::access::AccessArguments;
use super::output::{check, counted, spare};
use super::run::stop_on_interrupt;
use crate::cluster::redirect::leads_elsewhere;
use crate::error::Error;
use crate::replay::{Counts, Pace, Settings, Watch, replay_watched};
use crate::report::number::{bytes, count, percent};
use crate::report::{json, ticker};
use crate::target::{Target, look_at};
use crate::trace::{self, Format, Trace};

#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    /// The trace: .rtr (16-byte records) or CSV (key,op,size,ttl,time); a file or a pipe.
    trace: PathBuf,
    /// What the trace is written in [default: by its name's end, else by its first bytes]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The server as HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:6379")]
    target: String,
    /// Accesses per batch.
    #[arg(short = 'P', long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pipeline: u32,
    /// Accesses per second, in whole batches of -P [default: as --speed says]
    #[arg(short, long, value_parser = rate)]
    rate: Option<f64>,
    /// How many times as fast as recorded: 1x, 10x, 0.5x, or max for as fast as the server answers. A trace without
    /// times can only be replayed at max or at a --rate.
    #[arg(long, default_value = "max", value_parser = speed, conflicts_with = "rate")]
    speed: Pace,
    /// Replay only so many accesses; no more of the trace is read.
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// The share of the accesses at the start that is not counted, from 0 to less than 1.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    warmup: f64,
    /// Empty the server first (FLUSHALL).
    #[arg(long)]
    flush: bool,
    #[command(flatten)]
    access: AccessArguments,
    /// Write the counts to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(arguments: &ReplayArguments) -> Result<ExitCode, Error> {
    if arguments.trace.as_os_str() == "-" {
        return Err(Error::Usage("'-' is no file: the standard input is /dev/stdin".into()));
    }
    spare([arguments.trace.as_path()], &[&arguments.json])?;
    let Trace { accesses, timed } = trace::read(&arguments.trace, arguments.format, arguments.requests)?;
    if matches!(arguments.speed, Pace::Recorded(_)) && !timed {
        return Err(Error::Usage(format!(
            "{}: the trace has no times, so it can only be replayed with --speed max or a --rate",
            arguments.trace.display()
        )));
    }
    check([&arguments.json])?;
    let stop = stop_on_interrupt()?;
    let opening = arguments.access.opening();
    let target = arguments.access.target(&arguments.target)?;
    let server = look_at(&target, &opening, &stop)?;
    let settings = Settings {
        server: target.endpoint(),
        opening: opening.commands(),
        batch: arguments.pipeline as usize,
        pace: arguments.rate.map_or(arguments.speed, Pace::Rate),
        flush: arguments.flush,
        warmup: arguments.warmup,
    };
    let watch = Watch::default();
    let (total, mut before) = (accesses.len() as u64, 0);
    let line = |second, since: u64| {
        let text =
            progress(second, &watch, total, watch.accesses.load(Relaxed).saturating_sub(before) / since);
        before = watch.accesses.load(Relaxed);
        text
    };
    let (counts, outcome) =
        ticker::accompany(arguments.quiet, line, || replay_watched(&settings, &accesses, &stop, &watch));
    println!(
        "{} on {target} ({server}): {} in {:.1} s, {} per second",
        arguments.trace.display(),
        counted(counts.accesses, "access", "accesses"),
        counts.seconds,
        count(per_second(&counts).round() as u64)
    );
    let end = End { total, interrupted: outcome.is_ok() && counts.accesses < total };
    print!("{}", table(&counts, settings.pace, end));
    if let Some(path) = &arguments.json {
        let told = told(&counts, end);
        json::write(path, &Replayed::new(arguments, &target, &server, settings.pace, &counts, end, &told))?;
    }
    outcome.map_err(|error| match error.kind() {
        ErrorKind::InvalidData => {
            Error::Protocol { address: arguments.target.clone(), message: error.to_string() }
        }
        _ => {
            let done = count(counts.accesses);
            Error::Usage(format!("{target}: {error} (after {done} of {} accesses)", count(total)))
        }
    })?;
    let is_useful = counts.are_useful() && counts.accesses > 0;
    Ok(if is_useful { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How far a replay was to go, and whether the user ended it before.
#[derive(Clone, Copy)]
struct End {
    /// The accesses of the trace, or of the part that was wanted of it.
    total: u64,
    interrupted: bool,
}

/// What the JSON says: all that is printed.
#[derive(Serialize)]
struct Replayed<'a> {
    trace: String,
    target: String,
    server: &'a str,
    pipeline: u32,
    /// Accesses per second asked for, if some are.
    rate: Option<f64>,
    /// How many times as fast as recorded, if times were kept.
    speed: Option<f64>,
    warmup: f64,
    flushed: bool,
    /// The accesses of the trace, or of the part that was wanted of it.
    trace_accesses: u64,
    /// The user ended it before all of them were made.
    interrupted: bool,
    per_s: f64,
    object_hit_ratio: Option<f64>,
    byte_hit_ratio: Option<f64>,
    /// False if the ratios say nothing: most look-ups failed, or most values were not kept.
    useful: bool,
    warnings: &'a [String],
    #[serde(flatten)]
    counts: &'a Counts,
}

impl<'a> Replayed<'a> {
    fn new(
        arguments: &ReplayArguments,
        target: &Target,
        server: &'a str,
        pace: Pace,
        counts: &'a Counts,
        end: End,
        warnings: &'a [String],
    ) -> Self {
        let (rate, speed) = match pace {
            Pace::Max => (None, None),
            Pace::Rate(rate) => (Some(rate), None),
            Pace::Recorded(speed) => (None, Some(speed)),
        };
        Self {
            trace: arguments.trace.display().to_string(),
            target: target.to_string(),
            server,
            pipeline: arguments.pipeline,
            rate,
            speed,
            warmup: arguments.warmup,
            flushed: arguments.flush,
            trace_accesses: end.total,
            interrupted: end.interrupted,
            per_s: per_second(counts),
            object_hit_ratio: (counts.lookups > 0).then(|| counts.object_hit_ratio()),
            byte_hit_ratio: (counts.bytes > 0).then(|| counts.byte_hit_ratio()),
            useful: counts.are_useful(),
            warnings,
            counts,
        }
    }
}

fn per_second(counts: &Counts) -> f64 {
    counts.accesses as f64 / counts.seconds.max(1e-9)
}

/// What was counted, line by line.
fn table(counts: &Counts, pace: Pace, end: End) -> String {
    let (lookups, hits) = (count(counts.lookups), percent(counts.object_hit_ratio()));
    let mut out = format!("object hit ratio  {hits} of {lookups} look-ups\n");
    let (hits, looked_up) = (percent(counts.byte_hit_ratio()), bytes(counts.bytes as f64));
    out.push_str(&format!("byte hit ratio    {hits} of {looked_up}\n"));
    if pace != Pace::Max {
        out.push_str(&format!("late              {:.3} s at most\n", counts.late));
    }
    out.push_str(&format!("stored            {}", counted(counts.stored, "value", "values")));
    if counts.refused > 0 {
        out.push_str(&format!(", {} refused", count(counts.refused)));
    }
    out.push('\n');
    if let Some(first) = &counts.first_error {
        let hint = if leads_elsewhere(first) {
            " (a node of a cluster: replay to a router or to one server)"
        } else {
            ""
        };
        out.push_str(&format!("errors            {}, the first: {first}{hint}\n", count(counts.errors)));
    }
    for warning in told(counts, end) {
        out.push_str(&format!("warning           {warning}\n"));
    }
    if !counts.are_useful() {
        out.push_str("the ratios say nothing: most look-ups failed, or most values were not kept\n");
    }
    out
}

/// What makes the ratios doubtful, one sentence each.
fn told(counts: &Counts, end: End) -> Vec<String> {
    let mut told = Vec::new();
    if end.interrupted {
        let (made, total) = (count(counts.accesses), counted(end.total, "access", "accesses"));
        told.push(format!(
            "interrupted after {made} of {total}: the ratios are those of a part of the trace"
        ));
    }
    if let Some(held) = counts.held.filter(|held| *held > 0) {
        let keys = counted(held, "key", "keys");
        told.push(format!("the server held {keys} at the start, which may have made hits: use --flush"));
    }
    if counts.other_sizes > 0 {
        told.push(format!(
            "{} of the hits found a value of another size than the trace says",
            count(counts.other_sizes)
        ));
    }
    if counts.dropped > 0 {
        told.push(format!(
            "{} of the hits repeat a miss of their batch, and the value was gone again: use a smaller -P",
            count(counts.dropped)
        ));
    }
    told
}

/// The line shown while it goes on, with the accesses per second of late.
fn progress(second: u64, watch: &Watch, total: u64, rate: u64) -> String {
    let (made, hits) = (watch.accesses.load(Relaxed), watch.hits.load(Relaxed));
    let (lookups, errors) = (watch.lookups.load(Relaxed), watch.errors.load(Relaxed));
    let mut line = format!(
        "{second:>5} s  {:>4.1} % of the trace  {:>11} accesses  {:>9}/s",
        made as f64 * 100.0 / total.max(1) as f64,
        count(made),
        count(rate)
    );
    if lookups > 0 {
        line.push_str(&format!("  hits {}", percent(hits as f64 / lookups as f64)));
    }
    if errors > 0 {
        line.push_str(&format!("  errors {}", count(errors)));
    }
    line
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
    share.ok_or_else(|| {
        "write a share of the accesses as a number from 0 to less than 1: with 1 none would be counted".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let watch = Watch::default();
        assert_eq!(
            progress(1, &watch, 10, 0),
            "    1 s   0.0 % of the trace            0 accesses          0/s"
        );
        for (place, value) in [(&watch.accesses, 500), (&watch.lookups, 400), (&watch.hits, 100)] {
            place.store(value, Relaxed);
        }
        watch.errors.store(7, Relaxed);
        let line = progress(12, &watch, 2000, 41);
        assert!(
            line.starts_with("   12 s  25.0 % of the trace          500 accesses         41/s"),
            "{line}"
        );
        assert!(line.ends_with("  hits 25.00 %  errors 7"), "{line}");
    }

    #[test]
    fn refusals_and_repeats_that_were_dropped_are_told() {
        let all = End { total: 9, interrupted: false };
        let told = |counts: Counts| table(&counts, Pace::Max, all);
        let quiet = told(Counts { lookups: 5, hits: 2, stored: 3, ..Counts::default() });
        assert_eq!(quiet.lines().count(), 3);
        assert!(quiet.contains("object hit ratio  40.00 % of 5 look-ups") && quiet.ends_with("3 values\n"));
        let refused = told(Counts { accesses: 9, refused: 4, errors: 4, stored: 1, ..Counts::default() });
        assert!(refused.contains("stored            1 value, 4 refused"), "{refused}");
        assert!(refused.contains("the ratios say nothing"), "{refused}");
        let dropped = told(Counts { hits: 9, dropped: 4, ..Counts::default() });
        assert!(dropped.contains("4 of the hits repeat a miss"), "{dropped}");
        let warm = told(Counts { hits: 9, other_sizes: 3, held: Some(1), ..Counts::default() });
        assert!(warm.contains("the server held 1 key at the start"), "{warm}");
        assert!(warm.contains("3 of the hits found a value of another size"), "{warm}");
        assert_eq!(told(Counts { held: Some(0), ..Counts::default() }).lines().count(), 3);
        let part = End { total: 2000, interrupted: true };
        let early = table(&Counts { accesses: 64, hits: 9, ..Counts::default() }, Pace::Max, part);
        assert!(
            early.contains("warning           interrupted after 64 of 2,000 accesses: the ratios"),
            "{early}"
        );
    }
}
