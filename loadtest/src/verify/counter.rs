//! Is the history of one counter (INCR, GET of one key) what an atomic counter could have answered?
//!
//! Every increment adds 1 and answers with the result, so results must be different, must grow with real time,
//! and can never exceed the number of increments begun. A read must lie between what was acknowledged before it
//! and what was begun before its end. O(n log n); sound and, for results that were all acknowledged, complete.

use super::history::{Action, NEVER, Operation, Violation, Wrong};

/// Checks the operations of one key; the counter was missing before all of them.
pub fn check(operations: &[Operation]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut seen: Vec<(u64, Operation)> =
        operations.iter().filter_map(|operation| Some((result(operation)?, *operation))).collect();
    repeated(&seen, &mut violations);
    backwards(&mut seen, &mut violations);
    too_high(operations, &seen, &mut violations);
    violations
}

/// The value of the counter that an answer tells.
fn result(operation: &Operation) -> Option<u64> {
    match operation.action {
        Action::Increment(0) => None,
        Action::Increment(value) | Action::ReadCounter(value) => Some(value),
        _ => None,
    }
}

/// No two increments may have the same result.
fn repeated(seen: &[(u64, Operation)], violations: &mut Vec<Violation>) {
    let mut results: Vec<&(u64, Operation)> =
        seen.iter().filter(|(_, operation)| matches!(operation.action, Action::Increment(_))).collect();
    results.sort_by_key(|(value, operation)| (*value, operation.start));
    for pair in results.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        violations.push(Violation { wrong: Wrong::LostIncrement, operations: vec![pair[0].1, pair[1].1] });
    }
}

/// An operation that starts after another has ended must not see less, an increment must see more.
fn backwards(seen: &mut [(u64, Operation)], violations: &mut Vec<Violation>) {
    let mut ended: Vec<(u64, Operation)> = seen.to_vec();
    ended.sort_by_key(|(_, operation)| operation.end);
    seen.sort_by_key(|(_, operation)| operation.start);
    let (mut at, mut highest) = (0, None::<(u64, Operation)>);
    for (value, operation) in seen.iter() {
        while ended.get(at).is_some_and(|(_, before)| before.end < operation.start) {
            if highest.is_none_or(|(top, _)| ended[at].0 > top) {
                highest = Some(ended[at]);
            }
            at += 1;
        }
        let increments = matches!(operation.action, Action::Increment(_));
        if let Some((_, before)) =
            highest.filter(|(top, _)| if increments { value <= top } else { value < top })
        {
            // Two increments with one result are reported as such already.
            let same = result(&before) == Some(*value) && matches!(before.action, Action::Increment(_));
            if !(same && increments) {
                violations
                    .push(Violation { wrong: Wrong::CounterBackwards, operations: vec![before, *operation] });
            }
        }
    }
}

/// Nobody may see more than the increments begun by then.
fn too_high(operations: &[Operation], seen: &[(u64, Operation)], violations: &mut Vec<Violation>) {
    let increments = operations.iter().filter(|operation| matches!(operation.action, Action::Increment(_)));
    let mut begun: Vec<u64> = increments.map(|operation| operation.start).collect();
    begun.sort_unstable();
    for (value, operation) in seen.iter().filter(|(_, operation)| operation.end != NEVER) {
        let most = begun.partition_point(|start| *start <= operation.end) as u64;
        if *value > most {
            violations.push(Violation { wrong: Wrong::CounterTooHigh, operations: vec![*operation] });
        }
    }
}
