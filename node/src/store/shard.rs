//! What one lock protects: a log of items, the values that lie outside it, and a part of every database.
//!
//! Everything that changes an item goes through here, so that log, index and accounts cannot come apart. Whether
//! and what is evicted is decided in `eviction`, what has expired in `sweep`.

use std::borrow::Cow;

use ahash::RandomState;
use slab::Slab;
use smallvec::SmallVec;

pub(super) use super::blob::Stored;
use super::{
    DATABASES, Reclaim,
    accounts::Settled,
    blob,
    compaction::MOVED_PER_WRITE,
    eviction::Hand,
    gate::Gates,
    held::Seen,
    item::{Form, HEADER, Item, LONG_KEY, LONGEST_VALUE, Parts, clock},
    keyspace::Keyspace,
    leftover::Leftovers,
    log::{Handle, Log, Queue, longest_item},
    pool::Pool,
    taps::Taps,
};
use crate::{
    same::same,
    value::{Encodings, Str, Value},
};
use shoal_proto::slot::key_slot;

/// Longest key that is kept in the log.
const LONGEST_KEY: usize = 1 << 10;
/// What an item's place in the index costs, on average.
pub(super) const INDEX_SHARE: usize = 8;
/// What the allocator adds to a value outside the log.
const ALLOCATION: usize = 16;

/// Counters of what happened to keys.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys that expired.
    pub expired: u64,
    /// Keys evicted for memory.
    pub evicted: u64,
    /// Keys that came back soon after they were evicted.
    pub ghost_hits: u64,
    /// Bytes moved within the log to keep what is used and to give back what is not.
    pub moved_bytes: u64,
    /// Changes of data.
    pub dirty: u64,
}

impl Stats {
    pub(super) fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.expired += other.expired;
        self.evicted += other.evicted;
        self.ghost_hits += other.ghost_hits;
        self.moved_bytes += other.moved_bytes;
        self.dirty += other.dirty;
    }
}

/// A value outside the log, and its key if that is too long for the log.
#[derive(Debug)]
pub(super) struct Boxed {
    pub(super) value: Value,
    key: Option<Box<[u8]>>,
    /// Bytes this is charged with.
    charged: usize,
}

impl Boxed {
    fn cost(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len() + ALLOCATION);
        size_of::<Self>() + self.value.memory() + ALLOCATION + key
    }
}

/// A key and where it would be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) space: u8,
    pub(super) slot: u16,
    pub(super) hash: u32,
    pub(super) bytes: &'a [u8],
}

/// Where a key's item is, and how to find its place in the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) space: u8,
    pub(super) slot: u16,
    pub(super) hash: u32,
    pub(super) handle: Handle,
}

/// A value as it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'a> {
    Inline(Form, &'a [u8]),
    Boxed(&'a Value),
}

impl<'a> Found<'a> {
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Inline(form, _) => blob::type_name(form).unwrap_or("none"),
            Self::Boxed(value) => value.type_name(),
        }
    }

    /// The bytes, if it is a string.
    #[inline]
    pub(super) fn as_str(self) -> Option<&'a [u8]> {
        match self {
            Self::Inline(Form::Whole | Form::Text | Form::Raw, bytes) => Some(bytes),
            Self::Boxed(Value::Str(string)) => Some(string.bytes()),
            _ => None,
        }
    }

    pub(super) fn value(self) -> Cow<'a, Value> {
        match self {
            Self::Inline(form, bytes) => Cow::Owned(blob::decode(form, bytes)),
            Self::Boxed(value) => Cow::Borrowed(value),
        }
    }
}

