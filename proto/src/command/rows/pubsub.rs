//! Publish and subscribe.

use super::row::{key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    pubsub("psubscribe", -2, "2.0.0", "pubsub noscript loading stale")
        .syntax("pattern [pattern ...]")
        .about("", "O(N)")
        .local()
        .planned(),
    pubsub("publish", 3, "2.0.0", "pubsub loading stale fast may_replicate")
        .syntax("channel message")
        .about("", "O(N+M)")
        .local()
        .planned(),
    pubsub("pubsub", -2, "2.8.0", "").about("", "O(1)").local().planned().subcommands(PUBSUB),
    pubsub("punsubscribe", -1, "2.0.0", "pubsub noscript loading stale")
        .syntax("[pattern [pattern ...]]")
        .about("", "O(N)")
        .local()
        .planned(),
    // Channels hash like keys, but are none: see `not_key`.
    pubsub("spublish", 3, "7.0.0", "pubsub loading stale fast may_replicate")
        .keys(&[key(1, "not_key")])
        .syntax("shardchannel message")
        .about("", "O(N)")
        .local()
        .planned(),
    pubsub("ssubscribe", -2, "7.0.0", "pubsub noscript loading stale")
        .keys(&[keys(1, -1, 1, "not_key")])
        .syntax("shardchannel [shardchannel ...]")
        .about("", "O(N)")
        .local()
        .planned(),
    // The router holds the subscription and follows the nodes for all its clients.
    pubsub("subscribe", -2, "2.0.0", "pubsub noscript loading stale")
        .syntax("channel [channel ...]")
        .about("", "O(N)")
        .local()
        .planned(),
    pubsub("sunsubscribe", -1, "7.0.0", "pubsub noscript loading stale")
        .keys(&[keys(1, -1, 1, "not_key")])
        .syntax("[shardchannel [shardchannel ...]]")
        .about("", "O(N)")
        .local()
        .planned(),
    pubsub("unsubscribe", -1, "2.0.0", "pubsub noscript loading stale")
        .syntax("[channel [channel ...]]")
        .about("", "O(N)")
        .local()
        .planned(),
];

const PUBSUB: &[Command] = &[
    pubsub("channels", -2, "2.8.0", "pubsub loading stale")
        .syntax("[pattern]")
        .about("", "O(N)")
        .local()
        .planned(),
    pubsub("help", 2, "6.2.0", "loading stale").about("", "O(1)").local().planned(),
    pubsub("numpat", 2, "2.8.0", "pubsub loading stale").about("", "O(1)").local().planned(),
    pubsub("numsub", -2, "2.8.0", "pubsub loading stale")
        .syntax("[channel [channel ...]]")
        .about("", "O(N)")
        .local()
        .planned(),
    pubsub("shardchannels", -2, "7.0.0", "pubsub loading stale")
        .syntax("[pattern]")
        .about("", "O(N)")
        .local()
        .planned(),
    pubsub("shardnumsub", -2, "7.0.0", "pubsub loading stale")
        .syntax("[shardchannel [shardchannel ...]]")
        .about("", "O(N)")
        .local()
        .planned(),
];

/// A row of this family.
const fn pubsub(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::PubSub, name, arity, since, flags)
}
