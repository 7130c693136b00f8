//! Executing where a slot is not simply open: its gate is shut, or its changes are sent elsewhere.
//!
//! Called by the dispatch, under the locks of the command's slots; the usual case never comes here.

use shoal_proto::{
    Error,
    command::{Entry, KeyFlags},
    error::Result,
    number,
    resp::{Args, Reply},
    slot::key_slot,
};
use smallvec::SmallVec;

use super::{Data, Scope};
use crate::{
    handoff::mutants::{self, Mutant},
    store::{DATABASES, Db, Effect, PIECE},
};

/// Commands that do the same wherever they are executed at the same moment on the same keys: those are sent as they
/// are. Of all others it is sent what became of their keys: whose outcome depends on chance or on the order of a table,
/// or which touch several databases. In order.
const SAME_EVERYWHERE: &[&str] = &[
    "append",
    "bitfield",
    "bitop",
    "decr",
    "decrby",
    "del",
    "expire",
    "expireat",
    "getdel",
    "getex",
    "getset",
    "hdel",
    "hincrby",
    "hincrbyfloat",
    "hmset",
    "hset",
    "hsetnx",
    "incr",
    "incrby",
    "incrbyfloat",
    "linsert",
    "lmove",
    "lmpop",
    "lpop",
    "lpush",
    "lpushx",
    "lrem",
    "lset",
    "ltrim",
    "mset",
    "msetnx",
    "persist",
    "pexpire",
    "pexpireat",
    "psetex",
    "rename",
    "renamenx",
    "rpop",
    "rpoplpush",
    "rpush",
    "rpushx",
    "sadd",
    "sdiffstore",
    "set",
    "setbit",
    "setex",
    "setnx",
    "setrange",
    "sinterstore",
    "smove",
    "srem",
    "sunionstore",
    "unlink",
    "zadd",
    "zdiffstore",
    "zincrby",
    "zinterstore",
    "zmpop",
    "zpopmax",
    "zpopmin",
    "zrangestore",
    "zrem",
    "zremrangebylex",
    "zremrangebyrank",
    "zremrangebyscore",
    "zunionstore",
];

/// A key of a command: database, key, whether the command may change it.
type Keys<'a> = SmallVec<[(u8, &'a [u8], bool); 4]>;

/// Executes a command if the gates of all its slots allow it, and tells those who listen what it did.
///
/// # Errors
/// What the handler answers; `Held`, `KeyHeld` or `NotHere` if nothing was executed.
#[cold]
pub(super) fn run(
    handler: Data,
    entry: &Entry,
    db: &mut Db<'_>,
    slots: &[u16],
    (scope, args): (Scope<'_>, Args<'_>),
    out: &mut Reply<'_>,
) -> Result {
    db.check_gates(slots)?;
    let tapped = slots.iter().any(|slot| db.is_tapped(*slot));
    let result = if tapped && entry.writes() {
        write(handler, entry, db, slots, (scope, args), out)
    } else {
        handler(db, args, out)
    };
    if tapped {
        slots.iter().flat_map(|slot| db.waits(*slot)).for_each(|(outbox, at)| scope.wait_for(outbox, at));
    }
    result
}

fn write(
    handler: Data,
    entry: &Entry,
    db: &mut Db<'_>,
    slots: &[u16],
    (scope, args): (Scope<'_>, Args<'_>),
    out: &mut Reply<'_>,
) -> Result {
    let keys = keys(entry, scope.db, args);
    for (_, key, _) in keys.iter().filter(|(_, _, changed)| *changed) {
        if db.is_busy(key_slot(key), key) {
            return Err(Error::KeyHeld);
        }
    }
    let chance = entry.name == "spop" && mutants::is(Mutant::Chance);
    let same = SAME_EVERYWHERE.binary_search(&entry.name.as_str()).is_ok() || chance;
    let as_it_is = slots.len() == 1 && (same || entry.name == "spop") && args.raw().len() <= PIECE;
    if slots.iter().any(|slot| db.is_behind(*slot)) || (!as_it_is && is_clogged(db, &keys, slots, args)) {
        return Err(Error::Held);
    }
    let (before, mark) = (db.changes(), out.mark());
    let result = handler(db, args, out);
    // What answers an error has changed nothing that clients see.
    if result.is_err() || db.changes() == before {
        return result;
    }
    let mut words: Option<Vec<&[u8]>> = None;
    let popped;
    if slots.len() == 1 {
        if same {
            words = Some(args.iter().collect());
        } else if entry.name == "spop" {
            popped = bulks(out.since(mark));
            words = Some([b"SREM", args.at(1)].into_iter().chain(popped.iter().map(Vec::as_slice)).collect());
        }
    }
    for slot in slots.iter().copied().filter(|slot| db.is_tapped(*slot)).collect::<SmallVec<[u16; 4]>>() {
        let here: Keys<'_> = keys.iter().copied().filter(|(_, key, _)| key_slot(key) == slot).collect();
        db.tell(&Effect { slot, db: scope.db, now: scope.now, words: words.as_deref(), keys: &here });
    }
    result
}

