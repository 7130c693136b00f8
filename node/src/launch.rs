//! Putting a node together: store, data plane, membership, admin port.
//!
//! Used by the `shoal-node` program, and by the router for its embedded nodes: the same path for both.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use shoal_net::{
    Cluster, ClusterHandle, Control, HostPort, OpenFiles, Shutdown,
    admin::{self, Admin, Check},
    cluster::{self, NotHandedOver},
    listen,
    telemetry::{self, Metric},
};
use shoal_proto::view::Replication;
use tokio::sync::oneshot;

use crate::{
    config::Config,
    handoff::mover::{self, DataPlane, Mover},
    heap, metrics,
    server::{self, Node, Shared, Wiring},
};

/// What a node is started with.
#[derive(Debug)]
pub struct NodeSettings {
    /// RESP.
    pub listen: HostPort,
    /// Gossip and views.
    pub gossip: HostPort,
    /// Metrics and health; none for an embedded node.
    pub admin: Option<HostPort>,
    /// Nodes to join; none: a cluster of one.
    pub join: Vec<HostPort>,
    /// How many new nodes found a cluster.
    pub bootstrap_expect: u16,
    /// Threads that serve clients.
    pub threads: usize,
    /// Name, unique in the cluster; made of host name and port if there is none.
    pub name: Option<String>,
    /// Host that others shall use.
    pub announce: Option<String>,
    /// Share of the slots.
    pub weight: u16,
    /// Failure domain.
    pub zone: String,
    /// How slots shall be copied to other nodes.
    pub replication: Replication,
    /// How long leaving may take.
    pub leave_limit: Duration,
    /// How long clients are told where slots went before the process ends.
    pub linger: Duration,
    /// Everything that CONFIG knows.
    pub config: Config,
}

impl NodeSettings {
    /// A node on this address with everything else as usual; gossip takes any free port.
    pub fn new(listen: HostPort) -> Self {
        Self {
            gossip: HostPort::new(listen.host.clone(), 0),
            listen,
            admin: None,
            join: Vec::new(),
            bootstrap_expect: 1,
            threads: 1,
            name: None,
            announce: None,
            weight: 100,
            zone: String::new(),
            replication: Replication::default(),
            leave_limit: cluster::LEAVE_LIMIT,
            linger: LINGER,
            config: Config::default(),
        }
    }
}

