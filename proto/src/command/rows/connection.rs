//! The connection itself.

use super::row::row;
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    connection("auth", -2, "1.0.0", "noscript loading stale fast no_auth allow_busy")
        .syntax("[username] password")
        .about("Proves who the client is.", "O(1)")
        .local(),
    connection("client", -2, "2.4.0", "")
        .about("Looks at connections and changes them.", "O(1)")
        .local()
        .subcommands(CLIENT),
    connection("echo", 2, "1.0.0", "loading stale fast")
        .syntax("message")
        .about("Returns its argument.", "O(1)")
        .local(),
    connection("hello", -1, "6.0.0", "noscript loading stale fast no_auth allow_busy")
        .syntax("[protover [AUTH username password] [SETNAME clientname]]")
        .about("Chooses the protocol version, and may log in and name the connection.", "O(1)")
        .local(),
    connection("ping", -1, "1.0.0", "fast")
        .syntax("[message]")
        .about("Answers PONG, or its argument.", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .local(),
    connection("quit", -1, "1.0.0", "allow_busy noscript loading stale fast no_auth")
        .about("Says goodbye: the connection is closed.", "O(1)")
        .deprecated("7.2.0", "just closing the connection")
        .local(),
    connection("reset", 1, "6.2.0", "noscript loading stale fast no_auth allow_busy")
        .about("Brings the connection back to how it began.", "O(1)")
        .local(),
    connection("select", 2, "1.0.0", "loading stale fast")
        .syntax("index")
        .about("Changes to another database.", "O(1)")
        .local(),
];

const CLIENT: &[Command] = &[
    connection("caching", 3, "6.0.0", "noscript loading stale")
        .syntax("<YES | NO>")
        .about("Says whether the keys of the next command are tracked.", "O(1)")
        .local()
        .planned(),
    connection("capa", -3, "8.0.0", "noscript loading stale")
        .syntax("capability [capability ...]")
        .about("Tells what the client is able to handle.", "O(1)")
        .local()
        .planned(),
    connection("getname", 2, "2.6.9", "noscript loading stale")
        .about("Returns the name of this connection.", "O(1)")
        .local(),
    connection("getredir", 2, "6.0.0", "noscript loading stale")
        .about("Tells which client receives the tracking messages.", "O(1)")
        .local()
        .planned(),
    connection("help", 2, "5.0.0", "loading stale").about("Explains the subcommands.", "O(1)").local(),
    connection("id", 2, "5.0.0", "noscript loading stale")
        .about("Returns the number of this connection.", "O(1)")
        .local(),
    connection("info", 2, "6.2.0", "noscript loading stale")
        .about("Describes this connection.", "O(1)")
        .tips(&["nondeterministic_output"])
        .local(),
    connection("kill", -3, "2.4.0", "admin noscript loading stale")
        .syntax(
            "<ip:port | [ID client-id] [TYPE <normal | master | primary | slave | replica | \
            pubsub>] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME <YES | NO>] [MAXAGE \
            maxage]>",
        )
        .about("Closes connections.", "O(N), N connections")
        .local(),
    connection("list", -2, "2.4.0", "admin noscript loading stale")
        .syntax("[TYPE <normal | master | replica | pubsub>] [ID client-id [client-id ...]]")
        .about("Describes connections, a line for each.", "O(N), N connections")
        .tips(&["nondeterministic_output"])
        .local(),
    connection("no-evict", 3, "7.0.0", "admin noscript loading stale")
        .syntax("<ON | OFF>")
        .about("Protects this connection from being closed when clients need too much memory.", "O(1)")
        .local(),
    connection("no-touch", 3, "7.2.0", "noscript loading stale")
        .syntax("<ON | OFF>")
        .about("Says whether this connection's commands count as a use of their keys.", "O(1)")
        .local(),
    connection("pause", -3, "3.0.0", "admin noscript loading stale")
        .syntax("timeout [WRITE | ALL]")
        .about("Holds back the commands of all clients for a while.", "O(1)")
        .local(),
    connection("reply", 3, "3.2.0", "noscript loading stale")
        .syntax("<ON | OFF | SKIP>")
        .about("Turns replies off and on.", "O(1)")
        .local(),
    connection("setinfo", 4, "7.2.0", "noscript loading stale")
        .syntax("<LIB-NAME libname | LIB-VER libver>")
        .about("Notes which library the client uses.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local(),
    connection("setname", 3, "2.6.9", "noscript loading stale")
        .syntax("connection-name")
        .about("Names this connection.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .local(),
    connection("tracking", -3, "6.0.0", "noscript loading stale")
        .syntax(
            "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] \
            [OPTOUT] [NOLOOP]",
        )
        .about("Turns on messages about keys that the client has cached.", "O(1)")
        .local()
        .planned(),
    connection("trackinginfo", 2, "6.2.0", "noscript loading stale")
        .about("Describes how this connection's keys are tracked.", "O(1)")
        .local()
        .planned(),
    connection("unblock", -3, "5.0.0", "admin noscript loading stale")
        .syntax("client-id [TIMEOUT | ERROR]")
        .about("Ends the waiting of another client.", "O(1)")
        .local()
        .planned(),
    connection("unpause", 2, "6.2.0", "admin noscript loading stale")
        .about("Lets clients go on that were paused.", "O(N), N paused clients")
        .local(),
];

/// A row of this family.
const fn connection(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Connection, name, arity, since, flags)
}
