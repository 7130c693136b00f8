//! Who listens to the slots of one shard.

use super::{SHARDS, SLOTS_PER_SHARD, keyspace::local, shard_of, tap::Tap};

/// The taps of each slot, found by its place: every write to a slot that has copies looks for them several times.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// Nothing before the first tap.
    of: Vec<Vec<Tap>>,
    shard: usize,
}

impl Taps {
    /// Those of a slot.
    #[inline]
    pub(super) fn of(&self, slot: u16) -> &[Tap] {
        self.of.get(local(slot)).map_or(&[], Vec::as_slice)
    }

    /// Those of a slot, to be changed.
    pub(super) fn of_mut(&mut self, slot: u16) -> &mut [Tap] {
        self.of.get_mut(local(slot)).map_or(&mut [], Vec::as_mut_slice)
    }

    /// One more.
    pub(super) fn add(&mut self, slot: u16, tap: Tap) {
        if self.of.is_empty() {
            self.of.resize_with(SLOTS_PER_SHARD, Vec::new);
            self.shard = shard_of(slot);
        }
        self.of[local(slot)].push(tap);
    }

    /// Takes a slot's taps out, so that the shard can be used meanwhile; [`put_back`](Self::put_back) must follow.
    pub(super) fn take(&mut self, slot: u16) -> Vec<Tap> {
        self.of.get_mut(local(slot)).map_or_else(Vec::new, std::mem::take)
    }

    /// Puts back what was taken, or what is left of it.
    pub(super) fn put_back(&mut self, slot: u16, taps: Vec<Tap>) {
        if let Some(of) = self.of.get_mut(local(slot)) {
            *of = if taps.is_empty() { Vec::new() } else { taps };
        }
    }

    /// The slots that have taps, ascending.
    pub(super) fn slots(&self) -> impl Iterator<Item = u16> + '_ {
        let tapped = self.of.iter().enumerate().filter(|(_, taps)| !taps.is_empty());
        tapped.map(|(at, _)| (at * SHARDS + self.shard) as u16)
    }
}
