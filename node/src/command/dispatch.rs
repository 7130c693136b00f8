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

use super::{Data, Handler, Scope, gated};
use crate::store::{Db, Held, LEAST_PREPARED, Located, Seen, Store};

/// A request's keys, in order of appearance.
pub type Keys<'a> = SmallVec<[Located<'a>; 4]>;

/// Where and when a command is executed: what most of them need to know of a [`Scope`].
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The connection's selected database.
    pub db: u8,
    /// Ms since 1970.
    pub now: u64,
    /// Whether reads count as accesses.
    pub touch: bool,
}

impl Moment {
    /// The database of one key there and then, see [`Store::lock_held`].
    #[inline(always)]
    fn lock<'s: 'a, 'a>(
        self,
        store: &'s Store,
        key: (&'a Located<'a>, bool, Seen),
        held: &'a mut Held<'s>,
    ) -> Db<'a> {
        let mut db = store.lock_held((self.db, self.now), key, held);
        if !self.touch {
            db.no_touch();
        }
        db
    }
}

/// Executes data commands on a store.
#[derive(Debug)]
pub struct Dispatch {
    handlers: Vec<Handler>,
    briefs: Vec<Option<Brief>>,
}

/// What is needed to execute a quick command on one key.
#[derive(Debug, Clone, Copy)]
pub struct Brief {
    handler: Data,
    /// Whether it changes a string where it is.
    changes: bool,
    /// Whether it needs memory.
    pub grows: bool,
}

impl Default for Dispatch {
    fn default() -> Self {
        let handlers = super::handlers();
        let brief = |entry: &Entry| {
            let of = handlers[usize::from(entry.id)];
            match of {
                Handler::Data(handler) | Handler::Keeps(handler) | Handler::Changes(handler)
                    if entry.quick && entry.one_key =>
                {
                    let grows = entry.command.flags.contains(Flags::DENYOOM);
                    Some(Brief { handler, changes: matches!(of, Handler::Changes(_)), grows })
                }
                _ => None,
            }
        };
        let briefs = table().entries().iter().map(brief).collect();
        Self { handlers, briefs }
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
        let handler = self.handler(entry).on_keys().ok_or_else(|| entry.unsupported())?;
        handler(db, args, out)
    }

    /// The quick command on one key with this number, if it is one.
    #[inline]
    pub fn brief(&self, id: u16) -> Option<&Brief> {
        self.briefs.get(usize::from(id))?.as_ref()
    }

    /// Executes a quick command on one key, as [`run_held`](Self::run_held) does, with arguments that need not be
    /// [prepared](Store::prepare). `None`: its slot is not as slots are usually, or a long string has to be copied first, and
    /// nothing has happened.
    #[inline(always)]
    pub fn run_brief<'s>(
        store: &'s Store,
        brief: &Brief,
        moment: Moment,
        key: &Located<'_>,
        (args, out): (Args<'_>, &mut Reply<'_>),
        (held, again, seen, keep): (&mut Held<'s>, bool, Seen, bool),
    ) -> Option<Result> {
        let mut db = moment.lock(store, (key, again, seen), held);
        if !db.is_plain(key.slot) || (brief.changes && db.to_copy(key.bytes).is_some()) {
            return None;
        }
        let result = (brief.handler)(&mut db, args, out);
        drop(db);
        if !keep {
            held.release();
        }
        Some(result)
    }

