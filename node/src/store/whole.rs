//! What happens to whole databases and slots of a shard: taking out, emptying, exchanging, drawing from.

use slab::Slab;
use smallvec::SmallVec;

use super::{
    DATABASES, Reclaim, SLOTS_PER_SHARD,
    compaction::MOVED_PER_WRITE,
    index::SlotIndex,
    item::Form,
    keyspace::{Keyspace, local},
    leftover::FEW,
    log::{Handle, Log},
    shard::{Boxed, Shard, box_of},
};
use crate::value::Value;

/// Places in a bucket from which a random key is drawn; longer chains are very rare.
const LONGEST_CHAIN: usize = 36;

/// What a flush has taken out of a shard. The fields are only held, to be dropped where that disturbs nobody.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Keys, and how many of them are still to be removed from the shard.
    pub(super) keys: usize,
    pub(super) left: usize,
    /// Bytes that were accounted for, and come back when this is dropped.
    pub(super) bytes: usize,
    _held: Option<(Log, Slab<Boxed>, Vec<Keyspace>)>,
    _values: Vec<Value>,
}

impl Shard {
    /// Takes everything out, whatever the gates.
    pub(super) fn take_all(&mut self) -> Taken {
        let spaces: Vec<Keyspace> =
            self.spaces.iter_mut().filter_map(Option::take).map(|keys| *keys).collect();
        let keys = spaces.iter().map(|keys| keys.len).sum();
        let bytes = self.used.max(0) as usize;
        self.stats.dirty += keys as u64;
        let log = self.log.emptied();
        let boxes = std::mem::take(&mut self.boxes);
        self.leftovers.clear();
        self.hand.forget_all();
        (self.used, self.index_lines, self.held_spaces, self.swept) = (0, 0, 0, 0);
        Taken { keys, left: 0, bytes, _held: Some((log, boxes, spaces)), _values: Vec::new() }
    }

    /// Takes the keys out that commands see, of one database or of all. Nothing is done for each of them: if the shard
    /// holds no others they go as a whole, else they are left to be removed later.
    pub(super) fn take_visible(&mut self, db: Option<u8>) -> Taken {
        let dbs = db.map_or(0..DATABASES as u8, |db| db..db + 1);
        let visible: usize = dbs.clone().map(|db| self.visible(db).0).sum();
        let others = self.spaces.iter().flatten().map(|keys| keys.len).sum::<usize>() - visible;
        if visible > 0 && others == 0 {
            return self.take_all();
        }
        let shown: SmallVec<[usize; SLOTS_PER_SHARD]> =
            (0..SLOTS_PER_SHARD).filter(|i| self.shows(*i)).collect();
        let mut taken = Taken::default();
        let before = self.leftovers.keys();
        for space in dbs.map(|db| self.space(db)).collect::<SmallVec<[u8; DATABASES]>>() {
            taken.keys += self.leave(space, shown.iter().copied(), FEW, |value| taken._values.push(value));
        }
        taken.left = self.leftovers.keys() - before;
        taken.bytes = taken._values.iter().map(Value::memory).sum();
        // Their indexes are charged as what they have become.
        self.drop_empty_spaces();
        self.stats.dirty += taken.keys as u64;
        taken
    }

    /// Kills an item that the index does not know any more; its value if that lay outside the log.
    pub(super) fn drop_item(&mut self, handle: Handle) -> Option<Value> {
        let item = self.log.item(handle);
        let boxed = (item.form() == Form::Boxed).then(|| box_of(item));
        let (charge, queue) = (self.charge(handle) as i64, self.log.queue_of(handle));
        self.log.kill(handle);
        self.account(queue, -charge);
        self.hand.left();
        boxed.map(|id| self.boxes.remove(id).value)
    }

