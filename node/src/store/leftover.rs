//! What a flush left: indexes that no database has any more, of items that still lie in the log among others.
//!
//! A flush of one database of several takes its indexes out at once, so that no command sees a key of it, and what they name
//! is marked dead later, a little under each hold of the lock. Until then it counts as used memory. Whoever moves items
//! about finds the index of one here if no database has it.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use smallvec::SmallVec;

use super::{
    Store,
    compaction::MOVED_PER_WRITE,
    index::SlotIndex,
    keyspace::{self, Keyspace},
    log::Handle,
    prefetch,
    reclaim::Counters,
    shard::{Place, Shard},
};
use crate::value::Value;

/// So few keys are removed at once: an index for each slot of the shard would be more than they are.
const FEW: usize = 64;
/// Items removed under one hold of the lock.
const REMOVED_PER_HOLD: usize = 256;

/// The indexes of one shard that no database has.
#[derive(Debug)]
pub(super) struct Leftovers {
    spaces: VecDeque<Box<Keyspace>>,
    counters: Arc<Counters>,
}

impl Leftovers {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { spaces: VecDeque::new(), counters }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// Bytes beside those of the indexes' lines.
    #[inline]
    pub(super) fn memory(&self) -> usize {
        self.spaces.len() * keyspace::EMPTY
    }

    /// Keys for which there is an index.
    pub(super) fn keys(&self) -> usize {
        self.spaces.iter().map(|keys| keys.len).sum()
    }

    /// All items.
    pub(super) fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        self.spaces.iter().flat_map(|keys| keys.slots.iter()).flat_map(SlotIndex::handles)
    }

    /// The indexes that hold the item: the whole, to keep count, and the slot's.
    fn holding(&mut self, place: &Place) -> Option<&mut Keyspace> {
        let holds = |keys: &Keyspace| {
            keys.slot(place.slot).find(place.hash, |handle| handle == place.handle).is_some()
        };
        self.spaces.iter_mut().map(|keys| &mut **keys).find(|keys| holds(keys))
    }

    /// The item's index, if it is here.
    #[inline]
    pub(super) fn index_of(&mut self, place: &Place) -> Option<&mut SlotIndex> {
        if self.spaces.is_empty() { None } else { Some(self.holding(place)?.slot_mut(place.slot)) }
    }

    /// Forgets them all, because all items have gone.
    pub(super) fn clear(&mut self) {
        self.counters.dropped(self.keys());
        self.spaces.clear();
    }
}

impl Shard {
    /// Takes the indexes of these slots out of a database; what few keys they hold goes at once. How many keys they were.
    pub(super) fn leave(
        &mut self,
        space: u8,
        slots: impl Iterator<Item = usize> + Clone,
        value: impl FnMut(Value),
    ) -> usize {
        let Some(keys) = self.keyspace_mut(space) else { return 0 };
        let count: usize = slots.clone().map(|i| keys.slots[i].len()).sum();
        if count == 0 {
            return 0;
        }
        let mut left = Box::new(Keyspace::new());
        for i in slots {
            left.expires += keys.slots[i].expires();
            left.slots[i] = std::mem::take(&mut keys.slots[i]);
            left.slots[i].begin_walk();
        }
        left.len = count;
        keys.len -= count;
        keys.expires -= left.expires;
        if count <= FEW {
            self.remove_left(&mut left, count, value);
        } else {
            self.leftovers.counters.waiting(count);
            self.leftovers.spaces.push_back(left);
        }
        count
    }

    /// Removes up to about `most` of the items that flushes left; how many.
    pub(super) fn drop_left(&mut self, most: usize, value: impl FnMut(Value)) -> usize {
        let Some(mut left) = self.leftovers.spaces.pop_front() else { return 0 };
        let removed = self.remove_left(&mut left, most, value);
        if left.len > 0 {
            self.leftovers.spaces.push_front(left);
        }
        self.leftovers.counters.dropped(removed);
        removed
    }

    /// Removes an item if a flush left it; whether it did.
    pub(super) fn drop_if_left(&mut self, place: &Place, value: impl FnMut(Value)) -> bool {
        if self.leftovers.is_empty() {
            return false;
        }
        let Some(keys) = self.leftovers.holding(place) else { return false };
        keys.len -= 1;
        let slot = keys.slot_mut(place.slot);
        let before = slot.memory();
        slot.remove(place.hash, place.handle);
        self.index_lines += (slot.memory() as i64 - before as i64) / 64;
        self.leftovers.spaces.retain(|keys| keys.len > 0);
        self.leftovers.counters.dropped(1);
        self.drop_item(place.handle).into_iter().for_each(value);
        self.release_boxes();
        true
    }

    /// Removes whole buckets of items from indexes that are in no database, until `most` are gone.
    fn remove_left(&mut self, left: &mut Keyspace, most: usize, mut value: impl FnMut(Value)) -> usize {
        let mut removed = 0;
        for slot in &mut left.slots {
            let before = slot.memory();
            while slot.len() > 0 && removed < most {
                let Some(bucket) = slot.next_bucket() else { break };
                let gone: SmallVec<[Handle; 24]> = slot.bucket(bucket).collect();
                slot.drop_from(bucket, &gone, u64::MAX);
                removed += gone.len();
                // Each would be waited for.
                gone.iter().for_each(|handle| prefetch::prefetch(&self.log.item(*handle).0[0]));
                for handle in gone {
                    self.drop_item(handle).into_iter().for_each(&mut value);
                }
            }
            self.index_lines += (slot.memory() as i64 - before as i64) / 64;
            if removed >= most {
                break;
            }
        }
        left.len -= removed;
        self.release_boxes();
        self.swept += removed * MOVED_PER_WRITE;
        removed
    }
}

impl Store {
    /// Goes on removing what flushes left, for at most `holds` holds of a lock; whether there may be more.
    pub fn drop_left(&self, holds: usize) -> bool {
        for _ in 0..holds {
            if !self.reclaim.has_left() {
                return false;
            }
            self.drop_some_left();
        }
        self.reclaim.has_left()
    }

    /// One hold of the next shard in which something was left.
    fn drop_some_left(&self) {
        for _ in 0..self.shards.len() {
            let turn = self.next_left.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            let mut shard = self.shards[turn].lock();
            if shard.drop_left(REMOVED_PER_HOLD, |value| self.reclaim.discard(value)) > 0 {
                self.settle(&mut shard);
                return;
            }
        }
    }
}
