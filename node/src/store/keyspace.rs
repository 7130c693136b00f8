//! One database's part of one shard: the index of each slot, and how many keys there are.

use super::{SHARDS, SLOTS_PER_SHARD, index::SlotIndex};

/// One database's part of one shard. The items themselves are in the shard's log.
#[derive(Debug)]
pub(super) struct Keyspace {
    pub(super) slots: Vec<SlotIndex>,
    pub(super) len: usize,
    /// Keys that have an expiry.
    pub(super) expires: usize,
    /// A lower bound of all slots' `min_expiry`.
    pub(super) min_expiry: u64,
}

/// Bytes that a keyspace takes before it holds any key.
pub(super) const EMPTY: usize = size_of::<Keyspace>() + SLOTS_PER_SHARD * size_of::<SlotIndex>();

/// Where a slot stands in its shard.
#[inline]
pub(super) fn local(slot: u16) -> usize {
    usize::from(slot) / SHARDS
}

impl Keyspace {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..SLOTS_PER_SHARD).map(|_| SlotIndex::default()).collect(),
            len: 0,
            expires: 0,
            min_expiry: u64::MAX,
        }
    }

    #[inline]
    pub(super) fn slot(&self, slot: u16) -> &SlotIndex {
        &self.slots[local(slot)]
    }

    #[inline]
    pub(super) fn slot_mut(&mut self, slot: u16) -> &mut SlotIndex {
        &mut self.slots[local(slot)]
    }
}
