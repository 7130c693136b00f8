//! The `shoal-router` program.

fn main() {}
