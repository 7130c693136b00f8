//! The standard output of every subcommand. A reader that has gone, or a full disk, must neither panic nor keep work
//! from its end: what cannot be written is dropped, and the exit status tells at the end.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::report::json;
pub(super) use crate::report::number::counted;

/// The standard output is for a report: tables go to the standard error output.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The first failure.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// What a shell reports of a program that was ended by SIGPIPE.
const PIPE: u8 = 141;

/// Writes to the standard output.
pub(super) fn write(text: fmt::Arguments<'_>) {
    if TAKEN.load(Ordering::Relaxed) {
        complain(text);
    } else if FAILED.get().is_none()
        && let Err(error) = io::stdout().lock().write_fmt(text)
    {
        // Another thread's failure was first, then.
        let _ = FAILED.set(error);
    }
}

/// Writes to the standard error output, which nothing depends on.
pub(super) fn complain(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// Refuses to write a report over a file that was read: the recording, workload or figures in it would be lost.
pub(super) fn spare<'a>(
    inputs: impl IntoIterator<Item = &'a Path>,
    reports: &[&Option<PathBuf>],
) -> Result<(), Error> {
    // What is not there yet is no input; devices and pipes hold nothing that can be lost.
    let whole = |path: &Path| path.canonicalize().ok().filter(|path| path.is_file());
    let reports: Vec<&PathBuf> = reports.iter().filter_map(|path| path.as_ref()).collect();
    for input in inputs {
        let read = whole(input);
        if let Some(report) = reports.iter().find(|report| read.is_some() && whole(report) == read) {
            return Err(Error::Usage(format!(
                "{} is read: a report there would destroy it, give another name",
                report.display()
            )));
        }
    }
    Ok(())
}

/// Finds out whether these reports can be written, before work is done that would be lost. One that goes where the
/// standard output goes (`--json /dev/stdout`) has that for itself.
pub(super) fn check<'a>(reports: impl IntoIterator<Item = &'a Option<PathBuf>>) -> Result<(), Error> {
    let reports: Vec<&Option<PathBuf>> = reports.into_iter().collect();
    json::check(reports.iter().copied())?;
    let place = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    let own = place(Path::new("/dev/stdout")).filter(|own| place(Path::new("/dev/null")) != Some(*own));
    if own.is_some() && reports.into_iter().flatten().any(|path| place(path) == own) {
        TAKEN.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// The exit status when all is written, or could not be.
pub(super) fn end(code: ExitCode) -> ExitCode {
    if let Err(error) = io::stdout().lock().flush() {
        let _ = FAILED.set(error);
    }
    match FAILED.get() {
        None => code,
        Some(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(PIPE),
        Some(error) => {
            complain(format_args!("shoal-loadtest: standard output: {error}\n"));
            ExitCode::from(2)
        }
    }
}

// In place of the standard library's, which panic.

macro_rules! print {
    ($($part:tt)*) => { $crate::cli::output::write(format_args!($($part)*)) };
}

macro_rules! println {
    ($($part:tt)*) => { $crate::cli::output::write(format_args!("{}\n", format_args!($($part)*))) };
}

macro_rules! eprintln {
    ($($part:tt)*) => { $crate::cli::output::complain(format_args!("{}\n", format_args!($($part)*))) };
}
