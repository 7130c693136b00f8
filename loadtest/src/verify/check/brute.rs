//! The checker against one that tries every order, on thousands of small histories, most of them wrong.
//!
//! Trying orders (J. Wing and C. Gong, "Testing and verifying concurrent objects", 1993) decides exactly whether
//! a history is linearizable, in exponential time. What the fast checker reports must be wrong by it too, and for
//! histories without removals whatever is wrong must be reported.

use super::super::history::NEVER;
use super::*;
use crate::random::Random;

/// The key's content: a value, or the count; 0 for nothing.
type State = u64;

/// True if some order of the operations explains all answers. Operations without an answer need not happen.
fn is_linearizable(operations: &[Operation]) -> bool {
    explains(operations, (1 << operations.len()) - 1, 0)
}

/// Whether the operations left (a set of bits) can follow in this state.
fn explains(operations: &[Operation], left: u32, state: State) -> bool {
    let is_left = |index: &usize| left & (1 << index) != 0;
    let first_end = (0..operations.len()).filter(is_left).map(|index| operations[index].end).min();
    let Some(first_end) = first_end.filter(|end| *end != NEVER) else { return true };
    (0..operations.len()).filter(is_left).any(|index| {
        // What starts after another one's end must come after it, and so must what its connection sent later.
        let earlier = (0..index).filter(is_left).map(|earlier| &operations[earlier]);
        operations[index].start <= first_end
            && !earlier.into_iter().any(|earlier| is_ordered(earlier, &operations[index]))
            && after(operations[index].action, state)
                .is_some_and(|state| explains(operations, left & !(1 << index), state))
    })
}

/// True for two answered operations of one client.
fn is_ordered(first: &Operation, second: &Operation) -> bool {
    first.client == second.client && first.is_answered() && second.is_answered()
}

/// The state after an operation, if it can have its answer in this state.
fn after(action: Action, state: State) -> Option<State> {
    match action {
        Action::Write(value) => Some(value),
        Action::Delete => Some(0),
        Action::Removed(found) => (found == (state != 0)).then_some(0),
        Action::Read(value) => (state == value).then_some(state),
        Action::ReadNothing => (state == 0).then_some(state),
        Action::Increment(0) => Some(state + 1),
        Action::Increment(value) => (state + 1 == value).then_some(value),
        Action::ReadCounter(value) => (state == value).then_some(state),
        Action::ReadForeign(_)
        | Action::Mismatched
        | Action::Corrupt(_)
        | Action::Malformed
        | Action::Unasked => None,
    }
}

/// What random histories hold.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    /// Writes, reads of values and reads of nothing.
    Values,
    /// Removals too.
    Removals,
    /// Removals that tell whether they found a value.
    Answered,
    /// Increments and reads of a counter.
    Counts,
}

/// How operations are sent.
#[derive(Clone, Copy, PartialEq)]
enum Sent {
    /// Each client waits for its answers.
    Alone,
    /// The same, and some answers to what changes the key never come.
    Silent,
    /// Some of a client's operations are sent together.
    Together,
    /// The same, and some answers to what changes the key never come.
    TogetherSilent,
}

