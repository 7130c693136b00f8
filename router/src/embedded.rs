//! Nodes in the router's own process: the same nodes, on sockets of the loopback interface, that find each other
//! by gossip and are reached like any others.

use shoal_net::{Control, HostPort, Shutdown};
use shoal_node::{
    config::Config,
    launch::{self, NodeSettings, Running, StartError},
};
use shoal_proto::view::Replication;

/// Starts `count` nodes on free ports of `host`; the first founds the cluster, the others join it.
///
/// # Errors
/// When a node cannot be started; those that run are ended.
pub(crate) fn start(
    count: u16,
    host: &str,
    (config, replication): (impl Fn() -> Result<Config, String>, Replication),
    control: &Control,
    shutdown: &Shutdown,
) -> Result<Vec<Running>, EmbeddedError> {
    let mut nodes: Vec<Running> = Vec::new();
    for i in 1..=count {
        let join = nodes.first().map(|first| HostPort::from(first.cluster.gossip_addr()));
        let settings = NodeSettings {
            join: join.into_iter().collect(),
            name: Some(format!("embedded-{i}")),
            config: config().map_err(EmbeddedError::Setting)?,
            replication,
            ..NodeSettings::new(HostPort::new(host, 0))
        };
        nodes.push(launch::start(settings, control, shutdown, || {})?);
    }
    Ok(nodes)
}

/// Why there are no embedded nodes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmbeddedError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Setting(String),
}
