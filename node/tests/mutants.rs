//! Each rule of the handoff is needed: without it the random test fails.
//!
//! `cargo test -p shoal-node --features mutants --test mutants`

#![cfg(feature = "mutants")]

#[path = "handoff/core.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod core;
#[path = "handoff/random.rs"]
#[allow(dead_code, reason = "its own tests are not tests here")]
mod random;

use shoal_node::handoff::mutants::{Mutant, choose};

/// Runs until one fails.
const RUNS: u64 = 25;

/// One after the other: the choice is the process's.
#[test]
fn without_any_rule_it_fails() {
    for mutant in Mutant::ALL {
        choose(Some(mutant));
        let fails = |seed: &u64| {
            let run = std::panic::catch_unwind(|| random::run(1000 + seed, &mut |_| {}));
            !matches!(run, Ok(Ok(())))
        };
        let caught = (1..=RUNS).find(fails);
        choose(None);
        assert!(caught.is_some(), "{mutant:?} was not noticed in {RUNS} runs");
    }
}
