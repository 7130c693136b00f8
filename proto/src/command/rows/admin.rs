//! Containers for administration: users, settings, statistics of time and memory.

use super::row::{key, row};
use crate::command::{Command, Group, Merge};

const NO_MODULES: &str = "modules cannot be loaded";
const NO_CONFIG_FILE: &str = "there is no configuration file; settings come from flags and the environment";

pub(super) static COMMANDS: &[Command] = &[
    server("acl", -2, "6.0.0", "")
        .about("Manages users and what they may do.", "O(1)")
        .local()
        .planned()
        .subcommands(ACL),
    server("config", -2, "2.0.0", "")
        .about("Reads and changes settings.", "O(1)")
        .local()
        .subcommands(CONFIG),
    server("latency", -2, "2.8.13", "")
        .about("Looks at what took long.", "O(1)")
        .local()
        .subcommands(LATENCY),
    server("memory", -2, "4.0.0", "")
        .about("Looks at what memory is used for.", "O(1)")
        .local()
        .subcommands(MEMORY),
    server("module", -2, "4.0.0", "").about("Manages modules.", "O(1)").local().subcommands(MODULE),
    server("slowlog", -2, "2.2.12", "")
        .about("Looks at the slowest commands.", "O(1)")
        .local()
        .subcommands(SLOWLOG),
];

const ACL: &[Command] = &[
    server("cat", -2, "6.0.0", "noscript loading stale")
        .syntax("[category]")
        .about("Lists categories, or the commands of one.", "O(N), N commands")
        .local()
        .planned(),
    server("deluser", -3, "6.0.0", "admin noscript loading stale")
        .syntax("username [username ...]")
        .about("Removes users and closes their connections.", "O(N), N connections")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local()
        .planned(),
    server("dryrun", -4, "7.0.0", "admin noscript loading stale")
        .syntax("username command [arg [arg ...]]")
        .about("Tells whether a user might run a command.", "O(1)")
        .local()
        .planned(),
    server("genpass", -2, "6.0.0", "noscript loading stale")
        .syntax("[bits]")
        .about("Makes up a password.", "O(1)")
        .local()
        .planned(),
    server("getuser", 3, "6.0.0", "admin noscript loading stale")
        .syntax("username")
        .about("Describes a user's rules.", "O(N), N rules")
        .local()
        .planned(),
    server("help", 2, "6.0.0", "loading stale").about("Explains the subcommands.", "O(1)").local().planned(),
    server("list", 2, "6.0.0", "admin noscript loading stale")
        .about("Lists users as rules.", "O(N), N users")
        .local()
        .planned(),
    server("load", 2, "6.0.0", "admin noscript loading stale")
        .about("Reads the users' file again.", "O(N), N users")
        .local()
        .planned(),
    server("log", -2, "6.0.0", "admin noscript loading stale")
        .syntax("[count | RESET]")
        .about("Lists what was denied lately.", "O(N), N entries")
        .local()
        .planned(),
    server("save", 2, "6.0.0", "admin noscript loading stale")
        .about("Writes the users' file.", "O(N), N users")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local()
        .planned(),
    server("setuser", -3, "6.0.0", "admin noscript loading stale")
        .syntax("username [rule [rule ...]]")
        .about("Creates a user or changes its rules.", "O(N), N rules")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local()
        .planned(),
    server("users", 2, "6.0.0", "admin noscript loading stale")
        .about("Lists the names of users.", "O(N), N users")
        .local()
        .planned(),
    server("whoami", 2, "6.0.0", "noscript loading stale")
        .about("Names the user of this connection.", "O(1)")
        .local(),
];

