//! Command handlers, one file or folder per family, and the map from the command table to them.
//!
//! A handler of a data command gets a [`Db`] that already holds the locks of the command's keys; it reads
//! arguments, changes values and writes its reply. It never locks, parses RESP or looks at a clock.

mod bitfield;
mod bitmap;
mod collection_scan;
mod copied;
mod database;
pub mod dispatch;
mod draw;
mod element;
mod expire;
mod gated;
mod generic;
mod hash;
mod list;
mod object;
mod scan;
mod set;
pub mod sort;
mod string;
mod zset;

use std::{cell::RefCell, sync::Arc};

use shoal_proto::{
    command::{Status, table},
    error::Result,
    resp::{Args, Reply},
};

use smallvec::SmallVec;

use crate::{
    handoff::Outbox,
    store::{Db, Landed, SlotSet, Store},
};

/// A handler on the keys that the command table names. The caller locked their slots and checked the arity.
/// On an error nothing may have been changed; what was written to the reply is taken back.
pub type Data = fn(&mut Db<'_>, Args<'_>, &mut Reply<'_>) -> Result;

/// A handler on the whole store: it takes the locks it needs, one shard at a time.
pub type Whole = fn(&Store, Scope<'_>, Args<'_>, &mut Reply<'_>) -> Result;

/// Which database, and when.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The connection's selected database.
    pub db: u8,
    /// Ms since 1970.
    pub now: u64,
    /// Whether reads count as accesses (`CLIENT NO-TOUCH`).
    pub touch: bool,
    /// `SCAN` ends before the first slot outside of this set: for routers, which go on at another node.
    pub within: Option<&'a SlotSet>,
    /// Whether commands may touch keys of any slot: nothing lives elsewhere.
    pub alone: bool,
    /// Where it is written what the reply has to wait for; without it replies wait for nothing.
    pub waits: Option<&'a Waits>,
    /// The request's bytes, if they are where a long argument can stay.
    pub landed: Option<&'a Landed>,
}

/// A peer that replies have to wait for.
#[derive(Debug)]
pub struct Wait {
    /// The stream to it.
    pub outbox: Arc<Outbox>,
    /// Up to where it must have applied that.
    pub position: u64,
    /// There is no way round it, whatever becomes of the stream.
    pub strict: bool,
}

/// All of them, each once.
pub type Waits = RefCell<SmallVec<[Wait; 2]>>;

impl Scope<'_> {
    /// The reply has to wait until this outbox's peer has everything up to `position`.
    fn wait_for(&self, outbox: &Arc<Outbox>, position: u64) {
        self.wait(outbox, position, false);
    }

    /// The same, and if the peer cannot be told there must be no reply.
    fn wait_until_applied(&self, outbox: &Arc<Outbox>, position: u64) {
        self.wait(outbox, position, true);
    }

    fn wait(&self, outbox: &Arc<Outbox>, position: u64, strict: bool) {
        let Some(waits) = self.waits else { return };
        let mut waits = waits.borrow_mut();
        match waits.iter_mut().find(|known| Arc::ptr_eq(&known.outbox, outbox)) {
            Some(known) => {
                known.position = position.max(known.position);
                known.strict |= strict;
            }
            None => waits.push(Wait { outbox: outbox.clone(), position, strict }),
        }
    }

    #[inline]
    fn apply(&self, db: &mut Db<'_>) {
        if !self.touch {
            db.no_touch();
        }
    }
}

/// How a command is executed.
#[derive(Debug, Clone, Copy)]
pub enum Handler {
    /// On its keys.
    Data(Data),
    /// On its keys, some of which may get an argument as it is for their string: long arguments are copied before the
    /// locks are taken.
    Keeps(Data),
    /// The same, and it changes the string of its only key where it is: a long one that others hold is copied before the lock is taken.
    Changes(Data),
    /// On its keys, or on any key if the arguments call for that: then every shard is locked (`SORT` with
    /// `BY` or `GET`).
    AnyKey(Data, fn(Args<'_>) -> bool),
    /// On the whole store.
    Whole(Whole),
    /// Known, but not there.
    Missing,
}

impl Handler {
    /// What executes it on its keys, if it is one on keys.
    #[inline]
    fn on_keys(self) -> Option<Data> {
        match self {
            Self::Data(handler)
            | Self::Keeps(handler)
            | Self::Changes(handler)
            | Self::AnyKey(handler, _) => Some(handler),
            Self::Whole(_) | Self::Missing => None,
        }
    }
}

/// What each family offers: names as in the table (`object|encoding`).
type Family = &'static [(&'static str, Handler)];

// One a line, so that families can be added side by side.
#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    bitfield::HANDLERS,
    bitmap::HANDLERS,
    database::HANDLERS,
    expire::HANDLERS,
    generic::HANDLERS,
    hash::HANDLERS,
    list::HANDLERS,
    object::HANDLERS,
    scan::HANDLERS,
    set::HANDLERS,
    sort::HANDLERS,
    string::HANDLERS,
    zset::HANDLERS,
];

/// The handlers by the table's numbers.
pub fn handlers() -> Vec<Handler> {
    let mut handlers = vec![Handler::Missing; table().entries().len()];
    for (name, handler) in FAMILIES.iter().flat_map(|family| family.iter()) {
        let entry = table().entries().iter().find(|e| e.name == *name);
        let entry = entry.unwrap_or_else(|| panic!("handler '{name}' is not in the command table"));
        handlers[usize::from(entry.id)] = *handler;
    }
    handlers
}

/// Commands that the table calls built and that have no handler.
pub fn unhandled() -> Vec<&'static str> {
    let handlers = handlers();
    let missing = |id: u16| matches!(handlers[usize::from(id)], Handler::Missing);
    let built = table().entries().iter().filter(|e| e.command.status == Status::Built);
    built.filter(|e| e.command.subcommands.is_empty() && missing(e.id)).map(|e| e.name.as_str()).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    //! A store and a dispatcher, driven by lines of text.

    use shoal_proto::resp::{Protocol, Reply, request::OwnedArgs};

    use super::{Scope, dispatch::Dispatch};
    use crate::store::{Settings, Store};

    /// An in-memory node whose clock the test moves.
    pub(crate) struct Core {
        pub(crate) store: Store,
        dispatch: Dispatch,
        pub(crate) now: u64,
        pub(crate) db: u8,
        pub(crate) protocol: Protocol,
    }

    impl Core {
        pub(crate) fn new() -> Self {
            Self {
                store: Store::new(Settings::default()),
                dispatch: Dispatch::default(),
                now: 1_700_000_000_000,
                db: 0,
                protocol: Protocol::Resp2,
            }
        }

        /// Executes one command, given as redis-cli would take it; the reply's bytes as text.
        pub(crate) fn run(&mut self, line: &str) -> String {
            let words = shoal_proto::resp::inline::split(line.as_bytes()).expect("balanced quotes");
            let args = OwnedArgs::new(words);
            let mut out = Vec::new();
            let scope = Scope {
                db: self.db,
                now: self.now,
                touch: true,
                within: None,
                alone: true,
                waits: None,
                landed: None,
            };
            self.dispatch.execute(&self.store, scope, args.args(), &mut Reply::new(&mut out, self.protocol));
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}
