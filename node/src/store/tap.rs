//! Taps: who listens to the changes of a slot, and which of its keys they know already.
//!
//! While a slot's keys are being copied, only changes of keys that were copied are sent: the others will come as they
//! are then. A key counts as copied when the walk has passed its bucket, unless it is large and comes later. So the other
//! end never holds a key of which it knows only a part, and a command whose keys are all known there can be executed
//! there; of other commands it gets what became of the keys that it knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use shoal_proto::{
    Error,
    cluster::{Emptying, is_emptied_alone},
    error::Result,
};

use super::{
    DATABASES, Gate, Store,
    item::Form as Kept,
    log::{Handle, Queue},
    prefetch::ask_item,
    shard::{Found, Key, Place, Shard},
    shard_of,
};
use crate::{
    handoff::{
        Form, Outbox, Record, codec,
        mutants::{self, Mutant},
        record::{self, Entry, Heat},
    },
    value::Value,
};

/// Larger values are copied in pieces, each under its own hold of the lock; larger commands are not sent, but what became of
/// their keys.
pub(crate) const PIECE: usize = 256 << 10;
/// The pieces are no larger than that and no smaller than this, else as large as what is copied under one hold of the lock: so their
/// buffers are used again, where the allocator maps longer ones anew each time, and the other end works on one while the next comes.
const LEAST_PIECE: usize = 32 << 10;
/// Two databases of a slot with more keys than this are not exchanged at the other end, which would take long under
/// one hold of the lock there: the copy begins anew.
const MOST_SWAPPED: usize = 50_000;
/// Buckets looked at under one hold of the lock.
const BUCKETS_PER_HOLD: usize = 4096;

/// Buckets whose items are asked for before they are copied.
const AHEAD: usize = 4;

/// What became of one call of [`Store::copy_slot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// There is more to copy.
    More,
    /// There is more to copy, but too much waits to be sent.
    NoRoom,
    /// Everything was copied.
    All,
    /// The slot has no tap into this outbox, or the stream is broken.
    Nothing,
}

/// A large key that is being copied.
#[derive(Debug, Clone)]
struct Busy {
    db: u8,
    key: Box<[u8]>,
    /// Where the next piece begins.
    at: codec::Place,
}

/// One listener of a slot.
#[derive(Debug)]
pub(super) struct Tap {
    outbox: Arc<Outbox>,
    /// Replies wait until the other end has applied what they saw.
    wait: bool,
    /// The other end has everything and relies on every change: none comes later than at once.
    steady: bool,
    /// The walk over the keys: database and place in the index. All was visited when the database is none.
    walk: (u8, u32),
    /// Large keys that are to be copied after the walk: databases (a bit each) by key.
    late: BTreeMap<Box<[u8]>, u16>,
    busy: Option<Busy>,
    /// That all is through was said.
    told: bool,
    /// Position behind the slot's last record.
    last: u64,
    /// The same behind the last word that it was emptied while it was held; 0 if there was none.
    emptied: u64,
}

impl Tap {
    fn new(outbox: Arc<Outbox>, wait: bool) -> Self {
        let (late, busy) = (BTreeMap::new(), None);
        Self { outbox, wait, steady: wait, walk: (0, 0), late, busy, told: false, last: 0, emptied: 0 }
    }

    fn is_through(&self) -> bool {
        usize::from(self.walk.0) == DATABASES && self.late.is_empty()
    }

    /// Whether the other end knows the key.
    fn knows(&self, db: u8, hash: u32, key: &[u8]) -> bool {
        // The walk counts in reversed binary, see `linear`: it has passed exactly the smaller ones.
        let passed = match db.cmp(&self.walk.0) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => hash.reverse_bits() < self.walk.1.reverse_bits(),
            std::cmp::Ordering::Greater => false,
        };
        let passed = passed || mutants::is(Mutant::NotCopiedYet);
        passed && (self.late.is_empty() || self.late.get(key).is_none_or(|dbs| dbs & 1 << db == 0))
    }

    fn postpone(&mut self, db: u8, key: &[u8]) {
        *self.late.entry(key.into()).or_default() |= 1 << db;
        self.told = false;
    }

    /// The large key is with the other end.
    fn done(&mut self, db: u8, key: &[u8]) {
        if let Some(dbs) = self.late.get_mut(key) {
            *dbs &= !(1 << db);
            if *dbs == 0 {
                self.late.remove(key);
            }
        }
    }

    /// Writers of the key that was being copied need not wait any more.
    fn free(&mut self) {
        if self.busy.take().is_some() {
            self.outbox.copied_large();
        }
    }

    fn send(&mut self, records: &[u8]) {
        if !records.is_empty() {
            self.last = self.outbox.append(records);
        }
    }

    /// Begins anew: what the other end knows is worth nothing.
    fn begin(&mut self, slot: u16) {
        (self.walk, self.told) = ((0, 0), false);
        self.late.clear();
        self.free();
        let mut record = Vec::new();
        Record::Begin.write(slot, &mut record);
        self.send(&record);
    }
}

