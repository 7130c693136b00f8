//! Splitting inline commands into words. The property is in `checks/inline.rs`.

#![no_main]

#[path = "../checks/inline.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
