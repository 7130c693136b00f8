//! From a request to its handler: the table look-up, the locks, the call.
//!
//! The in-memory core of a node: no socket, no session, no ownership of slots. The server checks
//! those before it comes here.

use shoal_proto::{
    Error,
    command::{Entry, table},
    error::Result,
    resp::{Args, Reply},
    slot::key_slot,
};
use smallvec::SmallVec;

use super::{Handler, Scope, gated};
use crate::store::{Db, Store};

/// The slots of a request's keys, in order of appearance, each once.
pub type Slots = SmallVec<[u16; 4]>;

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

    /// The slots of a request's keys.
    ///
    /// # Errors
    /// When a count of keys is malformed: the handler's own check gives the text, so the slots are
    /// then empty and the error is only for `COMMAND GETKEYS`.
    #[inline]
    pub fn slots(entry: &Entry, args: Args<'_>) -> Slots {
        let mut slots = Slots::new();
        let found = entry.each_key(args, |i| {
            let slot = key_slot(args.at(i));
            if !slots.contains(&slot) {
                slots.push(slot);
            }
        });
        if found.is_err() {
            slots.clear();
        }
        slots
    }

    /// Looks a request up and executes it; an error becomes the reply.
    pub fn execute(&self, store: &Store, scope: Scope<'_>, args: Args<'_>, out: &mut Reply<'_>) {
        let result = table().find(args).and_then(|entry| {
            let slots = Self::slots(entry, args);
            self.run(store, entry, scope, &slots, args, out)
        });
        if let Err(error) = result {
            out.error(&error);
        }
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
            Handler::Data(handler) | Handler::AnyKey(handler, _) => handler(db, args, out),
            Handler::Whole(_) | Handler::Missing => Err(entry.unsupported()),
        }
    }

    /// Executes a request whose entry and slots are known.
    ///
    /// # Errors
    /// What the handler answered; the reply is then as it was before.
    #[inline]
    pub fn run(
        &self,
        store: &Store,
        entry: &Entry,
        scope: Scope<'_>,
        slots: &[u16],
        args: Args<'_>,
        out: &mut Reply<'_>,
    ) -> Result {
        use shoal_proto::command::Flags;
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
                gated::run(handler, entry, &mut db, slots, (scope, args), out)
            }
            Handler::Data(handler) | Handler::AnyKey(handler, _) => match slots {
                [slot] => {
                    let mut db = scope.apply(store.lock_slot(scope.db, *slot, scope.now));
                    if db.is_plain(*slot) {
                        handler(&mut db, args, out)
                    } else {
                        gated::run(handler, entry, &mut db, slots, (scope, args), out)
                    }
                }
                slots => {
                    let mut db = scope.apply(store.lock(scope.db, slots.iter().copied(), scope.now));
                    if slots.iter().all(|slot| db.is_plain(*slot)) {
                        handler(&mut db, args, out)
                    } else {
                        gated::run(handler, entry, &mut db, slots, (scope, args), out)
                    }
                }
            },
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