    /// Executes a request with one key, under the lock that is held if that is its shard's. `again`: it is the key of the request
    /// that was executed before with the same `held`; else `seen` may be its item. If `keep`, the lock is held afterwards. `scope` is
    /// made where it is needed.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_held<'s, 'b>(
        &self,
        store: &'s Store,
        entry: &Entry,
        (moment, scope): (Moment, impl Fn() -> Scope<'b>),
        key: &Located<'_>,
        (args, out): (Args<'_>, &mut Reply<'_>),
        (held, again, seen, keep): (&mut Held<'s>, bool, Seen, bool),
    ) -> Result {
        let handler = match self.handler(entry) {
            Handler::Data(handler) => handler,
            Handler::Keeps(handler) | Handler::Changes(handler) if args.raw().len() <= LEAST_PREPARED => {
                handler
            }
            _ => {
                held.release();
                return self.run(store, entry, scope(), &[*key], args, out);
            }
        };
        if entry.command.flags.contains(Flags::DENYOOM) && store.is_short() {
            held.release();
            if !store.make_room(moment.now) {
                return Err(Error::OutOfMemory);
            }
        }
        let mark = out.mark();
        let mut db = moment.lock(store, (key, again, seen), held);
        if matches!(self.handler(entry), Handler::Changes(_)) && db.to_copy(key.bytes).is_some() {
            drop(db);
            held.release();
            return self.run(store, entry, scope(), &[*key], args, out);
        }
        let result = if db.is_plain(key.slot) {
            handler(&mut db, args, out)
        } else {
            gated::run(handler, entry, &mut db, &[key.slot], (scope(), args), out)
        };
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
        if let Handler::Changes(_) = self.handler(entry) {
            copy_before(store, scope, keys);
        }
        let result = match self.handler(entry) {
            Handler::AnyKey(handler, wanted) if wanted(args) => {
                if !scope.alone {
                    super::sort::patterns_in_slot(args)?;
                }
                let mut db = store.lock_all(scope.db, scope.now);
                scope.apply(&mut db);
                gated::run(handler, entry, &mut db, &distinct(keys), (scope, args), out)
            }
            Handler::Keeps(handler) | Handler::Changes(handler) if args.raw().len() > LEAST_PREPARED => {
                let mut prepared = store.prepare(args.iter(), scope.landed);
                let mut db = store.lock(scope.db, keys, scope.now).having(&mut prepared);
                scope.apply(&mut db);
                locked(handler, entry, &mut db, keys, (scope, args), out)
            }
            Handler::Data(handler)
            | Handler::Keeps(handler)
            | Handler::Changes(handler)
            | Handler::AnyKey(handler, _) => {
                let mut db = store.lock(scope.db, keys, scope.now);
                scope.apply(&mut db);
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

/// Copies the long string of the only key without a lock, if the command that is to be executed would copy it with one. If it
/// changes meanwhile, it does so all the same.
fn copy_before(store: &Store, scope: Scope<'_>, keys: &[Located<'_>]) {
    let [key] = keys else { return };
    let lock = || store.lock(scope.db, keys, scope.now);
    let shared = lock().to_copy(key.bytes);
    if let Some(bytes) = shared {
        let copy = bytes.to_vec();
        lock().take_copy(key.bytes, &bytes, copy);
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

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
    use shoal_proto::resp::{Protocol, request::OwnedArgs};

    use super::*;
    use crate::store::{Ahead, Settings};

    /// With the key in place of K. They find it, do not look for it, change it where it is, write it anew, move or remove it.
    const COMMANDS: [&str; 32] = [
        "SET K 1",
        "SET K 12345",
        "SET K text PX 40",
        "GET K",
        "APPEND K more",
        "INCR K",
        "INCRBY K x",
        "DECRBY K 7",
        "GETDEL K",
        "GETEX K PX 30",
        "PEXPIRE K 20",
        "PERSIST K",
        "MOVE K 1",
        "MOVE K 0",
        "DEL K",
        "TYPE K",
        "HSET K f v",
        "HSET K a-field a-value-that-makes-it-grow",
        "HSET K f",
        "HDEL K f",
        "HGET K f",
        "SADD K member",
        "SADD K 1",
        "SREM K member",
        "LPUSH K left",
        "RPUSH K right",
        "LPOP K",
        "RPOP K 2",
        "ZADD K 1 member",
        "ZPOPMIN K",
        "FLUSHDB",
        "SWAPDB 0 1",
    ];

    const SCOPE: Scope<'static> = Scope {
        db: 0,
        now: 1_700_000_000_000,
        touch: true,
        within: None,
        alone: true,
        waits: None,
        landed: None,
    };

    /// What others hold of a long string stays as it was, the command finds a copy that is the string's own, and the accounts hold.
    #[test]
    fn long_strings_are_copied_before_they_are_changed() {
        let (store, dispatch) = (Store::new(Settings::default()), Dispatch::default());
        let scope = SCOPE;
        let run = |args: &[&[u8]]| {
            let (args, mut out) = (OwnedArgs::new(args), Vec::new());
            dispatch.execute(&store, scope, args.args(), &mut Reply::new(&mut out, Protocol::Resp2));
            out
        };
        let long = vec![b'x'; 100_000];
        let changes: [&[&[u8]]; 4] = [
            &[b"APPEND", b"k", b"y"],
            &[b"SETRANGE", b"k", b"50000", b"y"],
            &[b"SETBIT", b"k", b"7", b"1"],
            &[b"BITFIELD", b"k", b"SET", b"u8", b"0", b"121"],
        ];
        let located = [store.locate(b"k")];
        for change in changes {
            run(&[b"SET", b"k", &long]);
            let held = store.lock(0, &located, scope.now).to_copy(b"k").expect("it lies where it was put");
            copy_before(&store, scope, &located);
            let mut db = store.lock(0, &located, scope.now);
            assert_eq!(db.to_copy(b"k"), None);
            let at = db.read_str(b"k").expect("a string").expect("there").as_ptr();
            assert_ne!(at, held.as_ptr());
            drop(db);
            store.audit();
            assert!(!run(change).starts_with(b"-"));
            let mut db = store.lock(0, &located, scope.now);
            let now = db.read_str(b"k").expect("a string").expect("there");
            assert!(now != long && held == long, "{change:?}");
            // To grow it moves, or is lengthened by the system; else it is changed where it is.
            assert!(change[0] == b"APPEND" || now.as_ptr() == at, "{change:?}");
            drop(db);
            // Through the command alone.
            run(&[b"SET", b"k", &long]);
            run(change);
            store.audit();
            assert_eq!(
                run(&[b"STRLEN", b"k"]),
                format!(":{}\r\n", 100_000 + usize::from(change[0] == b"APPEND")).as_bytes()
            );
        }
    }

    /// Commands under a lock that is kept, in runs on one key, answer and leave behind what they do one by one, whatever items
    /// they are told to look at first.
    #[test]
    fn runs_under_one_lock_answer_as_commands_one_by_one() {
        let mut random = StdRng::seed_from_u64(13);
        let (kept, single, dispatch) =
            (Store::new(Settings::default()), Store::new(Settings::default()), Dispatch::default());
        let mut scope = SCOPE;
        // More keys than a flush removes at once.
        let many = (0..80).fold("MSET".to_owned(), |line, i| format!("{line} {{x}}{i} 1"));
        let many = OwnedArgs::new(many.split(' '));
        let mut seen = vec![Seen::default()];
        for run in 0..4_000 {
            scope.db = random.random_range(0..2);
            if random.random_bool(0.1) {
                for store in [&kept, &single] {
                    dispatch.execute(
                        store,
                        scope,
                        many.args(),
                        &mut Reply::new(&mut Vec::new(), Protocol::Resp2),
                    );
                }
            }
            let (mut held, mut last) = (Held::default(), None);
            for _ in 0..random.random_range(1..24) {
                // The lock outlives a change of the time in a long batch.
                scope.now += random.random_range(0..8);
                let key = match last {
                    Some(last) if random.random_range(0..4) > 0 => last,
                    _ => *["{x}one", "{x}two", "{x}three"].choose(&mut random).expect("there are three"),
                };
                let line = COMMANDS.choose(&mut random).expect("there are some").replace('K', key);
                let args = OwnedArgs::new(line.split(' '));
                let (args, mut here, mut there) = (args.args(), Vec::new(), Vec::new());
                dispatch.execute(&single, scope, args, &mut Reply::new(&mut there, Protocol::Resp2));
                let mut out = Reply::new(&mut here, Protocol::Resp2);
                let result = table().find(args).and_then(|entry| {
                    if !entry.one_key {
                        held.release();
                        last = None;
                        let keys = Dispatch::keys(&kept, entry, args);
                        return dispatch.run(&kept, entry, scope, &keys, args, &mut out);
                    }
                    let (located, again) = (kept.locate(args.at(1)), last == Some(key));
                    last = Some(key);
                    if random.random_bool(0.3) {
                        held.release();
                        let Located { slot, hash, .. } = located;
                        let (db, whole, unseen) = (scope.db, false, Seen::default());
                        let mut ahead = [Ahead { db, slot, hash, whole, seen: unseen }];
                        kept.ask(&mut ahead);
                        seen.push(ahead[0].seen);
                    }
                    let item = seen[seen.len().saturating_sub(random.random_range(1..6))];
                    let under = (&mut held, again, item, random.random_range(0..8) > 0);
                    let moment = Moment { db: scope.db, now: scope.now, touch: scope.touch };
                    dispatch.run_held(&kept, entry, (moment, || scope), &located, (args, &mut out), under)
                });
                if let Err(error) = result {
                    out.error(&error);
                }
                assert_eq!(here, there, "run {run}: {line}");
            }
            drop(held);
            if run % 100 == 0 {
                kept.audit();
                single.audit();
            }
        }
    }
}
