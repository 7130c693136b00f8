//! Is the history of one register (SET, GET, DEL of one key) linearizable?
//!
//! Each write has a value of its own, so each read names its write and the test of P. Gibbons and E. Korach,
//! "Testing shared memories" (SIAM J. Comput. 26, 1997) applies: the write of a value and its reads are a
//! cluster, whose zone reaches from the first end to the last start in it. If that is forwards in time, the
//! register held the value all that while. So two forward zones must not overlap, and no backward zone may lie
//! within a forward one. O(n log n). An operation that starts in the very nanosecond in which another ends may have
//! come before it.
//!
//! Removals are not unique, so a missing key does not name its removal. Each removal and each read of nothing
//! counts as a backward zone of its own. Whoever finds nothing, by a read or a removal, needs some removal that may
//! have come after every value written or read before; a removal that found a value needs a write that may have come
//! after all that told that there was none; and two removals do not find one value. With removals the test is sound
//! (what it reports is wrong) but not complete.

use super::history::{Action, NEVER, Operation, Violation, Wrong};

/// The write of a value and its reads.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    /// The operation that ended first.
    first_ended: Operation,
    /// The operation that started last.
    last_started: Operation,
}

impl Cluster {
    fn of(operation: Operation) -> Self {
        Self { first_ended: operation, last_started: operation }
    }

    fn add(&mut self, operation: Operation) {
        if operation.end < self.first_ended.end {
            self.first_ended = operation;
        }
        if operation.start > self.last_started.start {
            self.last_started = operation;
        }
    }

    fn is_forward(&self) -> bool {
        self.first_ended.end < self.last_started.start
    }
}

/// Checks the operations of one key; the key was missing before all of them.
pub fn check(operations: &[Operation]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let (mut forward, mut backward) = clusters(operations, &mut violations);
    forward.sort_by_key(|zone| (zone.first_ended.end, zone.last_started.start));
    backward.sort_by_key(|zone| zone.last_started.start);
    overlaps(&forward, &mut violations);
    containments(&forward, &backward, &mut violations);
    nothings(operations, &mut violations);
    removals(operations, &mut violations);
    violations
}

/// Groups the operations by value and sorts the zones by their direction.
fn clusters(operations: &[Operation], violations: &mut Vec<Violation>) -> (Vec<Cluster>, Vec<Cluster>) {
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    let mut by_value: Vec<(u64, bool, Operation)> = Vec::with_capacity(operations.len());
    for operation in operations {
        match operation.action {
            Action::Write(value) => by_value.push((value, false, *operation)),
            Action::Read(value) => by_value.push((value, true, *operation)),
            Action::Delete | Action::Removed(_) | Action::ReadNothing => {
                backward.push(Cluster::of(*operation));
            }
            // Strays, and what is a counter's.
            Action::ReadForeign(_)
            | Action::Mismatched
            | Action::Corrupt(_)
            | Action::Malformed
            | Action::Unasked
            | Action::Increment(_)
            | Action::ReadCounter(_) => {}
        }
    }
    by_value.sort_unstable_by_key(|(value, is_read, operation)| (*value, *is_read, operation.start));
    for group in by_value.chunk_by(|a, b| a.0 == b.0) {
        let (_, is_read, first) = group[0];
        if is_read {
            violations.push(single(Wrong::UnknownValue, &first));
            continue;
        }
        let mut cluster = Cluster::of(first);
        for (_, _, read) in &group[1..] {
            if read.end < first.start {
                violations.push(pair(Wrong::ReadTooEarly, &first, read));
            } else {
                cluster.add(*read);
            }
        }
        // A write without an answer that nobody read may never have happened.
        if first.end == NEVER && group.len() == 1 {
            continue;
        }
        if cluster.is_forward() { forward.push(cluster) } else { backward.push(cluster) }
    }
    (forward, backward)
}

/// Two values cannot be held at the same time.
fn overlaps(forward: &[Cluster], violations: &mut Vec<Violation>) {
    let mut longest: Option<&Cluster> = None;
    for zone in forward {
        if let Some(before) = longest.filter(|before| zone.first_ended.end < before.last_started.start) {
            // The older value was read again after the newer one had been seen.
            violations.push(pair(Wrong::StaleRead, &zone.first_ended, &before.last_started));
        }
        if longest.is_none_or(|before| zone.last_started.start > before.last_started.start) {
            longest = Some(zone);
        }
    }
}

/// Nothing else can happen while a value is held.
fn containments(forward: &[Cluster], backward: &[Cluster], violations: &mut Vec<Violation>) {
    for zone in backward {
        let (start, end) = (zone.last_started.start, zone.first_ended.end);
        let at = forward.partition_point(|held| held.first_ended.end < start);
        let Some(held) = at.checked_sub(1).map(|index| &forward[index]) else { continue };
        if end >= held.last_started.start {
            continue;
        }
        violations.push(match zone.first_ended.action {
            Action::ReadNothing | Action::Removed(false) => {
                pair(Wrong::LostWrite, &held.first_ended, &zone.first_ended)
            }
            Action::Delete | Action::Removed(true) => {
                pair(Wrong::Resurrected, &zone.first_ended, &held.last_started)
            }
            _ => pair(Wrong::StaleRead, &zone.first_ended, &held.last_started),
        });
    }
}

