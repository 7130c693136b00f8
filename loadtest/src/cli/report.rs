//! `shoal-loadtest report`: shows runs that were measured earlier, one alone or several side by side.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output::{check, spare};
use crate::error::Error;
use crate::report::{html, json, read, side_by_side};

#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// JSON files that run, compare, scenario or report wrote, or HdrHistogram logs (.hlog).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write a report with plots to this file; several runs are laid over each other.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the figures of all files to this one as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(arguments: &ReportArguments) -> Result<ExitCode, Error> {
    spare(arguments.files.iter().map(PathBuf::as_path), &[&arguments.html, &arguments.json])?;
    let runs = read::read_all(&arguments.files)?;
    check([&arguments.html, &arguments.json])?;
    if let Some(path) = &arguments.html {
        html::write_runs(path, &runs)?;
    }
    if let Some(path) = &arguments.json {
        json::write(path, &runs)?;
    }
    print!("{}", side_by_side::runs(&runs));
    Ok(ExitCode::SUCCESS)
}
