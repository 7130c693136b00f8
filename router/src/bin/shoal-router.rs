//! The `shoal-router` program.

use std::process::ExitCode;

use clap::Parser;
use shoal_net::fatal;
use shoal_router::{flags::RouterFlags, launch};

fn main() -> ExitCode {
    fatal::end_process_on_panic();
    match launch::run(&RouterFlags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shoal-router: {error}");
            ExitCode::FAILURE
        }
    }
}
