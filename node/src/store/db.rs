//! A command's view of one database while it holds the locks of its keys.

use shoal_proto::{Error, error::Result, slot::key_slot};

use super::{
    Edit, Guards, Settings, Store,
    eviction::touch_frequency,
    key::Key,
    keyspace::{Entry, Keyspace},
    shard::Shard,
    shard_of,
};
use smallvec::SmallVec;

use crate::value::{Encodings, Typed, Value};

/// What a write does to a key's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The key lives until it is deleted.
    Never,
    /// It expires at this time, ms since 1970.
    At(u64),
    /// As before.
    Keep,
}

/// One step of a scan: where to go on (0: the end).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// The next cursor.
    pub cursor: u64,
}

/// Locked shards, one database, one moment. All times are ms since 1970.
///
/// No method ever shows an expired key: whoever looks at one removes it. Keys outside the locked slots
/// are a bug in the command table (they panic in tests).
#[derive(Debug)]
pub struct Db<'a> {
    store: &'a Store,
    guards: Guards<'a>,
    index: u8,
    now: u64,
    /// Whether reads and changes in place count as accesses (`CLIENT NO-TOUCH`).
    touch: bool,
    /// The only slot there is, so that it need not be computed again for each look-up.
    slot: Option<u16>,
}

/// Where a key was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    guard: usize,
    id: u32,
}

impl<'a> Db<'a> {
    pub(super) fn new(store: &'a Store, guards: Guards<'a>, index: u8, now: u64) -> Self {
        Self { store, guards, index, now, touch: true, slot: None }
    }

    /// All keys are of this slot.
    pub(super) fn on_slot(mut self, slot: u16) -> Self {
        self.slot = Some(slot);
        self
    }

    #[inline]
    fn slot_of(&self, key: &[u8]) -> u16 {
        match self.slot {
            Some(slot) => {
                debug_assert_eq!(slot, key_slot(key), "key outside the command's locked slot");
                slot
            }
            None => key_slot(key),
        }
    }

