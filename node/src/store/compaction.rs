//! Giving back segments of the log in which much is dead: what lives there is moved to the end of its queue.
//!
//! Who writes pays for it, with a bounded number of moves for each item written. Where memory is short and anything else would
//! have to go for it, segments in which less is dead are emptied, too, the worst first: as long as the moves do not come to more
//! than a few for each item that has died.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::{
    Reclaim, SHARDS, Store,
    log::{LITTERED, SPARSE, SPARSE_IF_AMPLE},
    prefetch,
    shard::{Place, Shard},
};

/// Items moved out of sparse segments for each one that is written.
pub(super) const MOVED_PER_WRITE: usize = 8;
/// The most of them under one hold of the lock.
const MOST_MOVED: usize = 512;
/// Items met under one hold of the lock where memory is short.
const SQUEEZED_PER_HOLD: usize = 128;
/// Shards that are asked for one hold's work.
const SHARDS_ASKED: usize = 4;
/// Items whose memory is asked for at the same time.
const AT_ONCE: usize = 16;

/// What may be done to give dead bytes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Price {
    /// So many moves as what has died since is worth.
    Earned,
    /// Whatever it takes.
    Any,
}

impl Shard {
    /// Moves items out of segments of which at least `least` bands are dead, or removes them if a flush left them, so that the
    /// segments are given back. How many items it met: at most `count`, fewer if no such segment is left.
    fn compact(&mut self, count: usize, least: usize, reclaim: &Reclaim) -> usize {
        let mut left = count;
        while left > 0 {
            let Some(segment) = self.log.littered(least) else { break };
            let mut places = SmallVec::<[Place; AT_ONCE]>::new();
            while places.len() < left.min(AT_ONCE) {
                let Some(handle) = self.log.walk(segment) else { break };
                let place = self.place_of(handle);
                // Their places in the index are asked for together, as each would be waited for.
                prefetch::slot_of(self, &place);
                places.push(place);
            }
            if places.is_empty() {
                // A walked segment has no living item: it went back with its last one.
                break;
            }
            places.iter().for_each(|place| prefetch::line_of(self, place));
            left -= places.len();
            for place in places {
                if !self.drop_if_left(&place, |value| reclaim.discard(value)) {
                    self.log.spend(self.item(place.handle).len());
                    let queue = self.log.queue_of(place.handle);
                    self.relocate(place, queue);
                }
            }
        }
        count - left
    }

    /// Empties segments of which little may be dead, under one hold of the lock; how many items it met.
    fn squeeze(&mut self, price: Price, reclaim: &Reclaim) -> usize {
        if price == Price::Any || self.log.affords_moves() {
            self.compact(SQUEEZED_PER_HOLD, LITTERED, reclaim)
        } else {
            0
        }
    }

    /// Pays for what was written with a bounded share of the moves that give dead bytes back, out of segments of which at least
    /// `least` bands are dead. Moves items, so no [`Place`] may be held.
    #[inline]
    pub(super) fn tidy(&mut self, least: usize, reclaim: &Reclaim) {
        // Those whose memory is asked for together are paid for together.
        if self.owed >= AT_ONCE {
            let owed = std::mem::take(&mut self.owed);
            if self.log.is_littered(least) {
                self.compact(owed.min(MOST_MOVED), least, reclaim);
            }
        }
    }

    /// Pays for what the sweep removed, once it has come to the end of what is due, with at most `most` moves; whether more
    /// are owed.
    pub(super) fn pay_for_swept(&mut self, most: usize, reclaim: &Reclaim) -> bool {
        if self.swept > 0 {
            let moves = self.swept.min(most);
            self.compact(moves, SPARSE, reclaim);
            self.swept = if self.log.is_littered(SPARSE) { self.swept - moves } else { 0 };
        }
        self.swept > 0
    }
}

impl Store {
    /// How many bands of a segment have to be dead before others are moved out of it: more where memory is not short.
    #[inline]
    pub(super) fn sparse(&self) -> usize {
        if self.is_ample() { SPARSE_IF_AMPLE } else { SPARSE }
    }

    /// Notes whether there is anything in a shard that could be squeezed out.
    #[cold]
    pub(super) fn note_litter(&self, shard: &mut Shard) {
        shard.littered = !shard.littered;
        if shard.littered {
            self.littered.fetch_or(1 << shard.number, Ordering::Relaxed);
        } else {
            self.littered.fetch_and(!(1 << shard.number), Ordering::Relaxed);
        }
    }

    /// Gives back some of what dead items hold, under one hold of a lock; how many items it met. None: there is nothing to give
    /// back at this price, or at most in a few shards that will be asked next.
    pub(super) fn squeeze_some(&self, price: Price) -> usize {
        const { assert!(SHARDS == u64::BITS as usize) };
        let mut littered = self.littered.load(Ordering::Relaxed);
        for _ in 0..SHARDS_ASKED {
            if littered == 0 {
                break;
            }
            let first = self.next_squeezed.load(Ordering::Relaxed) % SHARDS;
            let turn = (first + littered.rotate_right(first as u32).trailing_zeros() as usize) % SHARDS;
            littered &= !(1 << turn);
            let mut shard = self.shards[turn].lock();
            let met = shard.squeeze(price, &self.reclaim);
            self.settle(&mut shard);
            // A segment gives its memory back when it is empty.
            let next = if met > 0 && shard.log.is_emptying() { turn } else { turn + 1 };
            self.next_squeezed.store(next, Ordering::Relaxed);
            if met > 0 {
                return met;
            }
        }
        0
    }

    /// Gives back some of what holds nothing that anybody can see: dead bytes, and what flushes left. What it took, in items
    /// looked at; 0: there is no such thing.
    pub(super) fn clear_away(&self, price: Price) -> usize {
        match self.squeeze_some(price) {
            0 if self.reclaim.has_left() => self.drop_some_left(),
            met => met,
        }
    }
}
