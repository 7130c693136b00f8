//! `shoal-loadtest compare`: the same load on two or more servers in turns.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use serde::Serialize;

use super::load::LoadArguments;
use super::run::{measure, preload, stop_on_interrupt};
use crate::compare::{Comparison, Figure, compare};
use crate::error::Error;
use crate::report::figures::Figures;
use crate::report::number::{count, micros};
use crate::report::{json, table};
use crate::run::Settings;
use crate::target::look_at;

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// The server the others are compared to, as NAME=HOST:PORT.
    #[arg(short = 'A', long, value_name = "NAME=HOST:PORT", value_parser = named)]
    a: (String, String),
    /// A server to compare, as NAME=HOST:PORT; may be given several times.
    #[arg(short = 'B', long, value_name = "NAME=HOST:PORT", required = true, value_parser = named)]
    b: Vec<(String, String)>,
    /// How often each server is measured.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    load: LoadArguments,
    /// Write every key once on each server before the first round.
    #[arg(long)]
    preload: bool,
    /// Write all figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
}

/// A server under comparison and what was measured of it.
struct Contender {
    name: String,
    server: String,
    settings: Settings,
    rounds: Vec<Figures>,
}

#[derive(Serialize)]
struct Results<'a> {
    first: &'a str,
    others: Vec<Other<'a>>,
}

#[derive(Serialize)]
struct Other<'a> {
    name: &'a str,
    comparisons: Vec<Comparison>,
    rounds: Vec<[&'a Figures; 2]>,
}

pub(super) fn run(arguments: &CompareArguments) -> Result<ExitCode, Error> {
    let stop = stop_on_interrupt()?;
    let mut contenders = Vec::new();
    for (name, address) in std::iter::once(&arguments.a).chain(&arguments.b) {
        let settings = arguments.load.settings(std::slice::from_ref(address))?;
        let server = look_at(&settings.targets[0], &settings.opening)?;
        if arguments.preload {
            preload(&settings, &stop, arguments.quiet)?;
        }
        contenders.push(Contender { name: name.clone(), server, settings, rounds: Vec::new() });
    }
    for round in 0..arguments.rounds {
        let all = measure_round(&mut contenders, &stop, arguments.quiet)?;
        if !all {
            eprintln!("stopped in round {}", round + 1);
            break;
        }
    }
    let (first, others) = contenders.split_first().expect("the first server is required");
    let results =
        Results { first: &first.name, others: others.iter().map(|other| pair(first, other)).collect() };
    for (other, contender) in results.others.iter().zip(others) {
        print(first, contender, other);
    }
    if let Some(path) = &arguments.json {
        json::write(path, &results)?;
    }
    Ok(if first.rounds.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Measures each server once; false if the user has ended it, and then the round does not count.
fn measure_round(contenders: &mut [Contender], stop: &Arc<AtomicBool>, quiet: bool) -> Result<bool, Error> {
    let mut round = Vec::new();
    for contender in contenders.iter() {
        let outcome = measure(&contender.settings, stop, quiet)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let figures = Figures::new(&contender.settings, std::slice::from_ref(&contender.server), &outcome);
        for warning in figures.warnings.iter().filter(|_| !quiet) {
            eprintln!("{}: {warning}", contender.name);
        }
        round.push(figures);
    }
    for (contender, figures) in contenders.iter_mut().zip(round) {
        contender.rounds.push(figures);
    }
    Ok(true)
}

fn pair<'a>(first: &'a Contender, other: &'a Contender) -> Other<'a> {
    let values = |contender: &Contender, figure: Figure| -> Vec<f64> {
        contender.rounds.iter().map(|round| value(round, figure)).collect()
    };
    let comparisons = Figure::ALL
        .into_iter()
        .filter_map(|figure| compare(figure, &values(first, figure), &values(other, figure)));
    Other {
        name: &other.name,
        comparisons: comparisons.collect(),
        rounds: first.rounds.iter().zip(&other.rounds).map(|(a, b)| [a, b]).collect(),
    }
}

fn value(figures: &Figures, figure: Figure) -> f64 {
    match figure {
        Figure::Rate => figures.total.per_s,
        Figure::ServerCpu => figures.server.as_ref().map_or(0.0, |server| server.cpu_us),
        Figure::P50 => figures.total.p50_us,
        Figure::P99 => figures.total.p99_us,
        Figure::P999 => figures.total.p999_us,
    }
}

fn print(first: &Contender, contender: &Contender, other: &Other<'_>) {
    let ratio = format!("{}/{}", contender.name, first.name);
    let mut rows = vec![
        ["", &first.name, &contender.name, &ratio, "smallest", "largest", "below 1", "sign test"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for comparison in &other.comparisons {
        let show = |value: f64| match comparison.figure {
            Figure::Rate => count(value.round() as u64),
            _ => micros(value),
        };
        rows.push(vec![
            comparison.figure.name().to_owned(),
            show(comparison.first),
            show(comparison.other),
            format!("{:.3}", comparison.ratio),
            format!("{:.3}", comparison.smallest),
            format!("{:.3}", comparison.largest),
            format!("{} of {}", comparison.below, comparison.rounds),
            format!("p {:.3}", comparison.p),
        ]);
    }
    if let Some(figures) = first.rounds.first() {
        println!("{} ({}) and {} ({})", first.name, first.server, contender.name, contender.server);
        println!("{}", figures.asked);
    }
    println!("{}", table::table(&rows));
}

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => Ok((name.into(), address.into())),
        _ => Err("write NAME=HOST:PORT".into()),
    }
}
