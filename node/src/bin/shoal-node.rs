//! The `shoal-node` program.

fn main() {}
