//! `shoal-loadtest run`: one run against one or several servers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::load::LoadArguments;
use crate::error::Error;
use crate::report::figures::Figures;
use crate::report::progress::Progress;
use crate::report::recorder::Recorder;
use crate::report::{html, json, table};
use crate::run::{Outcome, Purpose, Settings};
use crate::target::look_at;

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
    let settings = arguments.load.settings(&arguments.target)?;
    let stop = stop_on_interrupt()?;
    json::check([&arguments.json, &arguments.html])?;
    let mut recorder = Recorder::new(arguments.hdr.as_deref(), &settings.workload)?;
    let mut servers = Vec::new();
    for target in &settings.targets {
        servers.push(look_at(target, &settings.opening)?);
    }
    if arguments.preload {
        preload(&settings, &stop, arguments.quiet)?;
    }
    let progress = Progress::new(arguments.quiet);
    let outcome = measure(&settings, &stop, progress, &mut recorder)?;
    let figures = Figures::new(&settings, &servers, &outcome);
    print!("{}", table::run(&figures));
    if let Some(path) = &arguments.json {
        json::write(path, &figures)?;
    }
    if let Some(path) = &arguments.html {
        html::write(path, &figures)?;
    }
    recorder.finish()?;
    // Errors are answers too; a run that got nothing else has measured nothing.
    let is_useful = figures.total.answered > figures.total.errors;
    Ok(if is_useful { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes ^C end the run early; a second ^C ends the program.
pub(super) fn stop_on_interrupt() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let failed = |source| Error::System { what: "cannot catch signals", source };
        // The order matters: the second signal must find the flag that the first one has set.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop)).map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(failed)?;
    }
    Ok(stop)
}

/// Writes every key once.
pub(super) fn preload(settings: &Settings, stop: &Arc<AtomicBool>, quiet: bool) -> Result<(), Error> {
    if settings.workload.preload.is_none() {
        return Err(Error::Usage(format!(
            "the workload '{}' has no 'preload' command",
            settings.workload.name
        )));
    }
    let mut progress = Progress::new(quiet).label("preload");
    let outcome = crate::run::run(settings, Purpose::Preload, stop, |second, _| progress.show(second))?;
    progress.end();
    if outcome.tally.errors() > 0 {
        let error = outcome.tally.error_kinds.first().map_or("", |kind| &kind.example);
        eprintln!("{} errors while the keys were written: {error}", outcome.tally.errors());
    }
    Ok(())
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