/// One shard.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Its number in the store.
    pub(super) number: usize,
    pub(super) log: Log,
    pub(super) boxes: Slab<Boxed>,
    pub(super) spaces: [Option<Box<Keyspace>>; DATABASES],
    /// By database, the number of its space: two databases are swapped by swapping these.
    pub(super) space_of: [u8; DATABASES],
    hasher: RandomState,
    pub(super) hand: Hand,
    /// When collections stay packed, as configured.
    pub(super) encodings: Encodings,
    pub(super) stats: Stats,
    /// Bytes charged for all items.
    pub(super) used: i64,
    /// What the store knows of that.
    pub(super) settled: Settled,
    pub(super) index_lines: i64,
    /// Databases that have had keys.
    pub(super) held_spaces: usize,
    /// Moves that are owed for what was written.
    pub(super) owed: usize,
    /// The same for what the sweep removed, see [`pay_for_swept`](Self::pay_for_swept).
    pub(super) swept: usize,
    /// Whether the store knows that something could be squeezed out here.
    pub(super) littered: bool,
    /// Values are put together here.
    pub(super) buffer: Vec<u8>,
    /// What may be done with each slot.
    pub(super) gates: Gates,
    /// Who listens to changes of which slot.
    pub(super) taps: Taps,
    /// What flushes left.
    pub(super) leftovers: Leftovers,
    /// The item found last under the lock that is held, or one that is probably wanted.
    pub(super) recent: Seen,
}

/// The key of an item.
#[inline(always)]
fn key_at<'a>(log: &'a Log, boxes: &'a Slab<Boxed>, handle: Handle) -> &'a [u8] {
    let item = log.item(handle);
    match item.key() {
        Some(key) => key,
        None => boxes[box_of(item)].key.as_deref().expect("a long key lies with its value"),
    }
}

/// The number of the value outside the log.
pub(super) fn box_of(item: Item<'_>) -> usize {
    let bytes = item.value().first_chunk().expect("a boxed item holds a number");
    u32::from_le_bytes(*bytes) as usize
}

impl Shard {
    pub(super) fn new(
        number: usize,
        hasher: RandomState,
        pool: Pool,
        segment_size: usize,
        reclaim: &Reclaim,
    ) -> Self {
        Self {
            number,
            littered: false,
            log: Log::new(pool, segment_size),
            boxes: Slab::new(),
            spaces: Default::default(),
            space_of: std::array::from_fn(|db| db as u8),
            hasher,
            hand: Hand::default(),
            encodings: Encodings::default(),
            stats: Stats::default(),
            used: 0,
            settled: Settled::default(),
            index_lines: 0,
            held_spaces: 0,
            owed: 0,
            swept: 0,
            buffer: Vec::new(),
            gates: Gates::default(),
            taps: Taps::default(),
            leftovers: Leftovers::new(reclaim.counters()),
            recent: Seen::default(),
        }
    }

    /// The space of a database.
    #[inline]
    pub(super) fn space(&self, db: u8) -> u8 {
        self.space_of[usize::from(db)]
    }

    #[inline]
    pub(super) fn keyspace(&self, space: u8) -> Option<&Keyspace> {
        self.spaces[usize::from(space)].as_deref()
    }

    #[inline]
    pub(super) fn keyspace_mut(&mut self, space: u8) -> Option<&mut Keyspace> {
        self.spaces[usize::from(space)].as_deref_mut()
    }

    /// Databases that have had keys, one of which is not charged.
    pub(super) fn held_spaces(&self) -> usize {
        self.held_spaces
    }

    /// A database's part of the shard, which there is from now on.
    pub(super) fn keyspace_or_new(&mut self, space: u8) -> &mut Keyspace {
        self.before_keyspace(space);
        let held = &mut self.held_spaces;
        self.spaces[usize::from(space)].get_or_insert_with(|| {
            *held += 1;
            Box::new(Keyspace::new())
        })
    }

    /// A database that is about to get its first key takes the place of those that have none.
    #[inline]
    fn before_keyspace(&mut self, space: u8) {
        if self.spaces[usize::from(space)].is_none() {
            self.drop_spaces_beyond(0);
        }
    }

    /// Gives back what databases without keys take; the last one stays.
    pub(super) fn drop_empty_spaces(&mut self) {
        self.drop_spaces_beyond(1);
    }