/// Why a node could not start; one sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be listened on.
    #[error(transparent)]
    Listen(#[from] listen::ListenError),
    /// Metrics cannot be collected.
    #[error(transparent)]
    Telemetry(#[from] telemetry::TelemetryError),
    /// The system refused a thread or a socket.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

/// A running node. Dropping it ends its data plane at once, without leaving the cluster.
#[derive(Debug)]
pub struct Running {
    /// Clients, store, counters.
    pub shared: Arc<Shared>,
    /// The node's place in the cluster.
    pub cluster: ClusterHandle,
    /// The RESP address in use.
    pub resp: SocketAddr,
    /// The admin address in use.
    pub admin: Option<SocketAddr>,
    data: Node,
    linger: Duration,
    failed: oneshot::Receiver<String>,
}

impl Running {
    /// Returns when this node cannot be a member of the cluster, or not any more: why, for people. The process has nothing left to do then.
    pub async fn failed(&mut self) -> String {
        match (&mut self.failed).await {
            Ok(why) => why,
            // It ended as it should.
            Err(_) => std::future::pending().await,
        }
    }

    /// Logs each time that clients can be served from now on, and that they cannot any more, as `/readyz` says. Never returns.
    pub fn tell_readiness(&self, place: String) -> impl Future<Output = Infallible> + use<> {
        let (cluster, shared) = (self.cluster.clone(), self.shared.clone());
        async move {
            let mut was_ready = false;
            let mut tick = tokio::time::interval(LOOK);
            loop {
                tick.tick().await;
                let ready = readiness(&cluster, &shared);
                match &ready {
                    Ok(()) if !was_ready => tracing::info!("ready on {place}"),
                    Err(why) if was_ready => tracing::warn!("not ready any more: {why}"),
                    _ => {}
                }
                was_ready = ready.is_ok();
            }
        }
    }

    /// Leaves the cluster: hands over all slots, goes on telling clients where they are for [`LINGER`], then ends the
    /// data plane.
    ///
    /// # Errors
    /// When something was not handed over.
    pub async fn leave(self) -> Result<(), NotHandedOver> {
        let handed_over = self.cluster.leave().await;
        if self.cluster.view().members.iter().any(|m| Some(m.id) != self.cluster.me()) {
            tokio::time::sleep(self.linger).await;
        }
        tokio::task::spawn_blocking(move || drop(self.data)).await.expect("ending threads does not panic");
        handed_over
    }
}

/// How long a node that has left goes on answering `MOVED`: clients ask for the slots' owners anew meanwhile.
pub const LINGER: Duration = Duration::from_secs(3);

/// How often it is looked whether a node is ready: the log has a few lines a second of it at most.
const LOOK: Duration = Duration::from_millis(250);

/// Event queues and wakers of a thread.
const FILES_PER_THREAD: usize = 4;

/// How long a cluster of one may take to make its first view.
const FIRST_VIEW: Duration = Duration::from_secs(5);

/// Starts a node; its control tasks run on `control` until the shutdown. `stop` ends the process
/// (`SHUTDOWN`, `CLUSTER FORGET`).
///
/// # Errors
/// When an address cannot be had; nothing is left running then.
pub fn start(
    settings: NodeSettings,
    control: &Control,
    shutdown: &Shutdown,
    stop: impl Fn() + Send + Sync + 'static,
) -> Result<Running, StartError> {
    heap::prepare();
    if settings.admin.is_some() {
        // Before anything counts, or the first counts are lost.
        telemetry::init_metrics()?;
        describe_metrics();
    }
    settings.config.limit_clients(OpenFiles::new(settings.threads * FILES_PER_THREAD, 1));
    let listener = listen::tcp(&settings.listen, "--listen")?;
    let resp = listener.local_addr()?;
    for (name, value) in [("port", resp.port().to_string()), ("bind", resp.ip().to_string())] {
        settings.config.set_at_start(name, &value).expect("these settings take any port and any text");
    }
    let name = settings.name.clone().unwrap_or_else(|| default_name(resp));
    let handle: Arc<OnceLock<ClusterHandle>> = Arc::default();
    let stop = Arc::new(stop);
    let forgotten = stop.clone();
    let shared = shared(settings.config, &handle, move || stop());
    let alone = settings.join.is_empty();
    let excluded = shared.clone();
    let mover = Mover::new(shared.clone(), &name)?;
    let place = cluster::Settings {
        host: settings.announce,
        bootstrap_expect: settings.bootstrap_expect,
        weight: settings.weight,
        zone: settings.zone,
        replication: settings.replication,
        on_excluded: Arc::new(move || excluded.forget_everything()),
        on_forgotten: Arc::new(move || forgotten()),
        leave_limit: settings.leave_limit,
        ..cluster::Settings::new(
            name.clone(),
            resp,
            settings.gossip,
            settings.join,
            Arc::new(DataPlane(mover.clone())),
        )
    };
    let guard = control.runtime().enter();
    let (cluster, task) = Cluster::start(place, shutdown.clone())?;
    drop(guard);
    handle.set(cluster.clone()).expect("this is the only place that sets it");
    mover.tell(cluster.clone());
    let admin = match settings.admin {
        Some(address) => Some(serve_admin(&address, &name, (&cluster, &shared), control, shutdown)?),
        None => None,
    };
    let (fails, failed) = oneshot::channel();
    control.spawn(async move {
        if let Err(error) = task.await {
            // Nobody asks while the process ends.
            let _ = fails.send(error.to_string());
        }
    });
    control.spawn(metrics::publish(shared.clone(), name));
    control.spawn(heap::keep(shared.clone()));
    if alone {
        let first = cluster.clone();
        let installed = shared.clone();
        control.run(async move {
            let ready = async {
                while readiness(&first, &installed).is_err() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(FIRST_VIEW, ready).await.is_ok()
        })?;
    }
    let data = server::start(shared.clone(), listener, settings.threads)?;
    let linger = settings.linger;
    Ok(Running { shared, cluster, resp, admin, data, linger, failed })
}

/// Whether a node can serve clients; if not, what is missing.
fn readiness(cluster: &ClusterHandle, shared: &Shared) -> Result<(), String> {
    cluster.ready()?;
    shared.serves().map_err(str::to_owned)
}

fn shared(
    config: Config,
    handle: &Arc<OnceLock<ClusterHandle>>,
    stop: impl Fn() + Send + Sync + 'static,
) -> Arc<Shared> {
    let (me, bus) = (handle.clone(), handle.clone());
    let wiring = Wiring {
        me: Box::new(move || me.get().and_then(ClusterHandle::me)),
        bus: Box::new(move |verb, version, message| match bus.get() {
            Some(cluster) => cluster.answer(verb, version, message),
            None => Err("ERR this node is still starting".into()),
        }),
        cluster: handle.clone(),
        stop: Box::new(stop),
    };
    Shared::new(config.store_settings(), config, wiring, true)
}

/// Gives the recorder the help texts of everything that a node measures.
pub fn describe_metrics() {
    let tables: [&[Metric]; 3] = [metrics::METRICS, cluster::METRICS, mover::METRICS];
    tables.into_iter().for_each(telemetry::describe);
}

fn serve_admin(
    address: &HostPort,
    name: &str,
    (cluster, shared): (&ClusterHandle, &Arc<Shared>),
    control: &Control,
    shutdown: &Shutdown,
) -> Result<SocketAddr, StartError> {
    let listener = listen::tcp(address, "--admin")?;
    let bound = listener.local_addr()?;
    let (ready, serving) = (cluster.clone(), shared.clone());
    let admin = Admin {
        title: format!("shoal-node {} {name}", env!("CARGO_PKG_VERSION")),
        metrics: Some(telemetry::init_metrics()?),
        checks: vec![
            Check::new("cluster", move || ready.ready()),
            Check::new("serving", move || serving.serves().map_err(str::to_owned)),
        ],
    };
    let shutdown = shutdown.clone();
    control.spawn(async move {
        if let Err(error) = admin::serve(listener, admin, shutdown).await {
            tracing::error!(%error, "the admin port is gone");
        }
    });
    Ok(bound)
}

/// Host name and port: unique on a network, the same after a restart.
fn default_name(resp: SocketAddr) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { resp.to_string() } else { format!("{host}-{}", resp.port()) }
}
