//! The flags of a node; each has an environment variable.

use clap::Parser;
use shoal_net::{
    HostPort,
    flags::{CopyFlags, Flags},
};

/// Where a node listens if nothing is said.
pub const DEFAULT_LISTEN: (&str, u16) = ("127.0.0.1", 7000);

/// Largest share of the slots that a node can ask for.
pub const MAX_WEIGHT: u16 = 10_000;

/// Longest name of a node, host or zone, in bytes; a member must fit into a gossip packet with others.
const MAX_WORD: usize = 200;

/// A Shoal cache node: keeps keys in memory and speaks RESP, so any Redis client can talk to it.
///
/// Alone it is a working cluster of one. With --join it finds the other nodes, takes its share of the hash
/// slots, and answers MOVED for the rest, as Redis Cluster does; a shoal-router in front hides that from clients.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "shoal-node",
    version,
    after_help = "Examples:\n  shoal-node                                    a cluster of one on 127.0.0.1:7000\n  \
                  shoal-node --listen 127.0.0.1:7001 --join 127.0.0.1:7000\n  \
                  shoal-node --listen 0.0.0.0:6379 --maxmemory 2gb --maxmemory-policy allkeys-s3fifo\n  \
                  redis-cli -p 7000                             talk to it"
)]
pub struct NodeFlags {
    /// What all daemons have.
    #[command(flatten)]
    pub common: Flags,

    /// Memory for keys and values: bytes, with a unit (100mb, 2gb), or a share of the container's or the machine's (70%).
    /// 0: no limit. Without it, 75% of the container's limit if there is one, less below 192 MB.
    #[arg(long, value_name = "BYTES", env = "SHOAL_MAXMEMORY", help_heading = "Store")]
    pub maxmemory: Option<String>,

    /// What is evicted when memory is full: allkeys-s3fifo-size (most hits), allkeys-s3fifo (most bytes hit),
    /// volatile-s3fifo-size, volatile-s3fifo, volatile-ttl, or noeviction. Redis's names of lru, lfu and random
    /// policies stand for the first or the third.
    #[arg(
        long,
        value_name = "POLICY",
        env = "SHOAL_MAXMEMORY_POLICY",
        default_value = "allkeys-s3fifo-size",
        help_heading = "Store"
    )]
    pub maxmemory_policy: String,

    /// Most clients at a time.
    #[arg(
        long,
        value_name = "N",
        env = "SHOAL_MAXCLIENTS",
        default_value = "10000",
        help_heading = "Clients"
    )]
    pub maxclients: String,

    /// Password that clients must give (AUTH). Better given by the environment than on the command line.
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "SHOAL_REQUIREPASS",
        hide_env_values = true,
        help_heading = "Clients"
    )]
    pub requirepass: Option<String>,

    /// How many new nodes, this one included, must have found each other by --join before they found a cluster. More than
    /// half of those that start first is safe. An existing cluster is joined at once.
    #[arg(
        long,
        value_name = "N",
        env = "SHOAL_BOOTSTRAP_EXPECT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1_000),
        help_heading = "Cluster"
    )]
    pub bootstrap_expect: u16,

    /// This node's name, unique in the cluster and the same after a restart. Default: host name and port.
    #[arg(long, env = "SHOAL_NAME", value_parser = word, help_heading = "Cluster")]
    pub name: Option<String>,

    /// Host or address that clients and other nodes shall use to reach this node. Default: the one it listens
    /// on, or by which the others see it.
    #[arg(long, value_name = "HOST", env = "SHOAL_ANNOUNCE", value_parser = host, help_heading = "Cluster")]
    pub announce: Option<String>,

    /// Share of the slots relative to the other nodes, 1 to 10000.
    #[arg(
        long,
        value_name = "N",
        env = "SHOAL_WEIGHT",
        default_value_t = 100,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_WEIGHT)),
        help_heading = "Cluster"
    )]
    pub weight: u16,

    /// Failure domain of this node (rack, availability zone): copies of a slot are kept in another one if there is one.
    /// Default: none.
    #[arg(long, env = "SHOAL_ZONE", default_value = "", hide_default_value = true, value_parser = zone, help_heading = "Cluster")]
    pub zone: String,

    /// Copies of its slots.
    #[command(flatten)]
    pub copies: CopyFlags,
}

