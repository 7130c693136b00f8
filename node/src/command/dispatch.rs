//! From a request to its handler: the table look-up, the locks, the call.
//!
//! The in-memory core of a node: no socket, no session, no ownership of slots. The server checks
//! those before it comes here.

use shoal_proto::{
    Error,
    command::{Entry, Flags, table},
    error::Result,
    resp::{Args, Reply},
    slot::key_slot,
};
use smallvec::SmallVec;

use super::{Handler, Scope, gated};
use crate::store::{Db, Held, LEAST_PREPARED, Located, Store};

/// A request's keys, in order of appearance.
pub type Keys<'a> = SmallVec<[Located<'a>; 4]>;

/// Executes data commands on a store.
#[derive(Debug)]
pub struct Dispatch {
    handlers: Vec<Handler>,
}

impl Default for Dispatch {
    fn default() -> Self {
        Self { handlers: super::handlers() }
    }
}

impl Dispatch {
    /// The handler of a table entry.
    pub fn handler(&self, entry: &Entry) -> Handler {
        self.handlers[usize::from(entry.id)]
    }

    /// A request's keys, located.
    ///
    /// When a count of keys is malformed there are none: the handler's own check gives the text.
    pub fn keys<'a>(store: &Store, entry: &Entry, args: Args<'a>) -> Keys<'a> {
        let mut keys = Keys::new();
        if entry.each_key(args, |i| keys.push(store.locate(args.at(i)))).is_err() {
            keys.clear();
        }
        keys
    }

    /// Looks a request up and executes it; an error becomes the reply.
    pub fn execute(&self, store: &Store, scope: Scope<'_>, args: Args<'_>, out: &mut Reply<'_>) {
        let result = table().find(args).and_then(|entry| {
            let keys = Self::keys(store, entry, args);
            self.run(store, entry, scope, &keys, args, out)
        });
        if let Err(error) = result {
            out.error(&error);
        }
    }

    /// The slots of a request's keys, in order of appearance, each once; as [`keys`](Self::keys).
    pub(crate) fn slots(entry: &Entry, args: Args<'_>) -> SmallVec<[u16; 4]> {
        let mut slots = SmallVec::new();
        if entry.each_key(args, |i| add(&mut slots, key_slot(args.at(i)))).is_err() {
            slots.clear();
        }
        slots
    }

    /// Executes a command that was executed elsewhere, whatever the gate of its slot.
    ///
    /// # Errors
    /// What the handler answered; also if the command is not one on keys.
    pub(crate) fn replay(
        &self,
        entry: &Entry,
        db: &mut Db<'_>,
        args: Args<'_>,
        out: &mut Reply<'_>,
    ) -> Result {
        match self.handler(entry) {
            Handler::Data(handler) | Handler::Keeps(handler) | Handler::AnyKey(handler, _) => {
                handler(db, args, out)
            }
            Handler::Whole(_) | Handler::Missing => Err(entry.unsupported()),
        }
    }

    /// Executes a request with one key, under the lock that is held if that is its shard's. If `keep`, the lock is held
    /// afterwards.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    #[inline]
    pub fn run_held<'s>(
        &self,
        store: &'s Store,
        entry: &Entry,
        scope: Scope<'_>,
        key: Located<'_>,
        (args, out): (Args<'_>, &mut Reply<'_>),
        (held, keep): (&mut Held<'s>, bool),
    ) -> Result {
        let handler = match self.handler(entry) {
            Handler::Data(handler) => handler,
            Handler::Keeps(handler) if args.raw().len() <= LEAST_PREPARED => handler,
            _ => {
                held.release();
                return self.run(store, entry, scope, &[key], args, out);
            }
        };
        if entry.command.flags.contains(Flags::DENYOOM) && store.is_short() {
            held.release();
            if !store.make_room(scope.now) {
                return Err(Error::OutOfMemory);
            }
        }
        let mark = out.mark();
        let mut db = scope.apply(store.lock_held(scope.db, &key, scope.now, held));
        let result = locked(handler, entry, &mut db, std::slice::from_ref(&key), (scope, args), out);
        drop(db);
        if !keep {
            held.release();
        }
        if result.is_err() {
            out.truncate(mark);
        }
        result
    }

    /// Executes a request whose entry and keys are known.
    ///
    /// # Errors
    /// What the handler answered; the reply is then as it was before.
    #[inline]
    pub fn run(
        &self,
        store: &Store,
        entry: &Entry,
        scope: Scope<'_>,
        keys: &[Located<'_>],
        args: Args<'_>,
        out: &mut Reply<'_>,
    ) -> Result {
        if entry.command.flags.contains(Flags::DENYOOM) && !store.make_room(scope.now) {
            return Err(Error::OutOfMemory);
        }
        let mark = out.mark();
        let result = match self.handler(entry) {
            Handler::AnyKey(handler, wanted) if wanted(args) => {
                if !scope.alone {
                    super::sort::patterns_in_slot(args)?;
                }
                let mut db = scope.apply(store.lock_all(scope.db, scope.now));
                gated::run(handler, entry, &mut db, &distinct(keys), (scope, args), out)
            }
            Handler::Keeps(handler) if args.raw().len() > LEAST_PREPARED => {
                let mut prepared = store.prepare(args.iter(), scope.landed);
                let mut db = scope.apply(store.lock(scope.db, keys, scope.now)).having(&mut prepared);
                locked(handler, entry, &mut db, keys, (scope, args), out)
            }
            Handler::Data(handler) | Handler::Keeps(handler) | Handler::AnyKey(handler, _) => {
                let mut db = scope.apply(store.lock(scope.db, keys, scope.now));
                locked(handler, entry, &mut db, keys, (scope, args), out)
            }
            Handler::Whole(handler) => {
                let result = handler(store, scope, args, out);
                store.each_wait(|outbox, position| scope.wait_for(outbox, position));
                result
            }
            Handler::Missing => Err(entry.unsupported()),
        };
        if result.is_err() {
            out.truncate(mark);
        }
        result
    }
}

/// Calls a handler whose keys are locked.
#[inline]
fn locked(
    handler: super::Data,
    entry: &Entry,
    db: &mut Db<'_>,
    keys: &[Located<'_>],
    (scope, args): (Scope<'_>, Args<'_>),
    out: &mut Reply<'_>,
) -> Result {
    if keys.iter().all(|key| db.is_plain(key.slot)) {
        handler(db, args, out)
    } else {
        gated::run(handler, entry, db, &distinct(keys), (scope, args), out)
    }
}

fn add(slots: &mut SmallVec<[u16; 4]>, slot: u16) {
    if !slots.contains(&slot) {
        slots.push(slot);
    }
}

/// The slots of these keys, each once.
fn distinct(keys: &[Located<'_>]) -> SmallVec<[u16; 4]> {
    let mut slots = SmallVec::new();
    keys.iter().for_each(|key| add(&mut slots, key.slot));
    slots
}
