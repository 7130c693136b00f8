//! What a flush left: indexes that no database has any more, of items that still lie in the log among others.
//!
//! A flush of one database of several takes its indexes out at once, so that no command sees a key of it, and what they name
//! is marked dead later, a little under each hold of the lock. Until then it counts as used memory. Whoever moves items
//! about finds the index of one here if no database has it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

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

/// So few keys are removed at once.
const FEW: usize = 64;
/// Items removed under one hold of the lock.
const REMOVED_PER_HOLD: usize = 256;

/// The indexes of one shard that no database has.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// By the slot's place in the shard: one for each flush that found keys in it, nearly always one.
    slots: BTreeMap<u16, SmallVec<[SlotIndex; 1]>>,
    indexes: usize,
    keys: usize,
    counters: Arc<Counters>,
}

impl Leftovers {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { slots: BTreeMap::new(), indexes: 0, keys: 0, counters }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.indexes == 0
    }

    /// Bytes beside those of the indexes' lines.
    #[inline]
    pub(super) fn memory(&self) -> usize {
        self.indexes * size_of::<SlotIndex>()
    }

    /// Keys for which there is an index.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// All items.
    pub(super) fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        self.slots.values().flatten().flat_map(SlotIndex::handles)
    }

    /// Which of its slot's indexes holds the item.
    #[inline]
    fn holding(&self, place: &Place) -> Option<usize> {
        let holds = |index: &SlotIndex| index.find(place.hash, |handle| handle == place.handle).is_some();
        self.slots.get(&(local(place.slot) as u16))?.iter().position(holds)
    }

    /// The item's index, if it is here.
    #[inline]
    pub(super) fn index_of(&mut self, place: &Place) -> Option<&mut SlotIndex> {
        if self.is_empty() {
            return None;
        }
        let at = self.holding(place)?;
        self.index_at(local(place.slot), at)
    }

    /// One of the indexes of the shard's `i`th slot.
    fn index_at(&mut self, i: usize, at: usize) -> Option<&mut SlotIndex> {
        self.slots.get_mut(&(i as u16))?.get_mut(at)
    }

    /// Adds the index of the shard's `i`th slot.
    fn put(&mut self, i: usize, index: SlotIndex) {
        self.keys += index.len();
        self.indexes += 1;
        self.slots.entry(i as u16).or_default().push(index);
    }

    /// Takes out an index of the shard's `i`th slot.
    fn take(&mut self, i: usize, at: usize) -> Option<SlotIndex> {
        let indexes = self.slots.get_mut(&(i as u16))?;
        let index = indexes.swap_remove(at);
        if indexes.is_empty() {
            self.slots.remove(&(i as u16));
        }
        self.keys -= index.len();
        self.indexes -= 1;
        Some(index)
    }

    /// Takes out any of them, and where its slot is in the shard.
    fn take_next(&mut self) -> Option<(usize, SlotIndex)> {
        let i = usize::from(*self.slots.first_key_value()?.0);
        Some((i, self.take(i, 0)?))
    }

    /// Forgets them all, because all items have gone.
    pub(super) fn clear(&mut self) {
        self.counters.dropped(self.keys);
        (self.keys, self.indexes) = (0, 0);
        self.slots.clear();
    }
}

impl Shard {
    /// Takes the indexes of these slots out of a database; what few keys they hold goes at once. How many keys they were.
    pub(super) fn leave(
        &mut self,
        space: u8,
        slots: impl Iterator<Item = usize> + Clone,
        mut value: impl FnMut(Value),
    ) -> usize {
        let Some(keys) = self.spaces[usize::from(space)].as_deref_mut() else { return 0 };
        let count: usize = slots.clone().map(|i| keys.slots[i].len()).sum();
        let mut few = SmallVec::<[SlotIndex; 1]>::new();
        for i in slots {
            let slot = &mut keys.slots[i];
            if slot.len() == 0 {
                continue;
            }
            let mut index = std::mem::take(slot);
            keys.len -= index.len();
            keys.expires -= index.expires();
            index.begin_walk();
            if count <= FEW { few.push(index) } else { self.leftovers.put(i, index) }
        }
        if count <= FEW {
            for index in &mut few {
                self.remove_left(index, count, &mut value);
            }
        } else {
            self.leftovers.counters.waiting(count);
        }
        count
    }

    /// Removes up to about `most` of the items that flushes left; how many.
    pub(super) fn drop_left(&mut self, most: usize, mut value: impl FnMut(Value)) -> usize {
        let mut removed = 0;
        while removed < most
            && let Some((i, mut index)) = self.leftovers.take_next()
        {
            removed += self.remove_left(&mut index, most - removed, &mut value);
            if index.len() > 0 {
                self.leftovers.put(i, index);
            }
        }
        self.leftovers.counters.dropped(removed);
        removed
    }

    /// Removes an item if a flush left it; whether it did.
    pub(super) fn drop_if_left(&mut self, place: &Place, value: impl FnMut(Value)) -> bool {
        if self.leftovers.is_empty() {
            return false;
        }
        let Some(at) = self.leftovers.holding(place) else { return false };
        let i = local(place.slot);
        let Some(index) = self.leftovers.index_at(i, at) else { return false };
        let before = index.memory();
        index.remove(place.hash, place.handle);
        let (empty, grown) = (index.len() == 0, index.memory() as i64 - before as i64);
        self.index_lines += grown / 64;
        self.leftovers.keys -= 1;
        if empty {
            self.leftovers.take(i, at);
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