const CONFIG: &[Command] = &[
    // One node answers; CONFIG SET keeps them alike.
    server("get", -3, "2.0.0", "admin noscript loading stale")
        .syntax("parameter [parameter ...]")
        .about("Reads the settings that match patterns.", "O(N), N patterns")
        .all_nodes(Merge::Special),
    server("help", 2, "5.0.0", "loading stale").about("Explains the subcommands.", "O(1)").local(),
    server("resetstat", 2, "2.0.0", "admin noscript loading stale")
        .about("Sets the statistics back to zero.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
    server("rewrite", 2, "2.8.0", "admin noscript loading stale")
        .about("Writes the settings to the configuration file.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .never(NO_CONFIG_FILE),
    server("set", -4, "2.0.0", "admin noscript loading stale")
        .syntax("parameter value [parameter value ...]")
        .about("Changes settings while running.", "O(N), N settings")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
];

const LATENCY: &[Command] = &[
    server("doctor", 2, "2.8.13", "admin noscript loading stale")
        .about("Comments on what took long.", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("graph", 3, "2.8.13", "admin noscript loading stale")
        .syntax("event")
        .about("Draws how long an event took over time.", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("help", 2, "2.8.13", "loading stale").about("Explains the subcommands.", "O(1)").local(),
    // Buckets add up.
    server("histogram", -2, "7.0.0", "admin noscript loading stale")
        .syntax("[command [command ...]]")
        .about("Returns the distribution of commands' times.", "O(N), N commands")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    // Samples of all nodes by time.
    server("history", 3, "2.8.13", "admin noscript loading stale")
        .syntax("event")
        .about("Lists how long an event took, and when.", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("latest", 2, "2.8.13", "admin noscript loading stale")
        .about("Lists the last and the worst time of each event.", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("reset", -2, "2.8.13", "admin noscript loading stale")
        .syntax("[event [event ...]]")
        .about("Forgets events, or all of them.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"])
        .all_nodes(Merge::Sum),
];

const MEMORY: &[Command] = &[
    server("doctor", 2, "4.0.0", "")
        .about("Comments on the use of memory.", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("help", 2, "4.0.0", "loading stale").about("Explains the subcommands.", "O(1)").local(),
    server("malloc-stats", 2, "4.0.0", "")
        .about("Returns the allocator's own statistics.", "depends on the allocator")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("purge", 2, "4.0.0", "")
        .about("Asks the allocator to give memory back.", "depends on the allocator")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
    server("stats", 2, "4.0.0", "")
        .about("Returns figures on the use of memory.", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Special),
    server("usage", -3, "4.0.0", "readonly")
        .keys(&[key(2, "ro")])
        .syntax("key [SAMPLES count]")
        .about("Estimates how many bytes a key and its value need.", "O(N), N samples"),
];

const MODULE: &[Command] = &[
    server("help", 2, "5.0.0", "loading stale").about("Explains the subcommands.", "O(1)").local(),
    server("list", 2, "4.0.0", "admin noscript")
        .about("Lists the modules that are loaded.", "O(N), N modules")
        .tips(&["nondeterministic_output_order"])
        .local(),
    server("load", -3, "4.0.0", "no_async_loading admin noscript protected")
        .syntax("path [arg [arg ...]]")
        .about("Loads a module from a file.", "O(1)")
        .never(NO_MODULES),
    server("loadex", -3, "7.0.0", "no_async_loading admin noscript protected")
        .syntax("path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]")
        .about("Loads a module with settings.", "O(1)")
        .never(NO_MODULES),
    server("unload", 3, "4.0.0", "no_async_loading admin noscript protected")
        .syntax("name")
        .about("Removes a module.", "O(1)")
        .never(NO_MODULES),
];

const SLOWLOG: &[Command] = &[
    // Entries of all nodes, newest first.
    server("get", -2, "2.2.12", "admin loading stale")
        .syntax("[count]")
        .about("Lists the last slow commands.", "O(N), N entries")
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .all_nodes(Merge::Special),
    server("help", 2, "6.2.0", "loading stale").about("Explains the subcommands.", "O(1)").local(),
    server("len", 2, "2.2.12", "admin loading stale")
        .about("Counts the entries.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .all_nodes(Merge::Sum),
    server("reset", 2, "2.2.12", "admin loading stale")
        .about("Empties the log.", "O(N), N entries")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk),
];

/// A row of this family.
const fn server(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Server, name, arity, since, flags)
}
