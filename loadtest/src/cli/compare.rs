//! `shoal-loadtest compare`: the same load on two or more servers in turns.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::load::LoadArguments;
use super::output::{check, spare};
use super::run::{hint, measure, preload, stop_on_interrupt};
use crate::error::Error;
use crate::report::figures::Figures;
use crate::report::number::plain;
use crate::report::progress::Progress;
use crate::report::recorder::{Recorder, path_for};
use crate::report::runs::{Other, Run, Runs};
use crate::report::{html, json, side_by_side};
use crate::rounds;
use crate::run::{Outcome, Settings};
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
    /// Write a report with the servers' plots over each other to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write latencies as HdrHistogram logs, one per server with its name in it: out.hlog becomes out.NAME.hlog.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
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
    /// All rounds as if they were one.
    whole: Option<Outcome>,
    recorder: Recorder,
    /// What else is to be known of it: that its preload failed, or that the user ended it.
    notes: Vec<String>,
    /// The user ended it early.
    interrupted: bool,
}

pub(super) fn run(arguments: &CompareArguments) -> Result<ExitCode, Error> {
    let stop = stop_on_interrupt()?;
    let mut logs = Vec::new();
    for (name, _) in std::iter::once(&arguments.a).chain(&arguments.b) {
        let path = arguments.hdr.as_deref().map(|path| path_for(path, name));
        let same = logs.iter().any(|(other, log)| other == name || path.is_some() && *log == path);
        if same {
            return Err(Error::Usage(format!(
                "two servers are called '{name}': give each a name of its own"
            )));
        }
        logs.push((name.clone(), path));
    }
    arguments.load.check_processes(&logs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())?;
    let reports: Vec<_> =
        [&arguments.json, &arguments.html].into_iter().chain(logs.iter().map(|(_, path)| path)).collect();
    spare(arguments.load.workload_file(), &reports)?;
    check(reports)?;
    let mut contenders = Vec::new();
    for (name, address) in std::iter::once(&arguments.a).chain(&arguments.b) {
        let settings = arguments.load.settings_of(name, std::slice::from_ref(address), &stop)?;
        let server = look_at(&settings.targets[0], &settings.opening, &stop)?;
        let mut notes = arguments.load.without_effect(&settings, arguments.preload);
        if contenders.is_empty() {
            notes.iter().for_each(|note| eprintln!("{note}"));
        }
        if arguments.preload {
            let Some(told) = preload(&settings, &stop, arguments.quiet)? else {
                return Ok(ExitCode::FAILURE);
            };
            notes.extend(told);
        }
        let path = arguments.hdr.as_deref().map(|path| path_for(path, name));
        let recorder = Recorder::new(path.as_deref(), &settings.workload)?;
        let (name, rounds) = (name.clone(), Vec::new());
        let (whole, interrupted) = (None, false);
        contenders.push(Contender { name, server, settings, rounds, whole, recorder, notes, interrupted });
    }
    let mut failure = None;
    for round in 0..arguments.rounds {
        let label = format!("round {}/{}", round + 1, arguments.rounds);
        match measure_round(&mut contenders, &stop, arguments, &label) {
            Ok(true) => continue,
            Ok(false) => eprintln!("stopped in round {}", round + 1),
            // Cut short where a server was waited for.
            Err(_) if round > 0 && stop.load(Ordering::Relaxed) => {
                eprintln!("stopped in round {}", round + 1)
            }
            // What was measured before is worth showing.
            Err(error) if round > 0 => failure = Some(error),
            Err(error) => return Err(error),
        }
        break;
    }
    if stop.load(Ordering::Relaxed) {
        let note = |rounds: usize| format!("interrupted after {rounds} of {} rounds", arguments.rounds);
        let short = |one: &&mut Contender| one.rounds.len() < arguments.rounds as usize;
        for one in contenders.iter_mut().filter(short) {
            one.notes.push(note(one.rounds.len()));
            one.interrupted = true;
        }
    }
    let mut silent = false;
    for one in &mut contenders {
        let rounds = one.rounds.iter().filter(|round| round.total.answered == 0).count();
        if rounds > 0 {
            one.notes.push(format!("nothing was answered in {rounds} of {} rounds", one.rounds.len()));
        }
        silent |= rounds > 0;
    }
    let rounds = contenders.iter().map(|contender| contender.rounds.len()).min().unwrap_or(0);
    let measured = contenders.iter().all(|contender| contender.whole.is_some());
    let runs = side_by_side(&contenders, arguments.preload);
    let written = keep(arguments, measured.then_some(&runs), contenders);
    if measured {
        // Behind the files, since nobody may be there to read it, but in any case.
        print!("{}", side_by_side::runs(&runs));
    }
    written?;
    if let Some(failure) = failure {
        eprintln!("ended after {} of {} rounds", rounds, arguments.rounds);
        return Err(failure);
    }
    let is_useful = runs.runs.iter().all(|run| run.figures.is_useful());
    Ok(if measured && is_useful && !silent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the files that are wanted; logs hold what was measured in any case.
fn keep(arguments: &CompareArguments, runs: Option<&Runs>, contenders: Vec<Contender>) -> Result<(), Error> {
    if let (Some(path), Some(runs)) = (&arguments.json, runs) {
        json::write(path, runs)?;
    }
    if let (Some(path), Some(runs)) = (&arguments.html, runs) {
        html::write_runs(path, runs)?;
    }
    contenders.into_iter().try_for_each(|contender| contender.recorder.finish())
}

/// Measures each server once; false if the user has ended it, and then the round does not count.
fn measure_round(
    contenders: &mut [Contender],
    stop: &Arc<AtomicBool>,
    arguments: &CompareArguments,
    label: &str,
) -> Result<bool, Error> {
    let mut round = Vec::new();
    for contender in contenders.iter_mut() {
        let progress = Progress::new(arguments.quiet).label(&format!("{label} {}", contender.name));
        let outcome = measure(&contender.settings, stop, progress, &mut contender.recorder)?;
        contender.recorder.next_run();
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut figures =
            Figures::new(&contender.settings, std::slice::from_ref(&contender.server), &outcome);
        hint(&mut figures, &contender.settings, arguments.preload);
        for warning in &figures.warnings {
            eprintln!("{}: {}", contender.name, plain(warning));
        }
        round.push((figures, outcome));
    }
    for (contender, (figures, outcome)) in contenders.iter_mut().zip(round) {
        contender.rounds.push(figures);
        match &mut contender.whole {
            None => contender.whole = Some(outcome),
            Some(whole) => rounds::append(whole, outcome),
        }
    }
    Ok(true)
}

/// Everything that was measured, for the table, the JSON and the plots.
fn side_by_side(contenders: &[Contender], preloaded: bool) -> Runs {
    let (first, others) = contenders.split_first().expect("the first server is required");
    let run = |contender: &Contender| {
        let whole = contender.whole.as_ref()?;
        let mut figures = Figures::new(&contender.settings, std::slice::from_ref(&contender.server), whole);
        figures.warnings.extend(contender.notes.iter().cloned());
        figures.interrupted = contender.interrupted;
        hint(&mut figures, &contender.settings, preloaded);
        Some(Run { name: contender.name.clone(), figures })
    };
    Runs {
        first: first.name.clone(),
        others: others.iter().map(|other| pair(first, other)).collect(),
        runs: contenders.iter().filter_map(run).collect(),
    }
}

fn pair(first: &Contender, other: &Contender) -> Other {
    let rounds = first.rounds.iter().zip(&other.rounds).map(|(a, b)| [a.clone(), b.clone()]);
    Other::new(&other.name, rounds.collect())
}

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => Ok((name.into(), address.into())),
        _ => Err("write NAME=HOST:PORT".into()),
    }
}
