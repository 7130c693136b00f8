//! Containers for administration: users, settings, statistics of time and memory.

use super::row::{key, row};
use crate::command::{Command, Group, Merge};

const NO_MODULES: &str = "modules cannot be loaded";
const NO_CONFIG_FILE: &str = "there is no configuration file; settings come from flags and the environment";

pub(super) static COMMANDS: &[Command] = &[
    server("acl", -2, "6.0.0", "").about("", "O(1)").local().subcommands(ACL),
    server("config", -2, "2.0.0", "").about("", "O(1)").local().subcommands(CONFIG),
    server("latency", -2, "2.8.13", "").about("", "O(1)").local().subcommands(LATENCY),
    server("memory", -2, "4.0.0", "").about("", "O(1)").local().subcommands(MEMORY),
    server("module", -2, "4.0.0", "").about("", "O(1)").local().planned().subcommands(MODULE),
    server("slowlog", -2, "2.2.12", "").about("", "O(1)").local().subcommands(SLOWLOG),
];

const ACL: &[Command] = &[
    server("cat", -2, "6.0.0", "noscript loading stale").syntax("[category]").about("", "O(1)").local(),
    server("deluser", -3, "6.0.0", "admin noscript loading stale")
        .syntax("username [username ...]")
        .about("", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local(),
    server("dryrun", -4, "7.0.0", "admin noscript loading stale")
        .syntax("username command [arg [arg ...]]")
        .about("", "O(1)")
        .local(),
    server("genpass", -2, "6.0.0", "noscript loading stale").syntax("[bits]").about("", "O(1)").local(),
    server("getuser", 3, "6.0.0", "admin noscript loading stale")
        .syntax("username")
        .about("", "O(N)")
        .local(),
    server("help", 2, "6.0.0", "loading stale").about("", "O(1)").local(),
    server("list", 2, "6.0.0", "admin noscript loading stale").about("", "O(N)").local(),
    server("load", 2, "6.0.0", "admin noscript loading stale").about("", "O(N)").local(),
    server("log", -2, "6.0.0", "admin noscript loading stale")
        .syntax("[count | RESET]")
        .about("", "O(N)")
        .local(),
    server("save", 2, "6.0.0", "admin noscript loading stale")
        .about("", "O(N)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local(),
    server("setuser", -3, "6.0.0", "admin noscript loading stale")
        .syntax("username [rule [rule ...]]")
        .about("", "O(N)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local(),
    server("users", 2, "6.0.0", "admin noscript loading stale").about("", "O(N)").local(),
    server("whoami", 2, "6.0.0", "noscript loading stale").about("", "O(1)").local(),
];

const CONFIG: &[Command] = &[
    // One node answers; CONFIG SET keeps them alike.
    server("get", -3, "2.0.0", "admin noscript loading stale")
        .syntax("parameter [parameter ...]")
        .about("", "O(N)")
        .all_nodes(Merge::Special),
    server("help", 2, "5.0.0", "loading stale").about("", "O(1)").local(),
    server("resetstat", 2, "2.0.0", "admin noscript loading stale")
        .about("", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
    server("rewrite", 2, "2.8.0", "admin noscript loading stale")
        .about("", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .never(NO_CONFIG_FILE),
    server("set", -4, "2.0.0", "admin noscript loading stale")
        .syntax("parameter value [parameter value ...]")
        .about("", "O(N)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
];

const LATENCY: &[Command] = &[
    server("doctor", 2, "2.8.13", "admin noscript loading stale")
        .about("", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("graph", 3, "2.8.13", "admin noscript loading stale")
        .syntax("event")
        .about("", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("help", 2, "2.8.13", "loading stale").about("", "O(1)").local(),
    // Buckets add up.
    server("histogram", -2, "7.0.0", "admin noscript loading stale")
        .syntax("[command [command ...]]")
        .about("", "O(N)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    // Samples of all nodes by time.
    server("history", 3, "2.8.13", "admin noscript loading stale")
        .syntax("event")
        .about("", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("latest", 2, "2.8.13", "admin noscript loading stale")
        .about("", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("reset", -2, "2.8.13", "admin noscript loading stale")
        .syntax("[event [event ...]]")
        .about("", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"])
        .all_nodes(Merge::Sum),
];

const MEMORY: &[Command] = &[
    server("doctor", 2, "4.0.0", "")
        .about("", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("help", 2, "4.0.0", "loading stale").about("", "O(1)").local(),
    server("malloc-stats", 2, "4.0.0", "")
        .about("", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("purge", 2, "4.0.0", "")
        .about("", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
    server("stats", 2, "4.0.0", "")
        .about("", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("usage", -3, "4.0.0", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key [SAMPLES count]")
        .about("", "O(N)"),
];

const MODULE: &[Command] = &[
    server("help", 2, "5.0.0", "loading stale").about("", "O(1)").local().planned(),
    server("list", 2, "4.0.0", "admin noscript")
        .about("", "O(N)")
        .tips(&["nondeterministic_output_order"])
        .local()
        .planned(),
    server("load", -3, "4.0.0", "no_async_loading admin noscript protected")
        .syntax("path [arg [arg ...]]")
        .about("", "O(1)")
        .never(NO_MODULES),
    server("loadex", -3, "7.0.0", "no_async_loading admin noscript protected")
        .syntax("path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]")
        .about("", "O(1)")
        .never(NO_MODULES),
    server("unload", 3, "4.0.0", "no_async_loading admin noscript protected")
        .syntax("name")
        .about("", "O(1)")
        .never(NO_MODULES),
];

const SLOWLOG: &[Command] = &[
    // Entries of all nodes, newest first.
    server("get", -2, "2.2.12", "admin loading stale")
        .syntax("[count]")
        .about("", "O(N)")
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .all_nodes(Merge::Special),
    server("help", 2, "6.2.0", "loading stale").about("", "O(1)").local(),
    server("len", 2, "2.2.12", "admin loading stale")
        .about("", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .all_nodes(Merge::Sum),
    server("reset", 2, "2.2.12", "admin loading stale")
        .about("", "O(N)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
];

/// A row of this family.
const fn server(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Server, name, arity, since, flags)
}
