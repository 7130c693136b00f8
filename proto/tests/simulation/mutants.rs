//! Each rule of the core, switched off, must be missed: some run fails within a bounded number.

use shoal_proto::cluster::mutant::{self, Mutant};

use crate::run;

/// The first of `most` seeds that misses the rule, and how.
fn missed(rule: Mutant, most: u64) -> Option<(u64, String)> {
    mutant::switch(Some(rule));
    let found = (0..most).find_map(|seed| Some((seed, run(seed, false).1.err()?)));
    mutant::switch(None);
    found
}

#[test]
fn each_rule_is_missed() {
    let most = crate::number("RUNS").unwrap_or(10_000);
    let only = std::env::var("MUTANT").ok();
    let rules =
        mutant::ALL.into_iter().filter(|rule| only.as_ref().is_none_or(|o| *o == format!("{rule:?}")));
    let mut unnoticed = Vec::new();
    for rule in rules {
        match missed(rule, most) {
            Some((seed, wrong)) => println!("{rule:?}: seed {seed}: {}", crate::first_line(&wrong)),
            None => unnoticed.push(rule),
        }
    }
    assert!(unnoticed.is_empty(), "not noticed in {most} runs: {unnoticed:?}");
}
