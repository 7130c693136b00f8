//! Strings.

use super::row::{command, key};
use crate::command::{Command, Flags, Group, KeyFlags};

pub(super) static COMMANDS: &[Command] = &[Command {
    keys: &[key(KeyFlags::RO.union(KeyFlags::ACCESS), 1)],
    syntax: "key",
    summary: "Returns the string held by a key.",
    ..command("get", 2, Flags::READONLY.union(Flags::FAST), Group::String, "1.0.0")
}];
