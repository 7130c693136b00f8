//! Scripts and functions.

use super::row::{counted, row};
use crate::command::{Command, Group, Merge};

pub(super) static COMMANDS: &[Command] = &[
    scripting("eval", -3, "2.6.0", "noscript skip_monitor may_replicate no_mandatory_keys stale")
        .keys(&[counted(2, "rw access update")])
        .syntax("script numkeys [key [key ...]] [arg [arg ...]]")
        .about("", "O(1)")
        .planned(),
    scripting("eval_ro", -3, "7.0.0", "noscript skip_monitor no_mandatory_keys stale readonly")
        .keys(&[counted(2, "ro access")])
        .syntax("script numkeys [key [key ...]] [arg [arg ...]]")
        .about("", "O(1)")
        .planned(),
    scripting("evalsha", -3, "2.6.0", "noscript skip_monitor may_replicate no_mandatory_keys stale")
        .keys(&[counted(2, "rw access update")])
        .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]")
        .about("", "O(1)")
        .planned(),
    scripting("evalsha_ro", -3, "7.0.0", "noscript skip_monitor no_mandatory_keys stale readonly")
        .keys(&[counted(2, "ro access")])
        .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]")
        .about("", "O(1)")
        .planned(),
    scripting("fcall", -3, "7.0.0", "noscript skip_monitor may_replicate no_mandatory_keys stale")
        .keys(&[counted(2, "rw access update")])
        .syntax("function numkeys [key [key ...]] [arg [arg ...]]")
        .about("", "O(1)")
        .planned(),
    scripting("fcall_ro", -3, "7.0.0", "noscript skip_monitor no_mandatory_keys stale readonly")
        .keys(&[counted(2, "ro access")])
        .syntax("function numkeys [key [key ...]] [arg [arg ...]]")
        .about("", "O(1)")
        .planned(),
    scripting("function", -2, "7.0.0", "").about("", "O(1)").local().planned().subcommands(FUNCTION),
    scripting("script", -2, "2.6.0", "").about("", "O(1)").local().planned().subcommands(SCRIPT),
];

const FUNCTION: &[Command] = &[
    scripting("delete", 3, "7.0.0", "noscript write")
        .syntax("library-name")
        .about("", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk)
        .planned(),
    scripting("dump", 2, "7.0.0", "noscript").about("", "O(N)").all_nodes(Merge::Special).planned(),
    scripting("flush", -2, "7.0.0", "noscript write")
        .syntax("[ASYNC | SYNC]")
        .about("", "O(N)")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk)
        .planned(),
    scripting("help", 2, "7.0.0", "loading stale").about("", "O(1)").local().planned(),
    // One node that was busy is enough.
    scripting("kill", 2, "7.0.0", "noscript allow_busy")
        .about("", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("list", -2, "7.0.0", "noscript")
        .syntax("[LIBRARYNAME library-name-pattern] [WITHCODE]")
        .about("", "O(N)")
        .tips(&["nondeterministic_output_order"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("load", -3, "7.0.0", "noscript write denyoom")
        .syntax("[REPLACE] function-code")
        .about("", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("restore", -3, "7.0.0", "noscript write denyoom")
        .syntax("serialized-value [FLUSH | APPEND | REPLACE]")
        .about("", "O(N)")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk)
        .planned(),
    scripting("stats", 2, "7.0.0", "noscript allow_busy")
        .about("", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .all_nodes(Merge::Special)
        .planned(),
];

const SCRIPT: &[Command] = &[
    scripting("debug", 3, "3.2.0", "noscript")
        .syntax("<YES | SYNC | NO>")
        .about("", "O(1)")
        .local()
        .planned(),
    // 1 only if every node has the script.
    scripting("exists", -3, "2.6.0", "noscript")
        .syntax("sha1 [sha1 ...]")
        .about("", "O(N)")
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("flush", -2, "2.6.0", "noscript")
        .syntax("[ASYNC | SYNC]")
        .about("", "O(N)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::AllOk)
        .planned(),
    scripting("help", 2, "5.0.0", "loading stale").about("", "O(1)").local().planned(),
    // One node that was busy is enough.
    scripting("kill", 2, "2.6.0", "noscript allow_busy")
        .about("", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .all_nodes(Merge::Special)
        .planned(),
    // Every node must know the script: EVALSHA goes to the owner of its keys.
    scripting("load", 3, "2.6.0", "noscript stale")
        .syntax("script")
        .about("", "O(N)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .all_nodes(Merge::Special)
        .planned(),
    scripting("show", 3, "8.0.0", "noscript")
        .syntax("sha1")
        .about("", "O(1)")
        .all_nodes(Merge::Special)
        .planned(),
];

/// A row of this family.
const fn scripting(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Scripting, name, arity, since, flags)
}
