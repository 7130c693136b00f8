//! What is told of slots that this node has yet to hand over.

use shoal_proto::view::{NodeId, Ranges};

use super::Task;

/// Most ranges of slots in one line for people.
const MOST_RANGES: usize = 8;

impl Task {
    /// Metrics, and once a line of the log when slots begin to wait for room somewhere, and when none does any more.
    pub(super) fn report_handoff(&mut self) {
        let (_, left) = self.core.handoff().progress();
        let node = &self.settings.name;
        metrics::gauge!("shoal_handoff_left", "node" => node.clone()).set(f64::from(left));
        let waits = self.core.handoff().lacks_room();
        let before = self.shared.lacks_room.load();
        if **before == waits {
            return;
        }
        let all: usize = waits.values().map(count).sum();
        metrics::gauge!("shoal_handoff_lacks_room", "node" => node.clone()).set(all as f64);
        for (to, ranges) in waits.iter().filter(|(to, _)| !before.contains_key(to)) {
            tracing::warn!(
                node,
                to = self.name_of(*to),
                count = count(ranges),
                slots = brief(ranges),
                "slots stay here, and are served, because no memory is left for them where they, or their copies, are to go; \
                 they are tried again now and then"
            );
        }
        let gone = |to: &&NodeId| !waits.contains_key(to);
        for to in before.keys().filter(gone) {
            tracing::info!(node, to = self.name_of(*to), "no slot waits for memory there any more");
        }
        self.shared.lacks_room.store(waits.into());
    }
}

/// How many slots there are.
pub(in super::super) fn count(ranges: &Ranges) -> usize {
    ranges.iter().map(|(first, last)| usize::from(last - first) + 1).sum()
}

/// The slots as in `CLUSTER NODES`, not all if they are many.
pub(in super::super) fn brief(ranges: &Ranges) -> String {
    let range = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let mut words: Vec<String> = ranges.iter().take(MOST_RANGES).map(range).collect();
    if ranges.len() > MOST_RANGES {
        words.push("...".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_slots_are_told_in_short() {
        assert_eq!(brief(&vec![(1, 1), (3, 5)]), "1 3-5");
        let many: Ranges = (0..100).map(|n| (4 * n, 4 * n + 1)).collect();
        assert_eq!(brief(&many), "0-1 4-5 8-9 12-13 16-17 20-21 24-25 28-29 ...");
        assert_eq!(count(&many), 200);
    }
}
