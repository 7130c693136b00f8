//! Shoal's own container: what the cluster thinks of itself, for people and routers.

use super::row::row;
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[shoal("shoal", -2, "")
    .about("Holds the commands that only Shoal has.", "O(1)")
    .local()
    .subcommands(SHOAL)];

const SHOAL: &[Command] = &[
    shoal("help", 2, "loading stale").about("Explains the subcommands.", "O(1)").local(),
    shoal("members", 2, "admin noscript loading stale")
        .about("Lists the processes that gossip knows, with their state.", "O(N), N members")
        .local(),
    shoal("upstream", 2, "admin noscript loading stale")
        .about("Shows a router's connections to the nodes.", "O(N), N connections")
        .local(),
    shoal("view", 2, "admin noscript loading stale")
        .about("Shows the epoch, the nodes and who owns which slots.", "O(N), N slot ranges")
        .local(),
    shoal("watch", -2, "admin noscript loading stale")
        .syntax("[epoch]")
        .about("Sends the view, and every newer one as it is installed.", "O(N), N slot ranges")
        .local(),
];

/// A row of this family.
const fn shoal(name: &'static str, arity: i8, flags: &str) -> Command {
    row(Group::Server, name, arity, "0.1.0", flags)
}
