//! The server: information, settings, administration.

use super::row::{key, row};
use crate::command::{Command, Group, Merge};

const NO_DISK: &str = "Shoal is a cache and writes nothing to disk";
const OWN_REPLICATION: &str = "replicas are chosen and fed by the cluster itself";

pub(super) static COMMANDS: &[Command] = &[
    server("bgrewriteaof", 1, "1.0.0", "no_async_loading admin noscript").about("", "O(1)").never(NO_DISK),
    server("bgsave", -1, "1.0.0", "no_async_loading admin noscript")
        .syntax("[SCHEDULE]")
        .about("", "O(1)")
        .never(NO_DISK),
    server("command", -1, "2.8.13", "loading stale")
        .about("", "O(1)")
        .acl("connection")
        .tips(&["nondeterministic_output_order"])
        .local()
        .subcommands(COMMAND),
    server("dbsize", 1, "1.0.0", "readonly fast")
        .about("", "O(1)")
        .acl("keyspace")
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .all_nodes(Merge::Sum),
    // Subcommands are the nodes' own: test suites use SLEEP, OBJECT, JMAP and the like.
    server("debug", -2, "1.0.0", "admin noscript loading stale protected")
        .syntax("subcommand [arg [arg ...]]")
        .about("", "O(1)")
        .all_nodes(Merge::Special),
    server("failover", -1, "6.2.0", "admin noscript stale")
        .syntax("[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]")
        .about("", "O(1)")
        .never(OWN_REPLICATION),
    server("flushall", -1, "1.0.0", "write")
        .syntax("[ASYNC | SYNC]")
        .about("", "O(N)")
        .acl("keyspace dangerous")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
    server("flushdb", -1, "1.0.0", "write")
        .syntax("[ASYNC | SYNC]")
        .about("", "O(N)")
        .acl("keyspace dangerous")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
    server("info", -1, "1.0.0", "loading stale")
        .syntax("[section [section ...]]")
        .about("", "O(1)")
        .acl("dangerous")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Info),
    server("lastsave", 1, "1.0.0", "loading stale fast")
        .about("", "O(1)")
        .acl("admin dangerous")
        .tips(&["nondeterministic_output"])
        .all_nodes(Merge::Special)
        .planned(),
    server("lolwut", -1, "5.0.0", "readonly fast").syntax("[VERSION version]").about("", "O(1)").local(),
    // The feeds of all nodes, interleaved.
    server("monitor", 1, "1.0.0", "admin noscript loading stale")
        .about("", "O(1)")
        .all_nodes(Merge::Special)
        .planned(),
    server("psync", -3, "2.8.0", "no_async_loading admin no_multi noscript")
        .syntax("replicationid offset")
        .about("", "O(1)")
        .never(OWN_REPLICATION),
    server("replconf", -1, "3.0.0", "admin noscript loading stale allow_busy")
        .syntax("[option value [option value ...]]")
        .about("", "O(1)")
        .never(OWN_REPLICATION),
    server("replicaof", 3, "5.0.0", "no_async_loading admin noscript stale")
        .syntax("<host port | NO ONE>")
        .about("", "O(1)")
        .never(OWN_REPLICATION),
    server("restore-asking", -4, "3.0.0", "write denyoom asking")
        .keys(&[key(1, "ow update")])
        .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
        .about("", "O(1)")
        .acl("keyspace dangerous")
        .refused("it belongs to slot migration between nodes")
        .planned(),
    server("role", 1, "2.8.12", "noscript loading stale fast")
        .about("", "O(1)")
        .acl("admin dangerous")
        .local(),
    server("save", 1, "1.0.0", "no_async_loading admin noscript no_multi").about("", "O(N)").never(NO_DISK),
    // Stops the process that is asked, router or node.
    server("shutdown", -1, "1.0.0", "admin noscript loading stale no_multi allow_busy")
        .syntax("[[NOSAVE | SAVE] [NOW] [FORCE] | ABORT]")
        .about("", "O(N)")
        .local(),
    server("slaveof", 3, "1.0.0", "no_async_loading admin noscript stale")
        .syntax("<host port | NO ONE>")
        .about("", "O(1)")
        .deprecated("5.0.0", "`REPLICAOF`")
        .never(OWN_REPLICATION),
    server("swapdb", 3, "4.0.0", "write fast")
        .syntax("index1 index2")
        .about("", "O(N)")
        .acl("keyspace dangerous")
        .all_nodes(Merge::AllOk),
    server("sync", 1, "1.0.0", "no_async_loading admin no_multi noscript")
        .about("", "O(1)")
        .never(OWN_REPLICATION),
    server("time", 1, "2.6.0", "loading stale fast")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"])
        .local(),
];

const COMMAND: &[Command] = &[
    server("count", 2, "2.8.13", "loading stale").about("", "O(1)").acl("connection").local(),
    server("docs", -2, "7.0.0", "loading stale")
        .syntax("[command-name [command-name ...]]")
        .about("", "O(N)")
        .acl("connection")
        .tips(&["nondeterministic_output_order"])
        .local(),
    server("getkeys", -3, "2.8.13", "loading stale")
        .syntax("command [arg [arg ...]]")
        .about("", "O(N)")
        .acl("connection")
        .local(),
    server("getkeysandflags", -3, "7.0.0", "loading stale")
        .syntax("command [arg [arg ...]]")
        .about("", "O(N)")
        .acl("connection")
        .local(),
    server("help", 2, "5.0.0", "loading stale").about("", "O(1)").acl("connection").local(),
    server("info", -2, "2.8.13", "loading stale")
        .syntax("[command-name [command-name ...]]")
        .about("", "O(N)")
        .acl("connection")
        .tips(&["nondeterministic_output_order"])
        .local(),
    server("list", -2, "7.0.0", "loading stale")
        .syntax("[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]")
        .about("", "O(N)")
        .acl("connection")
        .tips(&["nondeterministic_output_order"])
        .local(),
];

/// A row of this family.
const fn server(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Server, name, arity, since, flags)
}
