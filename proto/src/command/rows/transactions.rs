//! Transactions.

use super::row::{keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    transaction("discard", 1, "2.0.0", "noscript loading stale fast allow_busy")
        .about("Drops a transaction.", "O(N), N commands queued")
        .local()
        .planned(),
    transaction("exec", 1, "1.2.0", "noscript loading stale skip_slowlog")
        .about("Runs a transaction's commands.", "that of its commands")
        .local()
        .planned(),
    transaction("multi", 1, "1.2.0", "noscript loading stale fast no_multi allow_busy")
        .about("Begins a transaction.", "O(1)")
        .local()
        .planned(),
    transaction("unwatch", 1, "2.2.0", "noscript loading stale fast allow_busy")
        .about("Forgets the keys that were watched.", "O(1)")
        .local()
        .planned(),
    // The session keeps the transaction; its keys decide the node at EXEC.
    transaction("watch", -2, "2.2.0", "noscript loading stale fast no_multi allow_busy")
        .keys(&[keys(1, -1, 1, "ro")])
        .syntax("key [key ...]")
        .about("Makes the next transaction fail if a key changes before it runs.", "O(1) per key")
        .local()
        .planned(),
];

/// A row of this family.
const fn transaction(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Transactions, name, arity, since, flags)
}
