//! What a flush left, or a slot that went elsewhere: indexes that no database has any more, of items that still lie in the log
//! among others.
//!
//! A flush of one database of several takes its indexes out at once, so that no command sees a key of it, and what they name
//! is marked dead later, a little under each hold of the lock. Until then it counts as used memory. Whoever moves items
//! about finds the index of one here if no database has it. A slot that is emptied goes in the same way, which takes as long for a
//! million keys as for one.

use std::sync::{Arc, atomic::Ordering};

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::{
    Store,
    compaction::MOVED_PER_WRITE,
    index::SlotIndex,
    keyspace::local,
    log::Handle,
    prefetch,
    reclaim::Counters,
    shard::{Place, Shard},
};
use crate::value::Value;

/// So few keys are removed at once by a flush: most databases that are flushed are small.
pub(super) const FEW: usize = 64;
/// Items removed under one hold of the lock.
const REMOVED_PER_HOLD: usize = 256;

/// The indexes of one shard that no database has.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// With the slot's place in the shard, in that order: one for each flush that found keys in it, nearly always one. A flush adds
    /// many at once, in order, and each flushed slot one, so this costs less than a tree.
    indexes: Vec<(u16, SlotIndex)>,
    keys: usize,
    counters: Arc<Counters>,
}

impl Leftovers {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { indexes: Vec::new(), keys: 0, counters }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Bytes beside those of the indexes' lines.
    #[inline]
    pub(super) fn memory(&self) -> usize {
        self.indexes.len() * size_of::<(u16, SlotIndex)>()
    }

    /// Keys for which there is an index.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// All items.
    pub(super) fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        self.indexes.iter().flat_map(|(_, index)| index.handles())
    }

    /// Which index holds the item.
    #[inline]
    fn holding(&self, place: &Place) -> Option<usize> {
        let i = local(place.slot) as u16;
        let first = self.indexes.partition_point(|(slot, _)| *slot < i);
        let mut of_slot = self.indexes[first..].iter().take_while(|(slot, _)| *slot == i);
        let holds = |(_, index): &(u16, SlotIndex)| index.find(place.hash, |h| h == place.handle).is_some();
        Some(first + of_slot.position(holds)?)
    }

    /// The item's index, if it is here.
    #[inline]
    pub(super) fn index_of(&mut self, place: &Place) -> Option<&mut SlotIndex> {
        if self.is_empty() {
            return None;
        }
        let at = self.holding(place)?;
        Some(&mut self.indexes[at].1)
    }

    /// Adds the index of the shard's `i`th slot; [`order`](Self::order) must follow.
    fn put(&mut self, i: usize, index: SlotIndex) {
        self.keys += index.len();
        self.indexes.push((i as u16, index));
    }

    /// Brings those that were put into their places.
    fn order(&mut self) {
        if !self.indexes.is_sorted_by_key(|(slot, _)| *slot) {
            self.indexes.sort_by_key(|(slot, _)| *slot);
        }
    }

    /// Gives back what is not needed any more for the list itself.
    fn shrink(&mut self) {
        if self.indexes.is_empty() {
            self.indexes = Vec::new();
        }
    }

    /// Forgets them all, because all items have gone.
    pub(super) fn clear(&mut self) {
        self.counters.dropped(self.keys);
        (self.keys, self.indexes) = (0, Vec::new());
    }
}

impl Shard {
    /// Takes the indexes of these slots out of a database; if they hold no more than `few` keys, those go at once. How many
    /// keys they were.
    pub(super) fn leave(
        &mut self,
        space: u8,
        slots: impl Iterator<Item = usize> + Clone,
        few: usize,
        mut value: impl FnMut(Value),
    ) -> usize {
        let Some(keys) = self.spaces[usize::from(space)].as_deref_mut() else { return 0 };
        let count: usize = slots.clone().map(|i| keys.slots[i].len()).sum();
        let mut gone = SmallVec::<[SlotIndex; 1]>::new();
        for i in slots {
            let slot = &mut keys.slots[i];
            if slot.len() == 0 {
                continue;
            }
            let mut index = std::mem::take(slot);
            keys.len -= index.len();
            keys.expires -= index.expires();
            index.begin_walk();
            if count <= few { gone.push(index) } else { self.leftovers.put(i, index) }
        }
        // Nobody finds them from now on, though they are still there.
        self.log.note_gone();
        if count <= few {
            for index in &mut gone {
                self.remove_left(index, count, &mut value);
            }
        } else {
            self.leftovers.order();
            self.leftovers.counters.waiting(count);
        }
        count
    }

    /// Removes up to about `most` of the items that were left; how many.
    pub(super) fn drop_left(&mut self, most: usize, mut value: impl FnMut(Value)) -> usize {
        let mut removed = 0;
        while removed < most
            && let Some((i, mut index)) = self.leftovers.indexes.pop()
        {
            let gone = self.remove_left(&mut index, most - removed, &mut value);
            self.leftovers.keys -= gone;
            removed += gone;
            if index.len() > 0 {
                // It was the last one before as well.
                self.leftovers.indexes.push((i, index));
            }
        }
        self.leftovers.shrink();
        self.leftovers.counters.dropped(removed);
        removed
    }

    /// Removes an item if it was left; whether it was.
    pub(super) fn drop_if_left(&mut self, place: &Place, value: impl FnMut(Value)) -> bool {
        if self.leftovers.is_empty() {
            return false;
        }
        let Some(at) = self.leftovers.holding(place) else { return false };
        let index = &mut self.leftovers.indexes[at].1;
        let before = index.memory();
        index.remove(place.hash, place.handle);
        let (empty, grown) = (index.len() == 0, index.memory() as i64 - before as i64);
        self.index_lines += grown / 64;
        self.leftovers.keys -= 1;
        if empty {
            self.leftovers.indexes.remove(at);
            self.leftovers.shrink();
        }
        self.leftovers.counters.dropped(1);
        self.drop_item(place.handle).into_iter().for_each(value);
        self.release_boxes();
        true
    }

    /// Removes whole buckets of items from an index that is in no database, until `most` are gone.
    fn remove_left(&mut self, slot: &mut SlotIndex, most: usize, mut value: impl FnMut(Value)) -> usize {
        let (mut removed, before) = (0, slot.memory());
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
        self.release_boxes();
        self.swept += removed * MOVED_PER_WRITE;
        removed
    }
}

impl Store {
    /// Goes on removing what flushes and emptied slots left, for at most `holds` holds of a lock; whether there may be more.
    pub fn drop_left(&self, holds: usize) -> bool {
        for _ in 0..holds {
            if !self.reclaim.has_left() {
                return false;
            }
            self.drop_some_left();
        }
        self.reclaim.has_left()
    }

    /// One hold of the shard that is at its turn; how many items went. A shard stays at its turn until nothing is left in it, so
    /// that its segments can be given back while others have yet to begin.
    pub(super) fn drop_some_left(&self) -> usize {
        for _ in 0..self.shards.len() {
            let turn = self.next_left.load(Ordering::Relaxed) % self.shards.len();
            let mut shard = self.shards[turn].lock();
            let removed = shard.drop_left(REMOVED_PER_HOLD, |value| self.reclaim.discard(value));
            self.settle(&mut shard);
            if shard.leftovers.is_empty() {
                self.next_left.store(turn + 1, Ordering::Relaxed);
            }
            // It may be locked again at once: whoever waits for it comes first.
            MutexGuard::unlock_fair(shard);
            if removed > 0 {
                return removed;
            }
        }
        0
    }
}
