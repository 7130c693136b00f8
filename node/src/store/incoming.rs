//! What comes from another node into a slot that is not served here, and what is dropped of one that no longer is.
//!
//! Commands do not see such a slot, so nothing here has to be done at one instant. What is dropped is taken out at once and removed
//! little by little.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use super::{
    DATABASES, Db, Gate, Store,
    item::Form as Kept,
    keyspace::local,
    log::Queue,
    shard::{Key, Shard, Stored},
    shard_of,
};
use crate::{
    handoff::{Form, record::Entry},
    value::{Str, Value},
};

/// Items weighed at most to estimate a slot's bytes.
const WEIGHED: usize = 1000;

/// A value that came.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    Str(&'a [u8]),
    Value(Value),
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotStats {
    /// In all databases.
    pub keys: usize,
    /// Exact for up to 1000 keys, an estimate from as many for more.
    pub bytes: usize,
}

/// Bytes of values that are being put together outside of the shards; counted as held memory until dropped.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    total: Arc<AtomicI64>,
    bytes: i64,
}

impl Charge {
    /// That many from now on.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.total.fetch_add(bytes as i64 - self.bytes, Ordering::Relaxed);
        self.bytes = bytes as i64;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Shard {
    /// Stores a key as it was elsewhere; a value outside the log that was there.
    fn take_in(&mut self, key: &Key<'_>, stored: Stored<'_>, entry: &Entry<'_>, now: u64) -> Option<Value> {
        let queue = if entry.heat.main { Queue::Main } else { Queue::Small };
        let (place, old) = match self.find(key) {
            Some(place) => self.replace(place, stored, entry.expires_at, now),
            None => (self.insert_in(queue, key, stored, entry.expires_at, now), None),
        };
        let mut item = self.log.item_mut(place.handle);
        item.set_accessed(entry.heat.accessed);
        item.set_credit(entry.heat.credit);
        old
    }

    /// Takes out all that a slot holds, in one database or in all; nothing is done for each key.
    fn vacate(&mut self, slot: u16, db: Option<u8>) {
        for db in db.map_or(0..DATABASES as u8, |db| db..db + 1) {
            self.leave(self.space(db), std::iter::once(local(slot)), 0, drop);
        }
        self.drop_empty_spaces();
    }
}

impl Db<'_> {
    /// Whether the slot is not served here, so that what comes for it may be taken in.
    pub(crate) fn is_away(&self, slot: u16) -> bool {
        self.gate(slot) == Gate::Away
    }

    /// Stores a key as it was elsewhere.
    pub(crate) fn take_in(&mut self, entry: &Entry<'_>, value: Incoming<'_>) {
        self.select(entry.db);
        let (guard, key) = self.locate(entry.key);
        let now = self.now();
        let shard = self.shard(guard);
        let old = match value {
            Incoming::Str(bytes) => {
                let stored = match (shard.stored_str(bytes), entry.form) {
                    (Stored::Inline(_, bytes), form) => Stored::Inline(kept(form), bytes),
                    (_, Form::StrRaw) => Stored::Boxed(Str::from_raw(bytes).into()),
                    (_, Form::StrText) => Stored::Boxed(Str::from_text(bytes).into()),
                    (boxed, _) => boxed,
                };
                shard.take_in(&key, stored, entry, now)
            }
            Incoming::Value(value) => {
                shard.with_stored(value, |shard, stored| shard.take_in(&key, stored, entry, now))
            }
        };
        self.discard_value(old);
    }

    /// Removes a key that is gone elsewhere.
    pub(crate) fn take_out(&mut self, db: u8, key: &[u8]) {
        self.select(db);
        let (guard, key) = self.locate(key);
        let shard = self.shard(guard);
        if let Some(place) = shard.find(&key) {
            let value = shard.remove(place);
            self.discard_value(value);
        }
    }

    /// Exchanges two databases in one slot.
    pub(crate) fn swap_slot(&mut self, slot: u16, a: u8, b: u8) {
        let guard = self.guard_of(slot);
        self.shard(guard).swap_slot(local(slot), a, b);
    }
}

/// How a string is kept in the log.
fn kept(form: Form) -> Kept {
    match form {
        Form::StrRaw => Kept::Raw,
        Form::StrText => Kept::Text,
        _ => Kept::Whole,
    }
}

impl Store {
    /// An account of bytes that are about to come.
    pub(crate) fn charge(&self) -> Charge {
        Charge { total: self.incoming.clone(), bytes: 0 }
    }

    /// Empties a slot that is not served here, in one database or in all, at once and whatever it holds: its keys are taken out
    /// and left to [`drop_left`](Self::drop_left). Does nothing to a slot that is served.
    pub fn drop_slot(&self, slot: u16, db: Option<u8>) {
        let mut shard = self.shards[shard_of(slot)].lock();
        if shard.gates.state(slot).gate() == Gate::Away {
            shard.vacate(slot, db);
            self.settle(&mut shard);
        }
    }

    /// What a slot holds, whatever its gate.
    pub fn slot_stats(&self, slot: u16) -> SlotStats {
        let shard = self.shards[shard_of(slot)].lock();
        let spaces = shard.used_spaces();
        let indexes = || spaces.iter().filter_map(|space| Some(shard.keyspace(*space)?.slot(slot)));
        let keys: usize = indexes().map(super::index::SlotIndex::len).sum();
        let weighed = indexes().flat_map(|index| index.handles()).take(WEIGHED);
        let bytes: usize = weighed.map(|handle| shard.charge(handle)).sum();
        SlotStats { keys, bytes: (bytes as u128 * keys as u128 / keys.clamp(1, WEIGHED) as u128) as usize }
    }

    /// Time as another node saw it when it changed what was taken over: the data plane's clock must not run behind it, or
    /// what had expired there would come back here.
    pub fn clock_floor(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    /// Raises that.
    pub fn raise_clock_floor(&self, now: u64) {
        self.floor.fetch_max(now, Ordering::Relaxed);
    }
}
