//! The flags that both daemons have. Each daemon flattens [`Flags`] into its own.

use std::ffi::OsStr;

use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches, parser::ValueSource};
use shoal_proto::view::{MAX_REPLICAS, Replication};

use crate::address::{ADMIN_OFFSET, GOSSIP_OFFSET, HostPort};
use crate::telemetry::LogFormat;

/// The flags of this process, and who said them; ends the process as clap does if they are wrong. A variable that is empty
/// counts as not set.
pub fn parse<T: CommandFactory + FromArgMatches>() -> (T, ArgMatches) {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let matches = without(T::command(), is_empty).get_matches();
    let flags = T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    (flags, matches)
}

/// The command without the variables for which this holds.
fn without(command: Command, unset: impl Fn(&OsStr) -> bool) -> Command {
    command.mut_args(|arg| match arg.get_env() {
        Some(name) if unset(name) => arg.env(None::<&str>),
        _ => arg,
    })
}

/// Who gave the value of a flag, for people: `--maxmemory`, or `SHOAL_MAXMEMORY`.
pub fn source(matches: &ArgMatches, flag: &str) -> String {
    let variable = matches!(matches.try_get_raw(&flag.replace('-', "_")), Ok(Some(_)))
        && matches.value_source(&flag.replace('-', "_")) == Some(ValueSource::EnvVariable);
    if variable { format!("SHOAL_{}", flag.replace('-', "_").to_uppercase()) } else { format!("--{flag}") }
}

/// Flags of whatever starts nodes: copies of their slots.
#[derive(Debug, Clone, Args)]
pub struct CopyFlags {
    /// Copies of each slot on other nodes, in another zone if there is one: 0, 1 or 2. When its owner is gone, a copy in
    /// sync goes on with it. The cluster makes as many copies as the node of it that wants most.
    #[arg(
        long,
        value_name = "N",
        env = "SHOAL_REPLICAS",
        default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=i64::from(MAX_REPLICAS)),
        help_heading = "Copies"
    )]
    pub replicas: u8,

    /// What answers wait for. all: until every copy in sync has what they tell, so that nothing that was answered is lost
    /// with a node. async: for nothing; a failover may lose the last writes. If nodes differ, all.
    #[arg(
        long,
        value_name = "WHAT",
        env = "SHOAL_REPLICA_ACK",
        value_enum,
        default_value_t = ReplicaAck::All,
        help_heading = "Copies"
    )]
    pub replica_ack: ReplicaAck,
}

/// What answers wait for if there are copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReplicaAck {
    /// Every copy in sync.
    All,
    /// Nothing.
    Async,
}

impl CopyFlags {
    /// How slots shall be copied.
    pub fn replication(&self) -> Replication {
        Replication { replicas: self.replicas, ack_all: self.replica_ack == ReplicaAck::All }
    }
}

/// Flags that mean the same in every daemon.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Where clients connect (RESP). Port 0 takes any free port. Default: 127.0.0.1:7000 of a node, 127.0.0.1:6379 of a
    /// router.
    #[arg(long, value_name = "HOST:PORT", env = "SHOAL_LISTEN", help_heading = "Addresses")]
    pub listen: Option<HostPort>,

    /// Where nodes talk to each other: gossip over UDP and views over TCP. A router has no such port. Default: the RESP
    /// port plus 10000.
    #[arg(long, value_name = "HOST:PORT", env = "SHOAL_GOSSIP", help_heading = "Addresses")]
    pub gossip: Option<HostPort>,

    /// Where metrics and health are served over HTTP (/metrics, /livez, /readyz). Default: the RESP port plus
    /// 20000.
    #[arg(long, value_name = "HOST:PORT", env = "SHOAL_ADMIN", help_heading = "Addresses")]
    pub admin: Option<HostPort>,

    /// Nodes of the cluster to join: their RESP or gossip addresses, separated by commas or given repeatedly.
    /// Names are resolved again at each attempt; some may be missing.
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        env = "SHOAL_JOIN",
        value_delimiter = ',',
        help_heading = "Addresses"
    )]
    pub join: Vec<HostPort>,

    /// Threads that serve clients, 1 to 256. Default: one per CPU.
    #[arg(long, value_name = "N", env = "SHOAL_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// What is logged: error, warn, info, debug, trace, or a filter like info,shoal_net=debug.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "SHOAL_LOG_LEVEL",
        default_value = "info",
        help_heading = "Logs"
    )]
    pub log_level: String,

    /// How log lines look; auto is text on a terminal and JSON elsewhere.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "SHOAL_LOG_FORMAT",
        value_enum,
        default_value_t,
        help_heading = "Logs"
    )]
    pub log_format: LogFormat,
}