/// Whether a command of which is sent what becomes of its keys has to wait until copies can be sent that: at most all that it brings and
/// all that is there.
#[cold]
fn is_clogged(db: &Db<'_>, keys: &Keys<'_>, slots: &[u16], args: Args<'_>) -> bool {
    let there = |(index, key, _): &(u8, &[u8], bool)| db.large_memory(*index, key_slot(key), key);
    let bytes = args.raw().len() + keys.iter().map(there).sum::<usize>();
    slots.iter().any(|slot| db.is_clogged(*slot, bytes))
}

/// The keys of a command that writes. A key that is named twice counts once for each.
fn keys<'a>(entry: &Entry, index: u8, args: Args<'a>) -> Keys<'a> {
    let mut keys = Keys::new();
    let doubtful = KeyFlags::VARIABLE_FLAGS.union(KeyFlags::INCOMPLETE);
    // A malformed count changes nothing: the handler refuses it.
    let _ = entry.each_key_with_spec(args, |at, spec| {
        let reads = spec.flags.contains(KeyFlags::RO) && !spec.flags.intersects(doubtful);
        keys.push((index, args.at(at), !reads));
    });
    let other = match entry.name.as_str() {
        "move" => args.get(2),
        "copy" => (3..args.len()).rfind(|at| args.is(*at, "db")).and_then(|at| args.get(at + 1)),
        _ => None,
    };
    let other = other.and_then(number::parse_i64).and_then(|n| u8::try_from(n).ok());
    if let Some(other) = other.filter(|n| usize::from(*n) < DATABASES) {
        let more: Keys<'_> = keys.iter().map(|(_, key, changed)| (other, *key, *changed)).collect();
        keys.extend(more);
    }
    keys
}

/// The bulk strings of a reply that this node has just written.
fn bulks(mut reply: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(end) = memchr::memchr(b'\n', reply) {
        let (line, rest) = (&reply[..end], &reply[end + 1..]);
        let len = line.strip_prefix(b"$").and_then(|text| text.strip_suffix(b"\r"));
        match len.and_then(number::parse_u64) {
            Some(len) if len as usize + 2 <= rest.len() => {
                found.push(rest[..len as usize].to_vec());
                reply = &rest[len as usize + 2..];
            }
            // The head of an array, or nothing.
            _ => reply = rest,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use shoal_proto::command::{Status, table};

    use super::super::dispatch::Dispatch;
    use super::*;

    /// Of these it is sent what became of their keys.
    const BY_STATE: &[&str] = &["copy", "move", "sort", "spop"];

    #[test]
    fn every_command_that_writes_is_thought_of() {
        assert!(SAME_EVERYWHERE.is_sorted());
        let dispatch = Dispatch::default();
        let writes = table().entries().iter().filter(|entry| entry.writes());
        let built = writes.filter(|entry| entry.command.status == Status::Built);
        let on_keys = built
            .filter(|entry| dispatch.handler(entry).on_keys().is_some())
            .map(|entry| entry.name.as_str());
        let mut known: Vec<&str> = SAME_EVERYWHERE.iter().chain(BY_STATE).copied().collect();
        known.sort_unstable();
        let mut all: Vec<&str> = on_keys.collect();
        all.sort_unstable();
        assert_eq!(all, known, "decide whether the command does the same wherever it is executed");
    }

    #[test]
    fn bulks_of_replies() {
        assert_eq!(bulks(b"$3\r\na\nb\r\n"), [b"a\nb"]);
        assert_eq!(bulks(b"*2\r\n$1\r\na\r\n$0\r\n\r\n"), [&b"a"[..], b""]);
        assert_eq!(bulks(b"~1\r\n$2\r\n$1\r\n"), [b"$1"]);
        assert!(bulks(b"$-1\r\n").is_empty() && bulks(b"*0\r\n").is_empty() && bulks(b"_\r\n").is_empty());
    }
}
