//! Commands on keys of any type, and expiry.

use super::row::{behind, key, keys, option, row, unknown};
use crate::command::{Command, Group, Merge};

pub(super) static COMMANDS: &[Command] = &[
    generic("copy", -3, "6.2.0", "write denyoom")
        .keys(&[key(1, "ro access"), key(2, "ow update")])
        .syntax("source destination [DB destination-db] [REPLACE]")
        .about("Copies a value to another key.", "O(N), N elements")
        .acl("keyspace"),
    generic("del", -2, "1.0.0", "write")
        .keys(&[keys(1, -1, 1, "rm delete")])
        .syntax("key [key ...]")
        .about("Removes keys.", "O(N), N elements of all values")
        .acl("keyspace")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .split(1, Merge::Sum),
    generic("dump", 2, "2.6.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Returns a value in a portable binary form.", "O(N), N bytes")
        .acl("keyspace")
        .tips(&["nondeterministic_output"])
        .planned(),
    generic("exists", -2, "1.0.0", "readonly fast")
        .keys(&[keys(1, -1, 1, "ro")])
        .syntax("key [key ...]")
        .about("Counts how many of the keys exist.", "O(N), N keys")
        .acl("keyspace")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .split(1, Merge::Sum),
    generic("expire", -3, "1.0.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key seconds [NX | XX | GT | LT]")
        .about("Lets a key expire after some seconds.", "O(1)")
        .acl("keyspace"),
    generic("expireat", -3, "1.2.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key unix-time-seconds [NX | XX | GT | LT]")
        .about("Lets a key expire at a second of Unix time.", "O(1)")
        .acl("keyspace"),
    generic("expiretime", 2, "7.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Tells the second of Unix time at which a key expires.", "O(1)")
        .acl("keyspace"),
    generic("keys", 2, "1.0.0", "readonly")
        .syntax("pattern")
        .about("Lists all keys that match a pattern.", "O(N), N keys of the database")
        .acl("keyspace dangerous")
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .all_nodes(Merge::Concat),
    generic("migrate", -6, "2.6.0", "write")
        .keys(&[key(3, "rw access delete"), behind("KEYS", -2, -1, 0, "rw access delete incomplete")])
        .syntax(
            "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | \
            AUTH2 username password] [KEYS key [key ...]]",
        )
        .about("Moves keys to another server.", "O(N), N bytes moved")
        .acl("keyspace dangerous")
        .tips(&["nondeterministic_output"])
        .refused("it sends keys to a server of the caller's choice; ask a node")
        .planned(),
    generic("move", 3, "1.0.0", "write fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key db")
        .about("Takes a key over to another database.", "O(1)")
        .acl("keyspace"),
    generic("object", -2, "2.2.3", "")
        .about("Looks at how a value is kept.", "O(1)")
        .local()
        .subcommands(OBJECT),
    generic("persist", 2, "2.2.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key")
        .about("Takes a key's expiry away.", "O(1)")
        .acl("keyspace"),
    generic("pexpire", -3, "2.6.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key milliseconds [NX | XX | GT | LT]")
        .about("Lets a key expire after some milliseconds.", "O(1)")
        .acl("keyspace"),
    generic("pexpireat", -3, "2.6.0", "write fast")
        .keys(&[key(1, "rw update")])
        .syntax("key unix-time-milliseconds [NX | XX | GT | LT]")
        .about("Lets a key expire at a millisecond of Unix time.", "O(1)")
        .acl("keyspace"),
    generic("pexpiretime", 2, "7.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Tells the millisecond of Unix time at which a key expires.", "O(1)")
        .acl("keyspace"),
    generic("pttl", 2, "2.6.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Tells how many milliseconds a key has left.", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    // A node is drawn by its number of keys.
    generic("randomkey", 1, "1.0.0", "readonly touches_arbitrary_keys")
        .about("Picks some key.", "O(1)")
        .acl("keyspace")
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .all_nodes(Merge::Random),
    generic("rename", 3, "1.0.0", "write")
        .keys(&[key(1, "rw access delete"), key(2, "ow update")])
        .syntax("key newkey")
        .about(
            "Gives a value another key, replacing what was there.",
            "O(1), and the cost of what is replaced",
        )
        .acl("keyspace"),
    generic("renamenx", 3, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete"), key(2, "ow insert")])
        .syntax("key newkey")
        .about("Gives a value another key, unless that key exists.", "O(1)")
        .acl("keyspace"),
    generic("restore", -4, "2.6.0", "write denyoom")
        .keys(&[key(1, "ow update")])
        .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
        .about("Creates a key from a dumped value.", "O(N), N elements")
        .acl("keyspace dangerous")
        .planned(),
    generic("scan", -2, "2.8.0", "readonly touches_arbitrary_keys")
        .syntax("cursor [MATCH pattern] [COUNT count] [TYPE type]")
        .about("Walks through the keys, a step per call.", "O(1) per call, O(N) for all N keys")
        .acl("keyspace")
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .all_nodes(Merge::Scan),
    generic("sort", -2, "1.0.0", "write denyoom")
        .keys(&[key(1, "ro access"), unknown("ro access"), option("STORE", 2, "ow update")])
        .syntax(
            "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
            [ALPHA] [STORE destination]",
        )
        .about(
            "Sorts a list, set or sorted set, and stores the result if wanted.",
            "O(N+M*log(M)), N elements, M returned",
        )
        .acl("set sortedset list dangerous"),
    generic("sort_ro", -2, "7.0.0", "readonly")
        .keys(&[key(1, "ro access"), unknown("ro access")])
        .syntax(
            "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
            [ALPHA]",
        )
        .about("Sorts a list, set or sorted set.", "O(N+M*log(M)), N elements, M returned")
        .acl("set sortedset list dangerous"),
    generic("touch", -2, "3.2.1", "readonly fast")
        .keys(&[keys(1, -1, 1, "ro")])
        .syntax("key [key ...]")
        .about("Marks keys as just used and counts those that exist.", "O(N), N keys")
        .acl("keyspace")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .split(1, Merge::Sum),
    generic("ttl", 2, "1.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key")
        .about("Tells how many seconds a key has left.", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    generic("type", 2, "1.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key")
        .about("Names the type of a value.", "O(1)")
        .acl("keyspace"),
    generic("unlink", -2, "4.0.0", "write fast")
        .keys(&[keys(1, -1, 1, "rm delete")])
        .syntax("key [key ...]")
        .about("Removes keys; memory is given back later.", "O(N), N keys")
        .acl("keyspace")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .split(1, Merge::Sum),
    // The smallest count that any node reports.
    generic("wait", 3, "3.0.0", "blocking")
        .syntax("numreplicas timeout")
        .about("Waits until this client's writes have reached some replicas.", "O(1)")
        .acl("connection")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .all_nodes(Merge::Special)
        .planned(),
    // The smallest counts that any node reports.
    generic("waitaof", 4, "7.2.0", "blocking")
        .syntax("numlocal numreplicas timeout")
        .about("Waits until this client's writes are on disk here or at replicas.", "O(1)")
        .acl("connection")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .all_nodes(Merge::Special)
        .planned(),
];

const OBJECT: &[Command] = &[
    generic("encoding", 3, "2.2.3", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key")
        .about("Names the internal form of a value.", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    generic("freq", 3, "4.0.0", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key")
        .about("Tells how often a key is used, on a logarithmic scale.", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    generic("help", 2, "6.2.0", "loading stale")
        .about("Explains the subcommands.", "O(1)")
        .acl("keyspace")
        .local(),
    generic("idletime", 3, "2.2.3", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key")
        .about("Tells for how many seconds a key has not been used.", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
    generic("refcount", 3, "2.2.3", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key")
        .about("Tells how many references a value has.", "O(1)")
        .acl("keyspace")
        .tips(&["nondeterministic_output"]),
];

/// A row of this family.
const fn generic(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Generic, name, arity, since, flags)
}
