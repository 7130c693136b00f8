//! Putting a stream into effect: the other end of an [`Outbox`](super::Outbox).
//!
//! Runs on the thread that reads the connection, in slices that hold a shard's lock for a bounded number of records.
//! Large keys are put together outside of the store and enter it in one step. Works only on slots whose gate is
//! [`Away`](crate::store::Gate::Away): what comes for a slot that is served here is a mistake of whoever moves slots.

use std::collections::BTreeMap;

use shoal_proto::{
    command::table,
    resp::{Args, Protocol, Reply, request::Span},
    slot::key_slot,
};

use super::{
    builder::{self, Builder},
    codec::Form,
    record::{self, Entry, Malformed, Record, Words},
};
use crate::{
    command::dispatch::Dispatch,
    store::{Charge, Db, Incoming, Store},
    value::list::Fill,
};

/// Records put into effect under one hold of a shard's lock.
const RECORDS_PER_HOLD: usize = 64;
/// Bytes of them.
const BYTES_PER_HOLD: usize = 256 << 10;

/// Why a stream cannot go on. The slots that came by it are worth nothing then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The bytes are no records.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A slot that the peer was not to send.
    #[error("slot {0} was not to come from this peer")]
    Unasked(u16),
    /// A slot that is served here.
    #[error("slot {0} is served here and cannot be taken in")]
    Served(u16),
    /// Memory is full and nothing here may be evicted.
    #[error("no memory is left to take slot {0} in")]
    NoRoom(u16),
    /// A command had another outcome than where it came from.
    #[error("slot {0} differs from where it comes from: {1}")]
    Differs(u16, String),
}

/// What one call has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<'a> {
    /// Bytes that are dealt with.
    pub consumed: usize,
    /// What the caller has to know before it goes on with the bytes behind.
    pub event: Option<Event<'a>>,
}

/// What the caller has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The stream of a slot begins (anew).
    Begun(u16),
    /// All keys of a slot have come; from now on it follows the changes.
    Through(u16),
    /// The peer's side says something.
    Message(&'a [u8]),
}

/// A large key on its way in.
#[derive(Debug)]
struct Large {
    db: u8,
    key: Vec<u8>,
    expires_at: u64,
    heat: record::Heat,
    form: Form,
    builder: Builder,
    charge: Charge,
}

/// How far the data plane's clock may be set ahead for the sake of a peer's, in milliseconds: meanwhile time stands still for keys
/// that are to expire.
pub const MOST_AHEAD: u64 = 1000;

/// One stream's state at its target.
#[derive(Debug)]
pub struct Applier {
    /// By slot.
    large: BTreeMap<u16, Large>,
    /// Until when the store's clock may be raised, see [`keep_time`](Self::keep_time).
    latest: u64,
    /// How far the peer's clock was ahead of that, in milliseconds.
    ahead: u64,
    reply: Vec<u8>,
    spans: Vec<Span>,
}

impl Default for Applier {
    fn default() -> Self {
        Self { large: BTreeMap::new(), latest: u64::MAX, ahead: 0, reply: Vec::new(), spans: Vec::new() }
    }
}

impl Applier {
    /// For a new stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// It is `now`, in milliseconds since 1970: from now on the store's clock follows the peer's, but no further than [`MOST_AHEAD`].
    /// By how many milliseconds the peer was ahead of that since it was asked last.
    pub fn keep_time(&mut self, now: u64) -> u64 {
        self.latest = now.saturating_add(MOST_AHEAD);
        std::mem::take(&mut self.ahead)
    }

    fn follow_clock(&mut self, store: &Store, now: u64) {
        store.raise_clock_floor(now.min(self.latest));
        self.ahead = self.ahead.max(now.saturating_sub(self.latest));
    }

