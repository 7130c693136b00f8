//! Publish and subscribe.

use super::row::{key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    pubsub("psubscribe", -2, "2.0.0", "pubsub noscript loading stale")
        .syntax("pattern [pattern ...]")
        .about("Listens to all channels that match patterns.", "O(N), N patterns")
        .local()
        .planned(),
    pubsub("publish", 3, "2.0.0", "pubsub loading stale fast may_replicate")
        .syntax("channel message")
        .about("Sends a message to a channel.", "O(N+M), N subscribers, M patterns")
        .local()
        .planned(),
    pubsub("pubsub", -2, "2.8.0", "")
        .about("Looks at channels and their subscribers.", "O(1)")
        .local()
        .planned()
        .subcommands(PUBSUB),
    pubsub("punsubscribe", -1, "2.0.0", "pubsub noscript loading stale")
        .syntax("[pattern [pattern ...]]")
        .about("Stops listening to patterns, or to all of them.", "O(N), N patterns")
        .local()
        .planned(),
    // Channels hash like keys, but are none: see `not_key`.
    pubsub("spublish", 3, "7.0.0", "pubsub loading stale fast may_replicate")
        .keys(&[key(1, "not_key")])
        .syntax("shardchannel message")
        .about("Sends a message to a shard channel.", "O(N), N subscribers")
        .local()
        .planned(),
    pubsub("ssubscribe", -2, "7.0.0", "pubsub noscript loading stale")
        .keys(&[keys(1, -1, 1, "not_key")])
        .syntax("shardchannel [shardchannel ...]")
        .about("Listens to shard channels.", "O(N), N channels")
        .local()
        .planned(),
    // The router holds the subscription and follows the nodes for all its clients.
    pubsub("subscribe", -2, "2.0.0", "pubsub noscript loading stale")
        .syntax("channel [channel ...]")
        .about("Listens to channels.", "O(N), N channels")
        .local()
        .planned(),
    pubsub("sunsubscribe", -1, "7.0.0", "pubsub noscript loading stale")
        .keys(&[keys(1, -1, 1, "not_key")])
        .syntax("[shardchannel [shardchannel ...]]")
        .about("Stops listening to shard channels, or to all of them.", "O(N), N channels")
        .local()
        .planned(),
    pubsub("unsubscribe", -1, "2.0.0", "pubsub noscript loading stale")
        .syntax("[channel [channel ...]]")
        .about("Stops listening to channels, or to all of them.", "O(N), N channels")
        .local()
        .planned(),
];

const PUBSUB: &[Command] = &[
    pubsub("channels", -2, "2.8.0", "pubsub loading stale")
        .syntax("[pattern]")
        .about("Lists the channels that have subscribers.", "O(N), N channels")
        .local()
        .planned(),
    pubsub("help", 2, "6.2.0", "loading stale").about("Explains the subcommands.", "O(1)").local().planned(),
    pubsub("numpat", 2, "2.8.0", "pubsub loading stale")
        .about("Counts the patterns that clients listen to.", "O(1)")
        .local()
        .planned(),
    pubsub("numsub", -2, "2.8.0", "pubsub loading stale")
        .syntax("[channel [channel ...]]")
        .about("Counts the subscribers of channels.", "O(N), N channels asked for")
        .local()
        .planned(),
    pubsub("shardchannels", -2, "7.0.0", "pubsub loading stale")
        .syntax("[pattern]")
        .about("Lists the shard channels that have subscribers.", "O(N), N channels")
        .local()
        .planned(),
    pubsub("shardnumsub", -2, "7.0.0", "pubsub loading stale")
        .syntax("[shardchannel [shardchannel ...]]")
        .about("Counts the subscribers of shard channels.", "O(N), N channels asked for")
        .local()
        .planned(),
];

/// A row of this family.
const fn pubsub(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::PubSub, name, arity, since, flags)
}
