//! Sequences of commands against a naive model. The property is in `checks/commands.rs`.

#![no_main]

#[path = "../checks/commands.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