    /// Puts the next records of `bytes` into effect, as many as fit into one hold of a lock. What is not consumed has to
    /// be given again: nothing was consumed if the first record is not complete.
    ///
    /// # Errors
    /// [`ApplyError`]: the stream is at its end.
    pub fn apply<'a>(
        &mut self,
        store: &Store,
        dispatch: &Dispatch,
        allowed: impl FnOnce(u16) -> bool,
        bytes: &'a [u8],
    ) -> Result<Applied<'a>, ApplyError> {
        let Some((slot, first, len)) = record::read(bytes)? else {
            return Ok(Applied { consumed: 0, event: None });
        };
        if let Record::Message(message) = first {
            return Ok(Applied { consumed: len, event: Some(Event::Message(message)) });
        }
        if !allowed(slot) {
            return Err(ApplyError::Unasked(slot));
        }
        let alone = |event| Ok(Applied { consumed: len, event });
        match first {
            Record::Begin => {
                self.large.remove(&slot);
                empty(store, slot, None)?;
                alone(Some(Event::Begun(slot)))
            }
            Record::Through => alone(Some(Event::Through(slot))),
            Record::Clear(db) => {
                empty(store, slot, db)?;
                alone(None)
            }
            Record::Large(entry) => {
                in_slot(slot, entry.key)?;
                self.begin(store, slot, &entry);
                alone(None)
            }
            Record::Piece(piece) => {
                self.add(store, slot, piece)?;
                alone(None)
            }
            Record::Whole => {
                self.complete(store, slot)?;
                alone(None)
            }
            _ => Ok(Applied { consumed: self.run(store, dispatch, slot, bytes)?, event: None }),
        }
    }

    /// Records on small keys of one slot, under one hold of the lock.
    fn run(
        &mut self,
        store: &Store,
        dispatch: &Dispatch,
        slot: u16,
        bytes: &[u8],
    ) -> Result<usize, ApplyError> {
        let now = store.clock_floor();
        // Makes room with other locks than ours, so before it.
        if !store.make_room(now) {
            return Err(ApplyError::NoRoom(slot));
        }
        let fill = Fill::new(store.settings().encodings.list_size);
        let mut db = locked(store, slot, now)?;
        let mut consumed = 0;
        for _ in 0..RECORDS_PER_HOLD {
            let Some((of, record, len)) = record::read(&bytes[consumed..])? else { break };
            if of != slot || consumed >= BYTES_PER_HOLD {
                break;
            }
            match record {
                Record::Put(entry, bytes) => put(&mut db, slot, &entry, bytes, fill)?,
                Record::Gone(index, key) => {
                    in_slot(slot, key)?;
                    let begun = |large: &Large| large.db == index && large.key == key;
                    if self.large.get(&slot).is_some_and(begun) {
                        self.large.remove(&slot);
                    }
                    db.take_out(index, key);
                }
                Record::Command(index, now, words) => {
                    self.follow_clock(store, now);
                    db.go_to(index, now);
                    self.replay(&mut db, dispatch, slot, words)?;
                }
                Record::Swap(a, b) => db.swap_slot(slot, a, b),
                _ => break,
            }
            consumed += len;
        }
        Ok(consumed)
    }

    fn replay(
        &mut self,
        db: &mut Db<'_>,
        dispatch: &Dispatch,
        slot: u16,
        words: Words<'_>,
    ) -> Result<(), ApplyError> {
        self.spans.clear();
        self.spans.extend(words.spans().map(|(start, end)| Span { start: start as u32, end: end as u32 }));
        let args = Args::new(words.bytes(), &self.spans);
        let entry = table().find(args).map_err(|error| ApplyError::Differs(slot, error.to_string()))?;
        if !entry.writes() || Dispatch::slots(entry, args).as_slice() != [slot] {
            return Err(ApplyError::Malformed(Malformed));
        }
        self.reply.clear();
        let mut reply = Reply::new(&mut self.reply, Protocol::Resp2);
        let result = dispatch.replay(entry, db, args, &mut reply);
        if self.reply.capacity() > 1 << 20 {
            self.reply = Vec::new();
        }
        result.map_err(|error| ApplyError::Differs(slot, format!("{}: {error}", entry.name)))
    }

    /// No more of the slot is put into effect: what is being put together of it is dropped.
    pub fn give_up(&mut self, slot: u16) {
        self.large.remove(&slot);
    }

    fn begin(&mut self, store: &Store, slot: u16, entry: &Entry<'_>) {
        let Entry { db, expires_at, heat, form, key } = *entry;
        let (key, builder, charge) = (key.to_vec(), Builder::new(form), store.charge());
        self.large.insert(slot, Large { db, key, expires_at, heat, form, builder, charge });
    }

    fn add(&mut self, store: &Store, slot: u16, piece: &[u8]) -> Result<(), ApplyError> {
        if !store.make_room(store.clock_floor()) {
            return Err(ApplyError::NoRoom(slot));
        }
        // The key may have gone since it began.
        let Some(large) = self.large.get_mut(&slot) else { return Ok(()) };
        large.builder.add(piece, Fill::new(store.settings().encodings.list_size))?;
        large.charge.set(large.builder.memory());
        Ok(())
    }

    fn complete(&mut self, store: &Store, slot: u16) -> Result<(), ApplyError> {
        let Some(large) = self.large.remove(&slot) else { return Ok(()) };
        let value = store.settled(large.builder.finish()?);
        let Large { db, expires_at, heat, form, .. } = large;
        let entry = Entry { db, expires_at, heat, form, key: &large.key };
        locked(store, slot, store.clock_floor())?.take_in(&entry, Incoming::Value(value));
        Ok(())
    }
}

/// The slot's shard, if what comes may be taken in.
fn locked(store: &Store, slot: u16, now: u64) -> Result<Db<'_>, ApplyError> {
    let db = store.lock_slot(0, slot, now);
    if db.is_away(slot) { Ok(db) } else { Err(ApplyError::Served(slot)) }
}

/// Removes what the slot holds.
fn empty(store: &Store, slot: u16, db: Option<u8>) -> Result<(), ApplyError> {
    drop(locked(store, slot, 0)?);
    store.drop_slot(slot, db);
    Ok(())
}

/// Checks that a key is one of the slot.
fn in_slot(slot: u16, key: &[u8]) -> Result<(), Malformed> {
    if key_slot(key) == slot { Ok(()) } else { Err(Malformed) }
}

fn put(db: &mut Db<'_>, slot: u16, entry: &Entry<'_>, bytes: &[u8], fill: Fill) -> Result<(), Malformed> {
    in_slot(slot, entry.key)?;
    let value = match entry.form {
        Form::StrWhole | Form::StrText | Form::StrRaw => Incoming::Str(bytes),
        form => Incoming::Value(builder::read(form, bytes, fill)?),
    };
    db.take_in(entry, value);
    Ok(())
}
