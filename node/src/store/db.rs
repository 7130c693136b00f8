//! A command's view of one database while it holds the locks of its keys.

use std::cell::Cell;

use shoal_proto::{Error, error::Result, slot::key_slot};

use super::{
    Edit, Gate, Guards, Located, Prepared, Seen, Settings, Store,
    item::Form,
    shard::{Found, Key, Place, Shard, Stored},
    shard_of,
};
use smallvec::SmallVec;

use crate::value::{Encodings, Str, Typed, Value};

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
    /// The slot at which the walk should have begun, when that is not served here: nothing was seen.
    pub elsewhere: Option<u16>,
}

/// Locked shards, one database, one moment. All times are ms since 1970.
///
/// No method ever shows an expired key: whoever looks at one removes it. Keys outside the locked slots
/// are a bug in the command table (they panic in tests).
#[derive(Debug)]
pub struct Db<'a> {
    pub(super) store: &'a Store,
    guards: Guards<'a>,
    index: u8,
    now: u64,
    /// Whether reads and changes in place count as accesses (`CLIENT NO-TOUCH`).
    touch: bool,
    /// What is here is a copy: only its owner removes what has expired.
    copy: bool,
    /// The only slot there is, so that it need not be computed again for each look-up.
    slot: Option<u16>,
    /// The command's keys as they were located before, and which of them was asked for last.
    keys: &'a [Located<'a>],
    last: Cell<usize>,
    /// Copies of its long arguments.
    prepared: Option<&'a mut Prepared>,
    /// Values taken out of the log to be read.
    lifted: Vec<Value>,
}

/// Where a key was found: which of the locked shards, and where in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    pub(super) guard: usize,
    pub(super) place: Place,
}

impl<'a> Db<'a> {
    #[inline]
    pub(super) fn new(store: &'a Store, guards: Guards<'a>, index: u8, now: u64) -> Self {
        Self::on(store, guards, (index, now), (None, &[]))
    }

