//! HyperLogLogs.

use super::row::{key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    hll("pfadd", -2, "2.8.9", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key [element [element ...]]")
        .about("Counts elements in.", "O(1) per element")
        .planned(),
    hll("pfcount", -2, "2.8.9", "readonly may_replicate")
        .keys(&[keys(1, -1, 1, "rw access")])
        .syntax("key [key ...]")
        .about("Estimates how many distinct elements were counted in.", "O(N), N keys")
        .planned(),
    hll("pfdebug", 3, "2.8.9", "write denyoom admin")
        .keys(&[key(2, "rw access")])
        .syntax("subcommand key")
        .about("Shows the inside of a HyperLogLog.", "O(1)")
        .planned(),
    hll("pfmerge", -2, "2.8.9", "write denyoom")
        .keys(&[key(1, "rw access insert"), keys(2, -1, 1, "ro access")])
        .syntax("destination [source [source ...]]")
        .about("Unites several HyperLogLogs in one.", "O(N), N keys")
        .planned(),
    hll("pfselftest", 1, "2.8.9", "admin")
        .about("Checks the accuracy of the implementation.", "O(1)")
        .local()
        .planned(),
];

/// A row of this family.
const fn hll(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::HyperLogLog, name, arity, since, flags)
}
