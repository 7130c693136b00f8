//! A node's place in the cluster: it joins, follows who is up, installs views and leaves.
//!
//! The rest of a node sees [`ClusterHandle`], and implements [`Slots`]: what is done with slots and their data. The
//! protocol itself is [`shoal_proto::cluster::Core`], a state machine; here is what drives it. Everything runs as one
//! task on the control thread; the data plane reads a pointer.

mod join;
mod seeds;
mod service;
mod shared;
mod slots;
mod task;
mod tell;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::Unit;
use shoal_proto::bus::{Request, Verb};
use shoal_proto::member::{Health, Identity, Profile};
use shoal_proto::view::{Member, NodeId, Replication, View};
use tokio::sync::{mpsc, oneshot, watch};

use crate::address::HostPort;
use crate::listen::{self, ListenError};
use crate::shutdown::Shutdown;
use crate::telemetry::{Kind, Metric};
use shared::{Command, Shared};
pub use slots::{SlotEvent, Slots};
use task::Task;

/// Commands that may wait for the task. More means that it hangs; then peers are refused and ask again.
const COMMANDS: usize = 256;

/// How long [`ClusterHandle::leave`] usually goes on while no slot can be handed over. There is no other limit here: Kubernetes kills a
/// pod after its grace period, so that is the place for one.
pub const LEAVE_LIMIT: Duration = Duration::from_secs(600);

/// What this part of a daemon measures, by node name.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "shoal_view_epoch",
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "Epoch of the view in force; 0 before the first.",
    },
    Metric {
        name: "shoal_view_members",
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "Members of the view in force.",
    },
    Metric {
        name: "shoal_members_up",
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "Members that gossip holds to be up, this one included.",
    },
    Metric {
        name: "shoal_member_changes_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Members that came up or went down, as this node saw it, by direction.",
    },
    Metric {
        name: "shoal_handoff_left",
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "Slots that this node has yet to hand over in the view in force.",
    },
    Metric {
        name: "shoal_handoff_lacks_room",
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "Slots that stay with this node because there is no memory for them, or for copies of them, where they are to go.",
    },
    Metric {
        name: "shoal_gossip_datagrams_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Gossip datagrams by outcome: sent, unsent, received, dropped; and doubted: what they said of members that was not believed.",
    },
    Metric {
        name: "shoal_unknown_messages_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Messages of kinds that only a newer version knows; they do not count.",
    },
    Metric {
        name: "shoal_bus_connections_closed_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Connections to the gossip port (TCP) closed against their peers' will, by reason: late, crowded, full, protocol.",
    },
];

/// What a node needs to know to take part.
#[derive(Clone)]
pub struct Settings {
    /// Unique in the cluster, the same after a restart.
    pub name: String,
    /// What clients and peers connect to; none: the address that is listened on, or by which a seed sees us.
    pub host: Option<String>,
    /// Where RESP is served; the port is the real one.
    pub resp: SocketAddr,
    /// Where gossip and views are to be served; port 0 takes any.
    pub gossip: HostPort,
    /// RESP or gossip addresses of nodes to join; none: a cluster of one.
    pub seeds: Vec<HostPort>,
    /// How many new nodes found a cluster, this one included; fewer wait.
    pub bootstrap_expect: u16,
    /// Share of the slots relative to others; 100 is usual.
    pub weight: u16,
    /// Failure domain; empty if unknown.
    pub zone: String,
    /// How slots shall be copied.
    pub replication: Replication,
    /// How soon failures are noticed.
    pub profile: Profile,
    /// Called when the cluster has gone on without this process: all data must be gone when it returns. It
    /// runs on the control thread.
    pub on_excluded: Arc<dyn Fn() + Send + Sync>,
    /// Called once when an operator wants this node to leave; it has begun to, and the process is to end when it has left. It runs on
    /// the control thread.
    pub on_forgotten: Arc<dyn Fn() + Send + Sync>,
    /// Whoever keeps the data.
    pub slots: Arc<dyn Slots>,
    /// How long leaving may go on without progress.
    pub leave_limit: Duration,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("resp", &self.resp)
            .field("gossip", &self.gossip)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Usual settings for a node that serves RESP at `resp`.
    pub fn new(
        name: impl Into<String>,
        resp: SocketAddr,
        gossip: HostPort,
        seeds: Vec<HostPort>,
        slots: Arc<dyn Slots>,
    ) -> Self {
        Self {
            name: name.into(),
            host: None,
            resp,
            gossip,
            seeds,
            bootstrap_expect: 1,
            weight: 100,
            zone: String::new(),
            replication: Replication::default(),
            profile: Profile::default(),
            on_excluded: Arc::new(|| {}),
            on_forgotten: Arc::new(|| {}),
            slots,
            leave_limit: LEAVE_LIMIT,
        }
    }
}