    /// All keys are of this slot, if there is one given; these are located already.
    #[inline]
    pub(super) fn on(
        store: &'a Store,
        guards: Guards<'a>,
        (index, now): (u8, u64),
        (slot, keys): (Option<u16>, &'a [Located<'a>]),
    ) -> Self {
        Self {
            store,
            guards,
            index,
            now,
            touch: true,
            copy: false,
            slot,
            keys,
            last: Cell::new(0),
            prepared: None,
            lifted: Vec::new(),
        }
    }

    /// The slots belong to another node: reads change nothing, and nothing else is done.
    pub(crate) fn of_copy(mut self) -> Self {
        (self.copy, self.touch) = (true, false);
        self
    }

    /// These arguments are copied already.
    pub fn having(mut self, prepared: &'a mut Prepared) -> Self {
        self.prepared = Some(prepared);
        self
    }

    /// What is known of a key: commands mostly ask for the same key again, or for the one behind it.
    #[inline(always)]
    fn known(&self, key: &[u8]) -> Option<&Located<'a>> {
        let last = self.last.get();
        let near = self.keys.get(last..self.keys.len().min(last + 2))?;
        // The same bytes at the same place: the request stays where it is until the command is through.
        if let [only] = self.keys {
            return std::ptr::eq(only.bytes, key).then_some(only);
        }
        let ahead = near.iter().position(|known| std::ptr::eq(known.bytes, key))?;
        self.last.set(last + ahead);
        Some(&near[ahead])
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
        let last = self.last.get();
        let known: SmallVec<[(usize, Key<'k>); 16]> = keys.map(|key| self.locate(key)).collect();
        self.last.set(last);
        for step in super::prefetch::STEPS {
            for (guard, key) in &known {
                step(self.guards.get(*guard), key);
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
    #[inline]
    pub fn encodings(&self) -> Encodings {
        match self.guards.len() {
            0 => self.store.settings.load().encodings,
            _ => self.guards.get(0).encodings,
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.store.settings()
    }

    /// Whether reads and changes in place count as accesses.
    #[inline]
    pub(super) fn touches(&self) -> bool {
        self.touch
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
    pub(super) fn guard_of(&self, slot: u16) -> usize {
        let place = || self.guards.position(shard_of(slot));
        if self.guards.len() == 1 {
            debug_assert_eq!(place(), Some(0), "key outside the command's locked slots");
            return 0;
        }
        place().expect("a command only touches keys whose slots it locked")
    }

    /// The shard of a slot.
    #[inline]
    pub(super) fn of(&self, slot: u16) -> &Shard {
        self.guards.get(self.guard_of(slot))
    }

    /// Whether the slot is open and nobody listens to its changes: the usual case.
    #[inline]
    pub(crate) fn is_plain(&self, slot: u16) -> bool {
        self.of(slot).gates.state(slot).is_plain()
    }

    /// Checks that commands on these slots may be executed. That one of them is elsewhere is said first: waiting would
    /// not help.
    ///
    /// # Errors
    /// [`Error::NotHere`], [`Error::Held`].
    pub(crate) fn check_gates(&self, slots: &[u16]) -> Result {
        if let Some(slot) = slots.iter().find(|slot| self.gate(**slot) == Gate::Away) {
            return Err(Error::NotHere(*slot));
        }
        if slots.iter().any(|slot| self.gate(*slot) == Gate::Held) { Err(Error::Held) } else { Ok(()) }
    }

    pub(super) fn gate(&self, slot: u16) -> Gate {
        self.of(slot).gates.state(slot).gate()
    }

    /// Counts changes of data in the locked shards.
    pub(crate) fn changes(&self) -> u64 {
        self.guards.iter().map(|shard| shard.stats.dirty).sum()
    }

    /// Goes on in this database at this moment.
    pub(crate) fn go_to(&mut self, index: u8, now: u64) {
        (self.index, self.now) = (index, now);
    }

    #[inline]
    pub(super) fn shard(&mut self, guard: usize) -> &mut Shard {
        self.guards.get_mut(guard)
    }

    /// Where a key would be.
    #[inline(always)]
    pub(super) fn locate<'k>(&self, key: &'k [u8]) -> (usize, Key<'k>) {
        let (slot, hash) = match self.known(key) {
            Some(known) => (known.slot, known.hash),
            None => (self.slot_of(key), self.store.hash(key)),
        };
        let guard = self.guard_of(slot);
        let space = self.guards.get(guard).space(self.index);
        (guard, Key { space, slot, hash, bytes: key })
    }

    /// Finds a key that is not expired; removes it if it is.
    #[inline(always)]
    pub(super) fn find_at(&mut self, guard: usize, key: &Key<'_>) -> Option<Spot> {
        let shard = self.guards.get_mut(guard);
        let Some(place) = shard.find_seen(key) else {
            shard.recent = Seen::default();
            return None;
        };
        shard.recent = shard.seen(place.handle);
        if shard.item(place.handle).expired(self.now) {
            if self.copy {
                return None;
            }
            shard.note_gone(place);
            let value = shard.remove(place);
            shard.stats.expired += 1;
            self.discard_value(value);
            return None;
        }
        Some(Spot { guard, place })
    }

    #[inline]
    pub(super) fn find(&mut self, key: &[u8]) -> Option<Spot> {
        let (guard, key) = self.locate(key);
        self.find_at(guard, &key)
    }

    pub(super) fn discard_value(&self, value: Option<Value>) {
        if let Some(value) = value {
            self.store.reclaim.discard(value);
        }
    }

    /// Finds a key and counts a hit or a miss.
    #[inline(always)]
    pub(super) fn find_counted(&mut self, key: &[u8]) -> Option<Spot> {
        let (guard, key) = self.locate(key);
        let found = self.find_at(guard, &key);
        let stats = &mut self.guards.get_mut(guard).stats;
        match found {
            Some(_) => stats.hits += 1,
            None => stats.misses += 1,
        }
        found
    }

    /// What was found is read: a hit and an access.
    #[inline]
    pub(super) fn note_read(&mut self, spot: Spot) {
        self.shard(spot.guard).stats.hits += 1;
        if self.touch {
            self.touch_at(spot);
        }
    }

    /// The same, and counts as an access.
    #[inline(always)]
    fn find_read(&mut self, key: &[u8]) -> Option<Spot> {
        let spot = self.find_counted(key)?;
        if self.touch {
            self.touch_at(spot);
        }
        Some(spot)
    }

    #[inline(always)]
    fn touch_at(&mut self, spot: Spot) {
        let now = self.now;
        self.shard(spot.guard).hit(spot.place.handle, now);
    }

    #[inline(always)]
    fn found(&self, spot: Spot) -> Found<'_> {
        self.guards.get(spot.guard).found(spot.place.handle)
    }

    /// A value to be looked at: where it is, or taken out of the log.
    pub(super) fn value(&mut self, spot: Spot) -> &Value {
        if let Found::Inline(..) = self.found(spot) {
            let value = self.found(spot).value().into_owned();
            self.lifted.clear();
            self.lifted.push(value);
            return &self.lifted[0];
        }
        self.guards.get(spot.guard).boxed(spot.place.handle).expect("it is not in the log")
    }

    /// The value of `key`, for reading; counts as an access and as a hit or a miss.
    pub fn read(&mut self, key: &[u8]) -> Option<&Value> {
        let spot = self.find_read(key)?;
        Some(self.value(spot))
    }

    /// The bytes of the string at `key`, without a copy. Counts as [`read`](Self::read) does.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    #[inline]
    pub fn read_str(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        let Some(spot) = self.find_read(key) else { return Ok(None) };
        self.found(spot).as_str().map(Some).ok_or(Error::WrongType)
    }

    /// The value of `key`, for looking at it from outside (`TYPE`, `EXISTS`, `OBJECT`): counts as a hit or a miss,
    /// not as an access.
    pub fn look(&mut self, key: &[u8]) -> Option<&Value> {
        let spot = self.find_counted(key)?;
        Some(self.value(spot))
    }

    /// The value of `key`, without counting at all.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Value> {
        let spot = self.find(key)?;
        Some(self.value(spot))
    }

    /// The bytes of the string at `key`, without counting at all.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    #[inline]
    pub fn peek_str(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        let Some(spot) = self.find(key) else { return Ok(None) };
        self.found(spot).as_str().map(Some).ok_or(Error::WrongType)
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
    pub fn get<T: Typed>(&mut self, key: &[u8]) -> Result<Option<&T>> {
        match self.read(key) {
            None => Ok(None),
            Some(value) => T::of(value).map(Some).ok_or(Error::WrongType),
        }
    }

    /// The values of several keys, for reading at the same time; each counts as an access.
    pub fn read_each<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) -> Vec<Option<&Value>> {
        // Looking at further keys removes none that was found: all are judged by the same clock.
        let spots: Vec<Option<Spot>> = keys.map(|key| self.find_read(key)).collect();
        let lifted = spots.iter().flatten().filter_map(|spot| match self.found(*spot) {
            Found::Boxed(_) => None,
            found => Some(found.value().into_owned()),
        });
        self.lifted = lifted.collect();
        let mut lifted = self.lifted.iter();
        let values = spots.into_iter().map(|spot| match self.found(spot?) {
            Found::Boxed(value) => Some(value),
            Found::Inline(..) => lifted.next(),
        });
        values.collect()
    }

    /// The value of `key` as `T`, for changing. When the guard is dropped, memory is accounted and a
    /// collection that became empty is removed.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    pub fn edit<T: Typed>(&mut self, key: &[u8]) -> Result<Option<Edit<'_, T>>> {
        let Some(spot) = self.find(key) else { return Ok(None) };
        self.edit_at(spot).map(Some)
    }

    pub(super) fn edit_at<T: Typed>(&mut self, spot: Spot) -> Result<Edit<'_, T>> {
        let is = match self.found(spot) {
            Found::Boxed(value) => T::of(value).is_some(),
            found => found.type_name() == T::NAME,
        };
        if !is {
            return Err(Error::WrongType);
        }
        if self.touch {
            self.touch_at(spot);
        }
        let now = self.now;
        Ok(Edit::existing(self.shard(spot.guard), spot.place, now))
    }

    /// The same; a key that does not exist begins as `T::default()`.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    pub fn edit_or_new<'s, T: Typed + Default>(&'s mut self, key: &'s [u8]) -> Result<Edit<'s, T>> {
        let (guard, key) = self.locate(key);
        match self.find_at(guard, &key) {
            Some(spot) => self.edit_at(spot),
            None => Ok(self.new_at(guard, key)),
        }
    }

    /// A key that is not there, to be made.
    pub(super) fn new_at<'s, T: Typed + Default>(&'s mut self, guard: usize, key: Key<'s>) -> Edit<'s, T> {
        let now = self.now;
        Edit::new(self.shard(guard), key, T::default().into_value(), now)
    }

    /// Stores `value` at `key`, whatever was there.
    pub fn set(&mut self, key: &[u8], value: impl Into<Value>, expiry: Expiry) {
        let (guard, key) = self.locate(key);
        let found = self.find_at(guard, &key);
        let now = self.now;
        let old = self
            .shard(guard)
            .with_stored(value.into(), |shard, stored| store(shard, &key, found, stored, (expiry, now)));
        self.discard_value(old);
    }

    /// Stores a string at `key`, whatever was there.
    #[inline]
    pub fn set_str(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry) {
        let (guard, key) = self.locate(key);
        let found = self.find_at(guard, &key);
        let now = self.now;
        let prepared = self.prepared.as_mut().and_then(|prepared| prepared.take(bytes));
        let shard = self.shard(guard);
        let stored = match prepared {
            Some((bytes, memory)) => Stored::Boxed(Str::from_shared(bytes, memory).into()),
            None => shard.stored_str(bytes),
        };
        let old = store(shard, &key, found, stored, (expiry, now));
        self.discard_value(old);
    }

    /// Replaces the string at `key` by the number that `f` makes of it, or of nothing, and gives that; the expiry stays.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else, and what `f` says.
    #[inline]
    pub fn count(&mut self, key: &[u8], f: impl FnOnce(Option<&[u8]>) -> Result<i64>) -> Result<i64> {
        let (guard, key) = self.locate(key);
        let found = self.find_at(guard, &key);
        let now = self.now;
        let shard = self.shard(guard);
        let old = match found {
            Some(spot) => Some(shard.found(spot.place.handle).as_str().ok_or(Error::WrongType)?),
            None => None,
        };
        let number = f(old)?;
        let mut text = itoa::Buffer::new();
        let bytes = text.format(number).as_bytes();
        if let Some(Spot { place, .. }) = found
            && shard.log.item_mut(place.handle).overwrite(Form::Whole, bytes)
        {
            shard.stats.dirty += 1;
            shard.hit(place.handle, now);
            return Ok(number);
        }
        let stored = Stored::Inline(Form::Whole, bytes);
        let old = store(shard, &key, found, stored, (Expiry::Keep, now));
        self.discard_value(old);
        Ok(number)
    }

    /// Removes `key` and what it held, a large value in the background; whether it existed.
    pub fn discard(&mut self, key: &[u8]) -> bool {
        let Some(spot) = self.find(key) else { return false };
        let shard = self.shard(spot.guard);
        shard.stats.dirty += 1;
        let value = shard.remove(spot.place);
        self.discard_value(value);
        true
    }

    /// Removes `key`; what it held, if it existed.
    pub fn remove(&mut self, key: &[u8]) -> Option<Value> {
        self.take(key).map(|(value, _)| value)
    }

    /// Removes `key`; what it held and when it would have expired (0: never).
    pub fn take(&mut self, key: &[u8]) -> Option<(Value, u64)> {
        let spot = self.find(key)?;
        let lifted = match self.found(spot) {
            Found::Boxed(_) => None,
            found => Some(found.value().into_owned()),
        };
        let shard = self.shard(spot.guard);
        let expires_at = shard.item(spot.place.handle).expires_at();
        let boxed = shard.remove(spot.place);
        shard.stats.dirty += 1;
        Some((lifted.or(boxed)?, expires_at))
    }

    /// When `key` expires (`Some(None)`: never); `None` if it does not exist.
    pub fn expires_at(&mut self, key: &[u8]) -> Option<Option<u64>> {
        let spot = self.find(key)?;
        let at = self.shard(spot.guard).item(spot.place.handle).expires_at();
        Some((at != 0).then_some(at))
    }

    /// Sets or removes the expiry of `key`; whether it exists. A time that has passed removes the key.
    pub fn set_expiry(&mut self, key: &[u8], at: Option<u64>) -> bool {
        let Some(spot) = self.find(key) else { return false };
        let now = self.now;
        let shard = self.shard(spot.guard);
        shard.stats.dirty += 1;
        match at {
            Some(at) if at <= now => {
                let value = shard.remove(spot.place);
                self.discard_value(value);
            }
            at => {
                shard.set_expiry(spot.place, at.unwrap_or(0), now);
            }
        }
        true
    }

    /// Counts as an access (`TOUCH`); whether the key exists.
    pub fn touch(&mut self, key: &[u8]) -> bool {
        let found = self.find(key);
        if let Some(spot) = found {
            self.touch_at(spot);
        }
        found.is_some()
    }

    /// Seconds since the last access, modulo 194 days, and the counter that `OBJECT FREQ` shows: as in Redis it
    /// begins with 5 and falls by one for each minute without an access; the credit against eviction counts on top.
    pub fn recency(&mut self, key: &[u8]) -> Option<(u64, u8)> {
        let (now, spot) = (self.now, self.find(key)?);
        let item = self.shard(spot.guard).item(spot.place.handle);
        let (idle, credit) = (item.idle_seconds(now), 5 + item.credit());
        let credit = credit.saturating_sub((idle / 60).min(255) as u8);
        Some((idle, credit))
    }

    /// Bytes charged for `key` (`MEMORY USAGE`).
    pub fn memory(&mut self, key: &[u8]) -> Option<usize> {
        let spot = self.find(key)?;
        Some(self.shard(spot.guard).charge(spot.place.handle))
    }
}

/// Stores a value at a key that was found or not; a value outside the log that was there.
fn store(
    shard: &mut Shard,
    key: &Key<'_>,
    found: Option<Spot>,
    stored: Stored<'_>,
    (expiry, now): (Expiry, u64),
) -> Option<Value> {
    let Some(Spot { place, .. }) = found else {
        let expires_at = if let Expiry::At(at) = expiry { at } else { 0 };
        shard.insert(key, stored, expires_at, now);
        return None;
    };
    shard.stats.dirty += 1;
    let expires_at = match expiry {
        Expiry::Keep => shard.item(place.handle).expires_at(),
        Expiry::Never => 0,
        Expiry::At(at) => at,
    };
    let (place, old) = shard.replace(place, stored, expires_at, now);
    shard.hit(place.handle, now);
    old
}

impl Drop for Db<'_> {
    #[inline]
    fn drop(&mut self) {
        for i in 0..self.guards.len() {
            let shard = self.guards.get_mut(i);
            if shard.is_settled() {
                continue;
            }
            shard.tidy(self.store.sparse(), &self.store.reclaim);
            self.store.settle(shard);
        }
    }
}
