//! Streams.

use super::row::{behind, key, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    stream("xack", -4, "5.0.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key group id [id ...]")
        .about("Confirms that entries of a group have been handled.", "O(N), N entries")
        .planned(),
    stream("xadd", -5, "5.0.0", "write denyoom fast")
        .keys(&[key(1, "rw update")])
        .syntax(
            "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field \
            value [field value ...]",
        )
        .about("Appends an entry, creating the stream if need be.", "O(1), O(N) when N entries are trimmed")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("xautoclaim", -6, "6.2.0", "write fast")
        .keys(&[key(1, "rw delete")])
        .syntax("key group consumer min-idle-time start [COUNT count] [JUSTID]")
        .about("Takes over entries that another consumer has left unconfirmed for long.", "O(N), N = count")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("xclaim", -6, "5.0.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax(
            "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME \
            unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        )
        .about("Takes over given unconfirmed entries of a group.", "O(log(N)), N unconfirmed entries")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("xdel", -3, "5.0.0", "write fast")
        .keys(&[key(1, "rw delete")])
        .syntax("key id [id ...]")
        .about("Removes entries.", "O(N), N entries")
        .planned(),
    stream("xgroup", -2, "5.0.0", "")
        .about("Manages consumer groups.", "O(1)")
        .local()
        .planned()
        .subcommands(XGROUP),
    stream("xinfo", -2, "5.0.0", "")
        .about("Describes streams and their groups.", "O(1)")
        .local()
        .planned()
        .subcommands(XINFO),
    stream("xlen", 2, "5.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key")
        .about("Counts the entries.", "O(1)")
        .planned(),
    stream("xpending", -3, "5.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key group [[IDLE min-idle-time] start end count [consumer]]")
        .about("Shows a group's unconfirmed entries.", "O(N), N entries returned")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("xrange", -4, "5.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start end [COUNT count]")
        .about("Lists entries, oldest first.", "O(N), N entries returned")
        .planned(),
    stream("xread", -4, "5.0.0", "blocking readonly")
        .keys(&[behind("STREAMS", 1, -1, 2, "ro access")])
        .syntax("[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]")
        .about("Reads new entries of streams, waiting for them if wanted.", "O(N), N entries returned")
        .planned(),
    stream("xreadgroup", -7, "5.0.0", "blocking write")
        .keys(&[behind("STREAMS", 4, -1, 2, "ro access")])
        .syntax(
            "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key \
            ...] id [id ...]",
        )
        .about(
            "Reads new entries on behalf of a group's consumer, waiting for them if wanted.",
            "O(M), M entries returned",
        )
        .planned(),
    stream("xrevrange", -4, "5.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key end start [COUNT count]")
        .about("Lists entries, newest first.", "O(N), N entries returned")
        .planned(),
    stream("xsetid", -3, "5.0.0", "write denyoom fast")
        .keys(&[key(1, "rw update")])
        .syntax("key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]")
        .about("Sets a stream's last ID.", "O(1)")
        .planned(),
    stream("xtrim", -4, "5.0.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]")
        .about("Removes the oldest entries.", "O(N), N entries removed")
        .tips(&["nondeterministic_output"])
        .planned(),
];

const XGROUP: &[Command] = &[
    stream("create", -5, "5.0.0", "write denyoom")
        .keys(&[key(2, "rw insert")])
        .syntax("key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]")
        .about("Creates a group.", "O(1)")
        .planned(),
    stream("createconsumer", 5, "6.2.0", "write denyoom")
        .keys(&[key(2, "rw insert")])
        .syntax("key group consumer")
        .about("Creates a consumer of a group.", "O(1)")
        .planned(),
    stream("delconsumer", 5, "5.0.0", "write")
        .keys(&[key(2, "rw delete")])
        .syntax("key group consumer")
        .about("Removes a consumer with its unconfirmed entries.", "O(1)")
        .planned(),
    stream("destroy", 4, "5.0.0", "write")
        .keys(&[key(2, "rw delete")])
        .syntax("key group")
        .about("Removes a group.", "O(N), N unconfirmed entries")
        .planned(),
    stream("help", 2, "5.0.0", "loading stale").about("Explains the subcommands.", "O(1)").local().planned(),
    stream("setid", -5, "5.0.0", "write")
        .keys(&[key(2, "rw update")])
        .syntax("key group <id | $> [ENTRIESREAD entries-read]")
        .about("Sets the last entry that a group has been given.", "O(1)")
        .planned(),
];

const XINFO: &[Command] = &[
    stream("consumers", 4, "5.0.0", "readonly")
        .keys(&[key(2, "ro access")])
        .syntax("key group")
        .about("Lists the consumers of a group.", "O(1)")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("groups", 3, "5.0.0", "readonly")
        .keys(&[key(2, "ro access")])
        .syntax("key")
        .about("Lists the groups of a stream.", "O(1)")
        .planned(),
    stream("help", 2, "5.0.0", "loading stale").about("Explains the subcommands.", "O(1)").local().planned(),
    stream("stream", -3, "5.0.0", "readonly")
        .keys(&[key(2, "ro access")])
        .syntax("key [FULL [COUNT count]]")
        .about("Describes a stream.", "O(1)")
        .planned(),
];

/// A row of this family.
const fn stream(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Stream, name, arity, since, flags)
}