    /// Removes these items, which have an expiry, from bucket `at` of a slot; of those that stay there, `later` is the earliest expiry.
    pub(super) fn drop_swept(
        &mut self,
        (space, i, at): (u8, usize, usize),
        (gone, later): (&[Handle], u64),
        mut value: impl FnMut(Value),
    ) {
        let Some(keys) = self.keyspace_mut(space) else { return };
        keys.len -= gone.len();
        keys.expires -= gone.len();
        let slot = &mut keys.slots[i];
        slot.count_expires(0, gone.len());
        let before = slot.memory();
        slot.drop_from(at, gone, later);
        let grown = slot.memory() as i64 - before as i64;
        self.index_lines += grown / 64;
        for handle in gone {
            if let Some(boxed) = self.drop_item(*handle) {
                value(boxed);
            }
        }
        self.release_boxes();
        self.swept += gone.len() * MOVED_PER_WRITE;
    }

    /// Removes all keys of a slot, of one database or of all.
    pub(super) fn flush_slot(&mut self, slot: u16, db: Option<u8>, reclaim: &Reclaim) {
        for db in db.map_or(0..DATABASES as u8, |db| db..db + 1) {
            let slots = std::iter::once(local(slot));
            let count = self.leave(self.space(db), slots, FEW, |value| reclaim.discard(value));
            self.stats.dirty += count as u64;
        }
    }

    /// Exchanges two databases. Slots that are not served here keep what they hold where it is.
    pub(super) fn swap(&mut self, a: u8, b: u8) {
        self.space_of.swap(usize::from(a), usize::from(b));
        if self.gates.any_away() {
            for i in (0..SLOTS_PER_SHARD).filter(|i| !self.shows(*i)).collect::<Vec<_>>() {
                self.swap_slot(i, a, b);
            }
        }
    }

    /// Exchanges two databases in the shard's `i`th slot. O(keys): each has to learn its database.
    pub(super) fn swap_slot(&mut self, i: usize, a: u8, b: u8) {
        let (a, b) = (self.space(a), self.space(b));
        if a == b {
            return;
        }
        let mut halves = [a, b].map(|space| {
            let Some(keys) = self.keyspace_mut(space) else { return (SlotIndex::default(), 0) };
            let index = std::mem::take(&mut keys.slots[i]);
            keys.len -= index.len();
            let expires = index.expires();
            if let Some(keys) = self.keyspace_mut(space) {
                keys.expires -= expires;
            }
            (index, expires)
        });
        halves.swap(0, 1);
        for ((index, expires), space) in halves.into_iter().zip([a, b]) {
            if index.len() == 0 {
                continue;
            }
            index.handles().for_each(|handle| self.log.item_mut(handle).set_space(space));
            let keys = self.keyspace_or_new(space);
            keys.len += index.len();
            keys.expires += expires;
            keys.min_expiry = keys.min_expiry.min(index.min_expiry);
            keys.slots[i] = index;
        }
        // One of them may have held nothing else.
        self.drop_empty_spaces();
    }

    /// A key of this space, drawn evenly. It may have expired.
    pub(super) fn random(&self, space: u8) -> Option<Handle> {
        let keys = self.keyspace(space)?;
        let shown = |(i, slot)| self.shows(i).then_some(slot);
        let len: usize = keys.slots.iter().enumerate().filter_map(shown).map(SlotIndex::len).sum();
        let mut pick = rand::random_range(0..len.max(1));
        let slot = keys.slots.iter().enumerate().filter_map(shown).find(|slot| {
            let here = pick < slot.len();
            pick = pick.wrapping_sub(if here { 0 } else { slot.len() });
            here
        })?;
        // Evenly: a bucket is drawn, and then a place in it that may be empty.
        for _ in 0..1000 {
            let bucket = rand::random_range(0..slot.buckets());
            if let Some(handle) = slot.bucket(bucket).nth(rand::random_range(0..LONGEST_CHAIN)) {
                return Some(handle);
            }
        }
        slot.handles().next()
    }
}
