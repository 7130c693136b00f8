//! Strings.

use super::row::{key, keys, row};
use crate::command::{Command, Group, Merge};

pub(super) static COMMANDS: &[Command] = &[
    string("append", 3, "2.0.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key value")
        .about("", "O(1)"),
    string("decr", 2, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key")
        .about("", "O(1)"),
    string("decrby", 3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key decrement")
        .about("", "O(1)"),
    string("get", 2, "1.0.0", "readonly fast").keys(&[key(1, "ro access")]).syntax("key").about("", "O(1)"),
    string("getdel", 2, "6.2.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key")
        .about("", "O(1)"),
    string("getex", -2, "6.2.0", "write fast")
        .keys(&[key(1, "rw access update")])
        .syntax(
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT \
            unix-time-milliseconds | PERSIST]",
        )
        .about("", "O(1)"),
    string("getrange", 4, "2.4.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start end")
        .about("", "O(N)"),
    string("getset", 3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key value")
        .about("", "O(1)")
        .deprecated("6.2.0", "`SET` with the `!GET` argument"),
    string("incr", 2, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key")
        .about("", "O(1)"),
    string("incrby", 3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key increment")
        .about("", "O(1)"),
    string("incrbyfloat", 3, "2.6.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key increment")
        .about("", "O(1)"),
    string("lcs", -3, "7.0.0", "readonly")
        .keys(&[keys(1, 1, 1, "ro access")])
        .syntax("key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]")
        .about("", "O(N*M)"),
    string("mget", -2, "1.0.0", "readonly fast")
        .keys(&[keys(1, -1, 1, "ro access")])
        .syntax("key [key ...]")
        .about("", "O(N)")
        .tips(&["request_policy:multi_shard"])
        .split(1, Merge::Values),
    string("mset", -3, "1.0.1", "write denyoom")
        .keys(&[keys(1, -1, 2, "ow update")])
        .syntax("key value [key value ...]")
        .about("", "O(N)")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .split(2, Merge::AllOk),
    string("msetnx", -3, "1.0.1", "write denyoom")
        .keys(&[keys(1, -1, 2, "ow insert")])
        .syntax("key value [key value ...]")
        .about("", "O(N)"),
    string("psetex", 4, "2.6.0", "write denyoom")
        .keys(&[key(1, "ow update")])
        .syntax("key milliseconds value")
        .about("", "O(1)")
        .deprecated("2.6.12", "`SET` with the `PX` argument"),
    string("set", -3, "1.0.0", "write denyoom")
        .keys(&[key(1, "rw access update variable_flags")])
        .syntax(
            "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
            PXAT unix-time-milliseconds | KEEPTTL]",
        )
        .about("", "O(1)"),
    string("setex", 4, "2.0.0", "write denyoom")
        .keys(&[key(1, "ow update")])
        .syntax("key seconds value")
        .about("", "O(1)")
        .deprecated("2.6.12", "`SET` with the `EX` argument"),
    string("setnx", 3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "ow insert")])
        .syntax("key value")
        .about("", "O(1)")
        .deprecated("2.6.12", "`SET` with the `NX` argument"),
    string("setrange", 4, "2.2.0", "write denyoom")
        .keys(&[key(1, "rw update")])
        .syntax("key offset value")
        .about("", "O(1)"),
    string("strlen", 2, "2.2.0", "readonly fast").keys(&[key(1, "ro")]).syntax("key").about("", "O(1)"),
    string("substr", 4, "1.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start end")
        .about("", "O(N)")
        .deprecated("2.0.0", "`GETRANGE`"),
];

/// A row of this family.
const fn string(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::String, name, arity, since, flags)
}
