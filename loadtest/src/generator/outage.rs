//! How long slots are without service, as those who ask for their keys see it.
//!
//! An outage of a slot begins when the first of its requests was due that failed or that waits, and ends with the
//! next good answer about the slot. Where requests are held instead of failed it is their latency; where they fail
//! it reaches to the next that does not, so slots that are seldom asked for look worse than they are, never better.

use crate::cluster::slot::SLOTS;
use crate::connection::Waiting;
use crate::reply::Reply;
use crate::requests::About;
use crate::tally::Tally;

/// For each slot since when requests have failed; `NONE` if none has since the last good answer.
#[derive(Debug)]
pub(super) struct Outages {
    failing: Vec<u64>,
}

const NONE: u64 = u64::MAX;

impl Outages {
    pub(super) fn new() -> Self {
        Self { failing: vec![NONE; SLOTS] }
    }

    /// A request that was due at `since` got an error or lost its connection.
    pub(super) fn on_failure(&mut self, about: About, since: u64) {
        if let Some(failing) = about.slot().and_then(|slot| self.failing.get_mut(usize::from(slot))) {
            *failing = (*failing).min(since);
        }
    }

    /// A good answer has come; returns how long the outage was that it ended.
    #[inline]
    pub(super) fn on_service(&mut self, about: About, since: u64, now: u64) -> u64 {
        let failing = about.slot().and_then(|slot| self.failing.get_mut(usize::from(slot)));
        let first = failing.map_or(NONE, |failing| std::mem::replace(failing, NONE));
        now.saturating_sub(first.min(since))
    }

    /// Takes an answer, good or not.
    #[inline]
    pub(super) fn on_answer(&mut self, tally: &mut Tally, request: Waiting, reply: Reply<'_>, now: u64) {
        if reply.error.is_some() {
            return self.on_failure(request.about, request.since);
        }
        let length = self.on_service(request.about, request.since, now);
        tally.outage = tally.outage.max(length);
    }

    /// The longest outage that has not ended.
    pub(super) fn longest_open(&self, now: u64) -> u64 {
        now.saturating_sub(self.failing.iter().copied().min().unwrap_or(NONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_that_of_its_slot() {
        let mut outages = Outages::new();
        let (one, two) = (About::new(0, 1, 7).with_slot(Some(16383)), About::new(1, 1, 8).with_slot(Some(0)));
        assert_eq!((one.slot(), two.slot(), one.key(), two.command()), (Some(16383), Some(0), 7, 1));
        assert_eq!(outages.on_service(one, 100, 130), 30);
        outages.on_failure(one, 200);
        outages.on_failure(one, 250);
        assert_eq!(outages.on_service(two, 290, 300), 10, "another slot goes on");
        assert_eq!(outages.longest_open(400), 200);
        assert_eq!(outages.on_service(one, 500, 510), 310);
        assert_eq!(outages.on_service(one, 600, 601), 1);
        assert_eq!(outages.longest_open(9000), 0);
        let nowhere = About::new(0, 1, 7);
        outages.on_failure(nowhere, 1);
        assert_eq!((nowhere.slot(), outages.on_service(nowhere, 2, 5)), (None, 3));
    }
}
