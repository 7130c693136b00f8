//! Slots on their way from one node to another.

mod core;
mod incoming;
mod late;
mod random;
mod rules;
mod served;
#[path = "../support/mod.rs"]
mod support;
