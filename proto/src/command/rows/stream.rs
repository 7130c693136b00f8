//! Streams.

use super::row::{behind, key, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    stream("xack", -4, "5.0.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key group id [id ...]")
        .about("", "O(1)")
        .planned(),
    stream("xadd", -5, "5.0.0", "write denyoom fast")
        .keys(&[key(1, "rw update")])
        .syntax(
            "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field \
            value [field value ...]",
        )
        .about("", "O(1)")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("xautoclaim", -6, "6.2.0", "write fast")
        .keys(&[key(1, "rw delete")])
        .syntax("key group consumer min-idle-time start [COUNT count] [JUSTID]")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("xclaim", -6, "5.0.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax(
            "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME \
            unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        )
        .about("", "O(1)")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("xdel", -3, "5.0.0", "write fast")
        .keys(&[key(1, "rw delete")])
        .syntax("key id [id ...]")
        .about("", "O(1)")
        .planned(),
    stream("xgroup", -2, "5.0.0", "").about("", "O(1)").local().planned().subcommands(XGROUP),
    stream("xinfo", -2, "5.0.0", "").about("", "O(1)").local().planned().subcommands(XINFO),
    stream("xlen", 2, "5.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key")
        .about("", "O(1)")
        .planned(),
    stream("xpending", -3, "5.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key group [[IDLE min-idle-time] start end count [consumer]]")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("xrange", -4, "5.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start end [COUNT count]")
        .about("", "O(N)")
        .planned(),
    stream("xread", -4, "5.0.0", "blocking readonly")
        .keys(&[behind("STREAMS", 1, -1, 2, "ro access")])
        .syntax("[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]")
        .about("", "O(1)")
        .planned(),
    stream("xreadgroup", -7, "5.0.0", "blocking write")
        .keys(&[behind("STREAMS", 4, -1, 2, "ro access")])
        .syntax(
            "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key \
            ...] id [id ...]",
        )
        .about("", "O(1)")
        .planned(),
    stream("xrevrange", -4, "5.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key end start [COUNT count]")
        .about("", "O(N)")
        .planned(),
    stream("xsetid", -3, "5.0.0", "write denyoom fast")
        .keys(&[key(1, "rw update")])
        .syntax("key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]")
        .about("", "O(1)")
        .planned(),
    stream("xtrim", -4, "5.0.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .planned(),
];

const XGROUP: &[Command] = &[
    stream("create", -5, "5.0.0", "write denyoom")
        .keys(&[key(2, "rw insert")])
        .syntax("key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]")
        .about("", "O(1)")
        .planned(),
    stream("createconsumer", 5, "6.2.0", "write denyoom")
        .keys(&[key(2, "rw insert")])
        .syntax("key group consumer")
        .about("", "O(1)")
        .planned(),
    stream("delconsumer", 5, "5.0.0", "write")
        .keys(&[key(2, "rw delete")])
        .syntax("key group consumer")
        .about("", "O(1)")
        .planned(),
    stream("destroy", 4, "5.0.0", "write")
        .keys(&[key(2, "rw delete")])
        .syntax("key group")
        .about("", "O(N)")
        .planned(),
    stream("help", 2, "5.0.0", "loading stale").about("", "O(1)").local().planned(),
    stream("setid", -5, "5.0.0", "write")
        .keys(&[key(2, "rw update")])
        .syntax("key group <id | $> [ENTRIESREAD entries-read]")
        .about("", "O(1)")
        .planned(),
];

const XINFO: &[Command] = &[
    stream("consumers", 4, "5.0.0", "readonly")
        .keys(&[key(2, "ro access")])
        .syntax("key group")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"])
        .planned(),
    stream("groups", 3, "5.0.0", "readonly")
        .keys(&[key(2, "ro access")])
        .syntax("key")
        .about("", "O(1)")
        .planned(),
    stream("help", 2, "5.0.0", "loading stale").about("", "O(1)").local().planned(),
    stream("stream", -3, "5.0.0", "readonly")
        .keys(&[key(2, "ro access")])
        .syntax("key [FULL [COUNT count]]")
        .about("", "O(1)")
        .planned(),
];

/// A row of this family.
const fn stream(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Stream, name, arity, since, flags)
}