/// True if the key was missing when the operation took effect.
pub(super) fn finds_nothing(operation: &Operation) -> bool {
    matches!(operation.action, Action::ReadNothing | Action::Removed(false))
}

/// True if the key held a value once the operation had taken effect.
pub(super) fn leaves_value(operation: &Operation) -> bool {
    matches!(operation.action, Action::Write(_) | Action::Read(_))
}

/// True if the key was missing once the operation had taken effect.
pub(super) fn leaves_nothing(operation: &Operation) -> bool {
    finds_nothing(operation) || removes(operation)
}

/// True if it may have removed a value.
pub(super) fn removes(operation: &Operation) -> bool {
    matches!(operation.action, Action::Delete | Action::Removed(true))
}

/// A missing key needs a removal that may have come after each value written or read before.
fn nothings(operations: &[Operation], violations: &mut Vec<Violation>) {
    if !operations.iter().any(finds_nothing) {
        return;
    }
    let values = by_end(operations, leaves_value);
    let removals = by_start(operations, removes);
    for read in operations.iter().filter(|operation| finds_nothing(operation)) {
        let Some(value) = before(&values, read) else { continue };
        let removal = latest(&removals, read);
        if removal.is_none_or(|removal| removal.end < value.start) {
            violations.push(pair(Wrong::LostWrite, value, read));
        }
    }
}

/// A removal that found a value needs a write that may have come after all that told that there was none.
fn removals(operations: &[Operation], violations: &mut Vec<Violation>) {
    let mut found: Vec<&Operation> =
        operations.iter().filter(|operation| operation.action == Action::Removed(true)).collect();
    if found.is_empty() {
        return;
    }
    let nothings = by_end(operations, leaves_nothing);
    let writes = by_start(operations, |operation| matches!(operation.action, Action::Write(_)));
    // So many writes were begun by the end of so many removals.
    found.sort_by_key(|removal| removal.end);
    for (index, removal) in found.iter().enumerate() {
        let begun = writes.partition_point(|(start, _)| *start <= removal.end);
        match (before(&nothings, removal), latest(&writes, removal)) {
            (_, None) => violations.push(single(Wrong::UnknownValue, removal)),
            (Some(nothing), Some(write)) if write.end < nothing.start => {
                violations.push(pair(Wrong::Resurrected, nothing, removal));
            }
            _ if begun <= index => violations.push(pair(Wrong::Resurrected, found[index - 1], removal)),
            _ => {}
        }
    }
    // Whichever of two came first, a write must have come between them.
    found.sort_by_key(|removal| removal.start);
    for two in found.windows(2).filter(|two| two[0].end >= two[1].start) {
        let last = if two[0].end > two[1].end { two[0] } else { two[1] };
        if latest(&writes, last).is_some_and(|write| write.end < two[0].start) {
            violations.push(pair(Wrong::Resurrected, two[0], two[1]));
        }
    }
}

/// Of the operations that ended before this one began, the one that started last.
fn before<'a>(by_end: &[(u64, &'a Operation)], operation: &Operation) -> Option<&'a Operation> {
    let ended = by_end.partition_point(|(end, _)| *end < operation.start);
    ended.checked_sub(1).map(|index| by_end[index].1)
}

/// Of the operations that began before this one ended, the one that ended last.
fn latest<'a>(by_start: &[(u64, &'a Operation)], operation: &Operation) -> Option<&'a Operation> {
    let begun = by_start.partition_point(|(start, _)| *start <= operation.end);
    begun.checked_sub(1).map(|index| by_start[index].1)
}

fn by_end(operations: &[Operation], which: fn(&Operation) -> bool) -> Vec<(u64, &Operation)> {
    let chosen = operations.iter().filter(|operation| which(operation));
    running(chosen, |operation| operation.end, |operation| operation.start)
}

fn by_start(operations: &[Operation], which: fn(&Operation) -> bool) -> Vec<(u64, &Operation)> {
    let chosen = operations.iter().filter(|operation| which(operation));
    running(chosen, |operation| operation.start, |operation| operation.end)
}

/// Sorts operations by one time and remembers for each prefix the one with the largest other time.
fn running<'a>(
    operations: impl Iterator<Item = &'a Operation>,
    order: fn(&Operation) -> u64,
    largest: fn(&Operation) -> u64,
) -> Vec<(u64, &'a Operation)> {
    let mut list: Vec<(u64, &Operation)> =
        operations.map(|operation| (order(operation), operation)).collect();
    list.sort_by_key(|(time, _)| *time);
    for index in 1..list.len() {
        if largest(list[index - 1].1) > largest(list[index].1) {
            list[index].1 = list[index - 1].1;
        }
    }
    list
}

fn single(wrong: Wrong, operation: &Operation) -> Violation {
    Violation { wrong, operations: vec![*operation] }
}

fn pair(wrong: Wrong, first: &Operation, second: &Operation) -> Violation {
    Violation { wrong, operations: vec![*first, *second] }
}
