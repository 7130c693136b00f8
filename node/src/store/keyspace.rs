//! One database's part of one shard: entries and the index of each slot.

use slab::Slab;

use super::{
    SHARDS, SLOTS_PER_SHARD,
    key::Key,
    prefetch::prefetch,
    slot_table::{NONE, SlotTable},
};
use crate::value::Value;

/// One key. Two cache lines that are fetched together.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Entry {
    pub(super) next: u32,
    pub(super) hash: u32,
    /// When the key expires, in ms since 1970; 0 never.
    pub(super) expires_at: u64,
    /// Seconds since 1970 of the last access.
    pub(super) accessed: u32,
    pub(super) slot: u16,
    /// Logarithmic access counter of LFU policies.
    pub(super) frequency: u8,
    pub(super) key: Key,
    pub(super) value: Value,
    /// Bytes this entry is charged with.
    pub(super) charged: usize,
}

impl Entry {
    /// What the entry should be charged with.
    pub(super) fn cost(&self) -> usize {
        // Slab slot, chain head, and the value's allocation with the allocator's usual 16 bytes.
        size_of::<Self>() + 4 + self.key.memory() + self.value.memory() + 16
    }

    /// Whether the key is past its time.
    pub(super) fn expired(&self, now: u64) -> bool {
        self.expires_at != 0 && self.expires_at <= now
    }
}

/// Places that an empty keyspace keeps.
const KEPT_PLACES: usize = 64;

pub(super) type Entries = Slab<Entry>;

/// One database's part of one shard.
#[derive(Debug)]
pub(crate) struct Keyspace {
    pub(super) entries: Entries,
    pub(super) slots: Vec<SlotTable>,
    expires: usize,
    /// A lower bound of all slots' `min_expiry`.
    pub(super) min_expiry: u64,
    /// Bytes charged for all entries.
    pub(super) charged: i64,
}

/// Where a slot stands in its shard.
#[inline]
pub(super) fn local(slot: u16) -> usize {
    usize::from(slot) / SHARDS
}

impl Keyspace {
    pub(super) fn new() -> Self {
        Self {
            entries: Slab::new(),
            slots: (0..SLOTS_PER_SHARD).map(|_| SlotTable::new()).collect(),
            expires: 0,
            min_expiry: u64::MAX,
            charged: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn expires(&self) -> usize {
        self.expires
    }

    pub(super) fn slot_len(&self, slot: u16) -> usize {
        self.slots[local(slot)].len()
    }

    pub(super) fn slot_keys(&self, slot: u16, count: usize) -> Vec<Vec<u8>> {
        let table = &self.slots[local(slot)];
        table.ids(&self.entries).take(count).map(|id| self.entries[id as usize].key.to_vec()).collect()
    }

    #[inline]
    pub(super) fn find(&self, slot: u16, hash: u32, key: &[u8]) -> Option<u32> {
        self.slots[local(slot)].find(&self.entries, hash, key)
    }

    /// Asks for the head of the chain in which a key with this hash would be.
    pub(super) fn prefetch_head(&self, slot: u16, hash: u32) {
        if let Some(head) = self.slots[local(slot)].head(hash) {
            prefetch(head);
        }
    }

    /// Asks for the first entry of that chain.
    pub(super) fn prefetch_entry(&self, slot: u16, hash: u32) {
        if let Some(entry) = self.first(slot, hash) {
            prefetch(entry);
        }
    }

    /// Asks for the value of that entry.
    pub(super) fn prefetch_value(&self, slot: u16, hash: u32) {
        if let Some(bytes) = self.first(slot, hash).and_then(|entry| entry.value.first_bytes()) {
            prefetch(bytes);
        }
    }

    fn first(&self, slot: u16, hash: u32) -> Option<&Entry> {
        let head = self.slots[local(slot)].head(hash)?;
        self.entries.get(*head as usize)
    }

    /// Adds a key that does not exist.
    pub(super) fn insert(&mut self, mut entry: Entry) -> u32 {
        entry.charged = entry.cost();
        self.charged += entry.charged as i64;
        let (slot, expires_at) = (entry.slot, entry.expires_at);
        let id = self.entries.insert(entry) as u32;
        debug_assert_ne!(id, NONE);
        self.slots[local(slot)].insert(&mut self.entries, id);
        if expires_at != 0 {
            self.expires += 1;
            self.note_expiry(slot, expires_at);
        }
        id
    }

    pub(super) fn remove(&mut self, id: u32) -> Entry {
        let slot = self.entries[id as usize].slot;
        self.slots[local(slot)].remove(&mut self.entries, id);
        let entry = self.entries.remove(id as usize);
        self.charged -= entry.charged as i64;
        self.expires -= usize::from(entry.expires_at != 0);
        // A slab never gives places back by itself.
        if self.entries.is_empty() && self.entries.capacity() > KEPT_PLACES {
            self.entries = Slab::new();
        }
        entry
    }

    /// Corrects what an entry is charged with after its value changed.
    #[inline]
    pub(super) fn recharge(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        let cost = entry.cost();
        self.charged += cost as i64 - entry.charged as i64;
        entry.charged = cost;
    }

    pub(super) fn set_expiry(&mut self, id: u32, expires_at: u64) {
        let entry = &mut self.entries[id as usize];
        self.expires -= usize::from(entry.expires_at != 0);
        self.expires += usize::from(expires_at != 0);
        entry.expires_at = expires_at;
        let slot = entry.slot;
        if expires_at != 0 {
            self.note_expiry(slot, expires_at);
        }
    }

    fn note_expiry(&mut self, slot: u16, expires_at: u64) {
        self.slots[local(slot)].note_expiry(expires_at);
        self.min_expiry = self.min_expiry.min(expires_at);
    }

    /// A key that is not expired, drawn by a random walk over the entries.
    pub(super) fn random(&self, now: u64) -> Option<Vec<u8>> {
        (0..100)
            .filter_map(|_| self.entries.get(rand::random_range(0..self.entries.capacity().max(1))))
            .find(|e| !e.expired(now))
            .or_else(|| self.entries.iter().map(|(_, e)| e).find(|e| !e.expired(now)))
            .map(|e| e.key.to_vec())
    }
}
