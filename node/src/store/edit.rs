//! Changing a value in place.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use super::shard::Shard;
use crate::value::Typed;

/// Exclusive access to one key's value. When dropped, the change of its memory is accounted, and a collection
/// that became empty is removed, as Redis does: no handler has to remember either. An edit that only read
/// counts as no change.
#[derive(Debug)]
pub struct Edit<'a, T: Typed> {
    shard: &'a mut Shard,
    db: u8,
    id: u32,
    changed: bool,
    kind: PhantomData<T>,
}

impl<'a, T: Typed> Edit<'a, T> {
    pub(super) fn new(shard: &'a mut Shard, db: u8, id: u32) -> Self {
        Self { shard, db, id, changed: false, kind: PhantomData }
    }

    /// The key's expiry, ms since 1970.
    pub fn expires_at(&self) -> Option<u64> {
        let at = self.keys().entries[self.id as usize].expires_at;
        (at != 0).then_some(at)
    }

    /// Sets or removes the key's expiry; the time must not have passed.
    pub fn set_expiry(&mut self, at: Option<u64>) {
        let id = self.id;
        self.changed = true;
        let keys = self.shard.keyspace_mut(self.db).expect("the key was found in it");
        keys.set_expiry(id, at.unwrap_or(0));
    }

    /// Whatever was done to the value so far left what clients see as it was: it counts as no change.
    pub fn unchanged(&mut self) {
        self.changed = false;
    }

    fn keys(&self) -> &super::keyspace::Keyspace {
        self.shard.keyspace(self.db).expect("the key was found in it")
    }
}

impl<T: Typed> Deref for Edit<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        T::of(&self.keys().entries[self.id as usize].value).expect("checked when the edit began")
    }
}

impl<T: Typed> DerefMut for Edit<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        let id = self.id as usize;
        let keys = self.shard.keyspace_mut(self.db).expect("the key was found in it");
        T::of_mut(&mut keys.entries[id].value).expect("checked when the edit began")
    }
}

impl<T: Typed> Drop for Edit<'_, T> {
    fn drop(&mut self) {
        let id = self.id;
        let keys = self.shard.keyspace_mut(self.db).expect("the key was found in it");
        let before = keys.charged;
        if keys.entries[id as usize].value.is_empty_collection() {
            keys.remove(id);
        } else {
            keys.recharge(id);
        }
        let delta = keys.charged - before;
        self.shard.unsettled += delta;
        self.shard.stats.dirty += u64::from(self.changed);
    }
}
