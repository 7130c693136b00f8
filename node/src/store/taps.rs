//! Who listens to the slots of one shard.

use std::sync::Arc;

use super::{
    Db, SHARDS, SLOTS_PER_SHARD,
    keyspace::local,
    shard_of,
    tap::{Effect, Tap},
};
use crate::handoff::Outbox;

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

/// What a command asks and tells whoever listens to its slots.
impl Db<'_> {
    /// Whether somebody listens to changes of the slot.
    pub(crate) fn is_tapped(&self, slot: u16) -> bool {
        self.of(slot).gates.state(slot).is_tapped()
    }

    /// Whether a command that changes this key has to wait until the key was copied, because it is large.
    pub(crate) fn is_busy(&self, slot: u16, key: &[u8]) -> bool {
        self.of(slot).is_busy(slot, key)
    }

    /// Whether commands that change the slot have to wait until its copies have caught up.
    pub(crate) fn is_behind(&self, slot: u16) -> bool {
        self.of(slot).is_behind(slot)
    }

    /// Whether a command that may change this much of the slot has to wait until a long write before it was sent to its copies.
    pub(crate) fn is_clogged(&self, slot: u16, bytes: usize) -> bool {
        self.of(slot).is_clogged(slot, bytes)
    }

    /// Bytes of a key's value if that is a large one.
    pub(crate) fn large_memory(&self, db: u8, slot: u16, key: &[u8]) -> usize {
        self.of(slot).large_memory(db, slot, key)
    }

    /// The outboxes that replies about the slot wait for, and up to where.
    pub(crate) fn waits(&self, slot: u16) -> impl Iterator<Item = (&Arc<Outbox>, u64)> {
        self.of(slot).waits(slot)
    }

    /// Tells those who listen to a slot what a command did.
    pub(crate) fn tell(&mut self, effect: &Effect<'_>) {
        let guard = self.guard_of(effect.slot);
        self.shard(guard).tell_effect(effect);
    }
}
