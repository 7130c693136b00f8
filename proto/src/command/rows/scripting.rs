//! Scripts and functions.

use super::row::{counted, row};
use crate::command::{Command, Group, Merge};

pub(super) static COMMANDS: &[Command] = &[
    scripting("eval", -3, "2.6.0", "noscript skip_monitor may_replicate no_mandatory_keys stale")
        .keys(&[counted(2, "rw access update")])
        .syntax("script numkeys [key [key ...]] [arg [arg ...]]")
        .about("Runs a Lua script.", "that of the script")
        .planned(),
    scripting("eval_ro", -3, "7.0.0", "noscript skip_monitor no_mandatory_keys stale readonly")
        .keys(&[counted(2, "ro access")])
        .syntax("script numkeys [key [key ...]] [arg [arg ...]]")
        .about("Runs a Lua script that only reads.", "that of the script")
        .planned(),
    scripting("evalsha", -3, "2.6.0", "noscript skip_monitor may_replicate no_mandatory_keys stale")
        .keys(&[counted(2, "rw access update")])
        .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]")
        .about("Runs a cached Lua script.", "that of the script")
        .planned(),
    scripting("evalsha_ro", -3, "7.0.0", "noscript skip_monitor no_mandatory_keys stale readonly")
        .keys(&[counted(2, "ro access")])
        .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]")
        .about("Runs a cached Lua script that only reads.", "that of the script")
        .planned(),
    scripting("fcall", -3, "7.0.0", "noscript skip_monitor may_replicate no_mandatory_keys stale")
        .keys(&[counted(2, "rw access update")])
        .syntax("function numkeys [key [key ...]] [arg [arg ...]]")
        .about("Calls a function.", "that of the function")
        .planned(),
    scripting("fcall_ro", -3, "7.0.0", "noscript skip_monitor no_mandatory_keys stale readonly")
        .keys(&[counted(2, "ro access")])
        .syntax("function numkeys [key [key ...]] [arg [arg ...]]")
        .about("Calls a function that only reads.", "that of the function")
        .planned(),
    scripting("function", -2, "7.0.0", "")
        .about("Manages libraries of functions.", "O(1)")
        .local()
        .planned()
        .subcommands(FUNCTION),
    scripting("script", -2, "2.6.0", "")
        .about("Manages cached scripts.", "O(1)")
        .local()
        .planned()
        .subcommands(SCRIPT),
];

const FUNCTION: &[Command] = &[
    scripting("delete", 3, "7.0.0", "noscript write")
        .syntax("library-name")
        .about("Removes a library.", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk)
        .planned(),
    scripting("dump", 2, "7.0.0", "noscript")
        .about("Returns all libraries in a portable binary form.", "O(N), N functions")
        .all_nodes(Merge::Special)
        .planned(),
    scripting("flush", -2, "7.0.0", "noscript write")
        .syntax("[ASYNC | SYNC]")
        .about("Removes all libraries.", "O(N), N functions")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk)
        .planned(),
    scripting("help", 2, "7.0.0", "loading stale")
        .about("Explains the subcommands.", "O(1)")
        .local()
        .planned(),
    // One node that was busy is enough.
    scripting("kill", 2, "7.0.0", "noscript allow_busy")
        .about("Stops the function that is running.", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("list", -2, "7.0.0", "noscript")
        .syntax("[LIBRARYNAME library-name-pattern] [WITHCODE]")
        .about("Lists libraries and their functions.", "O(N), N functions")
        .tips(&["nondeterministic_output_order"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("load", -3, "7.0.0", "noscript write denyoom")
        .syntax("[REPLACE] function-code")
        .about("Compiles a library and keeps it.", "O(1), and compiling its code")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("restore", -3, "7.0.0", "noscript write denyoom")
        .syntax("serialized-value [FLUSH | APPEND | REPLACE]")
        .about("Loads libraries that were dumped.", "O(N), N functions")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk)
        .planned(),
    scripting("stats", 2, "7.0.0", "noscript allow_busy")
        .about("Tells what runs and how many functions there are.", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Special)
        .planned(),
];

const SCRIPT: &[Command] = &[
    scripting("debug", 3, "3.2.0", "noscript")
        .syntax("<YES | SYNC | NO>")
        .about("Sets how the next scripts of this client are debugged.", "O(1)")
        .local()
        .planned(),
    // 1 only if every node has the script.
    scripting("exists", -3, "2.6.0", "noscript")
        .syntax("sha1 [sha1 ...]")
        .about("Tells of each digest whether its script is cached.", "O(N), N digests")
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("flush", -2, "2.6.0", "noscript")
        .syntax("[ASYNC | SYNC]")
        .about("Empties the cache of scripts.", "O(N), N scripts")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk)
        .planned(),
    scripting("help", 2, "5.0.0", "loading stale")
        .about("Explains the subcommands.", "O(1)")
        .local()
        .planned(),
    // One node that was busy is enough.
    scripting("kill", 2, "2.6.0", "noscript allow_busy")
        .about("Stops the script that is running.", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .all_nodes(Merge::Special)
        .planned(),
    // Every node must know the script: EVALSHA goes to the owner of its keys.
    scripting("load", 3, "2.6.0", "noscript stale")
        .syntax("script")
        .about("Caches a script and returns its digest.", "O(N), N bytes")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("show", 3, "8.0.0", "noscript")
        .syntax("sha1")
        .about("Returns the text of a cached script.", "O(1)")
        .all_nodes(Merge::Special)
        .planned(),
];

/// A row of this family.
const fn scripting(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Scripting, name, arity, since, flags)
}