    fn drop_spaces_beyond(&mut self, kept: usize) {
        for space in &mut self.spaces {
            if self.held_spaces > kept && space.as_ref().is_some_and(|keys| keys.len == 0) {
                *space = None;
                self.held_spaces -= 1;
            }
        }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    /// Finds a key, expired or not.
    pub(super) fn find(&self, key: &Key<'_>) -> Option<Place> {
        let keys = self.spaces[usize::from(key.space)].as_deref()?;
        let is = |handle| same(key_at(&self.log, &self.boxes, handle), key.bytes);
        let handle = keys.slot(key.slot).find(key.hash, is)?;
        Some(Place { space: key.space, slot: key.slot, hash: key.hash, handle })
    }

    /// Where the item is whose handle the index or the log gave.
    pub(super) fn place_of(&self, handle: Handle) -> Place {
        let key = self.key(handle);
        Place { space: self.log.item(handle).space(), slot: key_slot(key), hash: self.hash(key), handle }
    }

    #[inline(always)]
    pub(super) fn item(&self, handle: Handle) -> Item<'_> {
        self.log.item(handle)
    }

    #[inline]
    pub(super) fn key(&self, handle: Handle) -> &[u8] {
        key_at(&self.log, &self.boxes, handle)
    }

    #[inline(always)]
    pub(super) fn found(&self, handle: Handle) -> Found<'_> {
        let item = self.log.item(handle);
        match item.form() {
            Form::Boxed => Found::Boxed(&self.boxes[box_of(item)].value),
            form => Found::Inline(form, item.value()),
        }
    }

    /// The value if it lies outside the log, to be changed there; [`recharge`](Self::recharge) must follow.
    pub(super) fn boxed_mut(&mut self, handle: Handle) -> Option<&mut Value> {
        let item = self.log.item(handle);
        (item.form() == Form::Boxed).then(|| box_of(item)).map(|id| &mut self.boxes[id].value)
    }

    pub(super) fn boxed(&self, handle: Handle) -> Option<&Value> {
        match self.found(handle) {
            Found::Boxed(value) => Some(value),
            Found::Inline(..) => None,
        }
    }

    /// Bytes an item is charged with.
    pub(super) fn charge(&self, handle: Handle) -> usize {
        let item = self.log.item(handle);
        let outside = if item.form() == Form::Boxed { self.boxes[box_of(item)].charged } else { 0 };
        item.len() + INDEX_SHARE + outside
    }

    /// Corrects what a value outside the log is charged with after it changed.
    pub(super) fn recharge(&mut self, handle: Handle) {
        let id = box_of(self.log.item(handle));
        self.recharge_box(handle, id);
    }

    /// The same; `id` is the value's number.
    #[inline]
    pub(super) fn recharge_box(&mut self, handle: Handle, id: usize) {
        let boxed = &mut self.boxes[id];
        let cost = boxed.cost();
        let delta = cost as i64 - boxed.charged as i64;
        if delta != 0 {
            boxed.charged = cost;
            self.account(self.log.queue_of(handle), delta);
        }
    }

    #[inline]
    pub(super) fn account(&mut self, queue: Queue, delta: i64) {
        self.used += delta;
        self.hand.weigh(queue, delta);
    }

    /// Puts a value into the form in which it is stored and hands it to `f`.
    pub(super) fn with_stored<R>(&mut self, value: Value, f: impl FnOnce(&mut Self, Stored<'_>) -> R) -> R {
        let mut buffer = std::mem::take(&mut self.buffer);
        let longest = self.longest_value();
        let result = match blob::encode(&value, longest, &mut buffer) {
            Some((form, bytes)) => f(self, Stored::Inline(form, bytes)),
            None => {
                let value = blob::settled_outside(value, self.log.pool());
                f(self, Stored::Boxed(value))
            }
        };
        self.buffer = buffer;
        result
    }

    /// Longest value that the log takes, with room for the longest key, header and expiry.
    #[inline]
    pub(super) fn longest_value(&self) -> usize {
        (longest_item(self.log.segment_size()) - LONGEST_KEY - 16).min(LONGEST_VALUE)
    }

    /// A string as it is stored.
    #[inline]
    pub(super) fn stored_str<'a>(&self, bytes: &'a [u8]) -> Stored<'a> {
        if bytes.len() <= self.longest_value() {
            return Stored::Inline(Form::Whole, bytes);
        }
        let (bytes, memory) = self.log.pool().share(bytes);
        Stored::Boxed(Str::from_shared(bytes, memory).into())
    }

    /// Writes an item's bytes.
    fn append(
        &mut self,
        queue: Queue,
        key: &Key<'_>,
        stored: Stored<'_>,
        (expires_at, now): (u64, u64),
    ) -> Handle {
        let long = key.bytes.len() > LONGEST_KEY;
        let mut parts = Parts {
            form: Form::Boxed,
            space: key.space,
            expires_at,
            accessed: clock(now),
            key: (!long).then_some(key.bytes),
            value: &[],
        };
        const { assert!(LONGEST_KEY < LONG_KEY) };
        let id;
        match stored {
            Stored::Inline(form, bytes) if !long => (parts.form, parts.value) = (form, bytes),
            other => {
                let value = other.into_value();
                let mut boxed = Boxed { value, key: long.then(|| key.bytes.into()), charged: 0 };
                boxed.charged = boxed.cost();
                id = (self.boxes.insert(boxed) as u32).to_le_bytes();
                parts.value = &id;
            }
        }
        self.owed += MOVED_PER_WRITE;
        let handle = self.log.append(queue, &parts).expect("writes are refused before a shard's log is full");
        let charge = self.charge(handle) as i64;
        self.account(queue, charge);
        handle
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, key: &Key<'_>, stored: Stored<'_>, expires_at: u64, now: u64) -> Place {
        let size = HEADER + key.bytes.len() + stored.memory() + INDEX_SHARE;
        let (queue, credit, known) = self.hand.receive(key.hash, size);
        self.stats.ghost_hits += u64::from(known);
        let place = self.insert_in(queue, key, stored, expires_at, now);
        if credit > 0 {
            self.log.item_mut(place.handle).set_credit(credit);
        }
        place
    }

    /// The same, at the end of this queue.
    pub(super) fn insert_in(
        &mut self,
        queue: Queue,
        key: &Key<'_>,
        stored: Stored<'_>,
        expires_at: u64,
        now: u64,
    ) -> Place {
        let handle = self.append(queue, key, stored, (expires_at, now));
        self.hand.came(self.charge(handle));
        self.before_keyspace(key.space);
        let (log, boxes, hasher) = (&self.log, &self.boxes, &self.hasher);
        let held = &mut self.held_spaces;
        let keys = self.spaces[usize::from(key.space)].get_or_insert_with(|| {
            *held += 1;
            Box::new(Keyspace::new())
        });
        let slot = keys.slot_mut(key.slot);
        let before = slot.memory();
        slot.insert(key.hash, handle, expires_at, |other| hasher.hash_one(key_at(log, boxes, other)) as u32);
        slot.count_expires(usize::from(expires_at != 0), 0);
        self.index_lines += (slot.memory() as i64 - before as i64) / 64;
        keys.len += 1;
        if expires_at != 0 {
            keys.expires += 1;
            keys.min_expiry = keys.min_expiry.min(expires_at);
        }
        self.stats.dirty += 1;
        Place { space: key.space, slot: key.slot, hash: key.hash, handle }
    }

    /// Stores another value and expiry (0: never) for a key that is there; its place from now on. A value outside
    /// the log that is replaced is returned.
    pub(super) fn replace(
        &mut self,
        mut place: Place,
        stored: Stored<'_>,
        expires_at: u64,
        now: u64,
    ) -> (Place, Option<Value>) {
        let item = self.log.item(place.handle);
        let was_boxed = item.form() == Form::Boxed;
        match stored {
            Stored::Inline(form, bytes) if !was_boxed && item.value().len() == bytes.len() => {
                if self.try_expiry(place, expires_at) {
                    self.log.item_mut(place.handle).set_value(form, bytes);
                    return (place, None);
                }
                (self.rewrite(place, Stored::Inline(form, bytes), expires_at, now), None)
            }
            Stored::Boxed(value) if was_boxed => {
                let old = self.boxed_mut(place.handle).map(|old| std::mem::replace(old, value));
                self.recharge(place.handle);
                place = self.set_expiry(place, expires_at, now);
                (place, old)
            }
            stored => {
                let long = self.log.item(place.handle).key().is_none();
                if long {
                    // The key lies with the value, so the value stays there too.
                    return self.replace(place, Stored::Boxed(stored.into_value()), expires_at, now);
                }
                let old = was_boxed.then(|| self.unbox(place.handle));
                (self.rewrite(place, stored, expires_at, now), old)
            }
        }
    }

    /// Takes the value out of its box before the item is written anew.
    fn unbox(&mut self, handle: Handle) -> Value {
        let id = box_of(self.log.item(handle));
        let queue = self.log.queue_of(handle);
        let boxed = self.boxes.remove(id);
        self.account(queue, -(boxed.charged as i64));
        boxed.value
    }

    /// Writes an item anew, with another value or with room for an expiry. Its old value must not be boxed.
    pub(super) fn rewrite(&mut self, place: Place, stored: Stored<'_>, expires_at: u64, now: u64) -> Place {
        let item = self.log.item(place.handle);
        let queue = self.log.queue_of(place.handle);
        let mut name = SmallVec::<[u8; 64]>::new();
        name.extend_from_slice(item.key().expect("a long key's item is never written anew"));
        let gone = (item.len() + INDEX_SHARE) as i64;
        let key = Key { space: place.space, slot: place.slot, hash: place.hash, bytes: &name };
        let handle = self.append(queue, &key, stored, (expires_at, now));
        self.account(queue, -gone);
        self.succeed(place, handle, expires_at)
    }

    /// The item at `handle` takes the place of the one that was written before; the place from now on.
    fn succeed(&mut self, place: Place, handle: Handle, expires_at: u64) -> Place {
        let old = self.log.item(place.handle);
        let (credit, had_expiry) = (old.credit(), old.expires_at() != 0);
        self.log.item_mut(handle).set_credit(credit);
        self.log.kill(place.handle);
        let keys = self.spaces[usize::from(place.space)].as_mut().expect("the place is in it");
        keys.slot_mut(place.slot).moved(place.hash, place.handle, handle);
        self.note_expiry(place, had_expiry, expires_at);
        Place { handle, ..place }
    }

    fn note_expiry(&mut self, place: Place, had: bool, expires_at: u64) {
        let keys = self.spaces[usize::from(place.space)].as_mut().expect("the place is in it");
        keys.slot_mut(place.slot).count_expires(usize::from(expires_at != 0), usize::from(had));
        keys.expires -= usize::from(had);
        if expires_at != 0 {
            keys.expires += 1;
            keys.min_expiry = keys.min_expiry.min(expires_at);
            keys.slot_mut(place.slot).note_expiry(place.hash, expires_at);
        }
    }

    /// Sets the expiry in place if there is room for it; whether there was.
    fn try_expiry(&mut self, place: Place, expires_at: u64) -> bool {
        let had = self.log.item(place.handle).expires_at();
        if had == expires_at {
            return true;
        }
        let fits = self.log.item_mut(place.handle).set_expiry(expires_at);
        if fits {
            self.note_expiry(place, had != 0, expires_at);
        }
        fits
    }

    /// Sets a key's expiry (0: never); its place from now on.
    pub(super) fn set_expiry(&mut self, place: Place, expires_at: u64, now: u64) -> Place {
        if self.try_expiry(place, expires_at) {
            return place;
        }
        // The item is written anew, a value outside the log stays where it is.
        let item = self.log.item(place.handle);
        if item.form() == Form::Boxed {
            return self.rewrite_boxed(place, expires_at, now);
        }
        let (form, value) = (item.form(), SmallVec::<[u8; 256]>::from_slice(item.value()));
        self.rewrite(place, Stored::Inline(form, &value), expires_at, now)
    }

    fn rewrite_boxed(&mut self, place: Place, expires_at: u64, now: u64) -> Place {
        let item = self.log.item(place.handle);
        let id = box_of(item) as u32;
        let queue = self.log.queue_of(place.handle);
        let name = item.key().map(SmallVec::<[u8; 64]>::from_slice);
        let parts = Parts {
            form: Form::Boxed,
            space: place.space,
            expires_at,
            accessed: clock(now),
            key: name.as_deref(),
            value: &id.to_le_bytes(),
        };
        let gone = item.len() as i64;
        let handle = self.log.append(queue, &parts).expect("writes are refused before a shard's log is full");
        self.account(queue, parts.len() as i64 - gone);
        self.succeed(place, handle, expires_at)
    }

    /// Removes a key; its value if that lay outside the log.
    pub(super) fn remove(&mut self, place: Place) -> Option<Value> {
        let item = self.log.item(place.handle);
        let (charge, had_expiry) = (self.charge(place.handle) as i64, item.expires_at() != 0);
        let queue = self.log.queue_of(place.handle);
        let boxed = (item.form() == Form::Boxed).then(|| box_of(item));
        let keys = self.spaces[usize::from(place.space)].as_mut().expect("the place is in it");
        let slot = keys.slot_mut(place.slot);
        let before = slot.memory();
        slot.remove(place.hash, place.handle);
        slot.count_expires(0, usize::from(had_expiry));
        self.index_lines += (slot.memory() as i64 - before as i64) / 64;
        keys.len -= 1;
        keys.expires -= usize::from(had_expiry);
        self.log.kill(place.handle);
        self.owed += MOVED_PER_WRITE;
        self.account(queue, -charge);
        self.hand.left();
        let value = boxed.map(|id| self.boxes.remove(id).value);
        self.release_boxes();
        value
    }

    /// Gives back the room for values outside the log when there are none.
    #[inline]
    pub(super) fn release_boxes(&mut self) {
        if self.boxes.is_empty() && self.boxes.capacity() > 64 {
            self.boxes = Slab::new();
        }
    }

    /// Moves an item to the end of `queue`; its place from now on.
    pub(super) fn relocate(&mut self, place: Place, queue: Queue) -> Place {
        let (charge, from) = (self.charge(place.handle) as i64, self.log.queue_of(place.handle));
        self.stats.moved_bytes += self.log.item(place.handle).len() as u64;
        let handle =
            self.log.relocate(place.handle, queue).expect("writes are refused before a shard's log is full");
        self.hand.weigh(from, -charge);
        self.hand.weigh(queue, charge);
        let index = match self.leftovers.index_of(&place) {
            Some(left) => left,
            None => {
                let keys = self.spaces[usize::from(place.space)].as_mut();
                keys.expect("the place is in it").slot_mut(place.slot)
            }
        };
        index.moved(place.hash, place.handle, handle);
        Place { handle, ..place }
    }

    /// Keys that have an expiry, in all databases.
    pub(super) fn expires(&self) -> usize {
        self.spaces.iter().flatten().map(|keys| keys.expires).sum()
    }

    /// Each database that has keys, as its space.
    pub(super) fn used_spaces(&self) -> SmallVec<[u8; DATABASES]> {
        (0..DATABASES as u8).filter(|s| self.keyspace(*s).is_some_and(|keys| keys.len > 0)).collect()
    }
}
