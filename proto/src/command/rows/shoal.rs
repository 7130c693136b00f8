//! Shoal's own container: what the cluster thinks of itself, for people and routers.

use super::row::row;
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[shoal("shoal", -2, "")
    .about("Holds the commands that only Shoal has.", "O(1)")
    .local()
    .subcommands(SHOAL)];

const SHOAL: &[Command] = &[
    shoal("help", 2, "loading stale").about("Explains the subcommands.", "O(1)").local(),
    shoal("cluster", 2, "admin noscript loading stale")
        .about(
            "Shows the view, who is up, the lease, and how far slots have come on their way.",
            "O(N), N slots",
        )
        .local(),
    shoal("force", 2, "admin noscript loading stale")
        .about(
            "Makes a view of those who are up without a majority: the others will never come back.",
            "O(N), N slots",
        )
        .local(),
    // Asked by nodes and routers that know only this port; the gossip port answers the same to everybody. Without
    // arguments a router shows these things to people.
    shoal("members", -2, "admin noscript loading stale no_auth")
        .syntax("[version message]")
        .about(
            "Exchanges what gossip knows of the members, in the form of the cluster bus.",
            "O(N), N members",
        )
        .local(),
    shoal("plan", -2, "admin noscript loading stale")
        .syntax("[JOIN [count] [WEIGHT weight] [ZONE zone] | LEAVE name [name ...]] ...")
        .about(
            "Shows which slots move and which copies are made, or would be, with this node's keys and bytes.",
            "O(N), N slots",
        )
        .local(),
    shoal("upstream", -2, "admin noscript loading stale")
        .syntax("[version [milliseconds]]")
        .about("Says that a router is at the other end, which splits commands by node.", "O(1)")
        .local(),
    shoal("view", -2, "admin noscript loading stale no_auth")
        .syntax("[version message]")
        .about("Returns the view in force, in the form of the cluster bus.", "O(N), N slot ranges")
        .local(),
];

/// A row of this family.
const fn shoal(name: &'static str, arity: i8, flags: &str) -> Command {
    row(Group::Server, name, arity, "0.1.0", flags)
}
