//! The request scanner: any bytes, in any pieces. The property is in `checks/request.rs`.

#![no_main]

#[path = "../checks/request.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