/// A random history: each client's operations follow each other, answers are mostly what some order would give.
fn random_history(random: &mut Random, content: Content, sent: Sent) -> Vec<Operation> {
    let silent = matches!(sent, Sent::Silent | Sent::TogetherSilent);
    let together = matches!(sent, Sent::Together | Sent::TogetherSilent);
    let clients = 2 + random.below(3);
    let mut clocks = vec![0; clients as usize];
    let mut begun = vec![0; clients as usize];
    let mut operations = Vec::new();
    let count = 3 + random.below(5);
    for value in 1..=count {
        let client = random.below(clients) as usize;
        let start =
            if together && random.below(2) == 0 { begun[client] } else { clocks[client] + random.below(6) };
        let end = start.max(clocks[client]) + 1 + random.below(10);
        begun[client] = start;
        clocks[client] = end + random.below(2);
        let seen = random.below(value + 1);
        let action = match (content, random.below(10)) {
            (Content::Counts, ..5) => Action::Increment(1 + random.below(value)),
            (Content::Counts, _) => Action::ReadCounter(random.below(value)),
            (_, ..4) => Action::Write(value),
            (Content::Values, 4) => Action::ReadNothing,
            (Content::Removals, 4..6) => Action::Delete,
            (Content::Answered, 4..6) => Action::Removed(random.below(2) == 0),
            (Content::Removals | Content::Answered, 6) => Action::ReadNothing,
            (_, _) => Action::Read(seen.max(1)),
        };
        let changes = !matches!(action, Action::Read(_) | Action::ReadNothing | Action::ReadCounter(_));
        let lost = silent && changes && random.below(5) == 0;
        let action = match action {
            Action::Increment(_) if lost => Action::Increment(0),
            Action::Removed(_) if lost => Action::Delete,
            action => action,
        };
        let end = if lost { NEVER } else { end };
        operations.push(Operation { key: 0, client: client as u32, start, end, action });
    }
    // Reads of what is never written are no test of orders.
    let written = |value| operations.iter().any(|operation| operation.action == Action::Write(value));
    let keep: Vec<bool> = operations
        .iter()
        .map(|operation| if let Action::Read(value) = operation.action { written(value) } else { true })
        .collect();
    let mut keep = keep.into_iter();
    operations.retain(|_| keep.next().unwrap_or(true));
    operations
}

/// How many histories were right, wrong and reported, and wrong without being reported.
#[derive(Debug, Default)]
struct Found {
    right: u32,
    reported: u32,
    missed: u32,
}

fn compare(content: Content, sent: Sent) -> Found {
    let mut found = Found::default();
    for seed in 0..20_000 {
        let history = random_history(&mut Random::part(seed, content as u64), content, sent);
        let reported = check(history.clone());
        match (is_linearizable(&history), reported.is_empty()) {
            (true, true) => found.right += 1,
            (false, false) => found.reported += 1,
            (false, true) => found.missed += 1,
            (true, false) => panic!("seed {seed}: {history:#?} is right, but {reported:#?} was reported"),
        }
    }
    assert!(found.right > 1000 && found.reported > 1000, "{found:?}");
    found
}

#[test]
fn registers_without_removals_are_decided_exactly() {
    for sent in [Sent::Alone, Sent::Silent, Sent::Together, Sent::TogetherSilent] {
        assert_eq!(compare(Content::Values, sent).missed, 0);
    }
}

#[test]
fn counters_whose_increments_were_all_answered_are_decided_exactly() {
    for sent in [Sent::Alone, Sent::Together] {
        assert_eq!(compare(Content::Counts, sent).missed, 0);
    }
}

#[test]
fn what_is_reported_is_wrong_in_the_other_histories_too() {
    for content in [Content::Removals, Content::Answered, Content::Counts] {
        for sent in [Sent::Alone, Sent::Silent, Sent::Together, Sent::TogetherSilent] {
            let found = compare(content, sent);
            // These are not decided exactly; little may be missed all the same.
            assert!(found.missed * 10 < found.reported, "{found:?}");
        }
    }
}

#[test]
fn orders_are_tried_right() {
    let clients = std::cell::Cell::new(0);
    // Each of a client of its own, so that only time orders them.
    let operation = |start, end, action| {
        clients.set(clients.get() + 1);
        Operation { key: 0, client: clients.get(), start, end, action }
    };
    let write = operation(0, 10, Action::Write(1));
    assert!(is_linearizable(&[
        write,
        operation(5, 7, Action::ReadNothing),
        operation(6, 8, Action::Read(1))
    ]));
    assert!(!is_linearizable(&[write, operation(11, 12, Action::ReadNothing)]));
    assert!(is_linearizable(&[
        operation(0, NEVER, Action::Write(1)),
        operation(20, 30, Action::ReadNothing)
    ]));
    assert!(!is_linearizable(&[
        write,
        operation(5, 6, Action::Read(1)),
        operation(7, 8, Action::ReadNothing)
    ]));
    // By time the write may come before the read; by their connection it may not.
    let read = operation(0, 20, Action::Read(1));
    assert!(is_linearizable(&[read, write]));
    assert!(!is_linearizable(&[read, Operation { client: read.client, ..write }]));
}
