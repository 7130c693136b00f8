//! The cluster as Redis Cluster clients see it.

use super::row::row;
use crate::command::{Command, Group};

const OWN_REPLICATION: &str = "replicas are chosen and fed by the cluster itself";
const OWN_SLOTS: &str = "slots are placed by the cluster itself";

pub(super) static COMMANDS: &[Command] = &[
    // A router follows redirects itself, so this changes nothing there.
    cluster("asking", 1, "3.0.0", "fast").about("", "O(1)").acl("connection").local(),
    cluster("cluster", -2, "3.0.0", "").about("", "O(1)").local().subcommands(CLUSTER),
    cluster("readonly", 1, "3.0.0", "fast loading stale").about("", "O(1)").acl("connection").local(),
    cluster("readwrite", 1, "3.0.0", "fast loading stale").about("", "O(1)").acl("connection").local(),
];

const CLUSTER: &[Command] = &[
    cluster("addslots", -3, "3.0.0", "no_async_loading admin stale")
        .syntax("slot [slot ...]")
        .about("", "O(N)")
        .never(OWN_SLOTS),
    cluster("addslotsrange", -4, "7.0.0", "no_async_loading admin stale")
        .syntax("start-slot end-slot [start-slot end-slot ...]")
        .about("", "O(N)")
        .never(OWN_SLOTS),
    cluster("bumpepoch", 2, "3.0.0", "no_async_loading admin stale")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"])
        .never(OWN_SLOTS),
    cluster("count-failure-reports", 3, "3.0.0", "admin stale")
        .syntax("node-id")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .local()
        .planned(),
    cluster("countkeysinslot", 3, "3.0.0", "stale").syntax("slot").about("", "O(1)").local(),
    cluster("delslots", -3, "3.0.0", "no_async_loading admin stale")
        .syntax("slot [slot ...]")
        .about("", "O(N)")
        .never(OWN_SLOTS),
    cluster("delslotsrange", -4, "7.0.0", "no_async_loading admin stale")
        .syntax("start-slot end-slot [start-slot end-slot ...]")
        .about("", "O(N)")
        .never(OWN_SLOTS),
    cluster("failover", -2, "3.0.0", "no_async_loading admin stale")
        .syntax("[FORCE | TAKEOVER]")
        .about("", "O(1)")
        .never(OWN_REPLICATION),
    cluster("flushslots", 2, "3.0.0", "no_async_loading admin stale").about("", "O(1)").never(OWN_SLOTS),
    cluster("forget", 3, "3.0.0", "no_async_loading admin stale")
        .syntax("node-id")
        .about("", "O(1)")
        .never(OWN_SLOTS),
    cluster("getkeysinslot", 4, "3.0.0", "stale")
        .syntax("slot count")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("help", 2, "5.0.0", "loading stale").about("", "O(1)").local(),
    cluster("info", 2, "3.0.0", "loading stale").about("", "O(1)").tips(&["nondeterministic_output"]).local(),
    cluster("keyslot", 3, "3.0.0", "stale").syntax("key").about("", "O(N)").local(),
    cluster("links", 2, "7.0.0", "stale").about("", "O(N)").tips(&["nondeterministic_output"]).local(),
    cluster("meet", -4, "3.0.0", "no_async_loading admin stale")
        .syntax("ip port [cluster-bus-port]")
        .about("", "O(1)")
        .never(OWN_SLOTS),
    cluster("myid", 2, "3.0.0", "loading stale").about("", "O(1)").local(),
    cluster("myshardid", 2, "7.2.0", "loading stale")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("nodes", 2, "3.0.0", "loading stale")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("replicas", 3, "5.0.0", "admin stale")
        .syntax("node-id")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .local()
        .planned(),
    cluster("replicate", 3, "3.0.0", "no_async_loading admin stale")
        .syntax("node-id")
        .about("", "O(1)")
        .never(OWN_REPLICATION),
    cluster("reset", -2, "3.0.0", "admin stale noscript")
        .syntax("[HARD | SOFT]")
        .about("", "O(N)")
        .never(OWN_SLOTS),
    cluster("saveconfig", 2, "3.0.0", "no_async_loading admin stale").about("", "O(1)").never(OWN_SLOTS),
    cluster("set-config-epoch", 3, "3.0.0", "no_async_loading admin stale")
        .syntax("config-epoch")
        .about("", "O(1)")
        .never(OWN_SLOTS),
    cluster("setslot", -4, "3.0.0", "no_async_loading admin stale may_replicate")
        .syntax("slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE> [TIMEOUT timeout]")
        .about("", "O(1)")
        .never(OWN_SLOTS),
    cluster("shards", 2, "7.0.0", "loading stale")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .local(),
    cluster("slaves", 3, "3.0.0", "admin stale")
        .syntax("node-id")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .deprecated("5.0.0", "`CLUSTER REPLICAS`")
        .local()
        .planned(),
    cluster("slot-stats", -4, "8.0.0", "stale loading")
        .syntax("<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>")
        .about("", "O(N)")
        .tips(&["nondeterministic_output", "request_policy:all_shards"])
        .local()
        .planned(),
    cluster("slots", 2, "3.0.0", "loading stale")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"])
        .local(),
];

/// A row of this family.
const fn cluster(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Cluster, name, arity, since, flags)
}
