//! What all workers of a node share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use shoal_proto::{
    command::table,
    session::{self, Access, Registry},
    view::{NodeId, View},
};

use super::{Ownership, clock};
use crate::{
    admin,
    command::dispatch::Dispatch,
    config::Config,
    stats::{Latency, SlowLog, Totals},
    store::{Settings, Store},
};

/// How a command is executed, looked up by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    /// On keys, by [`Dispatch`].
    Data,
    /// On the connection.
    Session(session::Handler),
    /// On the server.
    Server(admin::Handler),
}

/// Answers a message of the cluster's bus: verb, version, body. The error is a whole error line.
pub type BusHandler = Box<dyn Fn(&[u8], &[u8], &[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

/// What a node needs from the process around it.
pub struct Wiring {
    /// This process in the cluster, once it has joined.
    pub me: Box<dyn Fn() -> Option<NodeId> + Send + Sync>,
    /// Answers a request of the cluster's bus that came to the RESP port: verb, version, message.
    pub bus: BusHandler,
    /// Asks the process to end.
    pub stop: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Wiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wiring")
    }
}

impl Wiring {
    /// A node on its own: no cluster around it, nothing to stop.
    pub fn none() -> Self {
        Self {
            me: Box::new(|| None),
            bus: Box::new(|_, _, _| Err("ERR this node has no cluster bus".into())),
            stop: Box::new(|| {}),
        }
    }
}

/// What all workers of a node share.
#[derive(Debug)]
pub struct Shared {
    /// Keys.
    pub store: Store,
    pub(crate) dispatch: Dispatch,
    pub(crate) actions: Vec<Action>,
    /// Connections.
    pub registry: Registry,
    /// The password.
    pub access: Access,
    /// Settings by name (`CONFIG GET`).
    pub config: Config,
    pub(crate) ownership: ArcSwap<Ownership>,
    pub(crate) totals: Totals,
    pub(crate) slow: SlowLog,
    pub(crate) latency: Latency,
    /// Whether expired keys are removed before anybody asks for them (`DEBUG SET-ACTIVE-EXPIRE`).
    pub(crate) sweeping: AtomicBool,
    pub(crate) wiring: Wiring,
    /// When the process started, ms since 1970.
    pub(crate) started: u64,
    /// Identifies this run (`run_id` in INFO): 40 hexadecimal digits.
    pub(crate) run_id: String,
    /// The RESP port, 0 until it is known.
    port: AtomicU64,
}

impl Shared {
    /// A node's state. Serves everything until a view is installed, unless `joining`.
    pub fn new(settings: Settings, config: Config, wiring: Wiring, joining: bool) -> Arc<Self> {
        let ownership = if joining { Ownership::nothing() } else { Ownership::everything() };
        let mut actions = vec![Action::Data; table().entries().len()];
        let session = session::handlers().map(|(name, h)| (name, Action::Session(h)));
        let server = admin::handlers().map(|(name, h)| (name, Action::Server(h)));
        for (name, action) in session.chain(server) {
            let entry = table().entries().iter().find(|e| e.name == name);
            let entry = entry.unwrap_or_else(|| panic!("handler '{name}' is not in the command table"));
            actions[usize::from(entry.id)] = action;
        }
        let run_id = (0..5).map(|_| format!("{:08x}", rand::random::<u32>())).collect();
        Arc::new(Self {
            store: Store::new(settings),
            dispatch: Dispatch::default(),
            actions,
            registry: Registry::new(),
            access: Access::new(config.password()),
            config,
            ownership: ArcSwap::from_pointee(ownership),
            totals: Totals::default(),
            slow: SlowLog::default(),
            latency: Latency::default(),
            sweeping: AtomicBool::new(true),
            wiring,
            started: clock::now_ms(),
            run_id,
            port: AtomicU64::new(0),
        })
    }

    /// The part of the view that requests are checked against.
    pub fn ownership(&self) -> Arc<Ownership> {
        self.ownership.load_full()
    }

    /// Puts a view in force and drops the keys of slots that are no longer served here, so that a slot
    /// that comes back can never bring old values with it.
    pub fn install(&self, view: Arc<View>, me: NodeId) {
        let new = Ownership::of(view, me);
        let old = self.ownership.load_full();
        let lost: Vec<bool> = (0..shoal_proto::slot::SLOTS).map(|s| old.owns(s) && !new.owns(s)).collect();
        self.ownership.store(Arc::new(new));
        if lost.iter().any(|l| *l) {
            self.store.flush_slots(|slot| lost[usize::from(slot)]);
        }
    }

    /// Drops everything and serves nothing: this process was declared dead and starts anew.
    pub fn forget_everything(&self) {
        self.ownership.store(Arc::new(Ownership::nothing()));
        drop(self.store.flush(None));
    }

    /// The port that speaks RESP.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed) as u16
    }

    pub(crate) fn set_port(&self, port: u16) {
        self.port.store(u64::from(port), Ordering::Relaxed);
    }
}
