//! What the cluster's task, its bus connections and the rest of the process share: snapshots, never locks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use shoal_proto::bus::{Hello, Joined, Members, Tell};
use shoal_proto::member::{Health, Identity, node_of};
use shoal_proto::version;
use shoal_proto::view::{Member, NodeId, Ranges, View};
use tokio::sync::{mpsc, oneshot, watch};

use super::{MemberState, NotHandedOver, Settings, SlotEvent, Slots};

/// What others want of the task.
#[derive(Debug)]
pub(super) enum Command {
    /// A view that may be newer.
    View(View),
    /// A peer asked us and said what it has.
    Heard(Hello),
    /// A peer answered us, or did not: the stranger that was asked, if it was one, and what it said.
    Learned(Option<NodeId>, Option<Box<Members>>),
    /// A process of which gossip told something doubtful answered this.
    Vouched(NodeId, Box<Members>),
    /// A member asks for a view without itself; or somebody wants us to leave.
    Leave(NodeId),
    /// An operator wants a member to leave.
    Forget(NodeId),
    /// The same, of a member that does not answer.
    LeaveOut(NodeId),
    /// This process leaves.
    LeaveSelf(oneshot::Sender<Result<(), NotHandedOver>>),
    /// After an exclusion: the answer to our joining anew, or none.
    Rejoined(Option<Box<Joined>>),
    /// After an exclusion: another process has our name.
    NameTaken(String),
    /// A member says something.
    Tell(Box<Tell>),
    /// News of slots and their streams; answered when it was dealt with.
    Slots(Vec<SlotEvent>, oneshot::Sender<()>),
    /// A view without a majority, on an operator's word.
    Force,
}

/// Addresses of which it was said that their version is not understood; further ones are not.
const MOST_FAR: usize = 64;

/// See the module's documentation. Written by the task only.
pub(super) struct Shared {
    /// Where gossip and the bus listen.
    pub gossip: SocketAddr,
    /// Drawn at the start.
    pub process: u64,
    /// Ourselves; boot 0 until we joined.
    pub me: ArcSwap<Member>,
    /// Ourselves in gossip, once we joined.
    pub identity: ArcSwapOption<Identity>,
    /// The view in force.
    pub view: ArcSwap<View>,
    /// The same, for those who wait for changes.
    pub views: watch::Sender<Arc<View>>,
    /// Everyone, ourselves first.
    pub members: ArcSwap<Vec<MemberState>>,
    /// Whether this boot has been in a view.
    pub admitted: AtomicBool,
    /// Slots of ours that wait for room, by where they are to go.
    pub lacks_room: ArcSwap<BTreeMap<NodeId, Ranges>>,
    /// What we wait for before we joined, for people.
    pub state: ArcSwap<String>,
    /// To the task.
    pub commands: mpsc::Sender<Command>,
    /// From where something came of a version that is not understood, as far as that was said.
    far: Mutex<BTreeSet<IpAddr>>,
    /// Whoever keeps the data.
    pub slots: Arc<dyn Slots>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("me", &self.me).field("gossip", &self.gossip).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(settings: &Settings, gossip: SocketAddr, commands: mpsc::Sender<Command>) -> Self {
        let view = Arc::new(View::empty());
        let me = Member {
            id: NodeId { node: node_of(&settings.name), boot: 0 },
            name: settings.name.clone(),
            host: settings.host.clone().unwrap_or_else(|| settings.resp.ip().to_string()),
            resp_port: settings.resp.port(),
            gossip_port: gossip.port(),
            weight: settings.weight,
            zone: settings.zone.clone(),
            replication: settings.replication,
        };
        Self {
            gossip,
            process: rand::random(),
            me: ArcSwap::from_pointee(me),
            identity: ArcSwapOption::empty(),
            view: ArcSwap::new(view.clone()),
            views: watch::Sender::new(view),
            members: ArcSwap::from_pointee(Vec::new()),
            admitted: AtomicBool::new(false),
            lacks_room: ArcSwap::default(),
            state: ArcSwap::from_pointee("has not joined a cluster yet".to_owned()),
            commands,
            far: Mutex::default(),
            slots: settings.slots.clone(),
        }
    }

    /// Something came of a version that is not understood here. Said once for each address: who sends it goes on.
    pub(super) fn refuse_version(&self, peer: SocketAddr, theirs: &str) {
        let mut far = self.far.lock();
        if far.len() < MOST_FAR && far.insert(peer.ip()) {
            tracing::warn!(
                node = self.me.load().name,
                %peer,
                theirs,
                ours = version::own(),
                "refused a peer that speaks version {theirs} of the cluster's protocol; this process speaks version {} and \
                 understands the ones next to it: update one version at a time",
                version::own()
            );
        }
    }

    /// Something came that only a newer version knows.
    pub(super) fn count_unknown(&self) {
        let node = self.me.load().name.clone();
        metrics::counter!("shoal_unknown_messages_total", "node" => node).increment(1);
    }

    /// What we tell peers when we ask.
    pub(super) fn hello(&self) -> Hello {
        let view = self.view.load();
        Hello { cluster: view.cluster, epoch: view.epoch, up: self.up() }
    }

    /// Everyone who is up, ourselves included.
    pub(super) fn up(&self) -> Vec<Identity> {
        let members = self.members.load();
        members.iter().filter(|m| m.health != Health::Down).map(|m| m.identity.clone()).collect()
    }

    /// What we answer to a peer that has `epoch` of `cluster`.
    pub(super) fn members_for(&self, hello: &Hello) -> Members {
        let view = self.view.load();
        let ours = hello.cluster == 0 || hello.cluster == view.cluster;
        let news = ours && view.epoch > hello.epoch;
        Members {
            me: self.me.load().as_ref().clone(),
            process: self.process,
            admitted: self.admitted.load(Ordering::Relaxed),
            cluster: view.cluster,
            epoch: view.epoch,
            up: self.up(),
            view: news.then(|| view.as_ref().clone()),
        }
    }
}
