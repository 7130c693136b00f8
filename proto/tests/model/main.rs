//! Every interleaving of small worlds of the cluster's core: messages are delivered in any order, late, twice or never,
//! processes crash, are cut off and wrongly taken for dead, streams break, and clocks go on, at every point where that can
//! happen. States that were seen are not visited again, so a world without a violation has none within its limits.
//!
//! ```text
//! cargo test -p shoal-proto --test model                                       small limits, half a minute
//! WORLD="moving steps=4,crashes=1,doubts=1,late=1" cargo test --release -p shoal-proto --test model as_asked -- --nocapture
//! ```
//! The worlds are `moving`, `resting`, `joining` and `leaving`, the limits those of [`Limits`]. A state takes about 5 KB and
//! 0.1 ms; a step of time or a fault more make about ten times as many.
//! Checked in every state: no slot is served by two, whoever serves has all that was acknowledged, all views of an epoch
//! are the same, no view takes a slot from a member that stays, and planned changes lose nothing.
//! With the feature `mutants`, rules are switched off one by one, and these worlds must miss them.

mod node;
#[cfg(feature = "mutants")]
mod rules;
mod state;

use std::collections::{HashSet, VecDeque};

use state::{Limits, State, Step};

/// What an exploration found.
struct Found {
    states: usize,
    /// Those in which every live member has the same view and nothing is under way.
    quiet: usize,
    /// The shortest way to something wrong, and what it is.
    wrong: Option<(Vec<Step>, String)>,
}

/// More states than this are not visited; a world that has more is too large to be called explored.
const MOST: usize = 40_000_000;

/// Visits all states that can be reached, nearest first.
fn explore(start: State) -> Found {
    let mut seen = HashSet::from([start.hash()]);
    let mut ways: Vec<(usize, Option<Step>)> = vec![(0, None)];
    let mut queue = VecDeque::from([(0, start)]);
    let mut quiet = 0;
    while let Some((at, state)) = queue.pop_front() {
        quiet += usize::from(state.is_quiet());
        for step in state.steps() {
            let next = state.after(step);
            if let Some(wrong) = next.wrong() {
                let mut way = vec![step];
                let mut at = at;
                while let (before, Some(step)) = ways[at] {
                    way.push(step);
                    at = before;
                }
                way.reverse();
                return Found { states: seen.len(), quiet, wrong: Some((way, wrong)) };
            }
            if seen.insert(next.hash()) {
                assert!(seen.len() < MOST, "too many states");
                ways.push((at, Some(step)));
                queue.push_back((ways.len() - 1, next));
            }
        }
    }
    Found { states: seen.len(), quiet, wrong: None }
}

/// Limits as text, such as `steps=4,crashes=1`.
fn limits(text: &str) -> Limits {
    let mut limits = Limits::default();
    for (name, number) in text.split(',').filter_map(|part| part.split_once('=')) {
        let limit = match name {
            "steps" => &mut limits.steps,
            "writes" => &mut limits.writes,
            "crashes" => &mut limits.crashes,
            "cuts" => &mut limits.cuts,
            "doubts" => &mut limits.doubts,
            "breaks" => &mut limits.breaks,
            "twice" => &mut limits.twice,
            "late" => &mut limits.late,
            other => panic!("there is no limit {other}"),
        };
        *limit = number.parse().expect("a number");
    }
    limits
}

/// A world by its name.
fn world(name: &str, limits: Limits) -> State {
    match name {
        "moving" => State::moving(limits),
        "resting" => State::resting(limits),
        "joining" => State::joining(limits),
        "leaving" => State::leaving(limits),
        other => panic!("there is no world {other}"),
    }
}

/// Nothing may be wrong in the world, and it must come to rest somewhere.
fn holds(name: &str, text: &str) {
    let start = world(name, limits(text));
    let found = explore(start.clone());
    if let Some((way, wrong)) = found.wrong {
        panic!("{name} {text}: {wrong}\n{}", start.tell(&way));
    }
    println!("{name} {text}: {} states, {} of them quiet", found.states, found.quiet);
    assert!(found.quiet > 0, "{name} {text}: it never comes to rest");
}

#[test]
fn a_slot_moves_and_nothing_else_happens() {
    holds("moving", "steps=3,writes=2,late=0");
    holds("moving", "steps=2,writes=1,late=1,twice=1");
}

#[test]
fn somebody_crashes_while_a_slot_moves() {
    holds("moving", "steps=3,crashes=1,late=0");
}

#[test]
fn somebody_is_wrongly_held_for_dead_while_a_slot_moves() {
    holds("moving", "steps=2,doubts=1,writes=1,late=0");
}

#[test]
fn a_stream_breaks_and_somebody_is_cut_off() {
    holds("moving", "steps=1,cuts=1,breaks=1,late=1");
}

#[test]
fn two_hold_others_for_dead() {
    holds("resting", "steps=3,doubts=2,writes=1,late=0");
}

#[test]
fn somebody_is_cut_off() {
    holds("resting", "steps=3,cuts=1,writes=1,late=0");
}

#[test]
fn a_newcomer_is_taken_in_and_somebody_crashes() {
    holds("joining", "steps=3,crashes=1,writes=1,late=0");
}

#[test]
fn a_member_leaves() {
    holds("leaving", "steps=2,writes=1,late=0");
}

/// One that is named by the environment.
#[test]
fn as_asked_for() {
    if let Ok(asked) = std::env::var("WORLD") {
        let (name, limits) = asked.split_once(' ').expect("a world and its limits");
        holds(name, limits);
    }
}