/// The addresses of one daemon, all known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// RESP.
    pub listen: HostPort,
    /// Gossip (UDP) and views (TCP).
    pub gossip: HostPort,
    /// Metrics and health.
    pub admin: HostPort,
}

impl Flags {
    /// What was given, and what follows from it; `default` is the RESP address if none was given.
    pub fn addresses(&self, default: &HostPort) -> Addresses {
        let listen = self.listen.clone().unwrap_or_else(|| default.clone());
        let gossip = self.gossip.clone().unwrap_or_else(|| listen.derived(GOSSIP_OFFSET));
        let admin = self.admin.clone().unwrap_or_else(|| listen.derived(ADMIN_OFFSET));
        Addresses { listen, gossip, admin }
    }

    /// How many threads serve clients.
    pub fn thread_count(&self) -> usize {
        self.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, Into::into), usize::from)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Daemon {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn the_definition_is_sound_and_every_flag_has_a_variable() {
        Daemon::command().debug_assert();
        for arg in Daemon::command().get_arguments().filter(|a| a.get_id() != "help") {
            let long = arg.get_long().unwrap();
            let variable = format!("SHOAL_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().and_then(|v| v.to_str()), Some(variable.as_str()), "--{long}");
            assert!(arg.get_help().is_some(), "--{long}");
        }
    }

    #[test]
    fn joins_add_up_and_ports_follow() {
        let args = ["x", "--join", "a:1,b:2", "--join", "[::1]:3", "--listen", "h:7000", "--threads", "3"];
        let daemon = Daemon::try_parse_from(args).unwrap();
        let join: Vec<String> = daemon.flags.join.iter().map(ToString::to_string).collect();
        assert_eq!(join, ["a:1", "b:2", "[::1]:3"]);
        assert_eq!(daemon.flags.thread_count(), 3);
        let addresses = daemon.flags.addresses(&HostPort::new("127.0.0.1", 6379));
        assert_eq!(addresses.gossip.to_string(), "h:17000");
        assert_eq!(addresses.admin.to_string(), "h:27000");
    }

    #[test]
    fn a_variable_that_is_empty_is_not_set() {
        let named = |arg: &&clap::Arg| arg.get_id() == "join";
        let with = without(Daemon::command(), |name| name == "SHOAL_GOSSIP");
        assert!(with.get_arguments().find(named).unwrap().get_env().is_some());
        let without = without(Daemon::command(), |name| name == "SHOAL_JOIN");
        assert!(without.get_arguments().find(named).unwrap().get_env().is_none());
        let matches = without.try_get_matches_from(["x", "--log-level", "warn"]).unwrap();
        assert!(Daemon::from_arg_matches(&matches).unwrap().flags.join.is_empty());
        assert_eq!(source(&matches, "log-level"), "--log-level");
    }

    #[test]
    fn a_wrong_address_is_one_clear_sentence() {
        let error = Daemon::try_parse_from(["x", "--listen", "7000"]).unwrap_err().to_string();
        assert!(error.contains("expected HOST:PORT"), "{error}");
    }
}
