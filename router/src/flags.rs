//! The flags of a router; each has an environment variable.

use clap::{Parser, ValueEnum};
use shoal_net::{
    HostPort,
    flags::{CopyFlags, Flags, ReplicaAck},
};

use crate::{ClusterView, WhenDown};

/// How many embedded nodes there are if nothing is said, and nobody to join.
const EMBEDDED: u16 = 3;

/// What embedded nodes evict if nothing is said.
const DEFAULT_POLICY: &str = "allkeys-s3fifo-size";

/// Where a router listens if nothing is said.
pub const DEFAULT_LISTEN: (&str, u16) = ("127.0.0.1", 6379);

/// The Shoal router: looks like one Redis server to any client, and spreads keys over the nodes of a cluster.
///
/// With --join it serves the cluster those nodes belong to. Without, it starts a few nodes in its own process, so
/// that there is something to try at once.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "shoal-router",
    version,
    after_help = "Examples:\n  shoal-router                                  three embedded nodes, clients on 127.0.0.1:6379\n  \
                  shoal-router --join 127.0.0.1:7000,127.0.0.1:7001\n  \
                  shoal-router --listen 0.0.0.0:6379 --join shoal-nodes:6379\n  \
                  redis-cli set hello world                     talk to it"
)]
pub struct RouterFlags {
    /// What all daemons have.
    #[command(flatten)]
    pub common: Flags,

    /// Nodes to start in this process, without --join. Default: 3.
    #[arg(
        long,
        value_name = "N",
        env = "SHOAL_EMBEDDED",
        value_parser = clap::value_parser!(u16).range(1..=64),
        help_heading = "Embedded nodes"
    )]
    pub embedded: Option<u16>,

    /// Memory for keys and values of each embedded node: bytes, with a unit (100mb, 2gb), or a share of the container's or
    /// the machine's that all of them divide (70%). 0: no limit. Without it, 75% of the container's limit, divided.
    #[arg(long, value_name = "BYTES", env = "SHOAL_MAXMEMORY", help_heading = "Embedded nodes")]
    pub maxmemory: Option<String>,

    /// What embedded nodes evict when their memory is full; as for a node.
    #[arg(
        long,
        value_name = "POLICY",
        env = "SHOAL_MAXMEMORY_POLICY",
        default_value = DEFAULT_POLICY,
        help_heading = "Embedded nodes"
    )]
    pub maxmemory_policy: String,

    /// Copies of embedded nodes' slots. All are in this process and end with it: they are for trying out what copies do.
    #[command(flatten)]
    pub copies: CopyFlags,

    /// Most clients at a time.
    #[arg(
        long,
        value_name = "N",
        env = "SHOAL_MAXCLIENTS",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Clients"
    )]
    pub maxclients: u32,

    /// Password that clients must give (AUTH). Better given by the environment than on the command line.
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "SHOAL_REQUIREPASS",
        hide_env_values = true,
        help_heading = "Clients"
    )]
    pub requirepass: Option<String>,

    /// What clients see that ask CLUSTER SLOTS: this router as the only shard, or the real nodes.
    #[arg(
        long,
        value_name = "VIEW",
        value_enum,
        env = "SHOAL_CLUSTER_VIEW",
        default_value = "self",
        help_heading = "Clients"
    )]
    pub cluster_view: CliClusterView,

    /// How long a request may wait that no node can serve at once (its node failed, its slot moves), in ms, up to 600000.
    #[arg(
        long,
        value_name = "MS",
        env = "SHOAL_HOLD_MS",
        default_value_t = 2500,
        value_parser = clap::value_parser!(u32).range(1..=600_000),
        help_heading = "Nodes"
    )]
    pub hold_ms: u32,

    /// What a read is answered that no node could serve in that time: an error, or as if the key was not there. Writes get an
    /// error always.
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        env = "SHOAL_WHEN_DOWN",
        default_value = "error",
        help_heading = "Nodes"
    )]
    pub when_down: CliWhenDown,

    /// Most such requests at a time, for each thread; one more is an error at once.
    #[arg(
        long,
        value_name = "N",
        env = "SHOAL_MAX_HELD",
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Nodes"
    )]
    pub max_held: u32,

    /// Password that the router gives to the nodes: their --requirepass. Better given by the environment than on the
    /// command line.
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "SHOAL_NODE_PASSWORD",
        hide_env_values = true,
        help_heading = "Nodes"
    )]
    pub node_password: Option<String>,
}

/// `--cluster-view`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CliClusterView {
    /// This router as a cluster of one shard.
    #[value(name = "self")]
    Itself,
    /// The real nodes, to which cluster-aware clients then go directly.
    Nodes,
}

impl From<CliClusterView> for ClusterView {
    fn from(view: CliClusterView) -> Self {
        match view {
            CliClusterView::Itself => Self::Itself,
            CliClusterView::Nodes => Self::Nodes,
        }
    }
}

/// `--when-down`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CliWhenDown {
    /// An error that begins with CLUSTERDOWN or TRYAGAIN.
    Error,
    /// As if the key was not there.
    Miss,
}

impl From<CliWhenDown> for WhenDown {
    fn from(what: CliWhenDown) -> Self {
        match what {
            CliWhenDown::Error => Self::Error,
            CliWhenDown::Miss => Self::Miss,
        }
    }
}

impl RouterFlags {
    /// How many nodes are to be started in this process.
    pub fn embedded_nodes(&self) -> u16 {
        if self.common.join.is_empty() { self.embedded.unwrap_or(EMBEDDED) } else { 0 }
    }

    /// Flags of embedded nodes that change nothing, because there are none.
    pub fn in_vain(&self) -> Vec<&'static str> {
        let given = [
            ("maxmemory", self.maxmemory.is_some()),
            ("maxmemory-policy", self.maxmemory_policy != DEFAULT_POLICY),
            ("replica-ack", self.copies.replica_ack != ReplicaAck::All),
        ];
        let joins = !self.common.join.is_empty();
        given.into_iter().filter(|(_, given)| joins && *given).map(|(flag, _)| flag).collect()
    }

    /// Where the router listens if nothing is said.
    pub fn default_listen() -> HostPort {
        HostPort::new(DEFAULT_LISTEN.0, DEFAULT_LISTEN.1)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_has_a_variable() {
        RouterFlags::command().debug_assert();
        let own = |id: &str| id != "help" && id != "version";
        for arg in RouterFlags::command().get_arguments().filter(|a| own(a.get_id().as_str())) {
            assert!(arg.get_env().is_some(), "{}", arg.get_id());
        }
    }

    #[test]
    fn flags_of_embedded_nodes_are_in_vain_without_them() {
        let given = ["--maxmemory", "1gb", "--maxmemory-policy", "noeviction", "--replica-ack", "async"];
        let in_vain = |args: &[&str]| {
            RouterFlags::try_parse_from([&["shoal-router"], args].concat()).expect("flags").in_vain()
        };
        assert_eq!(in_vain(&given), [""; 0]);
        assert_eq!(in_vain(&["--join", "h:1"]), [""; 0]);
        let all = ["maxmemory", "maxmemory-policy", "replica-ack"];
        assert_eq!(in_vain(&[&given[..], &["--join", "h:1"]].concat()), all);
    }
}
