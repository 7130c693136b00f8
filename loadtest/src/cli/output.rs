//! The standard output of every subcommand. A reader that has gone, or a full disk, must neither panic nor keep work
//! from its end: what cannot be written is dropped, and the exit status tells at the end.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

/// The first failure.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// What a shell reports of a program that was ended by SIGPIPE.
const PIPE: u8 = 141;

/// Writes to the standard output.
pub(super) fn write(text: fmt::Arguments<'_>) {
    if FAILED.get().is_none()
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
            ExitCode::FAILURE
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
