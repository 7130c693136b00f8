//! The `shoal-router` program.

use std::process::ExitCode;

use shoal_net::{fatal, flags, telemetry};
use shoal_router::launch;

fn main() -> ExitCode {
    fatal::end_process_on_panic();
    let (given, matches) = flags::parse();
    match launch::run(&given, &|flag: &str| flags::source(&matches, flag)) {
        Ok(()) => {
            telemetry::flush_logs();
            ExitCode::SUCCESS
        }
        Err(error) => {
            telemetry::last_words("shoal-router", &error);
            ExitCode::FAILURE
        }
    }
}
