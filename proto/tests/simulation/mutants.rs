//! Each rule of the core, switched off, must be missed: some run fails within a bounded number.
//!
//! ```text
//! cargo test -p shoal-proto --features mutants                                  all
//! MUTANT=NoLease RUNS=20000 cargo test -p shoal-proto --features mutants ...    one, also of those that are left out here
//! ```

use shoal_proto::cluster::mutant::{self, Mutant};

use crate::faults::{self, Plan};
use crate::run_plan;

/// The first of `most` seeds that misses the rule, and how. With the rule it must be well.
fn missed(rule: Mutant, most: u64) -> Option<(u64, String)> {
    (0..most).find_map(|seed| {
        mutant::switch(Some(rule));
        let wrong = run_plan(seed, plan(rule, seed), false).1.err();
        mutant::switch(None);
        let wrong = wrong?;
        run_plan(seed, plan(rule, seed), false).1.ok().map(|_| (seed, wrong))
    })
}

/// Rules that matter only to who empties everything are missed sooner if that is done often.
fn plan(rule: Mutant, seed: u64) -> Plan {
    let mut plan = faults::plan(seed);
    if EMPTYING.contains(&rule) {
        plan.scale.empties = OFTEN;
    }
    plan
}

/// How often, of a thousand commands.
const OFTEN: u64 = 80;

const EMPTYING: [Mutant; 5] = [
    Mutant::EmptyUntold,
    Mutant::EmptyHereOnly,
    Mutant::TakeInServed,
    Mutant::ForgetGiver,
    Mutant::FollowEmptied,
];

/// Rules that are missed in one run of thousands or not at all there: `cluster_rules.rs` has a story for each.
const SELDOM: [Mutant; 19] = [
    Mutant::GrantAfterAccept,
    Mutant::NoOlderLeases,
    Mutant::AcceptBelowPromise,
    Mutant::ServeRefusedWedged,
    Mutant::KeepIndeterminate,
    Mutant::ReadWedged,
    Mutant::GiveUpHanded,
    Mutant::PromoteBesideTarget,
    Mutant::TakeAlone,
    Mutant::ClaimLost,
    Mutant::IgnoreMissing,
    Mutant::SayCompleteOnce,
    Mutant::ForgetUntold,
    Mutant::EmptyHereOnly,
    Mutant::Unsettled,
    Mutant::EmptyByOldView,
    Mutant::EmptyAheadOfOthers,
    Mutant::ReadUnlisted,
    Mutant::PromoteUnlisted,
];

#[test]
fn each_rule_is_missed() {
    let most = crate::number("RUNS").unwrap_or(10_000);
    let only = std::env::var("MUTANT").ok();
    let chosen = |rule: &Mutant| match &only {
        Some(only) => *only == format!("{rule:?}"),
        None => !SELDOM.contains(rule),
    };
    let mut unnoticed = Vec::new();
    for rule in mutant::ALL.into_iter().filter(chosen) {
        match missed(rule, most) {
            Some((seed, wrong)) => println!("{rule:?}: seed {seed}: {}", crate::first_line(&wrong)),
            None => unnoticed.push(rule),
        }
    }
    assert!(unnoticed.is_empty(), "not noticed in {most} runs: {unnoticed:?}");
}
