//! Giving back segments of the log in which much is dead: what lives there is moved to the end of its queue.
//!
//! Who writes pays for it, with a bounded number of moves for each item written.

use smallvec::SmallVec;

use super::{
    prefetch,
    shard::{Place, Shard},
};

/// Items moved out of sparse segments for each one that is written.
pub(super) const MOVED_PER_WRITE: usize = 8;
/// The most of them under one hold of the lock.
const MOST_MOVED: usize = 512;

impl Shard {
    /// Moves up to `count` items out of segments in which much is dead, so that they are given back.
    fn compact(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let Some(segment) = self.log.sparse() else { return };
            let mut places = SmallVec::<[Place; MOVED_PER_WRITE]>::new();
            while places.len() < left.min(MOVED_PER_WRITE) {
                let Some(handle) = self.log.walk(segment) else { break };
                let place = self.place_of(handle);
                // Their places in the index are asked for together, as each would be waited for.
                prefetch::slot_of(self, &place);
                places.push(place);
            }
            if places.is_empty() {
                // A walked segment has no living item: it went back with its last one.
                return;
            }
            places.iter().for_each(|place| prefetch::line_of(self, place));
            left -= places.len();
            for place in places {
                let queue = self.log.queue_of(place.handle);
                self.relocate(place, queue);
            }
        }
    }

    /// Moves up to `count` items out of the segments in which most is dead, however little that is.
    pub(super) fn squeeze(&mut self, count: usize) {
        for _ in 0..count {
            let Some(segment) = self.log.sparse().or_else(|| self.log.deadest()) else { return };
            let Some(handle) = self.log.walk(segment) else { return };
            let place = self.place_of(handle);
            let queue = self.log.queue_of(handle);
            self.relocate(place, queue);
        }
    }

    /// Pays for what was written with a bounded share of the moves that give dead bytes back. Moves items, so no
    /// [`Place`] may be held.
    #[inline]
    pub(super) fn tidy(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        if owed > 0 && self.log.sparse().is_some() {
            self.compact(owed.min(MOST_MOVED));
        }
    }

    /// Pays for what the sweep removed, once it has come to the end of what is due, with at most `most` moves; whether more
    /// are owed.
    pub(super) fn pay_for_swept(&mut self, most: usize) -> bool {
        if self.swept > 0 {
            let moves = self.swept.min(most);
            self.compact(moves);
            self.swept = if self.log.sparse().is_some() { self.swept - moves } else { 0 };
        }
        self.swept > 0
    }
}
