//! What was sent together on one connection: was it done in the order of sending?
//!
//! Real time does not tell the order of requests that were under way at once, but a server that executes the requests
//! of a connection one after the other promises it. For a register the write of a value and its reads are done in one
//! go, nothing in between (each value is written once), so the history is right if and only if the values can be put
//! in an order in which each comes before another wherever one of its operations must: by time, or by the connection.
//! That is so if the graph of these relations has no circle. Time makes too many relations to write them all down;
//! they go through a chain of points, one for each end of an operation. O(n log n).
//!
//! Reads of nothing and removals are points of the graph of their own; where one that finds nothing follows one that
//! leaves a value on the same connection, somebody else's removal must have been possible in between. Requests without
//! an answer may be done later than what follows them, so they have no place in the order.

use super::history::{Action, Operation, Violation, Wrong};
use super::register::{finds_nothing, leaves_nothing, leaves_value, removes};

/// Checks the operations of one key, in which nothing wrong was found by time alone. They are sorted by their start,
/// and those of a client with the same start by the order of sending.
pub fn check(operations: &[Operation], counts: bool) -> Vec<Violation> {
    let sequences = sequences(operations);
    let is_open = |pair: &[usize]| operations[pair[0]].end >= operations[pair[1]].start;
    if !sequences.iter().any(|sequence| sequence.windows(2).any(is_open)) {
        return Vec::new();
    }
    if counts {
        return backwards(operations, &sequences);
    }
    let mut violations = between(operations, &sequences);
    violations.extend(circles(operations, &sequences));
    violations
}

/// The answered operations of each client, by their places.
fn sequences(operations: &[Operation]) -> Vec<Vec<usize>> {
    let answered = |index: &usize| operations[*index].is_answered() && !operations[*index].is_stray();
    let mut places: Vec<usize> = (0..operations.len()).filter(answered).collect();
    places.sort_by_key(|place| operations[*place].client);
    places.chunk_by(|a, b| operations[*a].client == operations[*b].client).map(<[usize]>::to_vec).collect()
}

fn reordered(first: &Operation, second: &Operation) -> Violation {
    Violation { wrong: Wrong::Reordered, operations: vec![*first, *second] }
}

/// A counter never shows less to a connection's later request.
fn backwards(operations: &[Operation], sequences: &[Vec<usize>]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for pair in sequences.iter().flat_map(|sequence| sequence.windows(2)) {
        let (first, second) = (&operations[pair[0]], &operations[pair[1]]);
        let is_wrong = match (first.action, second.action) {
            (Action::Increment(a) | Action::ReadCounter(a), Action::Increment(b)) => b <= a,
            (Action::Increment(a) | Action::ReadCounter(a), Action::ReadCounter(b)) => b < a,
            _ => false,
        };
        if is_wrong {
            violations.push(reordered(first, second));
        }
    }
    violations
}

/// Starts and ends of operations, sorted.
struct Spans {
    starts: Vec<u64>,
    ends: Vec<u64>,
}

impl Spans {
    fn of<'a>(operations: impl Iterator<Item = &'a Operation> + Clone) -> Self {
        let mut starts: Vec<u64> = operations.clone().map(|operation| operation.start).collect();
        let mut ends: Vec<u64> = operations.map(|operation| operation.end).collect();
        starts.sort_unstable();
        ends.sort_unstable();
        Self { starts, ends }
    }

    /// How many of them touch this time.
    fn touching(&self, from: u64, until: u64) -> usize {
        self.starts.partition_point(|start| *start <= until) - self.ends.partition_point(|end| *end < from)
    }
}

/// What finds nothing right after what left a value needs a removal in between that is not its own connection's, and
/// what finds a value right after what left none needs such a write.
fn between(operations: &[Operation], sequences: &[Vec<usize>]) -> Vec<Violation> {
    type Test = fn(&Operation) -> bool;
    let finds_value: Test = |operation| operation.action == Action::Removed(true);
    let writes: Test = |operation| matches!(operation.action, Action::Write(_));
    let mut violations = Vec::new();
    let rules: [(Test, Test, Test); 2] =
        [(leaves_value, finds_nothing, removes), (leaves_nothing, finds_value, writes)];
    for (leaves, finds, changes) in rules {
        let all = Spans::of(operations.iter().filter(|operation| changes(operation)));
        for sequence in sequences {
            let own = sequence.iter().map(|place| &operations[*place]);
            let own = Spans::of(own.filter(|operation| changes(operation)));
            for pair in sequence.windows(2) {
                let (first, second) = (&operations[pair[0]], &operations[pair[1]]);
                if leaves(first)
                    && finds(second)
                    && all.touching(first.start, second.end) == own.touching(first.start, second.end)
                {
                    violations.push(reordered(first, second));
                }
            }
        }
    }
    violations
}

