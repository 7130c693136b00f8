//! A panic ends the process.
//!
//! A thread that is gone leaves a process that looks alive: its health checks answer, and the clients, the slots or the gossip
//! that were its part hang. A process that ends is seen at once by the others, by its clients and by whoever starts it again.
//! Tests run nodes and routers in their own process; nothing is changed there unless it is asked for.

use std::{backtrace::Backtrace, panic, process, thread};

/// From now on a panic of any thread, caught or not, is logged and ends the process as `SIGABRT` does. For `main`.
pub fn end_process_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // To standard error, whatever the log level.
        report(info);
        let what = info.payload_as_str().unwrap_or("unknown");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(thread, place, trace = %Backtrace::force_capture(), "a panic ends this process: {what}");
        crate::telemetry::flush_logs();
        process::abort();
    }));
}