    /// Brings into the cache what reading these keys will touch.
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let known: SmallVec<[(usize, u16, u32); 16]> = keys
            .map(|key| {
                let slot = self.slot_of(key);
                (self.guard_of(slot), slot, self.hash(key))
            })
            .collect();
        for step in [Keyspace::prefetch_head, Keyspace::prefetch_entry, Keyspace::prefetch_value] {
            for (guard, slot, hash) in &known {
                if let Some(keys) = self.guards[*guard].1.keyspace(self.index) {
                    step(keys, *slot, *hash);
                }
            }
        }
    }

    /// The moment at which the command executes, ms since 1970; the same throughout.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The database's number.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// When collections stay packed. A copy, so that it can be used while a key is edited.
    pub fn encodings(&self) -> Encodings {
        self.store.settings.load().encodings
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.store.settings()
    }

    /// Reads no longer count as accesses.
    pub fn no_touch(&mut self) {
        self.touch = false;
    }

    /// Goes on in another database, under the same locks (`MOVE`, `COPY DB`).
    pub fn select(&mut self, index: u8) {
        self.index = index;
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u32 {
        self.store.hasher.hash_one(key) as u32
    }

    #[inline]
    fn guard_of(&self, slot: u16) -> usize {
        if self.guards.len() == 1 {
            debug_assert_eq!(self.guards[0].0, shard_of(slot), "key outside the command's locked slots");
            return 0;
        }
        let shard = shard_of(slot);
        self.guards
            .binary_search_by_key(&shard, |g| g.0)
            .expect("a command only touches keys whose slots it locked")
    }

    fn shard(&mut self, guard: usize) -> &mut Shard {
        &mut self.guards[guard].1
    }

    pub(super) fn keys(&mut self, guard: usize) -> &mut Keyspace {
        let index = self.index;
        self.shard(guard).keyspace_or_new(index)
    }

    fn entry(&self, place: Place) -> &Entry {
        let keys = self.guards[place.guard].1.keyspace(self.index).expect("the place was found in it");
        &keys.entries[place.id as usize]
    }

    /// Finds a key that is not expired; removes it if it is.
    #[inline]
    fn find(&mut self, key: &[u8]) -> Option<Place> {
        let slot = self.slot_of(key);
        let guard = self.guard_of(slot);
        let hash = self.hash(key);
        let (index, now) = (self.index, self.now);
        let keys = self.guards[guard].1.keyspace(index)?;
        let id = keys.find(slot, hash, key)?;
        if keys.entries[id as usize].expired(now) {
            let entry = self.remove_at(Place { guard, id });
            self.store.reclaim.discard(entry.value);
            self.shard(guard).stats.expired += 1;
            return None;
        }
        Some(Place { guard, id })
    }

    fn remove_at(&mut self, place: Place) -> Entry {
        let keys = self.keys(place.guard);
        let entry = keys.remove(place.id);
        self.shard(place.guard).unsettled -= entry.charged as i64;
        entry
    }

    /// Finds a key and counts a hit or a miss.
    #[inline]
    fn find_counted(&mut self, key: &[u8]) -> Option<Place> {
        let found = self.find(key);
        let guard = found.map_or_else(|| self.guard_of(self.slot_of(key)), |place| place.guard);
        let stats = &mut self.shard(guard).stats;
        match found {
            Some(_) => stats.hits += 1,
            None => stats.misses += 1,
        }
        found
    }

    /// The value of `key`, for reading; counts as an access and as a hit or a miss.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<&Value> {
        let place = self.find_counted(key)?;
        if self.touch {
            self.touch_at(place);
        }
        Some(&self.entry(place).value)
    }

    fn touch_at(&mut self, place: Place) {
        let seconds = (self.now / 1000) as u32;
        let settings = self.store.settings.load();
        let entry = &mut self.keys(place.guard).entries[place.id as usize];
        if settings.policy.is_lfu() {
            touch_frequency(entry, seconds, &settings);
        }
        entry.accessed = seconds;
    }

    /// The value of `key`, for looking at it from outside (`TYPE`, `EXISTS`, `OBJECT`): counts as a hit or a miss,
    /// not as an access.
    pub fn look(&mut self, key: &[u8]) -> Option<&Value> {
        let place = self.find_counted(key)?;
        Some(&self.entry(place).value)
    }

    /// The value of `key`, without counting at all.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Value> {
        let place = self.find(key)?;
        Some(&self.entry(place).value)
    }

    /// Whether `key` exists.
    pub fn contains(&mut self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// The value of `key` as `T`, for reading.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    #[inline]
    pub fn get<T: Typed + 'static>(&mut self, key: &[u8]) -> Result<Option<&T>> {
        match self.read(key) {
            None => Ok(None),
            Some(value) => T::of(value).map(Some).ok_or(Error::WrongType),
        }
    }

    /// The values of several keys, for reading at the same time; each counts as an access.
    pub fn read_each<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) -> Vec<Option<&Value>> {
        let mut places = Vec::new();
        for key in keys {
            let found = self.read(key).is_some();
            // Looking at further keys removes none that was found: all are judged by the same clock.
            places.push(if found { self.find(key) } else { None });
        }
        places.into_iter().map(|place| place.map(|place| &self.entry(place).value)).collect()
    }

    /// The value of `key` as `T`, for changing. When the guard is dropped, memory is accounted and a
    /// collection that became empty is removed.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    pub fn edit<T: Typed>(&mut self, key: &[u8]) -> Result<Option<Edit<'_, T>>> {
        let Some(place) = self.find(key) else { return Ok(None) };
        if T::of(&self.entry(place).value).is_none() {
            return Err(Error::WrongType);
        }
        if self.touch {
            self.touch_at(place);
        }
        let index = self.index;
        Ok(Some(Edit::new(&mut self.guards[place.guard].1, index, place.id)))
    }

    /// The same; a key that does not exist begins as `T::default()`.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    pub fn edit_or_new<T: Typed + Default>(&mut self, key: &[u8]) -> Result<Edit<'_, T>> {
        let place = match self.find(key) {
            Some(place) if T::of(&self.entry(place).value).is_none() => return Err(Error::WrongType),
            Some(place) => {
                if self.touch {
                    self.touch_at(place);
                }
                place
            }
            None => {
                let place = self.insert(key, T::default().into_value(), 0);
                // The edit counts as the change.
                self.shard(place.guard).stats.dirty -= 1;
                place
            }
        };
        let index = self.index;
        Ok(Edit::new(&mut self.guards[place.guard].1, index, place.id))
    }

    fn insert(&mut self, key: &[u8], value: Value, expires_at: u64) -> Place {
        let slot = self.slot_of(key);
        let guard = self.guard_of(slot);
        let entry = Entry {
            next: 0,
            hash: self.hash(key),
            expires_at,
            accessed: (self.now / 1000) as u32,
            slot,
            frequency: 5,
            key: Key::new(key),
            value,
            charged: 0,
        };
        let keys = self.keys(guard);
        let id = keys.insert(entry);
        let charged = keys.entries[id as usize].charged as i64;
        let shard = self.shard(guard);
        shard.unsettled += charged;
        shard.stats.dirty += 1;
        Place { guard, id }
    }

    /// Stores `value` at `key`, whatever was there.
    pub fn set(&mut self, key: &[u8], value: impl Into<Value>, expiry: Expiry) {
        let value = value.into();
        let Some(place) = self.find(key) else {
            let expires_at = if let Expiry::At(at) = expiry { at } else { 0 };
            self.insert(key, value, expires_at);
            return;
        };
        let reclaim = &self.store.reclaim;
        self.overwrite(place, |old| reclaim.discard(std::mem::replace(old, value)), expiry);
    }

    /// Stores a string at `key`, whatever was there; reuses its memory where it can.
    #[inline]
    pub fn set_str(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry) {
        use crate::value::Str;
        let Some(place) = self.find(key) else {
            let expires_at = if let Expiry::At(at) = expiry { at } else { 0 };
            self.insert(key, Str::new(bytes).into(), expires_at);
            return;
        };
        let reclaim = &self.store.reclaim;
        let write = |old: &mut Value| match Str::of_mut(old) {
            Some(string) => string.set(bytes),
            None => reclaim.discard(std::mem::replace(old, Str::new(bytes).into())),
        };
        self.overwrite(place, write, expiry);
    }

    fn overwrite(&mut self, place: Place, write: impl FnOnce(&mut Value), expiry: Expiry) {
        self.touch_at(place);
        let keys = self.keys(place.guard);
        let before = keys.charged;
        write(&mut keys.entries[place.id as usize].value);
        keys.recharge(place.id);
        match expiry {
            Expiry::Keep => {}
            Expiry::Never => keys.set_expiry(place.id, 0),
            Expiry::At(at) => keys.set_expiry(place.id, at),
        }
        let delta = keys.charged - before;
        let shard = self.shard(place.guard);
        shard.unsettled += delta;
        shard.stats.dirty += 1;
    }

    /// Removes `key` and what it held, a large value in the background; whether it existed.
    pub fn discard(&mut self, key: &[u8]) -> bool {
        let removed = self.remove(key);
        let existed = removed.is_some();
        if let Some(value) = removed {
            self.store.reclaim.discard(value);
        }
        existed
    }

    /// Removes `key`; what it held, if it existed.
    pub fn remove(&mut self, key: &[u8]) -> Option<Value> {
        self.take(key).map(|(value, _)| value)
    }

    /// Removes `key`; what it held and when it would have expired (0: never).
    pub fn take(&mut self, key: &[u8]) -> Option<(Value, u64)> {
        let place = self.find(key)?;
        let entry = self.remove_at(place);
        self.shard(place.guard).stats.dirty += 1;
        Some((entry.value, entry.expires_at))
    }

    /// When `key` expires (`Some(None)`: never); `None` if it does not exist.
    pub fn expires_at(&mut self, key: &[u8]) -> Option<Option<u64>> {
        let place = self.find(key)?;
        let at = self.entry(place).expires_at;
        Some((at != 0).then_some(at))
    }

    /// Sets or removes the expiry of `key`; whether it exists. A time that has passed removes the key.
    pub fn set_expiry(&mut self, key: &[u8], at: Option<u64>) -> bool {
        let Some(place) = self.find(key) else { return false };
        match at {
            Some(at) if at <= self.now => {
                let entry = self.remove_at(place);
                self.store.reclaim.discard(entry.value);
            }
            at => self.keys(place.guard).set_expiry(place.id, at.unwrap_or(0)),
        }
        self.shard(place.guard).stats.dirty += 1;
        true
    }

    /// Counts as an access (`TOUCH`); whether the key exists.
    pub fn touch(&mut self, key: &[u8]) -> bool {
        let found = self.find(key);
        if let Some(place) = found {
            self.touch_at(place);
        }
        found.is_some()
    }

    /// Seconds since the last access, and the access counter of LFU policies.
    pub fn recency(&mut self, key: &[u8]) -> Option<(u64, u8)> {
        let (now, place) = (self.now, self.find(key)?);
        let settings = self.store.settings.load();
        let entry = self.entry(place);
        let frequency = super::eviction::decayed_frequency(entry, (now / 1000) as u32, &settings);
        Some(((now / 1000).saturating_sub(u64::from(entry.accessed)), frequency))
    }

    /// Bytes charged for `key` (`MEMORY USAGE`).
    pub fn memory(&mut self, key: &[u8]) -> Option<usize> {
        let place = self.find(key)?;
        Some(self.entry(place).charged)
    }
}

impl Drop for Db<'_> {
    #[inline]
    fn drop(&mut self) {
        for (_, shard) in &mut self.guards {
            self.store.settle(shard);
        }
    }
}