impl NodeFlags {
    /// Where the node listens if nothing is said.
    pub fn default_listen() -> HostPort {
        HostPort::new(DEFAULT_LISTEN.0, DEFAULT_LISTEN.1)
    }
}

/// A name or host as it can stand in `CLUSTER NODES`, whose fields are separated by spaces and commas.
fn word(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > MAX_WORD {
        return Err("it is longer than 200 bytes");
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',') {
        return Err("it contains a space, a comma or a control character");
    }
    Ok(text.to_owned())
}

/// The name of a failure domain; others would not take a member in whose zone is too long.
fn zone(text: &str) -> Result<String, &'static str> {
    if text.len() > MAX_WORD {
        return Err("it is longer than 200 bytes");
    }
    if text.contains(char::is_control) {
        return Err("it contains a control character");
    }
    Ok(text.to_owned())
}

/// A host alone: the port that others use is that of the address listened on.
fn host(text: &str) -> Result<String, &'static str> {
    // An address of IPv6 has at least two colons.
    if text.starts_with('[') || text.matches(':').count() == 1 {
        return Err("give the host alone, without brackets and port: the port is that of --listen");
    }
    word(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use shoal_proto::view::Replication;

    #[test]
    fn names_and_hosts_are_single_words() {
        for good in ["a", "node-1.example.org", "::1"] {
            assert_eq!(word(good), Ok(good.to_owned()));
        }
        for bad in ["", "a b", "a,b", "a\nb", "\0", &"x".repeat(MAX_WORD + 1)] {
            assert!(word(bad).is_err(), "{bad:?}");
            for flag in ["--name", "--announce"] {
                assert!(NodeFlags::try_parse_from(["shoal-node", flag, bad]).is_err(), "{flag} {bad:?}");
            }
        }
    }

    #[test]
    fn a_zone_fits_into_a_view() {
        let longest = "z".repeat(MAX_WORD);
        assert!(longest.len() <= shoal_proto::view::MAX_NAME);
        for good in ["", "eu-west 1b", &longest] {
            let flags = NodeFlags::try_parse_from(["shoal-node", "--zone", good]).unwrap();
            assert_eq!(flags.zone, good);
        }
        for bad in ["a\nb", &"z".repeat(MAX_WORD + 1)] {
            assert!(NodeFlags::try_parse_from(["shoal-node", "--zone", bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_announced_has_no_port() {
        let announced =
            |text| NodeFlags::try_parse_from(["shoal-node", "--announce", text]).map(|f| f.announce);
        for good in ["node-1.example.org", "10.0.0.1", "::1", "fe80::1%eth0"] {
            assert_eq!(announced(good).expect("a host"), Some(good.to_owned()));
        }
        for bad in ["node-1:7000", "10.0.0.1:7000", "[::1]", "[::1]:7000"] {
            let why = announced(bad).expect_err(bad).to_string();
            assert!(why.contains("the port is that of --listen"), "{bad}: {why}");
        }
    }

    #[test]
    fn copies_are_none_unless_asked_for_and_then_waited_for() {
        let flags = |args: &[&str]| NodeFlags::try_parse_from([&["shoal-node"], args].concat());
        let wish = |args: &[&str]| flags(args).unwrap().copies.replication();
        assert_eq!(wish(&[]), Replication { replicas: 0, ack_all: true });
        assert_eq!(wish(&["--replicas", "2"]), Replication { replicas: 2, ack_all: true });
        let lax = wish(&["--replicas", "1", "--replica-ack", "async"]);
        assert_eq!(lax, Replication { replicas: 1, ack_all: false });
        assert!(flags(&["--replicas", "3"]).is_err() && flags(&["--replica-ack", "some"]).is_err());
    }

    #[test]
    fn every_flag_has_a_variable() {
        NodeFlags::command().debug_assert();
        for arg in
            NodeFlags::command().get_arguments().filter(|a| a.get_id() != "help" && a.get_id() != "version")
        {
            assert!(arg.get_env().is_some(), "{}", arg.get_id());
        }
    }
}
