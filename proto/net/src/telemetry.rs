//! Logs by `tracing`, metrics by `metrics`: set up once by each daemon's `main`.
//!
//! Levels: ERROR = a human must look, WARN = unexpected but survived, INFO = a change of state,
//! DEBUG = per connection, TRACE = per request.

mod lines;

use std::{
    fmt::Display,
    io::{IsTerminal, Write},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lines::Lines;

use metrics::Unit;
use metrics_exporter_prometheus::PrometheusBuilder;
pub use metrics_exporter_prometheus::PrometheusHandle;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

/// What was logged and is not written yet.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Why telemetry could not be set up. The process should say so and exit.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of `--log-level` is not one.
    #[error(
        "'{0}' is not a log level (use error, warn, info, debug, trace, or a filter like info,shoal_net=debug)"
    )]
    Level(String),
    /// There can be no more threads.
    #[error("nothing can be logged: {0}")]
    Thread(std::io::Error),
    /// Somebody else installed a recorder first.
    #[error("metrics cannot be collected: {0}")]
    Recorder(String),
}

/// Sends log lines of at least `level` to standard error. A second call in one process changes nothing.
///
/// # Errors
/// When `level` is neither a level nor a filter.
pub fn init_logs(level: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let wrong = || TelemetryError::Level(level.to_owned());
    // A filter takes any bare word for the name of a module, and a misspelt level would silence everything.
    let bare = level.split(',').filter(|part| !part.contains(['=', '[', ':']));
    if bare.into_iter().any(|word| word.trim().parse::<LevelFilter>().is_err()) {
        return Err(wrong());
    }
    let filter = EnvFilter::try_new(level).map_err(|_| wrong())?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let out = match LINES.get() {
        Some(lines) => lines,
        None => {
            let lines = Lines::start(std::io::stderr()).map_err(TelemetryError::Thread)?;
            LINES.get_or_init(|| lines)
        }
    };
    // What the subscriber cannot write it would report with `eprintln!`, which panics if that cannot be written either.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(out.clone())
        .with_ansi(terminal)
        .log_internal_errors(false);
    // Fails only if there is a subscriber already, as in tests and with embedded nodes.
    let _ = if json {
        subscriber.json().flatten_event(true).try_init()
    } else {
        subscriber.with_target(false).try_init()
    };
    Ok(())
}

/// Writes why `program` ends to standard error, behind all that was logged, if that can be written soon.
pub fn last_words(program: &str, why: &dyn Display) {
    match LINES.get() {
        Some(lines) => lines.push(format!("{program}: {why}\n").as_bytes()),
        // `eprintln!` would panic and hide the exit status.
        None => drop(writeln!(std::io::stderr(), "{program}: {why}")),
    }
    flush_logs();
}

/// Waits until what was logged is written, for a second at most. For whatever ends the process.
pub fn flush_logs() {
    if let Some(lines) = LINES.get() {
        lines.flush(Duration::from_secs(1));
    }
}

/// Logs that a client sent a line of a web request, once a minute at most: anybody can send such lines.
pub fn warn_of_web_request(client: &str) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = crate::control::uptime().as_secs();
    let next = NEXT.load(Ordering::Relaxed);
    let due =
        now >= next && NEXT.compare_exchange(next, now + 60, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if due {
        tracing::warn!(
            client,
            "Possible SECURITY ATTACK detected: a client sends POST or Host: as a command, as browsers do that a web page \
             makes talk to other servers. Its connection is closed."
        );
    }
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One row of a binary's table of metrics.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As scraped, `shoal_..._total` for counters.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// In what.
    pub unit: Unit,
    /// One sentence.
    pub help: &'static str,
}

/// Installs the process's recorder; later calls return the same handle.
///
/// # Errors
/// When another recorder is installed.
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    HANDLE
        .get_or_init(|| PrometheusBuilder::new().install_recorder().map_err(|e| e.to_string()))
        .clone()
        .map_err(TelemetryError::Recorder)
}

/// Gives the recorder the units and help texts of a table.
pub fn describe(table: &[Metric]) {
    for Metric { name, kind, unit, help } in table {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *unit, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *unit, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *unit, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_level_is_named() {
        assert!(init_logs("loud", LogFormat::Auto).is_err());
        let error = init_logs("info,shoal=loudest", LogFormat::Auto).unwrap_err();
        assert!(error.to_string().starts_with("'info,shoal=loudest' is not a log level"), "{error}");
    }
}
