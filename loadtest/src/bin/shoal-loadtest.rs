//! The `shoal-loadtest` program.

fn main() {}
