//! The server: information, settings, administration.

use super::row::{key, row};
use crate::command::{Command, Group, Merge};

const NO_DISK: &str = "Shoal is a cache and writes nothing to disk";
const OWN_REPLICATION: &str = "replicas are chosen and fed by the cluster itself";

pub(super) static COMMANDS: &[Command] = &[
    server("bgrewriteaof", 1, "1.0.0", "no_async_loading admin noscript")
        .about("Rewrites the append-only file.", "O(1)")
        .never(NO_DISK),
    server("bgsave", -1, "1.0.0", "no_async_loading admin noscript")
        .syntax("[SCHEDULE]")
        .about("Saves a snapshot in the background.", "O(1)")
        .never(NO_DISK),
    server("command", -1, "2.8.13", "loading stale")
        .about("Describes all commands.", "O(N), N commands")
        .acl("connection")
        .tips(&["nondeterministic_output_order"])
        .local()
        .subcommands(COMMAND),
    server("dbsize", 1, "1.0.0", "readonly fast")
        .about("Counts the keys of the database.", "O(1)")
        .acl("keyspace")
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .all_nodes(Merge::Sum),
    // Subcommands are the nodes' own: test suites use SLEEP, OBJECT, JMAP and the like.
    server("debug", -2, "1.0.0", "admin noscript loading stale protected")
        .syntax("subcommand [arg [arg ...]]")
        .about("Holds tools for tests and for finding errors.", "depends on the subcommand")
        .all_nodes(Merge::Special),
    server("failover", -1, "6.2.0", "admin noscript stale")
        .syntax("[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]")
        .about("Hands the primary's part to a replica.", "O(1)")
        .never(OWN_REPLICATION),
    server("flushall", -1, "1.0.0", "write")
        .syntax("[ASYNC | SYNC]")
        .about("Removes all keys of all databases.", "O(N), N keys")
        .acl("keyspace dangerous")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
    server("flushdb", -1, "1.0.0", "write")
        .syntax("[ASYNC | SYNC]")
        .about("Removes all keys of the database.", "O(N), N keys")
        .acl("keyspace dangerous")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
    server("info", -1, "1.0.0", "loading stale")
        .syntax("[section [section ...]]")
        .about("Reports on the server, in sections.", "O(1)")
        .acl("dangerous")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Info),
    server("lastsave", 1, "1.0.0", "loading stale fast")
        .about("Tells when data was last saved.", "O(1)")
        .acl("admin dangerous")
        .tips(&["nondeterministic_output"])
        .local(),
    server("lolwut", -1, "5.0.0", "readonly fast")
        .syntax("[VERSION version]")
        .about("Draws something and shows the version.", "O(1)")
        .local(),
    // The feeds of all nodes, interleaved.
    server("monitor", 1, "1.0.0", "admin noscript loading stale")
        .about("Shows every command that is executed, as it happens.", "O(1)")
        .all_nodes(Merge::Special)
        .planned(),
    server("psync", -3, "2.8.0", "no_async_loading admin no_multi noscript")
        .syntax("replicationid offset")
        .about("Begins or resumes copying a primary.", "O(1)")
        .never(OWN_REPLICATION),
    server("replconf", -1, "3.0.0", "admin noscript loading stale allow_busy")
        .syntax("[option value [option value ...]]")
        .about("Exchanges settings between a primary and its replica.", "O(1)")
        .never(OWN_REPLICATION),
    server("replicaof", 3, "5.0.0", "no_async_loading admin noscript stale")
        .syntax("<host port | NO ONE>")
        .about("Makes the server a copy of another one.", "O(1)")
        .never(OWN_REPLICATION),
    server("restore-asking", -4, "3.0.0", "write denyoom asking")
        .keys(&[key(1, "ow update")])
        .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
        .about("Creates a key from a dumped value while its slot moves.", "O(N), N elements")
        .acl("keyspace dangerous")
        .refused("it belongs to slot migration between nodes")
        .planned(),
    server("role", 1, "2.8.12", "noscript loading stale fast")
        .about("Tells the part that the server plays in replication.", "O(1)")
        .acl("admin dangerous")
        .local(),
    server("save", 1, "1.0.0", "no_async_loading admin noscript no_multi")
        .about("Saves a snapshot and blocks meanwhile.", "O(N), N keys")
        .never(NO_DISK),
    // Stops the process that is asked, router or node.
    server("shutdown", -1, "1.0.0", "admin noscript loading stale no_multi allow_busy")
        .syntax("[[NOSAVE | SAVE] [NOW] [FORCE] | ABORT]")
        .about("Stops the server.", "O(1)")
        .local(),
    server("slaveof", 3, "1.0.0", "no_async_loading admin noscript stale")
        .syntax("<host port | NO ONE>")
        .about("Makes the server a copy of another one: the old name of REPLICAOF.", "O(1)")
        .deprecated("5.0.0", "REPLICAOF")
        .never(OWN_REPLICATION),
    server("swapdb", 3, "4.0.0", "write fast")
        .syntax("index1 index2")
        .about("Exchanges two databases.", "O(1)")
        .acl("keyspace dangerous")
        .all_nodes(Merge::AllOk),
    server("sync", 1, "1.0.0", "no_async_loading admin no_multi noscript")
        .about("Begins copying a primary, the old way.", "O(1)")
        .never(OWN_REPLICATION),
    server("time", 1, "2.6.0", "loading stale fast")
        .about("Tells the server's time in seconds and microseconds.", "O(1)")
        .tips(&["nondeterministic_output"])
        .local(),
];

const COMMAND: &[Command] = &[
    server("count", 2, "2.8.13", "loading stale")
        .about("Counts the commands.", "O(1)")
        .acl("connection")
        .local(),
    server("docs", -2, "7.0.0", "loading stale")
        .syntax("[command-name [command-name ...]]")
        .about("Returns documentation of commands.", "O(N), N commands")
        .acl("connection")
        .tips(&["nondeterministic_output_order"])
        .local(),
    server("getkeys", -3, "2.8.13", "loading stale")
        .syntax("command [arg [arg ...]]")
        .about("Picks the keys out of a whole command.", "O(N), N arguments")
        .acl("connection")
        .local(),
    server("getkeysandflags", -3, "7.0.0", "loading stale")
        .syntax("command [arg [arg ...]]")
        .about("Picks the keys out of a whole command and tells what happens to them.", "O(N), N arguments")
        .acl("connection")
        .local(),
    server("help", 2, "5.0.0", "loading stale")
        .about("Explains the subcommands.", "O(1)")
        .acl("connection")
        .local(),
    server("info", -2, "2.8.13", "loading stale")
        .syntax("[command-name [command-name ...]]")
        .about("Describes commands: arity, flags and where their keys are.", "O(N), N commands")
        .acl("connection")
        .tips(&["nondeterministic_output_order"])
        .local(),
    server("list", -2, "7.0.0", "loading stale")
        .syntax("[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]")
        .about("Lists the names of commands.", "O(N), N commands")
        .acl("connection")
        .tips(&["nondeterministic_output_order"])
        .local(),
];

/// A row of this family.
const fn server(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Server, name, arity, since, flags)
}
