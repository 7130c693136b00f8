//! What is under way when an interval ends: claims about windows of a scenario count it with its wait so far.

use super::Generator;

impl Generator {
    /// Notes how long each request has waited that is sent, held, or due and not sent.
    pub(super) fn note_under_way(&mut self, now: u64) {
        let standing = &mut self.tally.standing;
        let sent = self.connections.iter().flat_map(|connection| connection.under_way());
        let held = self.routed.iter().flat_map(|routed| routed.held_since()).map(|(since, _)| since);
        for since in sent.map(|waiting| waiting.since).chain(held) {
            standing.record(now.saturating_sub(since), 1);
        }
        let until = now.min(self.plan.end);
        let left = self.plan.limit.saturating_sub(self.made);
        for lane in &self.lanes {
            for (at, count) in lane.arrivals.expected(lane.due, until) {
                standing.record(now.saturating_sub(at), count.min(left));
            }
        }
    }
}