/// What a command did, for those who listen to one slot.
#[derive(Debug)]
pub(crate) struct Effect<'a> {
    pub(crate) slot: u16,
    pub(crate) db: u8,
    pub(crate) now: u64,
    /// The command, if executing it elsewhere does the same.
    pub(crate) words: Option<&'a [&'a [u8]]>,
    /// Its keys of the slot with their databases, and whether they may have been changed.
    pub(crate) keys: &'a [(u8, &'a [u8], bool)],
}

impl Effect<'_> {
    fn record(&self) -> Option<Vec<u8>> {
        let words = self.words?;
        let len: usize = words.iter().map(|word| word.len() + 4).sum();
        if len > PIECE {
            return None;
        }
        let mut out = Vec::with_capacity(len + 32);
        record::command(&mut out, self.slot, (self.db, self.now), words.iter().copied());
        Some(out)
    }
}

impl Shard {
    /// The database of a space.
    fn db_of(&self, space: u8) -> u8 {
        (0..DATABASES as u8).find(|db| self.space(*db) == space).unwrap_or_default()
    }

    fn key_in<'k>(&self, db: u8, slot: u16, bytes: &'k [u8]) -> Key<'k> {
        Key { space: self.space(db), slot, hash: self.hash(bytes), bytes }
    }

    /// Calls `f` for each tap of a slot.
    fn each_tap(&mut self, slot: u16, mut f: impl FnMut(&mut Self, &mut Tap)) {
        // Taken out, so that the shard can be read meanwhile.
        let mut taps = self.taps.take(slot);
        if taps.is_empty() {
            return;
        }
        // Whose peer is gone goes, unless replies have to wait until that is agreed, or it may have taken the slot.
        let held = self.gates.state(slot).gate() == Gate::Held;
        taps.retain(|tap| tap.wait || held || !tap.outbox.is_broken());
        taps.iter_mut().for_each(|tap| f(self, tap));
        if taps.is_empty() {
            self.gates.state_mut(slot).set_tapped(false);
        }
        self.taps.put_back(slot, taps);
    }

    /// A key is about to go without a command: it expired or is evicted.
    #[inline]
    pub(super) fn note_gone(&mut self, place: Place) {
        if self.gates.state(place.slot).is_tapped() && !mutants::is(Mutant::Silent) {
            self.tell_gone(place);
        }
    }

    #[cold]
    fn tell_gone(&mut self, place: Place) {
        let db = self.db_of(place.space);
        self.each_tap(place.slot, |shard, tap| {
            let key = shard.key(place.handle);
            if tap.knows(db, place.hash, key) {
                let mut out = Vec::new();
                Record::Gone(db, key).write(place.slot, &mut out);
                tap.send(&out);
            }
        });
    }

    /// Tells those who listen what a command did.
    pub(super) fn tell_effect(&mut self, effect: &Effect<'_>) {
        let command = effect.record();
        self.each_tap(effect.slot, |shard, tap| {
            let hash = |key: &[u8]| shard.hash(key);
            let knows = |tap: &Tap, db: u8, key: &[u8]| tap.knows(db, hash(key), key);
            if let Some(command) = &command
                && (effect.keys.iter().all(|(db, key, _)| knows(tap, *db, key))
                    || mutants::is(Mutant::UnknownKeys))
            {
                return tap.send(command);
            }
            let mut out = Vec::new();
            for (db, key, changed) in effect.keys {
                if *changed && knows(tap, *db, key) {
                    shard.write_state(tap, effect.slot, (*db, key), &mut out);
                }
            }
            tap.send(&out);
        });
    }

    /// Writes what became of a key that the other end knows.
    fn write_state(&self, tap: &mut Tap, slot: u16, (db, key): (u8, &[u8]), out: &mut Vec<u8>) {
        match self.find(&self.key_in(db, slot, key)) {
            None => Record::Gone(db, key).write(slot, out),
            Some(place) if !self.is_large(place.handle) => self.write_put(place.handle, slot, db, out),
            // A copy that others rely on has to have it at once, whatever it takes.
            Some(place) if tap.steady && tap.is_through() => {
                tap.send(out);
                out.clear();
                tap.last = self.send_long(&tap.outbox, place.handle, slot, db);
            }
            Some(_) => tap.postpone(db, key),
        }
    }

    /// Sends a large key at once, in pieces. The position behind it.
    fn send_long(&self, outbox: &Arc<Outbox>, handle: Handle, slot: u16, db: u8) -> u64 {
        let (mut long, mut last, mut at) = (outbox.long(), 0, Some(codec::Place::default()));
        while let Some(from) = at {
            let mut out = Vec::with_capacity(PIECE + (1 << 10));
            at = self.write_piece(handle, slot, db, (from, PIECE), &mut out);
            last = long.append(out);
        }
        last
    }

    fn is_large(&self, handle: Handle) -> bool {
        self.boxed(handle).is_some_and(|value| value.memory() > PIECE)
    }

    fn entry(&self, handle: Handle, db: u8, form: Form) -> Entry<'_> {
        let item = self.item(handle);
        let main = self.log.queue_of(handle) == Queue::Main;
        let heat = Heat { accessed: item.accessed(), credit: item.credit(), main };
        Entry { db, expires_at: item.expires_at(), heat, form, key: self.key(handle) }
    }

    /// Writes a key whole.
    fn write_put(&self, handle: Handle, slot: u16, db: u8, out: &mut Vec<u8>) {
        let string = |kept| match kept {
            Kept::Whole => Some(Form::StrWhole),
            Kept::Text => Some(Form::StrText),
            Kept::Raw => Some(Form::StrRaw),
            _ => None,
        };
        match self.found(handle) {
            Found::Inline(kept, bytes) if let Some(form) = string(kept) => {
                record::put(out, slot, &self.entry(handle, db, form), |out| out.extend_from_slice(bytes));
            }
            found => {
                let value = found.value();
                let entry = self.entry(handle, db, Form::of_value(&value));
                record::put(out, slot, &entry, |out| {
                    codec::write(&value, codec::Place::default(), usize::MAX, out);
                });
            }
        }
    }

    /// Writes the piece of a key that begins at `at`, of about that length; where the next one begins.
    fn write_piece(
        &self,
        handle: Handle,
        slot: u16,
        db: u8,
        (at, len): (codec::Place, usize),
        out: &mut Vec<u8>,
    ) -> Option<codec::Place> {
        let value = self.found(handle).value();
        if at == codec::Place::default() {
            Record::Large(self.entry(handle, db, Form::of_value(&value))).write(slot, out);
        }
        let next = record::piece(out, slot, |out| {
            let most = out.len() + len;
            codec::write(&value, at, most, out)
        });
        if next.is_none() {
            Record::Whole.write(slot, out);
        }
        next
    }

    /// Copies the next keys, about `budget` bytes.
    fn copy(&self, tap: &mut Tap, slot: u16, budget: usize, out: &mut Vec<u8>) {
        let (mut buckets, mut lead) = (BUCKETS_PER_HOLD, None);
        while usize::from(tap.walk.0) < DATABASES {
            if out.len() >= budget || buckets == 0 {
                return;
            }
            let (db, place) = tap.walk;
            let keys = self.keyspace(self.space(db)).map(|keys| keys.slot(slot));
            let next = keys.filter(|index| index.len() > 0).map_or(0, |index| {
                buckets -= 1;
                // Their items lie anywhere: they are asked for some buckets ahead.
                let steps = if lead.is_some() { 1 } else { AHEAD };
                let ask = |at: u32| index.visit(at, |handle| ask_item(self, handle));
                lead = Some(
                    (0..steps).fold(lead.unwrap_or(Some(place)), |at, _| at.map(ask).filter(|at| *at > 0)),
                );
                index.visit(place, |handle| {
                    if self.is_large(handle) {
                        tap.postpone(db, self.key(handle));
                    } else {
                        self.write_put(handle, slot, db, out);
                    }
                })
            });
            if next == 0 {
                lead = None;
            }
            tap.walk = if next == 0 { (db + 1, 0) } else { (db, next) };
        }
        if out.len() < budget {
            self.copy_large(tap, slot, budget.clamp(LEAST_PIECE, PIECE), out);
        }
    }

    /// Copies a piece of a large key, of about that length.
    fn copy_large(&self, tap: &mut Tap, slot: u16, len: usize, out: &mut Vec<u8>) {
        let first = |tap: &Tap| {
            let (key, dbs) = tap.late.first_key_value()?;
            Some(Busy { db: dbs.trailing_zeros() as u8, key: key.clone(), at: codec::Place::default() })
        };
        if tap.busy.is_none() {
            tap.busy = first(tap);
        }
        let Some(Busy { db, key, at }) = tap.busy.clone() else { return };
        let next = match self.find(&self.key_in(db, slot, &key)) {
            Some(place) if at != codec::Place::default() || self.is_large(place.handle) => {
                self.write_piece(place.handle, slot, db, (at, len), out)
            }
            Some(place) => {
                self.write_put(place.handle, slot, db, out);
                None
            }
            None => {
                Record::Gone(db, &key).write(slot, out);
                None
            }
        };
        match next {
            Some(at) => tap.busy = Some(Busy { db, key, at }),
            None => {
                tap.free();
                tap.done(db, &key);
            }
        }
    }

    /// Whether a command that changes this key of the slot has to wait until it was copied.
    pub(super) fn is_busy(&self, slot: u16, key: &[u8]) -> bool {
        if mutants::is(Mutant::NoWaiting) {
            return false;
        }
        let copies = |tap: &&Tap| tap.busy.as_ref().is_some_and(|busy| *busy.key == *key);
        let mut copying =
            self.taps.of(slot).iter().filter(copies).filter(|tap| !tap.outbox.is_broken()).peekable();
        let busy = copying.peek().is_some();
        copying.for_each(|tap| tap.outbox.hurry());
        busy
    }

    /// Whether writes to the slot have to wait until a copy that others rely on has caught up.
    pub(super) fn is_behind(&self, slot: u16) -> bool {
        self.taps.of(slot).iter().any(|tap| tap.wait && tap.outbox.is_full())
    }

    /// Whether a command has to wait that may change this much of the slot and cannot be sent as it is: a long write before it waits to
    /// be sent to somebody who needs every change at once, and both together are more than may wait.
    pub(super) fn is_clogged(&self, slot: u16, bytes: usize) -> bool {
        let needs_all = |tap: &&Tap| tap.steady && tap.is_through();
        bytes > PIECE && self.taps.of(slot).iter().filter(needs_all).any(|tap| tap.outbox.is_clogged(bytes))
    }

    /// Bytes of a key's value if that is a large one.
    pub(super) fn large_memory(&self, db: u8, slot: u16, key: &[u8]) -> usize {
        let place = self.find(&self.key_in(db, slot, key));
        place.and_then(|place| self.boxed(place.handle)).map_or(0, Value::memory)
    }

    /// The outboxes that replies about the slot wait for, and up to where.
    pub(super) fn waits(&self, slot: u16) -> impl Iterator<Item = (&Arc<Outbox>, u64)> {
        let taps = self.taps.of(slot).iter();
        taps.filter(|tap| tap.wait && !tap.outbox.is_safe(tap.last)).map(|tap| (&tap.outbox, tap.last))
    }

    /// A database (or all) is about to be emptied, where its keys are served.
    pub(super) fn tell_clear(&mut self, db: Option<u8>) {
        for slot in self.taps.slots().collect::<Vec<_>>() {
            if self.gates.state(slot).gate() != Gate::Away {
                self.tell_clear_of(slot, db);
            }
        }
    }

    /// The same of one slot.
    pub(super) fn tell_clear_of(&mut self, slot: u16, db: Option<u8>) {
        let mut out = Vec::new();
        Record::Clear(db).write(slot, &mut out);
        let held = self.gates.state(slot).gate() == Gate::Held;
        self.each_tap(slot, |_, tap| {
            tap.send(&out);
            if held {
                tap.emptied = tap.last;
            }
        });
    }

    /// The streams of slots that are about to change hands, and the positions behind what was put into them last.
    pub(super) fn held_taps(&self) -> impl Iterator<Item = (&Arc<Outbox>, u64)> {
        // If one cannot be told since it was looked, its position is never reached.
        let held = |slot: &u16| matches!(self.emptying(*slot), Emptying::Followed | Emptying::Later);
        self.taps.slots().filter(held).flat_map(|slot| self.taps_of(slot))
    }

    /// The streams that the slot's changes go into, and the positions behind the last.
    pub(super) fn taps_of(&self, slot: u16) -> impl Iterator<Item = (&Arc<Outbox>, u64)> {
        self.taps.of(slot).iter().map(|tap| (&tap.outbox, tap.last))
    }

    /// Whether all who listen to the slot would hear that it is emptied.
    fn can_be_told(&self, slot: u16) -> bool {
        self.taps.of(slot).iter().all(|tap| !tap.outbox.is_broken())
    }

    /// What emptying the slot calls for.
    fn emptying(&self, slot: u16) -> Emptying {
        self.gates.state(slot).gate().emptying(self.can_be_told(slot))
    }

    /// The same for who handed it over.
    pub(super) fn emptying_taken(&self, slot: u16) -> Option<Emptying> {
        self.gates.state(slot).gate().emptying_taken(self.can_be_told(slot))
    }

    /// Checks that whoever is about to take over a slot would hear that it is emptied.
    pub(super) fn check_held_are_told(&self) -> Result {
        let told = |slot: u16| self.emptying(slot) != Emptying::Later;
        if self.taps.slots().all(told) { Ok(()) } else { Err(Error::Held) }
    }

    /// Two databases are about to be exchanged.
    pub(super) fn tell_swap(&mut self, a: u8, b: u8) {
        for slot in self.taps.slots().collect::<Vec<_>>() {
            if self.gates.state(slot).gate() == Gate::Away {
                continue;
            }
            let len = |db: u8| self.keyspace(self.space(db)).map_or(0, |keys| keys.slot(slot).len());
            let large = len(a) + len(b) > MOST_SWAPPED;
            let mut out = Vec::new();
            Record::Swap(a, b).write(slot, &mut out);
            self.each_tap(slot, |_, tap| {
                if !tap.is_through() || (large && !tap.steady) {
                    tap.begin(slot);
                } else {
                    tap.send(&out);
                }
            });
        }
    }
}

