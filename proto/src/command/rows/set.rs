//! Sets.

use super::row::{counted, key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    set("sadd", -3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key member [member ...]")
        .about("Adds members.", "O(N), N members"),
    set("scard", 2, "1.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key")
        .about("Counts the members.", "O(1)"),
    set("sdiff", -2, "1.0.0", "readonly")
        .keys(&[keys(1, -1, 1, "ro access")])
        .syntax("key [key ...]")
        .about("Lists the members of the first set that no other has.", "O(N), N members of all sets")
        .tips(&["nondeterministic_output_order"]),
    set("sdiffstore", -3, "1.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), keys(2, -1, 1, "ro access")])
        .syntax("destination key [key ...]")
        .about("Stores the members of the first set that no other has.", "O(N), N members of all sets"),
    set("sinter", -2, "1.0.0", "readonly")
        .keys(&[keys(1, -1, 1, "ro access")])
        .syntax("key [key ...]")
        .about("Lists the members that all sets have.", "O(N*M), N members of the smallest of M sets")
        .tips(&["nondeterministic_output_order"]),
    set("sintercard", -3, "7.0.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .about("Counts the members that all sets have.", "O(N*M), N members of the smallest of M sets"),
    set("sinterstore", -3, "1.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), keys(2, -1, 1, "ro access")])
        .syntax("destination key [key ...]")
        .about("Stores the members that all sets have.", "O(N*M), N members of the smallest of M sets"),
    set("sismember", 3, "1.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key member")
        .about("Tells whether a set has a member.", "O(1)"),
    set("smembers", 2, "1.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Lists the members.", "O(N), N members")
        .tips(&["nondeterministic_output_order"]),
    set("smismember", -3, "6.2.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member [member ...]")
        .about("Tells of each of several members whether a set has it.", "O(N), N members asked for"),
    set("smove", 4, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination member")
        .about("Moves a member to another set.", "O(1)"),
    set("spop", -2, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("Takes random members.", "O(N), N members taken")
        .tips(&["nondeterministic_output"]),
    set("srandmember", -2, "1.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key [count]")
        .about("Picks random members.", "O(N), N members returned")
        .tips(&["nondeterministic_output"]),
    set("srem", -3, "1.0.0", "write fast")
        .keys(&[key(1, "rw delete")])
        .syntax("key member [member ...]")
        .about("Removes members.", "O(N), N members"),
    set("sscan", -3, "2.8.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .about("Walks through the members, a step per call.", "O(1) per call, O(N) for all N members")
        .tips(&["nondeterministic_output"]),
    set("sunion", -2, "1.0.0", "readonly")
        .keys(&[keys(1, -1, 1, "ro access")])
        .syntax("key [key ...]")
        .about("Lists the members that any set has.", "O(N), N members of all sets")
        .tips(&["nondeterministic_output_order"]),
    set("sunionstore", -3, "1.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), keys(2, -1, 1, "ro access")])
        .syntax("destination key [key ...]")
        .about("Stores the members that any set has.", "O(N), N members of all sets"),
];

/// A row of this family.
const fn set(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Set, name, arity, since, flags)
}
