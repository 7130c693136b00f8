//! The `shoal-loadtest` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    shoal_loadtest::cli::main()
}