/// Starts taking part. See [`Cluster::start`].
#[derive(Debug)]
pub struct Cluster;

impl Cluster {
    /// Opens the gossip sockets and returns the handle and the task, which the control thread must run. The
    /// task ends with the shutdown, without leaving: call [`ClusterHandle::leave`] before.
    ///
    /// # Errors
    /// When the gossip address cannot be listened on.
    pub fn start(
        settings: Settings,
        shutdown: Shutdown,
    ) -> Result<(ClusterHandle, impl Future<Output = std::io::Result<()>> + Send + 'static), ListenError>
    {
        let (tcp, udp) = listen::tcp_and_udp(&settings.gossip, "--gossip")?;
        let gossip = tcp.local_addr().unwrap_or_else(|_| SocketAddr::new([127, 0, 0, 1].into(), 0));
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let shared = Arc::new(Shared::new(&settings, gossip, commands));
        let handle = ClusterHandle { shared: shared.clone() };
        let task = Task::run(settings, shared, inbox, tcp, udp, shutdown);
        Ok((handle, task))
    }
}

/// Why a node that left did not hand over all that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHandedOver {
    /// The others did not hear from it, and went on without it.
    #[error(
        "the cluster went on without this node: {slots} slots were not handed over, {lost} of them had no copy and are empty now"
    )]
    Excluded {
        /// How many slots it still had.
        slots: u16,
        /// Those among them that began anew elsewhere, empty.
        lost: u16,
    },
    /// Nothing moved for [`Settings::leave_limit`].
    #[error(
        "{slots} slots were not handed over: no other node took one in time; those without copies are lost"
    )]
    Stuck {
        /// How many slots it still had.
        slots: u16,
    },
    /// Whoever keeps the node's place in the cluster had ended before.
    #[error("the node was stopped before it could hand over its slots")]
    Ended,
}

/// A member as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberState {
    /// Who.
    pub identity: Identity,
    /// How it is; our own state is always alive.
    pub health: Health,
}

/// All that the rest of a node sees of the cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClusterHandle {
    shared: Arc<Shared>,
}

impl ClusterHandle {
    /// The view in force; [`View::empty`] before the first one. Lock-free.
    pub fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// The cell behind [`view`](Self::view), for readers that cache it.
    pub fn view_cell(&self) -> &ArcSwap<View> {
        &self.shared.view
    }

