//! The `shoal-router` program.

use std::process::ExitCode;

use clap::Parser;
use shoal_router::{flags::RouterFlags, launch};

fn main() -> ExitCode {
    match launch::run(&RouterFlags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shoal-router: {error}");
            ExitCode::FAILURE
        }
    }
}
