//! A data plane without data: slots are served, given away and taken, and nothing is in them. Streams are channels.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use shoal_net::ClusterHandle;
use shoal_net::cluster::{SlotEvent, Slots};
use shoal_net::control::uptime;
use shoal_proto::cluster::{Action, Readable, Transfer};
use shoal_proto::view::{Member, NodeId, View};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Nodes that find each other.
#[derive(Default)]
pub(crate) struct World(Mutex<Vec<ClusterHandle>>);

/// One node's slots.
pub(crate) struct Data {
    world: Arc<World>,
    handle: OnceLock<ClusterHandle>,
    served: Mutex<Vec<bool>>,
    given_away: AtomicUsize,
    lost: AtomicUsize,
    lease: Mutex<Duration>,
    /// How long a slot takes on its way out.
    takes: Mutex<Duration>,
    connected: Mutex<BTreeSet<NodeId>>,
    streams: Mutex<BTreeMap<NodeId, UnboundedSender<(NodeId, Transfer)>>>,
}

impl Data {
    pub(crate) fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world,
            handle: OnceLock::new(),
            served: Mutex::new(vec![false; 16384]),
            given_away: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            lease: Mutex::default(),
            takes: Mutex::default(),
            connected: Mutex::default(),
            streams: Mutex::default(),
        })
    }

    pub(crate) fn belongs_to(&self, handle: ClusterHandle) {
        self.world.0.lock().unwrap().push(handle.clone());
        assert!(self.handle.set(handle).is_ok());
    }

    /// Slots that are served, ascending.
    pub(crate) fn served(&self) -> Vec<u16> {
        let served = self.served.lock().unwrap();
        (0..16384).filter(|slot| served[usize::from(*slot)]).collect()
    }

    /// How many slots went elsewhere.
    pub(crate) fn given_away(&self) -> usize {
        self.given_away.load(Ordering::SeqCst)
    }

    /// How many slots that were served were dropped or began anew.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    pub(crate) fn may_serve(&self) -> bool {
        uptime() < *self.lease.lock().unwrap()
    }

    /// From now on each slot takes so long on its way out.
    pub(crate) fn take(&self, time: Duration) {
        *self.takes.lock().unwrap() = time;
    }

    fn tell(&self, event: SlotEvent) {
        self.tell_after(Duration::ZERO, event);
    }

    fn tell_after(&self, time: Duration, event: SlotEvent) {
        let handle = self.handle.get().unwrap().clone();
        tokio::spawn(async move {
            if !time.is_zero() {
                tokio::time::sleep(time).await;
            }
            handle.slots(event).await;
        });
    }

    fn send(&self, to: NodeId, message: Transfer) {
        let (me, world) = (self.handle.get().unwrap().me().unwrap(), self.world.clone());
        let mut streams = self.streams.lock().unwrap();
        let stream = streams.entry(to).or_insert_with(|| {
            let (sender, mut messages) = unbounded_channel();
            tokio::spawn(async move {
                while let Some((from, message)) = messages.recv().await {
                    let peer = world.0.lock().unwrap().iter().find(|h| h.me() == Some(to)).cloned();
                    let Some(peer) = peer else { continue };
                    peer.slots(SlotEvent::Transfer { from, message }).await;
                }
            });
            sender
        });
        stream.send((me, message)).unwrap();
    }
}

impl Slots for Data {
    fn install(&self, _: &Arc<View>, _: NodeId) {}

    fn act(&self, actions: Vec<Action>) -> Vec<SlotEvent> {
        actions.into_iter().for_each(|action| self.act_on(action));
        Vec::new()
    }

    fn readable(&self, _: &Readable) {}

    fn lease(&self, until: Duration) {
        *self.lease.lock().unwrap() = until;
    }

    fn peers(&self, peers: Vec<Member>) {
        for peer in peers {
            // What is answered to a peer may have gone there before.
            if self.connected.lock().unwrap().insert(peer.id) {
                self.tell(SlotEvent::Connected(peer.id));
            }
        }
    }

    fn accept(&self, _: NodeId, _: TcpStream, _: Vec<u8>) {}
}

impl Data {
    fn act_on(&self, action: Action) {
        let set = |slot: u16, served| {
            std::mem::replace(&mut self.served.lock().unwrap()[usize::from(slot)], served)
        };
        match action {
            Action::Serve { slot, fresh } => {
                let was = set(slot, true);
                self.lost.fetch_add(usize::from(was && fresh), Ordering::SeqCst);
            }
            Action::Freeze { slot, id, .. } => {
                set(slot, false);
                let time = *self.takes.lock().unwrap();
                self.tell_after(time, SlotEvent::Frozen { slot, id });
            }
            Action::Gone { slot, .. } => {
                set(slot, false);
                self.given_away.fetch_add(1, Ordering::SeqCst);
            }
            Action::Drop { slot } => {
                let was = set(slot, false);
                self.lost.fetch_add(usize::from(was), Ordering::SeqCst);
            }
            Action::Export { slot, copy, .. } => self.tell(SlotEvent::Synced { slot, copy }),
            Action::Send { to, message } => self.send(to, message),
            Action::Unexport { .. } | Action::Follow { .. } | Action::Allow { .. } => {}
        }
    }
}