impl Store {
    /// From now on every change of the slot goes into `outbox`; [`copy_slot`](Self::copy_slot) sends what is there. With
    /// `wait`, replies that saw a change wait until the peer has applied it. The position from which on the stream is
    /// about the slot.
    pub fn tap(&self, slot: u16, outbox: &Arc<Outbox>, wait: bool) -> u64 {
        let mut shard = self.shards[shard_of(slot)].lock();
        self.end_tap(&mut shard, slot, outbox);
        let mut tap = Tap::new(outbox.clone(), wait);
        tap.begin(slot);
        let position = tap.last;
        self.add_tap(&mut shard, slot, tap);
        position
    }

    /// As [`tap`](Self::tap) for a peer that has all that the slot holds: it gets changes only.
    pub fn follow(&self, slot: u16, outbox: &Arc<Outbox>, wait: bool) {
        let mut shard = self.shards[shard_of(slot)].lock();
        self.end_tap(&mut shard, slot, outbox);
        let mut tap = Tap::new(outbox.clone(), wait);
        (tap.walk, tap.told, tap.steady) = ((DATABASES as u8, 0), true, true);
        tap.last = outbox.appended();
        self.add_tap(&mut shard, slot, tap);
    }

    /// Everything was copied: from now on every change is sent at once and, with `wait`, replies wait for it. The position
    /// behind all changes so far; `None` if not everything was copied, or there is no such tap.
    pub fn guard_tap(&self, slot: u16, outbox: &Arc<Outbox>, wait: bool) -> Option<u64> {
        let mut shard = self.shards[shard_of(slot)].lock();
        let mut taps = shard.taps.of_mut(slot).iter_mut();
        let tap = taps.find(|tap| Arc::ptr_eq(&tap.outbox, outbox) && tap.is_through())?;
        tap.steady = true;
        if wait && !tap.wait {
            tap.wait = true;
            outbox.join();
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
        Some(tap.last)
    }

    fn add_tap(&self, shard: &mut Shard, slot: u16, tap: Tap) {
        if tap.wait {
            tap.outbox.join();
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
        shard.taps.add(slot, tap);
        shard.gates.state_mut(slot).set_tapped(true);
    }

    /// Ends all taps: nothing here is of any worth to anybody.
    pub fn end_taps(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            for slot in shard.taps.slots().collect::<Vec<_>>() {
                while let Some(outbox) = shard.taps.of(slot).first().map(|tap| tap.outbox.clone()) {
                    self.end_tap(&mut shard, slot, &outbox);
                }
            }
        }
    }

    /// Ends that; whether there was such a tap.
    pub fn untap(&self, slot: u16, outbox: &Arc<Outbox>) -> bool {
        self.end_tap(&mut self.shards[shard_of(slot)].lock(), slot, outbox)
    }

    fn end_tap(&self, shard: &mut Shard, slot: u16, outbox: &Arc<Outbox>) -> bool {
        let mut taps = shard.taps.take(slot);
        let at = taps.iter().position(|tap| Arc::ptr_eq(&tap.outbox, outbox));
        let ended = at.map(|at| taps.swap_remove(at));
        let last = taps.is_empty();
        shard.taps.put_back(slot, taps);
        let Some(mut tap) = ended else { return false };
        tap.free();
        if tap.wait {
            tap.outbox.part();
            self.waited.fetch_sub(1, Ordering::Relaxed);
        }
        if last {
            shard.gates.state_mut(slot).set_tapped(false);
        }
        true
    }

    /// Calls `f` with the outboxes that replies about everything wait for, and up to where.
    pub(crate) fn each_wait(&self, mut f: impl FnMut(&Arc<Outbox>, u64)) {
        if self.waited.load(Ordering::Relaxed) == 0 {
            return;
        }
        for shard in &self.shards {
            let shard = shard.lock();
            shard.taps.slots().flat_map(|slot| shard.waits(slot)).for_each(|(outbox, at)| f(outbox, at));
        }
    }

    /// Sends the next keys of a tapped slot, about `budget` bytes under one hold of the lock. Call it until all was
    /// copied, and again after the slot is held: changes of large keys may have left something to copy.
    pub fn copy_slot(&self, slot: u16, outbox: &Arc<Outbox>, budget: usize) -> Copied {
        let budget = budget.min(outbox.room());
        let mut out = Vec::with_capacity(budget + (8 << 10));
        let mut shard = self.shards[shard_of(slot)].lock();
        let mut copied = Copied::Nothing;
        shard.each_tap(slot, |shard, tap| {
            if !Arc::ptr_eq(&tap.outbox, outbox) || outbox.is_broken() {
                return;
            }
            if !tap.is_through() && budget == 0 {
                copied = Copied::NoRoom;
                return;
            }
            shard.copy(tap, slot, budget, &mut out);
            copied = Copied::More;
            if tap.is_through() {
                copied = Copied::All;
                if !tap.told {
                    tap.told = true;
                    Record::Through.write(slot, &mut out);
                }
            }
            tap.send(&out);
        });
        copied
    }

    /// Whether everything was copied of a slot that is tapped into this stream, which stands, and that was said.
    pub fn is_copied(&self, slot: u16, outbox: &Arc<Outbox>) -> bool {
        let shard = self.shards[shard_of(slot)].lock();
        let mut taps = shard.taps.of(slot).iter();
        taps.any(|tap| {
            Arc::ptr_eq(&tap.outbox, outbox) && tap.is_through() && tap.told && !outbox.is_broken()
        })
    }

    /// Whether a slot that went into this stream was emptied here while it was held, and perhaps not where it is now. To be asked when its
    /// gate is shut.
    pub fn is_emptied_alone(&self, slot: u16, outbox: &Arc<Outbox>) -> bool {
        let shard = self.shards[shard_of(slot)].lock();
        let mut taps = shard.taps.of(slot).iter().filter(|tap| Arc::ptr_eq(&tap.outbox, outbox));
        taps.any(|tap| is_emptied_alone(tap.emptied, tap.outbox.acked()))
    }

    /// The position in `outbox` behind the slot's last record, if it is tapped into it.
    pub fn tapped_to(&self, slot: u16, outbox: &Arc<Outbox>) -> Option<u64> {
        let shard = self.shards[shard_of(slot)].lock();
        let tap = shard.taps.of(slot).iter().find(|tap| Arc::ptr_eq(&tap.outbox, outbox))?;
        Some(tap.last)
    }
}
