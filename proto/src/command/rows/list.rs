//! Lists.

use super::row::{counted, key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    list("blmove", 6, "6.2.0", "write denyoom blocking")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout")
        .about("", "O(1)")
        .planned(),
    list("blmpop", -5, "7.0.0", "write blocking")
        .keys(&[counted(2, "rw access delete")])
        .syntax("timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .about("", "O(N+M)")
        .planned(),
    list("blpop", -3, "2.0.0", "write blocking")
        .keys(&[keys(1, -2, 1, "rw access delete")])
        .syntax("key [key ...] timeout")
        .about("", "O(N)")
        .planned(),
    list("brpop", -3, "2.0.0", "write blocking")
        .keys(&[keys(1, -2, 1, "rw access delete")])
        .syntax("key [key ...] timeout")
        .about("", "O(N)")
        .planned(),
    list("brpoplpush", 4, "2.2.0", "write denyoom blocking")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination timeout")
        .about("", "O(1)")
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")
        .planned(),
    list("lindex", 3, "1.0.0", "readonly").keys(&[key(1, "ro access")]).syntax("key index").about("", "O(N)"),
    list("linsert", 5, "2.2.0", "write denyoom")
        .keys(&[key(1, "rw insert")])
        .syntax("key <BEFORE | AFTER> pivot element")
        .about("", "O(N)"),
    list("llen", 2, "1.0.0", "readonly fast").keys(&[key(1, "ro")]).syntax("key").about("", "O(1)"),
    list("lmove", 5, "6.2.0", "write denyoom")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT>")
        .about("", "O(1)"),
    list("lmpop", -4, "7.0.0", "write")
        .keys(&[counted(1, "rw access delete")])
        .syntax("numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .about("", "O(N+M)"),
    list("lpop", -2, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("", "O(N)"),
    list("lpos", -3, "6.0.6", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key element [RANK rank] [COUNT num-matches] [MAXLEN len]")
        .about("", "O(N)"),
    list("lpush", -3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key element [element ...]")
        .about("", "O(1)"),
    list("lpushx", -3, "2.2.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key element [element ...]")
        .about("", "O(1)"),
    list("lrange", 4, "1.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start stop")
        .about("", "O(S+N)"),
    list("lrem", 4, "1.0.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key count element")
        .about("", "O(N+M)"),
    list("lset", 4, "1.0.0", "write denyoom")
        .keys(&[key(1, "rw update")])
        .syntax("key index element")
        .about("", "O(N)"),
    list("ltrim", 4, "1.0.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key start stop")
        .about("", "O(N)"),
    list("rpop", -2, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("", "O(N)"),
    list("rpoplpush", 3, "1.2.0", "write denyoom")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination")
        .about("", "O(1)")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    list("rpush", -3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key element [element ...]")
        .about("", "O(1)"),
    list("rpushx", -3, "2.2.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key element [element ...]")
        .about("", "O(1)"),
];

/// A row of this family.
const fn list(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::List, name, arity, since, flags)
}