/// Values that would each have to come before the other.
fn circles(operations: &[Operation], sequences: &[Vec<usize>]) -> Vec<Violation> {
    let (groups, count) = groups(operations);
    let edges = relations(operations, &groups, count, sequences);
    let points = count + operations.iter().filter(|operation| operation.is_answered()).count();
    let component = components(points, &edges);
    let mut members = vec![0u32; points];
    for group in 0..count {
        members[component[group] as usize] += 1;
    }
    let mut violations = Vec::new();
    for pair in sequences.iter().flat_map(|sequence| sequence.windows(2)) {
        let (a, b) = (groups[pair[0]] as usize, groups[pair[1]] as usize);
        let place = component[a] as usize;
        // One pair tells of each circle.
        if a != b && component[a] == component[b] && members[place] > 1 {
            members[place] = 0;
            violations.push(reordered(&operations[pair[0]], &operations[pair[1]]));
        }
    }
    violations
}

/// For each operation the group it is done with (that of its value, or one of its own), and how many there are.
fn groups(operations: &[Operation]) -> (Vec<u32>, usize) {
    let value = |index: usize| match operations[index].action {
        Action::Write(value) | Action::Read(value) => (0, value),
        _ => (1, index as u64),
    };
    let mut order: Vec<usize> = (0..operations.len()).collect();
    order.sort_unstable_by_key(|index| value(*index));
    let mut groups = vec![0; operations.len()];
    let mut count = 0;
    for same in order.chunk_by(|a, b| value(*a) == value(*b)) {
        for index in same {
            groups[*index] = count;
        }
        count += 1;
    }
    (groups, count as usize)
}

/// What comes before what. Points from `count` on are the ends of operations in the order of time.
fn relations(
    operations: &[Operation],
    groups: &[u32],
    count: usize,
    sequences: &[Vec<usize>],
) -> Vec<(u32, u32)> {
    let answered = operations.iter().filter(|operation| operation.is_answered());
    let mut ends: Vec<u64> = answered.map(|operation| operation.end).collect();
    ends.sort_unstable();
    let point = |index: usize| (count + index) as u32;
    let mut edges: Vec<(u32, u32)> = (1..ends.len()).map(|index| (point(index - 1), point(index))).collect();
    for (operation, group) in operations.iter().zip(groups).filter(|(operation, _)| !operation.is_stray()) {
        if operation.is_answered() {
            edges.push((*group, point(ends.partition_point(|end| *end < operation.end))));
        }
        if let Some(last) = ends.partition_point(|end| *end < operation.start).checked_sub(1) {
            edges.push((point(last), *group));
        }
    }
    let pairs = sequences.iter().flat_map(|sequence| sequence.windows(2));
    edges.extend(pairs.map(|pair| (groups[pair[0]], groups[pair[1]])).filter(|(a, b)| a != b));
    edges
}

/// For each point the number of its strongly connected component (R. Tarjan, "Depth-first search and linear graph
/// algorithms", 1972; with a stack of its own instead of recursion).
fn components(points: usize, edges: &[(u32, u32)]) -> Vec<u32> {
    const NEW: u32 = u32::MAX;
    let mut edges = edges.to_vec();
    edges.sort_unstable();
    let first = |point: usize| edges.partition_point(|(from, _)| (*from as usize) < point);
    let firsts: Vec<usize> = (0..=points).map(first).collect();
    let (mut number, mut lowest) = (vec![NEW; points], vec![0; points]);
    let mut component = vec![NEW; points];
    let (mut numbered, mut found) = (0, 0);
    let mut open: Vec<usize> = Vec::new();
    let mut path: Vec<(usize, usize)> = Vec::new();
    for root in 0..points {
        if number[root] != NEW {
            continue;
        }
        path.push((root, firsts[root]));
        while let Some((point, edge)) = path.last_mut() {
            let at = *point;
            if number[at] == NEW {
                (number[at], lowest[at]) = (numbered, numbered);
                numbered += 1;
                open.push(at);
            }
            if *edge < firsts[at + 1] {
                let next = edges[*edge].1 as usize;
                if number[next] == NEW {
                    // The edge is looked at again when the point behind it is done.
                    path.push((next, firsts[next]));
                } else {
                    *edge += 1;
                    if component[next] == NEW {
                        lowest[at] = lowest[at].min(lowest[next]);
                    }
                }
                continue;
            }
            path.pop();
            if lowest[at] == number[at] {
                while let Some(member) = open.pop() {
                    component[member] = found;
                    if member == at {
                        break;
                    }
                }
                found += 1;
            }
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_found() {
        // Two circles, one leading into the other, and a point that leads into both.
        let edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 3), (5, 0), (5, 4)];
        let found = components(6, &edges);
        assert!(found[0] == found[1] && found[1] == found[2] && found[3] == found[4]);
        assert!(found[0] != found[3] && found[5] != found[0] && found[5] != found[3]);
        let chain: Vec<(u32, u32)> = (1..100_000).map(|point| (point - 1, point)).collect();
        let mut found = components(100_000, &chain);
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 100_000);
    }
}
