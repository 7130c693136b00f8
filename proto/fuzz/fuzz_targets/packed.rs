//! Packed runs of elements against a vector. The property is in `checks/packed.rs`.

#![no_main]

#[path = "../checks/packed.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