    /// Every view as it is installed; the latest wins.
    pub fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.shared.views.subscribe()
    }

    /// This process; none before it joined. Changes when the cluster went on without it.
    pub fn me(&self) -> Option<NodeId> {
        self.shared.identity.load().as_ref().map(|i| i.id())
    }

    /// This process as a member describes itself; its boot is 0 before it joined.
    pub fn own(&self) -> Arc<Member> {
        self.shared.me.load_full()
    }

    /// Everyone known, this process first, then by age.
    pub fn members(&self) -> Vec<MemberState> {
        self.shared.members.load().as_ref().clone()
    }

    /// Where gossip and the bus listen.
    pub fn gossip_addr(&self) -> SocketAddr {
        self.shared.gossip
    }

    /// Whether this process has its place in a view that gives every slot an owner; if not, why.
    ///
    /// # Errors
    /// What is missing, for `/readyz` and for people.
    pub fn ready(&self) -> Result<(), String> {
        let (view, me) = (self.view(), self.me());
        match me {
            None => Err(self.shared.state.load().as_ref().clone()),
            Some(me) if view.place(me).is_none() => Err("waiting to be taken into the view".to_owned()),
            Some(_) if !view.covers_all() => Err("some slots have no owner".to_owned()),
            Some(_) => Ok(()),
        }
    }

    /// Slots of this node that wait for room where they, or copies of them, are to go: by name, how many, and which, in short. By a quarter of
    /// a second late.
    pub fn lacks_room(&self) -> Vec<(String, usize, String)> {
        let (view, waits) = (self.view(), self.shared.lacks_room.load());
        let name = |id: &NodeId| view.members.iter().find(|m| m.id == *id).map(|m| m.name.clone());
        let of = |(id, ranges)| Some((name(id)?, task::count(ranges), task::brief(ranges)));
        waits.iter().filter_map(of).collect()
    }

    /// Leaves: hands over all slots, waits until there is a view without us, at most [`Settings::leave_limit`] without progress,
    /// then tells gossip. Peers' questions are still answered until the shutdown.
    ///
    /// # Errors
    /// When something was not handed over.
    pub async fn leave(&self) -> Result<(), NotHandedOver> {
        let (done, left) = oneshot::channel();
        if self.shared.commands.send(Command::LeaveSelf(done)).await.is_err() {
            return Err(NotHandedOver::Ended);
        }
        left.await.unwrap_or(Err(NotHandedOver::Ended))
    }

    /// Tells of slots and streams; returns when that was dealt with, and all that follows from it was done.
    pub async fn slots(&self, event: SlotEvent) {
        self.all_slots(vec![event]).await;
    }

    /// The same of several, in order: it returns when all were dealt with.
    pub async fn all_slots(&self, events: Vec<SlotEvent>) {
        let (done, dealt) = oneshot::channel();
        if self.shared.commands.send(Command::Slots(events, done)).await.is_ok() {
            // The task ended meanwhile: so does everything else.
            let _ = dealt.await;
        }
    }

    /// Makes a member leave, this one or another: it is told to, hands over what it has and ends. One that does not answer is left out
    /// of the view as soon as it has nothing that others need, or counts as crashed.
    ///
    /// # Errors
    /// When the task is too busy.
    pub fn forget(&self, id: NodeId) -> Result<(), String> {
        self.shared
            .commands
            .try_send(Command::Forget(id))
            .map_err(|_| "ERR this node is busy, ask again".to_owned())
    }

    /// Makes a view of those who are up, without asking for a majority: an operator says that the others will never
    /// come back. What only they had is lost.
    ///
    /// # Errors
    /// When the task is too busy.
    pub fn force(&self) -> Result<(), String> {
        self.shared
            .commands
            .try_send(Command::Force)
            .map_err(|_| "ERR this node is busy, ask again".to_owned())
    }

    /// Answers `SHOAL MEMBERS` and `SHOAL VIEW` on the node's RESP port, for newcomers and routers that know only
    /// that one: the arguments behind `SHOAL`, and the bulk string or the error line (without `-`) to reply.
    ///
    /// # Errors
    /// The error line.
    pub fn answer(&self, verb: &[u8], version: &[u8], blob: &[u8]) -> Result<Vec<u8>, String> {
        let request = Request::of(verb, version, blob).map_err(|refusal| refusal.to_string())?;
        match request.verb {
            Verb::Members | Verb::View => self.shared.answer_now(request, None),
            _ => Err("ERR this is asked on the gossip port only".to_owned()),
        }
    }
}
