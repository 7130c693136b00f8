//! The cluster as Redis Cluster clients see it.

use super::row::row;
use crate::command::{Command, Group};

const OWN_REPLICATION: &str = "replicas are chosen and fed by the cluster itself";
const OWN_SLOTS: &str = "slots are placed by the cluster itself";

pub(super) static COMMANDS: &[Command] = &[
    // A router follows redirects itself, so this changes nothing there.
    cluster("asking", 1, "3.0.0", "fast")
        .about("Lets the next command use a slot that is just arriving.", "O(1)")
        .acl("connection")
        .local(),
    cluster("cluster", -2, "3.0.0", "")
        .about("Describes the cluster and manages it.", "O(1)")
        .local()
        .subcommands(CLUSTER),
    cluster("readonly", 1, "3.0.0", "fast loading stale")
        .about("Allows reading from a replica on this connection.", "O(1)")
        .acl("connection")
        .local(),
    cluster("readwrite", 1, "3.0.0", "fast loading stale")
        .about("Ends reading from a replica on this connection.", "O(1)")
        .acl("connection")
        .local(),
];

const CLUSTER: &[Command] = &[
    cluster("addslots", -3, "3.0.0", "no_async_loading admin stale")
        .syntax("slot [slot ...]")
        .about("Gives slots to the node.", "O(N), N slots")
        .never(OWN_SLOTS),
    cluster("addslotsrange", -4, "7.0.0", "no_async_loading admin stale")
        .syntax("start-slot end-slot [start-slot end-slot ...]")
        .about("Gives ranges of slots to the node.", "O(N), N slots")
        .never(OWN_SLOTS),
    cluster("bumpepoch", 2, "3.0.0", "no_async_loading admin stale")
        .about("Raises the node's configuration epoch.", "O(1)")
        .tips(&["nondeterministic_output"])
        .never(OWN_SLOTS),
    cluster("count-failure-reports", 3, "3.0.0", "admin stale")
        .syntax("node-id")
        .about("Counts the nodes that report another one as failing.", "O(N), N reports")
        .tips(&["nondeterministic_output"])
        .local()
        .planned(),
    cluster("countkeysinslot", 3, "3.0.0", "stale")
        .syntax("slot")
        .about("Counts the keys in a slot.", "O(1)")
        .local(),
    cluster("delslots", -3, "3.0.0", "no_async_loading admin stale")
        .syntax("slot [slot ...]")
        .about("Takes slots from the node.", "O(N), N slots")
        .never(OWN_SLOTS),
    cluster("delslotsrange", -4, "7.0.0", "no_async_loading admin stale")
        .syntax("start-slot end-slot [start-slot end-slot ...]")
        .about("Takes ranges of slots from the node.", "O(N), N slots")
        .never(OWN_SLOTS),
    cluster("failover", -2, "3.0.0", "no_async_loading admin stale")
        .syntax("[FORCE | TAKEOVER]")
        .about("Makes a replica take over from its primary.", "O(1)")
        .never(OWN_REPLICATION),
    cluster("flushslots", 2, "3.0.0", "no_async_loading admin stale")
        .about("Takes all slots from the node.", "O(1)")
        .never(OWN_SLOTS),
    cluster("forget", 3, "3.0.0", "no_async_loading admin stale")
        .syntax("node-id")
        .about("Makes a node hand over what it has and leave; its process ends.", "O(1)")
        .local(),
    cluster("getkeysinslot", 4, "3.0.0", "stale")
        .syntax("slot count")
        .about("Lists keys of a slot.", "O(N), N keys returned")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("help", 2, "5.0.0", "loading stale").about("Explains the subcommands.", "O(1)").local(),
    cluster("info", 2, "3.0.0", "loading stale")
        .about("Reports on the cluster's state.", "O(1)")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("keyslot", 3, "3.0.0", "stale")
        .syntax("key")
        .about("Tells the slot of a key.", "O(N), N bytes")
        .local(),
    cluster("links", 2, "7.0.0", "stale")
        .about("Returns an empty list: nodes keep no link for each other node, as Redis's do.", "O(1)")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("meet", -4, "3.0.0", "no_async_loading admin stale")
        .syntax("ip port [cluster-bus-port]")
        .about("Introduces a node to another.", "O(1)")
        .never(OWN_SLOTS),
    cluster("myid", 2, "3.0.0", "loading stale").about("Returns the node's name.", "O(1)").local(),
    cluster("myshardid", 2, "7.2.0", "loading stale")
        .about("Returns the name of the node's shard.", "O(1)")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("nodes", 2, "3.0.0", "loading stale")
        .about("Lists the nodes with their slots, a line for each.", "O(N), N nodes")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("replicas", 3, "5.0.0", "admin stale")
        .syntax("node-id")
        .about("Lists the replicas of a node.", "O(N), N replicas")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("replicate", 3, "3.0.0", "no_async_loading admin stale")
        .syntax("node-id")
        .about("Makes the node a replica of another.", "O(1)")
        .never(OWN_REPLICATION),
    cluster("reset", -2, "3.0.0", "admin stale noscript")
        .syntax("[HARD | SOFT]")
        .about("Makes the node forget the cluster.", "O(N), N nodes")
        .never(OWN_SLOTS),
    cluster("saveconfig", 2, "3.0.0", "no_async_loading admin stale")
        .about("Writes the cluster's state to disk.", "O(1)")
        .never(OWN_SLOTS),
    cluster("set-config-epoch", 3, "3.0.0", "no_async_loading admin stale")
        .syntax("config-epoch")
        .about("Sets the configuration epoch of a new node.", "O(1)")
        .never(OWN_SLOTS),
    cluster("setslot", -4, "3.0.0", "no_async_loading admin stale may_replicate")
        .syntax("slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE> [TIMEOUT timeout]")
        .about("Moves a slot between nodes, step by step.", "O(1)")
        .never(OWN_SLOTS),
    cluster("shards", 2, "7.0.0", "loading stale")
        .about("Lists the shards with their slots and nodes.", "O(N), N nodes")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("slaves", 3, "3.0.0", "admin stale")
        .syntax("node-id")
        .about("Lists the replicas of a node: the old name of CLUSTER REPLICAS.", "O(N), N replicas")
        .tips(&["nondeterministic_output"])
        .deprecated("5.0.0", "CLUSTER REPLICAS")
        .local(),
    cluster("slot-stats", -4, "8.0.0", "stale loading")
        .syntax("<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>")
        .about("Returns figures on slots.", "O(N*log(N)), N slots")
        .tips(&["nondeterministic_output", "request_policy:all_shards"])
        .local()
        .planned(),
    cluster("slots", 2, "3.0.0", "loading stale")
        .about("Lists ranges of slots with the nodes that serve them.", "O(N), N ranges")
        .tips(&["nondeterministic_output"])
        .local(),
];

/// A row of this family.
const fn cluster(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Cluster, name, arity, since, flags)
}
