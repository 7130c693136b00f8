//! Sets.

use super::row::{counted, key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    set("sadd", -3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key member [member ...]")
        .about("", "O(1)"),
    set("scard", 2, "1.0.0", "readonly fast").keys(&[key(1, "ro")]).syntax("key").about("", "O(1)"),
    set("sdiff", -2, "1.0.0", "readonly")
        .keys(&[keys(1, -1, 1, "ro access")])
        .syntax("key [key ...]")
        .about("", "O(N)")
        .tips(&["nondeterministic_output_order"]),
    set("sdiffstore", -3, "1.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), keys(2, -1, 1, "ro access")])
        .syntax("destination key [key ...]")
        .about("", "O(N)"),
    set("sinter", -2, "1.0.0", "readonly")
        .keys(&[keys(1, -1, 1, "ro access")])
        .syntax("key [key ...]")
        .about("", "O(N*M)")
        .tips(&["nondeterministic_output_order"]),
    set("sintercard", -3, "7.0.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .about("", "O(N*M)"),
    set("sinterstore", -3, "1.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), keys(2, -1, 1, "ro access")])
        .syntax("destination key [key ...]")
        .about("", "O(N*M)"),
    set("sismember", 3, "1.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key member")
        .about("", "O(1)"),
    set("smembers", 2, "1.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("", "O(N)")
        .tips(&["nondeterministic_output_order"]),
    set("smismember", -3, "6.2.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member [member ...]")
        .about("", "O(N)"),
    set("smove", 4, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination member")
        .about("", "O(1)"),
    set("spop", -2, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"]),
    set("srandmember", -2, "1.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key [count]")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"]),
    set("srem", -3, "1.0.0", "write fast")
        .keys(&[key(1, "rw delete")])
        .syntax("key member [member ...]")
        .about("", "O(N)"),
    set("sscan", -3, "2.8.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"]),
    set("sunion", -2, "1.0.0", "readonly")
        .keys(&[keys(1, -1, 1, "ro access")])
        .syntax("key [key ...]")
        .about("", "O(N)")
        .tips(&["nondeterministic_output_order"]),
    set("sunionstore", -3, "1.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), keys(2, -1, 1, "ro access")])
        .syntax("destination key [key ...]")
        .about("", "O(N)"),
];

/// A row of this family.
const fn set(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Set, name, arity, since, flags)
}
