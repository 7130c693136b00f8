//! The connection itself.

use super::row::row;
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    connection("auth", -2, "1.0.0", "noscript loading stale fast no_auth allow_busy")
        .syntax("[username] password")
        .about("", "O(N)")
        .local(),
    connection("client", -2, "2.4.0", "").about("", "O(1)").local().subcommands(CLIENT),
    connection("echo", 2, "1.0.0", "loading stale fast").syntax("message").about("", "O(1)").local(),
    connection("hello", -1, "6.0.0", "noscript loading stale fast no_auth allow_busy")
        .syntax("[protover [AUTH username password] [SETNAME clientname]]")
        .about("", "O(1)")
        .local(),
    connection("ping", -1, "1.0.0", "fast")
        .syntax("[message]")
        .about("", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .local(),
    connection("quit", -1, "1.0.0", "allow_busy noscript loading stale fast no_auth")
        .about("", "O(1)")
        .deprecated("7.2.0", "just closing the connection")
        .local(),
    connection("reset", 1, "6.2.0", "noscript loading stale fast no_auth allow_busy")
        .about("", "O(1)")
        .local(),
    connection("select", 2, "1.0.0", "loading stale fast").syntax("index").about("", "O(1)").local(),
];

const CLIENT: &[Command] = &[
    connection("caching", 3, "6.0.0", "noscript loading stale")
        .syntax("<YES | NO>")
        .about("", "O(1)")
        .local()
        .planned(),
    connection("capa", -3, "8.0.0", "noscript loading stale")
        .syntax("capability [capability ...]")
        .about("", "O(1)")
        .local()
        .planned(),
    connection("getname", 2, "2.6.9", "noscript loading stale").about("", "O(1)").local(),
    connection("getredir", 2, "6.0.0", "noscript loading stale").about("", "O(1)").local().planned(),
    connection("help", 2, "5.0.0", "loading stale").about("", "O(1)").local(),
    connection("id", 2, "5.0.0", "noscript loading stale").about("", "O(1)").local(),
    connection("info", 2, "6.2.0", "noscript loading stale")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"])
        .local(),
    connection("kill", -3, "2.4.0", "admin noscript loading stale")
        .syntax(
            "<ip:port | [ID client-id] [TYPE <normal | master | primary | slave | replica | \
            pubsub>] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME <YES | NO>] [MAXAGE \
            maxage]>",
        )
        .about("", "O(N)")
        .local(),
    connection("list", -2, "2.4.0", "admin noscript loading stale")
        .syntax("[TYPE <normal | master | replica | pubsub>] [ID client-id [client-id ...]]")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .local(),
    connection("no-evict", 3, "7.0.0", "admin noscript loading stale")
        .syntax("<ON | OFF>")
        .about("", "O(1)")
        .local(),
    connection("no-touch", 3, "7.2.0", "noscript loading stale")
        .syntax("<ON | OFF>")
        .about("", "O(1)")
        .local(),
    connection("pause", -3, "3.0.0", "admin noscript loading stale")
        .syntax("timeout [WRITE | ALL]")
        .about("", "O(1)")
        .local(),
    connection("reply", 3, "3.2.0", "noscript loading stale")
        .syntax("<ON | OFF | SKIP>")
        .about("", "O(1)")
        .local(),
    connection("setinfo", 4, "7.2.0", "noscript loading stale")
        .syntax("<LIB-NAME libname | LIB-VER libver>")
        .about("", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local(),
    connection("setname", 3, "2.6.9", "noscript loading stale")
        .syntax("connection-name")
        .about("", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local(),
    connection("tracking", -3, "6.0.0", "noscript loading stale")
        .syntax(
            "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] \
            [OPTOUT] [NOLOOP]",
        )
        .about("", "O(1)")
        .local()
        .planned(),
    connection("trackinginfo", 2, "6.2.0", "noscript loading stale").about("", "O(1)").local().planned(),
    connection("unblock", -3, "5.0.0", "admin noscript loading stale")
        .syntax("client-id [TIMEOUT | ERROR]")
        .about("", "O(1)")
        .local()
        .planned(),
    connection("unpause", 2, "6.2.0", "admin noscript loading stale").about("", "O(N)").local(),
];

/// A row of this family.
const fn connection(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Connection, name, arity, since, flags)
}
