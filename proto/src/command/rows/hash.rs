//! Hashes.

use super::row::{key, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    hash("hdel", -3, "2.0.0", "write fast")
        .keys(&[key(1, "rw delete")])
        .syntax("key field [field ...]")
        .about("Removes fields.", "O(N), N fields"),
    hash("hexists", 3, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key field")
        .about("Tells whether a field exists.", "O(1)"),
    hash("hget", 3, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key field")
        .about("Reads a field.", "O(1)"),
    hash("hgetall", 2, "2.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Reads all fields with their values.", "O(N), N fields")
        .tips(&["nondeterministic_output_order"]),
    hash("hincrby", 4, "2.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key field increment")
        .about("Adds an amount to the number in a field.", "O(1)"),
    hash("hincrbyfloat", 4, "2.6.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key field increment")
        .about("Adds a decimal amount to the number in a field.", "O(1)"),
    hash("hkeys", 2, "2.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Lists the fields.", "O(N), N fields")
        .tips(&["nondeterministic_output_order"]),
    hash("hlen", 2, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key")
        .about("Counts the fields.", "O(1)"),
    hash("hmget", -3, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key field [field ...]")
        .about("Reads several fields.", "O(N), N fields asked for"),
    hash("hmset", -4, "2.0.0", "write denyoom fast")
        .keys(&[key(1, "rw update")])
        .syntax("key field value [field value ...]")
        .about("Writes several fields: the old form of HSET.", "O(N), N fields")
        .deprecated("4.0.0", "HSET with multiple field-value pairs"),
    hash("hrandfield", -2, "6.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key [count [WITHVALUES]]")
        .about("Picks random fields.", "O(N), N fields returned")
        .tips(&["nondeterministic_output"]),
    hash("hscan", -3, "2.8.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key cursor [MATCH pattern] [COUNT count] [NOVALUES]")
        .about("Walks through the fields, a step per call.", "O(1) per call, O(N) for all N fields")
        .tips(&["nondeterministic_output"]),
    hash("hset", -4, "2.0.0", "write denyoom fast")
        .keys(&[key(1, "rw update")])
        .syntax("key field value [field value ...]")
        .about("Writes fields.", "O(N), N fields"),
    hash("hsetnx", 4, "2.0.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key field value")
        .about("Writes a field unless it exists.", "O(1)"),
    hash("hstrlen", 3, "3.2.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key field")
        .about("Tells how long a field's value is.", "O(1)"),
    hash("hvals", 2, "2.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Lists the values.", "O(N), N fields")
        .tips(&["nondeterministic_output_order"]),
];

/// A row of this family.
const fn hash(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Hash, name, arity, since, flags)
}
