//! Strings.

use super::row::{key, keys, row};
use crate::command::{Command, Group, Merge};

pub(super) static COMMANDS: &[Command] = &[
    string("append", 3, "2.0.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key value")
        .about("Adds text to the end of a string, creating it if need be.", "O(1) amortized"),
    string("decr", 2, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key")
        .about("Subtracts one from a number.", "O(1)"),
    string("decrby", 3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key decrement")
        .about("Subtracts an amount from a number.", "O(1)"),
    string("get", 2, "1.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Reads a string.", "O(1)"),
    string("getdel", 2, "6.2.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key")
        .about("Reads a string and removes its key.", "O(1)"),
    string("getex", -2, "6.2.0", "write fast")
        .keys(&[key(1, "rw access update")])
        .syntax(
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT \
            unix-time-milliseconds | PERSIST]",
        )
        .about("Reads a string and changes when its key expires.", "O(1)"),
    string("getrange", 4, "2.4.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start end")
        .about("Reads part of a string.", "O(N), N bytes returned"),
    string("getset", 3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key value")
        .about("Replaces a string and returns what it was.", "O(1)")
        .deprecated("6.2.0", "SET with GET"),
    string("incr", 2, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key")
        .about("Adds one to a number.", "O(1)"),
    string("incrby", 3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key increment")
        .about("Adds an amount to a number.", "O(1)"),
    string("incrbyfloat", 3, "2.6.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key increment")
        .about("Adds a decimal amount to a number.", "O(1)"),
    string("lcs", -3, "7.0.0", "readonly")
        .keys(&[keys(1, 1, 1, "ro access")])
        .syntax("key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]")
        .about("Finds the longest subsequence that two strings share.", "O(N*M), the two lengths"),
    string("mget", -2, "1.0.0", "readonly fast")
        .keys(&[keys(1, -1, 1, "ro access")])
        .syntax("key [key ...]")
        .about("Reads several strings at once.", "O(N), N keys")
        .tips(&["request_policy:multi_shard"])
        .split(1, Merge::Values),
    string("mset", -3, "1.0.1", "write denyoom")
        .keys(&[keys(1, -1, 2, "ow update")])
        .syntax("key value [key value ...]")
        .about("Writes several strings at once.", "O(N), N keys")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .split(2, Merge::AllOk),
    string("msetnx", -3, "1.0.1", "write denyoom")
        .keys(&[keys(1, -1, 2, "ow insert")])
        .syntax("key value [key value ...]")
        .about("Writes several strings, but only if none of the keys exists.", "O(N), N keys"),
    string("psetex", 4, "2.6.0", "write denyoom")
        .keys(&[key(1, "ow update")])
        .syntax("key milliseconds value")
        .about("Writes a string that expires after some milliseconds.", "O(1)")
        .deprecated("2.6.12", "SET with PX"),
    string("set", -3, "1.0.0", "write denyoom")
        .keys(&[key(1, "rw access update variable_flags")])
        .syntax(
            "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
            PXAT unix-time-milliseconds | KEEPTTL]",
        )
        .about("Writes a string, on conditions and with an expiry if wanted.", "O(1)"),
    string("setex", 4, "2.0.0", "write denyoom")
        .keys(&[key(1, "ow update")])
        .syntax("key seconds value")
        .about("Writes a string that expires after some seconds.", "O(1)")
        .deprecated("2.6.12", "SET with EX"),
    string("setnx", 3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "ow insert")])
        .syntax("key value")
        .about("Writes a string unless the key exists.", "O(1)")
        .deprecated("2.6.12", "SET with NX"),
    string("setrange", 4, "2.2.0", "write denyoom")
        .keys(&[key(1, "rw update")])
        .syntax("key offset value")
        .about("Overwrites part of a string, from an offset on.", "O(N), N bytes written"),
    string("strlen", 2, "2.2.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key")
        .about("Tells how long a string is.", "O(1)"),
    string("substr", 4, "1.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start end")
        .about("Reads part of a string: the old name of GETRANGE.", "O(N), N bytes returned")
        .deprecated("2.0.0", "GETRANGE"),
];

/// A row of this family.
const fn string(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::String, name, arity, since, flags)
}
