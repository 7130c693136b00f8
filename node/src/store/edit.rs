//! Changing a value in place.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use super::{
    blob,
    item::Form,
    shard::{Key, Place, Shard, box_of},
};
use crate::value::{Typed, Value};

/// Where an edited value comes from.
#[derive(Debug)]
enum Source<'a> {
    /// There is no such key yet.
    New(Key<'a>),
    /// Taken out of the log; written back when it was changed.
    Inline(Place),
    /// It lies outside the log, under this number, and is changed there.
    Boxed(Place, usize),
}

/// Exclusive access to one key's value. When dropped, the value is stored and its memory accounted, and a collection
/// that became empty is removed, as Redis does: no handler has to remember either. An edit that only read
/// counts as no change.
#[derive(Debug)]
pub struct Edit<'a, T: Typed> {
    shard: &'a mut Shard,
    source: Source<'a>,
    /// The value, unless it is boxed.
    lifted: Option<Value>,
    expires_at: u64,
    now: u64,
    /// The value was touched.
    written: bool,
    new_expiry: bool,
    /// Clients see a change.
    changed: bool,
    kind: PhantomData<T>,
}

impl<'a, T: Typed> Edit<'a, T> {
    pub(super) fn existing(shard: &'a mut Shard, place: Place, now: u64) -> Self {
        let item = shard.item(place.handle);
        let expires_at = item.expires_at();
        let (source, lifted) = match item.form() {
            Form::Boxed => (Source::Boxed(place, box_of(item)), None),
            form => (Source::Inline(place), Some(blob::decode(form, item.value()))),
        };
        Self::with(shard, source, lifted, expires_at, now)
    }

    pub(super) fn new(shard: &'a mut Shard, key: Key<'a>, value: Value, now: u64) -> Self {
        Self::with(shard, Source::New(key), Some(value), 0, now)
    }

    fn with(
        shard: &'a mut Shard,
        source: Source<'a>,
        lifted: Option<Value>,
        expires_at: u64,
        now: u64,
    ) -> Self {
        let kind = PhantomData;
        Self {
            shard,
            source,
            lifted,
            expires_at,
            now,
            written: false,
            new_expiry: false,
            changed: false,
            kind,
        }
    }

    /// The key's expiry, ms since 1970.
    pub fn expires_at(&self) -> Option<u64> {
        (self.expires_at != 0).then_some(self.expires_at)
    }

    /// Sets or removes the key's expiry; the time must not have passed.
    pub fn set_expiry(&mut self, at: Option<u64>) {
        self.changed = true;
        self.new_expiry = true;
        self.expires_at = at.unwrap_or(0);
    }

    /// Whatever was done to the value so far left what clients see as it was: it counts as no change.
    pub fn unchanged(&mut self) {
        self.changed = false;
    }

    fn value(&self) -> &Value {
        match (&self.lifted, &self.source) {
            (Some(value), _) => value,
            (None, Source::Boxed(_, id)) => &self.shard.boxes[*id].value,
            (None, Source::Inline(_) | Source::New(_)) => unreachable!("it was lifted"),
        }
    }
}

impl<T: Typed> Deref for Edit<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        T::of(self.value()).expect("checked when the edit began")
    }
}

impl<T: Typed> DerefMut for Edit<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        self.written = true;
        let value = match (&mut self.lifted, &self.source) {
            (Some(value), _) => value,
            (None, Source::Boxed(_, id)) => &mut self.shard.boxes[*id].value,
            (None, Source::Inline(_) | Source::New(_)) => unreachable!("it was lifted"),
        };
        T::of_mut(value).expect("checked when the edit began")
    }
}

impl<T: Typed> Drop for Edit<'_, T> {
    fn drop(&mut self) {
        let empty = self.value().is_empty_collection();
        let (expires_at, now) = (self.expires_at, self.now);
        self.shard.stats.dirty += u64::from(self.changed);
        match (&self.source, self.lifted.take()) {
            (Source::New(_), _) if empty => {}
            (Source::New(key), Some(value)) => {
                self.shard.with_stored(value, |shard, stored| shard.insert(key, stored, expires_at, now));
                // The edit counts as the change.
                self.shard.stats.dirty -= 1;
            }
            (Source::Inline(place) | Source::Boxed(place, _), _) if empty => {
                drop(self.shard.remove(*place));
            }
            (Source::Inline(place), Some(value)) if self.written => {
                self.shard.with_stored(value, |shard, stored| shard.replace(*place, stored, expires_at, now));
            }
            (Source::Boxed(place, id), _) => {
                self.shard.recharge_box(place.handle, *id);
                if self.new_expiry {
                    self.shard.set_expiry(*place, expires_at, now);
                }
            }
            (Source::Inline(place), _) if self.new_expiry => {
                self.shard.set_expiry(*place, expires_at, now);
            }
            (Source::Inline(_) | Source::New(_), _) => {}
        }
    }
}
