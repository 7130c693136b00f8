//! What all workers of a node share.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use shoal_net::ClusterHandle;
use shoal_proto::{
    command::table,
    session::{self, Access, Registry},
    view::{NodeId, View},
};

use super::{
    Changes, Lease, Ownership, clock,
    readable::Readable,
    turns::{Turns, Verdict},
};
use crate::{
    admin,
    command::dispatch::Dispatch,
    config::Config,
    stats::{Latency, SlowLog, Totals},
    store::{Gate, Settings, Store},
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
    /// The cluster, once there is one.
    pub cluster: Arc<OnceLock<ClusterHandle>>,
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
            cluster: Arc::default(),
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
    /// Until when this node may serve.
    pub lease: Lease,
    /// Copies of others' slots that may be read here.
    pub(crate) readable: Readable,
    /// Told when a gate opens or shuts, the lease comes back, a view or an owner is new.
    pub changes: Arc<Changes>,
    /// How long turns of workers take.
    pub(crate) turns: Turns,
    /// Counts views put in force, and the times that everything was forgotten.
    pub(crate) views: AtomicU64,
    pub(crate) resets: AtomicU64,
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
        let store = Store::new(settings);
        if joining {
            store.set_gates(|_| Some(Gate::Away));
        }
        let run_id = (0..5).map(|_| format!("{:08x}", rand::random::<u32>())).collect();
        Arc::new(Self {
            store,
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
            lease: Lease::forever(),
            readable: Readable::none(),
            changes: Arc::default(),
            turns: Turns::default(),
            views: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            started: clock::now_ms(),
            run_id,
            port: AtomicU64::new(0),
        })
    }

    /// Whether this node may serve; if not, why.
    ///
    /// # Errors
    /// What is missing, for `/readyz` and for people.
    pub fn serves(&self) -> Result<(), &'static str> {
        let ownership = self.ownership.load();
        match () {
            () if !self.lease.is_valid() => Err("no lease: this node does not hear from a majority"),
            () if ownership.view().is_none() && !ownership.alone() => Err("no view of the cluster yet"),
            () if ownership.view().is_some() && ownership.place().is_none() => Err("not in the view"),
            () if !ownership.covered() => Err("some slots have no owner"),
            () => Ok(()),
        }
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
        let new = Arc::new(new);
        // First nobody executes on what is lost, then clients are sent elsewhere, then it is dropped.
        self.store.set_gates(|slot| (!new.owns(slot)).then_some(Gate::Away));
        self.adopt(new.clone());
        for slot in 0..shoal_proto::slot::SLOTS {
            if lost[usize::from(slot)] {
                self.store.drop_slot(slot, None);
            }
        }
        self.set_gates(|slot| new.owns(slot).then_some(Gate::Open));
    }

    /// Puts a view in force for the look at owners before the lock, and nothing else: gates and data stay.
    pub fn adopt(&self, ownership: Arc<Ownership>) {
        self.ownership.store(ownership);
        self.views.fetch_add(1, Ordering::Release);
        self.changes.tell();
    }

    /// Until the next view, these slots belong to the members at these places of the view in force: they have been
    /// handed over.
    pub fn moved(&self, slots: &[(u16, u16)]) {
        self.ownership.rcu(|old| old.moved(slots));
        self.changes.tell();
    }

    /// Sets a slot's gate. When this returns, nobody executes on the slot under the old one; those who wait look again.
    pub fn set_gate(&self, slot: u16, gate: Gate) {
        self.store.set_gate(slot, gate);
        self.changes.tell();
    }

    /// Sets the gates that `gate` names; those who wait look again.
    pub fn set_gates(&self, gate: impl Fn(u16) -> Option<Gate>) {
        self.store.set_gates(gate);
        self.changes.tell();
    }

    /// Copies of these slots may be read here from now on; if not `open`, reads wait for another word.
    pub fn read_copies(&self, slots: impl Iterator<Item = u16>, open: bool) {
        self.readable.set(slots, open);
        self.changes.tell();
    }

    /// The node may serve until then, by [`uptime_ms`](super::uptime_ms); `u64::MAX`: for ever.
    pub fn renew_lease(&self, until: u64) {
        if self.lease.set(until) {
            self.changes.tell();
        }
    }

    /// Drops everything and serves nothing: this process was declared dead and starts anew. If the view that says so is there, clients
    /// are sent where it says.
    pub fn forget_everything(&self) {
        let ownership = self.ownership();
        let elsewhere = ownership.view().filter(|_| ownership.place().is_none());
        self.serve_nothing(elsewhere.map_or_else(Ownership::nothing, |_| ownership.as_ref().clone()));
    }

    /// Drops everything and serves nothing; clients are sent where `ownership` says.
    pub fn serve_nothing(&self, ownership: Ownership) {
        self.resets.fetch_add(1, Ordering::Release);
        // Before anything is dropped.
        self.readable.set(std::iter::empty(), false);
        self.store.set_gates(|_| Some(Gate::Away));
        self.adopt(Arc::new(ownership));
        self.store.end_taps();
        self.store.clear();
    }

    /// How often everything was dropped.
    pub(crate) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Acquire)
    }

    /// Milliseconds since 1970 as the data plane counts them: never behind what a node saw from which a slot was taken
    /// over.
    #[inline]
    pub fn now_ms(&self) -> u64 {
        clock::now_ms().max(self.store.clock_floor())
    }

    /// Whether requests had to wait long of late, by `cluster-handoff-latency`.
    pub(crate) fn look_at_turns(&self) -> Verdict {
        self.turns.look(self.now_ms(), Instant::now(), || self.totals.turns())
    }

    /// The port that speaks RESP.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed) as u16
    }

    pub(crate) fn set_port(&self, port: u16) {
        self.port.store(u64::from(port), Ordering::Relaxed);
    }
}
