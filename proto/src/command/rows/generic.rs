//! Commands on keys of any type, and expiry.

use super::row::{behind, key, keys, option, row, unknown};
use crate::command::{Command, Group, Merge};

pub(super) static COMMANDS: &[Command] = &[
    generic("copy", -3, "6.2.0", "write denyoom")
        .keys(&[key(1, "ro access"), key(2, "ow update")])
        .syntax("source destination [DB destination-db] [REPLACE]")
        .about("", "O(N)")
        .acl("keyspace"),
    generic("del", -2, "1.0.0", "write")
        .keys(&[keys(1, -1, 1, "rm delete")])
        .syntax("key [key ...]")
        .about("", "O(N)")
        .acl("keyspace")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .split(1, Merge::Sum),
    generic("dump", 2, "2.6.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"])
        .planned(),
    generic("exists", -2, "1.0.0", "readonly fast")
        .keys(&[keys(1, -1, 1, "ro")])
        .syntax("key [key ...]")
        .about("", "O(N)")
        .acl("keyspace")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .split(1, Merge::Sum),
    generic("expire", -3, "1.0.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key seconds [NX | XX | GT | LT]")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("expireat", -3, "1.2.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key unix-time-seconds [NX | XX | GT | LT]")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("expiretime", 2, "7.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("keys", 2, "1.0.0", "readonly")
        .syntax("pattern")
        .about("", "O(N)")
        .acl("keyspace dangerous")
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .all_nodes(Merge::Concat),
    generic("migrate", -6, "2.6.0", "write")
        .keys(&[key(3, "rw access delete"), behind("KEYS", -2, -1, 0, "rw access delete incomplete")])
        .syntax(
            "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | \
            AUTH2 username password] [KEYS key [key ...]]",
        )
        .about("", "O(1)")
        .acl("keyspace dangerous")
        .tips(&["nondeterministic_output"])
        .refused("it sends keys to a server of the caller's choice; ask a node")
        .planned(),
    generic("move", 3, "1.0.0", "write fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key db")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("object", -2, "2.2.3", "").about("", "O(1)").local().subcommands(OBJECT),
    generic("persist", 2, "2.2.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("pexpire", -3, "2.6.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key milliseconds [NX | XX | GT | LT]")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("pexpireat", -3, "2.6.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key unix-time-milliseconds [NX | XX | GT | LT]")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("pexpiretime", 2, "7.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("pttl", 2, "2.6.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    // A node is drawn by its number of keys.
    generic("randomkey", 1, "1.0.0", "readonly touches_arbitrary_keys")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .all_nodes(Merge::Random),
    generic("rename", 3, "1.0.0", "write")
        .keys(&[key(1, "rw access delete"), key(2, "ow update")])
        .syntax("key newkey")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("renamenx", 3, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete"), key(2, "ow insert")])
        .syntax("key newkey")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("restore", -4, "2.6.0", "write denyoom")
        .keys(&[key(1, "ow update")])
        .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
        .about("", "O(1)")
        .acl("keyspace dangerous")
        .planned(),
    generic("scan", -2, "2.8.0", "readonly touches_arbitrary_keys")
        .syntax("cursor [MATCH pattern] [COUNT count] [TYPE type]")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .all_nodes(Merge::Scan),
    generic("sort", -2, "1.0.0", "write denyoom")
        .keys(&[key(1, "ro access"), unknown("ro access"), option("STORE", 2, "ow update")])
        .syntax(
            "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
            [ALPHA] [STORE destination]",
        )
        .about("", "O(N+M*log(M))")
        .acl("set sortedset list dangerous"),
    generic("sort_ro", -2, "7.0.0", "readonly")
        .keys(&[key(1, "ro access"), unknown("ro access")])
        .syntax(
            "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
            [ALPHA]",
        )
        .about("", "O(N+M*log(M))")
        .acl("set sortedset list dangerous"),
    generic("touch", -2, "3.2.1", "readonly fast")
        .keys(&[keys(1, -1, 1, "ro")])
        .syntax("key [key ...]")
        .about("", "O(N)")
        .acl("keyspace")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .split(1, Merge::Sum),
    generic("ttl", 2, "1.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    generic("type", 2, "1.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace"),
    generic("unlink", -2, "4.0.0", "write fast")
        .keys(&[keys(1, -1, 1, "rm delete")])
        .syntax("key [key ...]")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .split(1, Merge::Sum),
    // The smallest count that any node reports.
    generic("wait", 3, "3.0.0", "blocking")
        .syntax("numreplicas timeout")
        .about("", "O(1)")
        .acl("connection")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .all_nodes(Merge::Special)
        .planned(),
    // The smallest counts that any node reports.
    generic("waitaof", 4, "7.2.0", "blocking")
        .syntax("numlocal numreplicas timeout")
        .about("", "O(1)")
        .acl("connection")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .all_nodes(Merge::Special)
        .planned(),
];

const OBJECT: &[Command] = &[
    generic("encoding", 3, "2.2.3", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    generic("freq", 3, "4.0.0", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    generic("help", 2, "6.2.0", "loading stale").about("", "O(1)").acl("keyspace").local(),
    generic("idletime", 3, "2.2.3", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    generic("refcount", 3, "2.2.3", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
];

/// A row of this family.
const fn generic(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Generic, name, arity, since, flags)
}
