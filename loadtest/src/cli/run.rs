//! `shoal-loadtest run`: one run against one or several servers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

pub(super) use super::interrupt::stop_on_interrupt;
use super::load::LoadArguments;
use super::output::{check, counted, spare};
use crate::error::Error;
use crate::report::figures::Figures;
use crate::report::number::plain;
use crate::report::progress::Progress;
use crate::report::recorder::Recorder;
use crate::report::steps::Steps;
use crate::report::{html, json, table};
use crate::run::{Outcome, Purpose, Settings};
use crate::target::look_at;
use crate::workload::KEY_PLACES;

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The server as HOST:PORT; several share the connections.
    #[arg(long, default_value = "127.0.0.1:6379", value_delimiter = ',')]
    target: Vec<String>,
    #[command(flatten)]
    load: LoadArguments,
    /// Write every key once before the run.
    #[arg(long)]
    preload: bool,
    /// Write the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with plots to this file; it needs no network to be looked at.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write latencies to this file as an HdrHistogram log, one line per second and command.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode, Error> {
    let stop = stop_on_interrupt()?;
    let settings = arguments.load.settings(&arguments.target, &stop)?;
    spare(arguments.load.workload_file(), &[&arguments.json, &arguments.html, &arguments.hdr])?;
    check([&arguments.json, &arguments.html, &arguments.hdr])?;
    let mut recorder = Recorder::new(arguments.hdr.as_deref(), &settings.workload)?;
    recorder.steps = Steps::new(&settings.rates);
    let servers = look_at_all(&settings, &stop)?;
    let mut notes = arguments.load.without_effect(&settings, arguments.preload);
    if arguments.preload {
        let Some(told) = preload(&settings, &stop, arguments.quiet)? else { return Ok(ExitCode::FAILURE) };
        notes.extend(told);
    }
    let progress = Progress::new(arguments.quiet);
    let outcome = measure(&settings, &stop, progress, &mut recorder)?;
    let mut figures = Figures::new(&settings, &servers, &outcome);
    recorder.steps.tell(&mut figures);
    if stop.load(Ordering::Relaxed) {
        figures.note_interrupted(&settings);
    }
    figures.warnings.extend(notes);
    hint(&mut figures, &settings, arguments.preload);
    let written = keep(arguments, &figures, recorder);
    // Behind the files, since nobody may be there to read it, but in any case.
    print!("{}", table::run(&figures));
    written?;
    Ok(if figures.is_useful() && !outcome.tally.gave_up { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the files that are wanted.
fn keep(arguments: &RunArguments, figures: &Figures, recorder: Recorder) -> Result<(), Error> {
    if let Some(path) = &arguments.json {
        json::write(path, figures)?;
    }
    if let Some(path) = &arguments.html {
        html::write(path, figures)?;
    }
    recorder.finish()
}

/// Looks who is there. Of a cluster's targets those that cannot be reached are told and left out: nodes are tried again
/// during the run.
pub(super) fn look_at_all(settings: &Settings, stop: &Arc<AtomicBool>) -> Result<Vec<String>, Error> {
    let (mut servers, mut failed) = (Vec::new(), Vec::new());
    for target in &settings.targets {
        match look_at(target, &settings.opening, stop) {
            Ok(server) => servers.push(server),
            Err(error @ Error::Connect { .. }) if settings.cluster => failed.push(error),
            Err(error) => return Err(error),
        }
    }
    if servers.is_empty()
        && let Some(error) = failed.pop()
    {
        return Err(error);
    }
    failed.iter().for_each(|error| eprintln!("{error}; the others are asked"));
    Ok(servers)
}

/// Says that keys are missing, where a preload would have written them: not those that a command names itself.
pub(super) fn hint(figures: &mut Figures, settings: &Settings, preloaded: bool) {
    let fills = settings.workload.commands.iter().any(|command| command.on_miss.is_some());
    let asks = settings.workload.asks_with(KEY_PLACES);
    if !preloaded && !fills && asks && settings.workload.preload.is_some() {
        figures.hint_at_preload();
    }
}

/// Writes every key once; returns what went wrong, or none if nobody has answered for so long that it was given up.
pub(super) fn preload(
    settings: &Settings,
    stop: &Arc<AtomicBool>,
    quiet: bool,
) -> Result<Option<Vec<String>>, Error> {
    if settings.workload.preload.is_none() {
        return Err(Error::Usage(format!(
            "the workload '{}' has no 'preload' command",
            settings.workload.name
        )));
    }
    let mut progress = Progress::new(quiet).label("preload");
    let outcome = crate::run::run(settings, Purpose::Preload, stop, |second, _| progress.show(second))?;
    progress.end();
    let tally = &outcome.tally;
    let mut notes = Vec::new();
    if tally.all_errors() + tally.lost > 0 {
        let first = tally.error_kinds.first().map_or("", |kind| &kind.example);
        let errors = counted(tally.all_errors(), "error", "errors");
        let lost = counted(tally.lost, "lost request", "lost requests");
        let note = format!("{errors} and {lost} while the keys were written; the first: {}", plain(first));
        eprintln!("{note}");
        notes.push(note);
    }
    if tally.gave_up {
        let (written, patience) = (counted(tally.answered(), "key", "keys"), settings.give_up.as_secs());
        eprintln!("given up after writing {written}: no server has answered for {patience} s");
    }
    Ok((!tally.gave_up).then_some(notes))
}

/// One counted run with progress and, if one is wanted, a log.
pub(super) fn measure(
    settings: &Settings,
    stop: &Arc<AtomicBool>,
    progress: Progress,
    recorder: &mut Recorder,
) -> Result<Outcome, Error> {
    let mut progress = progress.until(settings.duration);
    let outcome = crate::run::run(settings, Purpose::Measure, stop, |second, counted| {
        progress.show(second);
        recorder.second(second, counted);
    });
    progress.end();
    outcome
}
