//! Deals a history out to the checkers of single keys.

use super::history::{Action, Operation, Violation, Wrong};
use super::{counter, order, register};

/// Checks everything. Operations may come in any order, but for those that a client sent together: these have to come
/// in the order of sending. The result is ordered by key.
pub fn check(mut operations: Vec<Operation>) -> Vec<Violation> {
    // Stable, so that what was sent together stays in order.
    operations.sort_by_key(|operation| (operation.key, operation.start));
    let mut violations = Vec::new();
    for history in operations.chunk_by(|a, b| a.key == b.key) {
        let counts = history
            .iter()
            .any(|operation| matches!(operation.action, Action::Increment(_) | Action::ReadCounter(_)));
        violations.extend(history.iter().filter_map(stray));
        let found = if counts { counter::check(history) } else { register::check(history) };
        // Where real time is contradicted already, the order of sending has nothing to add.
        let found = if found.is_empty() { order::check(history, counts) } else { found };
        violations.extend(found);
    }
    violations
}

/// An answer that is wrong by itself, whatever else was done to the key.
fn stray(operation: &Operation) -> Option<Violation> {
    let wrong = match operation.action {
        Action::ReadForeign(u32::MAX) => Wrong::UnknownValue,
        Action::ReadForeign(_) | Action::Mismatched => Wrong::SwappedReply,
        Action::Corrupt(_) => Wrong::CorruptValue,
        Action::Malformed => Wrong::Malformed,
        Action::Unasked => Wrong::Unasked,
        _ => return None,
    };
    Some(Violation { wrong, operations: vec![*operation] })
}

/// Some violations to look at, `most` at most: one of each kind first, since a thousand lost increments of one key tell
/// the same story.
pub fn telling(violations: &[Violation], most: usize) -> Vec<&Violation> {
    let mut kinds: Vec<Wrong> = violations.iter().map(|violation| violation.wrong).collect();
    kinds.sort();
    kinds.dedup();
    let first_of = |wrong| violations.iter().position(|violation| violation.wrong == wrong);
    let mut order: Vec<usize> = kinds.into_iter().filter_map(first_of).take(most).collect();
    let others = (0..violations.len()).filter(|index| !order.contains(index));
    let others: Vec<usize> = others.take(most - order.len()).collect();
    order.extend(others);
    order.into_iter().map(|index| &violations[index]).collect()
}

/// The operations of the violation's key around it, to look at; at most `most`.
pub fn around(operations: &[Operation], violation: &Violation, most: usize) -> Vec<Operation> {
    let key = violation.operations[0].key;
    let from = violation.operations.iter().map(|operation| operation.start).min().unwrap_or(0);
    let until = violation.operations.iter().map(|operation| operation.end).max().unwrap_or(0);
    let near =
        |operation: &&Operation| operation.key == key && operation.end >= from && operation.start <= until;
    let mut history: Vec<Operation> = operations.iter().filter(near).copied().collect();
    history.sort_by_key(|operation| operation.start);
    let surplus = history.len().saturating_sub(most);
    // The two ends say more than the middle.
    history.drain(history.len() / 2 - surplus / 2..history.len() / 2 - surplus / 2 + surplus);
    history
}

#[cfg(test)]
mod brute;
#[cfg(test)]
mod tests;
