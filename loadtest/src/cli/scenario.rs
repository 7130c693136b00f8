//! `shoal-loadtest scenario`: steps over time on servers of its own, and claims about what the load saw.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;

use super::output::{check, counted, spare};
use crate::error::Error;
use crate::report::recorder::Recorder;
use crate::report::{html, json, table};
use crate::scenario::engine::{Options, run as run_scenario};
use crate::scenario::file::{BUILT_IN, Scenario};
use crate::scenario::outcome::Report;

#[derive(Debug, Args)]
pub(super) struct ScenarioArguments {
    /// A built-in scenario or a TOML file; without one, the built-in ones are listed.
    scenario: Option<String>,
    /// Check the file and print what would be done; nothing is started or written.
    #[arg(long)]
    dry_run: bool,
    /// Print the scenario's text, to start from.
    #[arg(long, conflicts_with_all = ["dry_run", "logs", "keep", "json", "html", "hdr"])]
    print: bool,
    /// Where the servers' logs and files go [default: a new directory for temporary files]
    #[arg(long, value_name = "DIRECTORY")]
    logs: Option<PathBuf>,
    /// Leave the servers running at the end.
    #[arg(long)]
    keep: bool,
    /// Write steps, claims and figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with plots to this file; it needs no network to be looked at.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write latencies to this file as an HdrHistogram log, one line per second and command.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Show no progress of the load.
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(arguments: &ScenarioArguments) -> Result<ExitCode, Error> {
    let Some(name) = &arguments.scenario else { return list(arguments) };
    let scenario = Scenario::find(name)?;
    if arguments.print {
        return print(name);
    }
    scenario.programs()?;
    if arguments.dry_run {
        print!("{}", plan(&scenario));
        return Ok(ExitCode::SUCCESS);
    }
    let reports = [&arguments.json, &arguments.html, &arguments.hdr];
    spare(inputs(name, &scenario).iter().map(PathBuf::as_path), &reports)?;
    check(reports)?;
    let log = match (&arguments.hdr, &scenario.load) {
        (Some(path), Some(load)) => Recorder::new(Some(path), &load.workload)?,
        (Some(_), None) => return Err(Error::Usage("there is no load, so there is nothing to log".into())),
        (None, _) => Recorder::default(),
    };
    let log = Arc::new(Mutex::new(log));
    let stop = stop_on_signal()?;
    let folder = folder(arguments, &scenario)?;
    println!("{}", title(&scenario));
    let options = Options { folder: folder.clone(), keep: arguments.keep, quiet: arguments.quiet };
    let mut report = run_scenario(&scenario, &options, &log, &stop, &mut |line| println!("{line}"))
        .map_err(Error::Usage)?;
    // Nobody asks for the logs of servers that did what they should.
    if report.passed
        && arguments.logs.is_none()
        && !arguments.keep
        && std::fs::remove_dir_all(&folder).is_ok()
    {
        report.logs.clear();
    }
    let written =
        keep(arguments, &report, std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner)));
    // Behind the files, since nobody may be there to read it, but in any case.
    show(&report);
    written?;
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The files that were read: the scenario, and its workload if that is one.
fn inputs(name: &str, scenario: &Scenario) -> Vec<PathBuf> {
    let workload = scenario.load.as_ref().and_then(|load| load.file.clone());
    let is_built_in = BUILT_IN.iter().any(|(built_in, _)| *built_in == name);
    (!is_built_in).then(|| PathBuf::from(name)).into_iter().chain(workload).collect()
}

/// Writes the files that are wanted.
fn keep(arguments: &ScenarioArguments, report: &Report, log: Recorder) -> Result<(), Error> {
    log.finish()?;
    if let Some(path) = &arguments.json {
        json::write(path, report)?;
    }
    match (&arguments.html, report.page()) {
        (Some(path), Some(figures)) => html::write(path, &figures)?,
        (Some(_), None) => eprintln!("there was no load, so there is nothing to plot"),
        (None, _) => {}
    }
    Ok(())
}

fn show(report: &Report) {
    if let Some(figures) = &report.figures {
        print!("\n{}", table::run(figures));
    }
    if !report.logs.is_empty() {
        println!("logs       {}", report.logs);
    }
    print!("{}", report.summary());
}

/// Makes ^C end the scenario. A second one changes nothing: cleaning up is bounded in time and must not be cut short.
fn stop_on_signal() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|source| Error::System { what: "cannot catch signals", source })?;
    }
    Ok(stop)
}

/// The directory for logs, made if it is not there.
fn folder(arguments: &ScenarioArguments, scenario: &Scenario) -> Result<PathBuf, Error> {
    let own =
        || std::env::temp_dir().join(format!("shoal-loadtest-{}-{}", scenario.name, std::process::id()));
    let path = arguments.logs.clone().unwrap_or_else(own);
    let failed = |source| Error::Path { path: path.clone(), source };
    std::fs::create_dir_all(&path).map_err(failed)?;
    std::fs::canonicalize(&path).map_err(failed)
}

/// Lists the built-in ones, which no option changes.
fn list(arguments: &ScenarioArguments) -> Result<ExitCode, Error> {
    let files = [&arguments.logs, &arguments.json, &arguments.html, &arguments.hdr];
    let is_flagged = arguments.dry_run || arguments.print || arguments.keep;
    if is_flagged || files.iter().any(|file| file.is_some()) {
        return Err(Error::Usage(
            "which scenario? 'shoal-loadtest scenario' alone lists the built-in ones".into(),
        ));
    }
    for (name, _) in BUILT_IN {
        println!("{name:<22} {}", Scenario::find(name)?.about);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(name: &str) -> Result<ExitCode, Error> {
    match BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        Some((_, text)) => print!("{text}"),
        None => return Err(Error::Usage(format!("'{name}' is a file: it can be read as it is"))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Name and purpose.
fn title(scenario: &Scenario) -> String {
    if scenario.about.is_empty() {
        scenario.name.clone()
    } else {
        format!("{}: {}", scenario.name, scenario.about)
    }
}

/// What would be done, in words.
fn plan(scenario: &Scenario) -> String {
    let mut out = format!("{}\n", title(scenario));
    for server in &scenario.processes {
        out.push_str(&format!("  starts {}: {}\n", server.name, server.command.program()));
    }
    if let Some(nodes) = &scenario.nodes {
        let most = if nodes.most > nodes.count { format!(", at most {}", nodes.most) } else { String::new() };
        let count = counted(nodes.count.into(), "node", "nodes");
        out.push_str(&format!("  starts {count}{most}: {}\n", nodes.server.command.program()));
    }
    if let Some(load) = &scenario.load {
        let rate = load.rate.map(|rate| format!(" at {rate} requests/s")).unwrap_or_default();
        let verify = if load.verify.is_some() { ", checked" } else { "" };
        let (name, targets) = (&load.workload.name, load.targets.join(", "));
        let connections = counted(load.connections as u64, "connection", "connections");
        out.push_str(&format!("  load {name}{rate} on {targets} by {connections}{verify}\n"));
    }
    for (index, step) in scenario.steps.iter().enumerate() {
        let at = step.at.map(|at| format!("at {:.1} s ", at.as_secs_f64())).unwrap_or_default();
        let name = step.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        out.push_str(&format!("{:>4}. {at}{}{name}\n", index + 1, step.action));
    }
    out.push_str(&format!("takes {:.1} s at least\n", scenario.least().as_secs_f64()));
    out
}
