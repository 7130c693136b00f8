//! Histories made right by construction, then made wrong on purpose: the first must pass, the second be caught.

use std::time::Instant;

use super::super::history::{NEVER, Wrong};
use super::*;
use crate::random::Random;

fn operation(client: u32, start: u64, end: u64, action: Action) -> Operation {
    Operation { key: 0, client, start, end, action }
}

/// What was found, each kind once.
fn kinds(operations: &[Operation]) -> Vec<Wrong> {
    let mut kinds: Vec<Wrong> =
        check(operations.to_vec()).into_iter().map(|violation| violation.wrong).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// A right history of `count` operations by `clients` on `keys` keys: each takes effect at an instant between its
/// start and its end. Some writes never get an answer; of these some take effect. The last third of the keys are
/// counters.
fn right_history(count: usize, clients: u32, keys: u32, seed: u64) -> Vec<Operation> {
    let mut random = Random::new(seed);
    let mut clocks = vec![0u64; clients as usize];
    let mut planned = Vec::with_capacity(count);
    for index in 0..count {
        let client = (0..clients as usize).min_by_key(|client| clocks[*client]).unwrap();
        let start = clocks[client] + 1000 + random.below(20_000);
        let end = start + 50_000 + random.below(100_000);
        let instant = start + 1 + random.below(end - start - 1);
        clocks[client] = end;
        let silent = random.below(50) == 0;
        let effective = !silent || random.below(2) == 0;
        let kind = random.below(100);
        let key = random.below(u64::from(keys)) as u32;
        planned.push((instant, index as u64, client as u32, key, start, end, kind, silent, effective));
    }
    planned.sort_unstable();
    let mut state = vec![0u64; keys as usize];
    let mut operations = Vec::with_capacity(count);
    for (_, index, client, key, start, end, kind, silent, effective) in planned {
        let held = &mut state[key as usize];
        let counts = key >= keys - keys / 3;
        let action = match (counts, kind) {
            (true, ..50) => {
                *held += u64::from(effective);
                Action::Increment(if silent { 0 } else { *held })
            }
            (true, _) => Action::ReadCounter(*held),
            (false, ..40) => {
                *held = if effective { index + 1 } else { *held };
                Action::Write(index + 1)
            }
            (false, 40..45) => {
                let found = *held != 0;
                *held = if effective { 0 } else { *held };
                if silent { Action::Delete } else { Action::Removed(found) }
            }
            (false, _) if *held == 0 => Action::ReadNothing,
            (false, _) => Action::Read(*held),
        };
        let reads = matches!(action, Action::Read(_) | Action::ReadNothing | Action::ReadCounter(_));
        let end = if silent && !reads { NEVER } else { end };
        operations.push(Operation { key, client, start, end, action });
    }
    operations
}

#[test]
fn right_histories_pass() {
    for seed in 0..300 {
        let history = right_history(400, 2 + (seed % 9) as u32, 1 + (seed % 7) as u32, seed);
        let found = check(history);
        assert!(found.is_empty(), "seed {seed}: {found:?}");
    }
}

#[test]
fn each_kind_of_wrong_is_caught() {
    use Action::{
        Corrupt, Delete, Increment, Malformed, Mismatched, Read, ReadCounter, ReadForeign, ReadNothing,
        Removed, Write,
    };
    let cases: &[(&[Operation], Wrong)] = &[
        (
            // The write had no answer yet, but its value was seen.
            &[
                operation(1, 0, 100, Write(1)),
                operation(2, 10, 20, Read(1)),
                operation(2, 30, 40, ReadNothing),
            ],
            Wrong::LostWrite,
        ),
        (&[operation(1, 0, 10, Write(1)), operation(2, 20, 30, Removed(false))], Wrong::LostWrite),
        (&[operation(1, 0, 10, Removed(true))], Wrong::UnknownValue),
        (
            &[
                operation(1, 0, 10, Write(1)),
                operation(1, 20, 30, Removed(true)),
                operation(2, 40, 50, Removed(true)),
            ],
            Wrong::Resurrected,
        ),
        (
            &[
                operation(1, 0, 10, Write(1)),
                operation(1, 20, 40, Removed(true)),
                operation(2, 30, 50, Removed(true)),
            ],
            Wrong::Resurrected,
        ),
        (&[operation(1, 0, 10, Corrupt(1))], Wrong::CorruptValue),
        (&[operation(1, 0, 10, Malformed), operation(1, 0, NEVER, Write(1))], Wrong::Malformed),
        (
            &[operation(1, 0, 10, Write(1)), operation(1, 20, 30, Write(2)), operation(2, 40, 50, Read(1))],
            Wrong::StaleRead,
        ),
        (
            // Neither write has ended, but once the newer value was seen the older one is gone.
            &[
                operation(1, 0, 100, Write(1)),
                operation(2, 0, 100, Write(2)),
                operation(3, 10, 20, Read(1)),
                operation(3, 30, 40, Read(2)),
                operation(3, 50, 60, Read(1)),
                operation(3, 70, 80, Read(2)),
            ],
            Wrong::StaleRead,
        ),
        (&[operation(1, 0, 10, Write(1)), operation(2, 20, 30, ReadNothing)], Wrong::LostWrite),
        (
            &[operation(1, 0, 10, Delete), operation(1, 20, 30, Write(1)), operation(2, 40, 50, ReadNothing)],
            Wrong::LostWrite,
        ),
        (
            &[
                operation(1, 0, 10, Write(1)),
                operation(2, 12, 90, Delete),
                operation(3, 20, 30, ReadNothing),
                operation(3, 40, 50, Read(1)),
            ],
            Wrong::LostWrite,
        ),
        (
            &[operation(1, 0, 10, Write(1)), operation(1, 20, 30, Delete), operation(2, 40, 50, Read(1))],
            Wrong::Resurrected,
        ),
        (&[operation(1, 0, 10, ReadForeign(7))], Wrong::SwappedReply),
        (&[operation(1, 0, 10, Increment(1)), operation(1, 20, 30, ReadForeign(7))], Wrong::SwappedReply),
        (&[operation(1, 0, 10, Mismatched), operation(1, 0, NEVER, Write(1))], Wrong::SwappedReply),
        (&[operation(1, 0, 10, ReadForeign(u32::MAX))], Wrong::UnknownValue),
        (&[operation(1, 0, 10, Read(9))], Wrong::UnknownValue),
        (&[operation(1, 0, 10, Read(1)), operation(2, 20, 30, Write(1))], Wrong::ReadTooEarly),
        (&[operation(1, 0, 10, Increment(1)), operation(2, 5, 15, Increment(1))], Wrong::LostIncrement),
        (
            &[
                operation(1, 0, 10, Increment(1)),
                operation(1, 20, 30, Increment(2)),
                operation(2, 40, 50, ReadCounter(1)),
            ],
            Wrong::CounterBackwards,
        ),
        (&[operation(1, 0, 10, Increment(2))], Wrong::CounterTooHigh),
    ];
    for (history, wrong) in cases {
        assert_eq!(kinds(history), [*wrong], "{history:?}");
    }
}

#[test]
fn what_was_sent_together_is_done_in_order() {
    use Action::{Increment, Read, ReadCounter, ReadNothing, Removed, Write};
    let earlier = operation(1, 0, 10, Write(1));
    let cases: &[&[Operation]] = &[
        // The reads of a batch were done before its writes.
        &[operation(1, 20, 30, Write(2)), operation(1, 20, 31, ReadNothing)],
        &[earlier, operation(1, 20, 30, Write(2)), operation(1, 20, 31, Read(1))],
        &[earlier, operation(1, 20, 30, Removed(true)), operation(1, 20, 31, Read(1))],
        // The writes of a batch were done in the other order.
        &[operation(1, 0, 10, Write(1)), operation(1, 0, 11, Write(2)), operation(2, 20, 30, Read(1))],
        &[
            earlier,
            operation(1, 20, 30, ReadNothing),
            operation(1, 20, 31, Removed(true)),
            operation(2, 15, 40, Action::Delete),
        ],
        &[operation(1, 0, 10, Increment(2)), operation(1, 0, 11, Increment(1))],
        &[operation(1, 0, 10, Increment(1)), operation(1, 0, 11, ReadCounter(0))],
    ];
    for history in cases {
        assert_eq!(kinds(history), [Wrong::Reordered], "{history:?}");
        // Of different connections they are right.
        let mut client = 0;
        let alone = history.iter().map(|operation| {
            client += 1;
            Operation { client, ..*operation }
        });
        assert_eq!(kinds(&alone.collect::<Vec<_>>()), [], "{history:?}");
    }
    // Somebody else's removal or write may have come between.
    let right: &[&[Operation]] = &[
        &[
            operation(1, 0, 30, Write(2)),
            operation(1, 0, 31, ReadNothing),
            operation(2, 5, NEVER, Action::Delete),
        ],
        &[operation(1, 0, 30, Write(2)), operation(1, 0, 31, Read(3)), operation(2, 5, NEVER, Write(3))],
        &[operation(1, 0, NEVER, Write(2)), operation(1, 0, 31, ReadNothing)],
    ];
    for history in right {
        assert_eq!(kinds(history), [], "{history:?}");
    }
}

#[test]
fn what_may_be_is_not_reported() {
    use Action::{Delete, Read, ReadNothing, Write};
    let cases: &[&[Operation]] = &[
        // Read while the write is under way.
        &[operation(1, 0, 100, Write(1)), operation(2, 10, 20, Read(1)), operation(3, 30, 40, Read(1))],
        // A write without an answer takes effect late.
        &[
            operation(1, 0, NEVER, Write(1)),
            operation(2, 10, 20, ReadNothing),
            operation(2, 500, 510, Read(1)),
        ],
        // A removal without an answer takes effect late.
        &[
            operation(1, 0, NEVER, Delete),
            operation(2, 10, 20, Write(1)),
            operation(2, 30, 40, Read(1)),
            operation(2, 50, 60, ReadNothing),
        ],
        // Two writes at the same time may come in either order.
        &[operation(1, 0, 100, Write(1)), operation(2, 0, 100, Write(2)), operation(3, 110, 120, Read(1))],
    ];
    for history in cases {
        assert_eq!(kinds(history), [], "{history:?}");
    }
}

/// Makes one answer of a right history wrong, far from all that could excuse it. Returns false if it has no place
/// for this kind of mistake.
fn spoil(history: &mut [Operation], wrong: Wrong, random: &mut Random) -> bool {
    let places: Vec<usize> = (0..history.len()).filter(|index| can_be(history, *index, wrong)).collect();
    if places.is_empty() {
        return false;
    }
    let index = places[random.below(places.len() as u64) as usize];
    history[index].action = match (wrong, history[index].action) {
        (Wrong::StaleRead, _) => Action::Read(oldest_value(history, index)),
        (Wrong::LostWrite, _) => Action::ReadNothing,
        (Wrong::SwappedReply, _) => Action::ReadForeign(history[index].key + 1),
        (Wrong::UnknownValue, _) => Action::Read(u64::MAX - 5),
        (Wrong::LostIncrement, Action::Increment(value)) => Action::Increment(value - 1),
        (Wrong::CounterTooHigh, _) => Action::ReadCounter(u64::MAX),
        (Wrong::Resurrected, _) => Action::Read(removed_value(history, index).unwrap_or(0)),
        (Wrong::ReadTooEarly, _) => Action::Read(later_value(history, index).unwrap_or(0)),
        (_, Action::ReadCounter(_)) => Action::ReadCounter(0),
        (wrong, action) => panic!("{wrong} has no place at {action:?}"),
    };
    true
}

/// The first value written to the key of this operation, at least two acknowledged writes before it.
fn oldest_value(history: &[Operation], index: usize) -> u64 {
    writes_before(history, index).first().copied().unwrap_or(0)
}

/// Values whose write had ended before the next one began, all before this operation, in order.
fn writes_before(history: &[Operation], index: usize) -> Vec<u64> {
    let at = history[index];
    let mut writes: Vec<&Operation> = history
        .iter()
        .filter(|other| {
            other.key == at.key && other.end < at.start && matches!(other.action, Action::Write(_))
        })
        .collect();
    writes.sort_by_key(|write| write.start);
    let (Some(first), Some(last)) = (writes.first(), writes.last()) else { return Vec::new() };
    let value = |write: &Operation| if let Action::Write(value) = write.action { value } else { 0 };
    if first.end < last.start { vec![value(first), value(last)] } else { Vec::new() }
}

/// A value whose acknowledged write was followed by an acknowledged removal, both before this operation.
fn removed_value(history: &[Operation], index: usize) -> Option<u64> {
    let at = history[index];
    let of_key = || history.iter().filter(|other| other.key == at.key && other.end < at.start);
    let removal = of_key().filter(|other| is_removal(other)).max_by_key(|removal| removal.start)?;
    of_key().filter(|write| write.end < removal.start).find_map(|write| match write.action {
        Action::Write(value) => Some(value),
        _ => None,
    })
}

/// A value that is written only after this operation has ended.
fn later_value(history: &[Operation], index: usize) -> Option<u64> {
    let at = history[index];
    history.iter().filter(|other| other.key == at.key && other.start > at.end).find_map(|write| {
        match write.action {
            Action::Write(value) => Some(value),
            _ => None,
        }
    })
}

fn is_removal(operation: &Operation) -> bool {
    matches!(operation.action, Action::Delete | Action::Removed(_))
}

fn can_be(history: &[Operation], index: usize, wrong: Wrong) -> bool {
    let at = history[index];
    let removed = || history.iter().any(|other| other.key == at.key && is_removal(other));
    let reads = matches!(at.action, Action::Read(_));
    match wrong {
        Wrong::StaleRead => reads && writes_before(history, index).len() == 2,
        Wrong::LostWrite => reads && !writes_before(history, index).is_empty() && !removed(),
        Wrong::SwappedReply | Wrong::UnknownValue => reads,
        Wrong::LostIncrement => has_predecessor(history, &at),
        Wrong::CounterBackwards => {
            matches!(at.action, Action::ReadCounter(1..))
                && history.iter().any(|other| {
                    other.key == at.key
                        && other.end < at.start
                        && matches!(other.action, Action::Increment(1..))
                })
        }
        Wrong::CounterTooHigh => matches!(at.action, Action::ReadCounter(_)),
        Wrong::Resurrected => reads && removed_value(history, index).is_some(),
        Wrong::ReadTooEarly => reads && later_value(history, index).is_some(),
        Wrong::CorruptValue | Wrong::Malformed | Wrong::Unasked | Wrong::Reordered => false,
    }
}

#[test]
fn generated_wrong_histories_are_caught() {
    let kinds = [
        Wrong::StaleRead,
        Wrong::LostWrite,
        Wrong::Resurrected,
        Wrong::ReadTooEarly,
        Wrong::SwappedReply,
        Wrong::UnknownValue,
        Wrong::LostIncrement,
        Wrong::CounterBackwards,
        Wrong::CounterTooHigh,
    ];
    for wrong in kinds {
        let mut made = 0;
        for seed in 0..200 {
            let mut history = right_history(120, 4, 3, seed);
            if wrong == Wrong::LostWrite {
                history.retain(|operation| !is_removal(operation));
                if !check(history.clone()).is_empty() {
                    continue;
                }
            }
            if spoil(&mut history, wrong, &mut Random::new(seed)) {
                made += 1;
                assert!(!check(history).is_empty(), "{wrong}, seed {seed}");
            }
        }
        assert!(made >= 20, "{wrong}: only {made} histories had a place for it");
    }
}

#[test]
fn a_million_operations_take_little_time() {
    let history = right_history(1_000_000, 64, 1000, 1);
    let started = Instant::now();
    assert!(check(history).is_empty());
    // One second is the promise of an optimized build on a quiet machine; this only guards against O(n^2).
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn the_surroundings_of_a_violation_are_bounded() {
    let history = right_history(5000, 8, 1, 3);
    let violation =
        Violation { wrong: Wrong::StaleRead, operations: vec![history[0], history[history.len() - 1]] };
    for most in [1, 20, 10_000] {
        let around = around(&history, &violation, most);
        assert!(around.len() <= most && !around.is_empty());
    }
}

/// True for an increment whose predecessor's result is known too.
fn has_predecessor(history: &[Operation], at: &Operation) -> bool {
    let Action::Increment(result @ 2..) = at.action else { return false };
    history.iter().any(|other| other.key == at.key && other.action == Action::Increment(result - 1))
}
