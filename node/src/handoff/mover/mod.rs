//! Carries out what the cluster wants done with slots: gates, copies, streams to and from other nodes.
//!
//! Decisions are made on the control thread by [`shoal_proto::cluster::Core`]; what takes long (copying, applying,
//! sockets) runs on a thread of its own, so that neither gossip nor clients wait for it. A peer that slots go to has a
//! [`sender`], one that they come from a [`receiver`].

mod answers;
mod copying;
mod ending;
mod flow;
mod pace;
mod receiver;
mod sender;
mod settling;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::Unit;
use parking_lot::Mutex;
use shoal_net::{
    ClusterHandle, Control,
    cluster::{SlotEvent, Slots},
    telemetry::{Kind, Metric},
};
use shoal_proto::{
    cluster::{Action, Intake, Readable, Transfer},
    view::{Member, NodeId, View},
};
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{
    command::Wait,
    handoff::{Outbox, Round},
    server::{Ownership, Shared},
    store::Gate,
};

/// What is measured of slots that move.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "shoal_handoff_slots_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Slots that changed hands without loss, by direction: in, out.",
    },
    Metric {
        name: "shoal_handoff_bytes_total",
        kind: Kind::Counter,
        unit: Unit::Bytes,
        help: "Bytes of slots on the move, by direction: in, out.",
    },
    Metric {
        name: "shoal_handoff_unknown_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Messages in streams of slots that only a newer version knows, by direction of the slots: in, out.",
    },
    Metric {
        name: "shoal_handoff_streams_ended_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Streams of slots that ended, by direction of the slots and reason: connection, stalled, overflow, full, protocol, stops.",
    },
    Metric {
        name: "shoal_stream_lag_bytes",
        kind: Kind::Gauge,
        unit: Unit::Bytes,
        help: "Bytes of slots and their changes that a peer was sent and has not applied yet, by peer.",
    },
    Metric {
        name: "shoal_handoff_rate_bytes",
        kind: Kind::Gauge,
        unit: Unit::Bytes,
        help: "Bytes of slots a second that may be copied to a peer at present, by peer.",
    },
    Metric {
        name: "shoal_copies_held",
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "Slots of other nodes of which this one has a copy in sync, by the view in force.",
    },
    Metric {
        name: "shoal_copies_missing",
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "Copies in sync that this node's slots lack, by the view in force: those wanted, less those there are.",
    },
    Metric {
        name: "shoal_slots_promoted_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Slots that this node went on serving from its copy when their owner was gone.",
    },
    Metric {
        name: "shoal_slots_emptied_total",
        kind: Kind::Counter,
        unit: Unit::Count,
        help: "Slots that began anew here, empty, because whoever had them is gone.",
    },
];

/// See the module's documentation.
pub struct Mover {
    shared: Arc<Shared>,
    name: String,
    cluster: OnceLock<ClusterHandle>,
    /// Copies, streams.
    thread: Control,
    state: Mutex<State>,
    /// From whom slots come; held while a record is put into effect, and locked after the state.
    intake: Mutex<Intake>,
    counted: Counted,
    /// Held while a stream from a peer begins or ends.
    accepting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    me: Option<NodeId>,
    view: Option<Arc<View>>,
    senders: BTreeMap<NodeId, sender::Handle>,
    receivers: BTreeMap<NodeId, Receiver>,
    /// Where slots go, and into which stream their changes are put.
    exports: BTreeMap<(u16, NodeId), Arc<Outbox>>,
    /// Owners that changed since the view in force, not yet told to the data plane.
    moved: Vec<(u16, u16)>,
    /// Peers whose last stream failed, and how.
    failed: BTreeMap<NodeId, ending::Ending>,
    /// Slots that began anew here, and those that a copy saved, not yet told to the log.
    emptied: usize,
    promoted: usize,
}

/// What is counted of each slot.
struct Counted {
    slots_in: metrics::Counter,
    slots_out: metrics::Counter,
}

struct Receiver {
    task: JoinHandle<()>,
    answers: Arc<answers::Answers>,
}

fn counter(node: &str, what: &'static str, direction: &'static str) -> metrics::Counter {
    metrics::counter!(what, "node" => node.to_owned(), "direction" => direction)
}

impl std::fmt::Debug for Mover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mover").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Mover {
    /// For a node's data. It may serve nothing until it holds a lease.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(shared: Arc<Shared>, name: &str) -> std::io::Result<Arc<Self>> {
        shared.renew_lease(0);
        let slots = |direction| counter(name, "shoal_handoff_slots_total", direction);
        Ok(Arc::new(Self {
            shared,
            name: name.to_owned(),
            cluster: OnceLock::new(),
            thread: Control::start("node-handoff")?,
            state: Mutex::default(),
            intake: Mutex::default(),
            counted: Counted { slots_in: slots("in"), slots_out: slots("out") },
            accepting: tokio::sync::Mutex::default(),
        }))
    }

    /// Where news of slots go. To be called once, before the cluster's task runs.
    pub fn tell(&self, cluster: ClusterHandle) {
        self.cluster.set(cluster).expect("there is one cluster");
    }

    async fn event(&self, event: SlotEvent) {
        self.events(vec![event]).await;
    }

    /// Several at once, in order.
    async fn events(&self, events: Vec<SlotEvent>) {
        if let Some(cluster) = self.cluster.get()
            && !events.is_empty()
        {
            cluster.all_slots(events).await;
        }
    }

    fn count(&self, what: &'static str, direction: &'static str, by: u64) {
        self.counter(what, direction).increment(by);
    }

    /// For those who count often.
    fn counter(&self, what: &'static str, direction: &'static str) -> metrics::Counter {
        counter(&self.name, what, direction)
    }

    fn count_ended(&self, direction: &'static str, ending: ending::Ending) {
        let (node, reason) = (self.name.clone(), ending.label());
        let labels = [("node", node), ("direction", direction.to_owned()), ("reason", reason.to_owned())];
        metrics::counter!("shoal_handoff_streams_ended_total", &labels).increment(1);
    }

    /// The place of a member in the view in force.
    fn place(state: &State, id: NodeId) -> Option<u16> {
        state.view.as_ref()?.place(id).map(|place| place as u16)
    }

    /// Tells the log what became of the slots of nodes that are gone.
    fn tell_fates(&self, state: &mut State) {
        let epoch = state.view.as_ref().map_or(0, |view| view.epoch);
        match std::mem::take(&mut state.emptied) {
            0 => {}
            slots => tracing::warn!(
                node = self.name,
                epoch,
                slots,
                "slots whose node is gone, and that had no copy in sync, begin anew here, empty"
            ),
        }
        match std::mem::take(&mut state.promoted) {
            0 => {}
            slots => tracing::info!(
                node = self.name,
                epoch,
                slots,
                "copies of slots whose node is gone took over here"
            ),
        }
    }

    /// Tells the data plane who owns what has moved.
    fn flush_moved(&self, state: &mut State) {
        if !state.moved.is_empty() {
            self.shared.moved(&std::mem::take(&mut state.moved));
        }
    }

    fn serve(&self, state: &mut State, slot: u16, fresh: bool) {
        self.intake.lock().refuse(slot);
        if fresh {
            self.shared.set_gate(slot, Gate::Away);
            self.shared.store.drop_slot(slot, None);
            if state.view.as_ref().is_some_and(|view| view.epoch > 1) {
                metrics::counter!("shoal_slots_emptied_total", "node" => self.name.clone()).increment(1);
                state.emptied += 1;
            }
        } else if self.shared.store.gate(slot) == Gate::Away
            && state.view.as_ref().and_then(|view| view.owner(slot)).map(|owner| owner.id) == state.me
        {
            // The view gives what we had as a copy.
            metrics::counter!("shoal_slots_promoted_total", "node" => self.name.clone()).increment(1);
            state.promoted += 1;
        }
        self.shared.set_gate(slot, Gate::Open);
    }

    /// Clients are not sent elsewhere any more from the slots that are to be served: commands wait here until the gates open. As soon as a
    /// former owner has read that we took one it sends clients here; they must not be sent back. No slot among them is gone by another of
    /// these actions: within a view each changes hands once, and a view is installed between actions.
    fn claim(&self, state: &mut State, actions: &[Action]) {
        let Some(place) = state.me.and_then(|me| Self::place(state, me)) else { return };
        let ownership = self.shared.ownership();
        let served = actions.iter().filter_map(|action| match *action {
            Action::Serve { slot, .. } | Action::Send { message: Transfer::Follow { slot, .. }, .. } => {
                Some(slot).filter(|slot| !ownership.owns(*slot))
            }
            _ => None,
        });
        state.moved.extend(served.map(|slot| (slot, place)));
        self.flush_moved(state);
    }

    /// Nothing is executed on the slot any more. Whether nothing is left of it to be sent, so that it is as good as drained.
    fn freeze(&self, state: &State, (slot, to): (u16, NodeId), id: u64) -> bool {
        self.shared.set_gate(slot, Gate::Held);
        let all =
            state.exports.get(&(slot, to)).is_some_and(|outbox| self.shared.store.is_copied(slot, outbox));
        if !all && let Some(sender) = state.senders.get(&to) {
            sender.drain(slot, id);
        }
        all
    }

    fn send(&self, state: &mut State, to: NodeId, message: Transfer) {
        match message {
            Transfer::Taken { .. } | Transfer::Refused { .. } | Transfer::Missing { .. } => {
                if let Transfer::Taken { slot, .. } = message {
                    self.counted.slots_in.increment(1);
                    self.intake.lock().on_taken(slot, to);
                }
                if let Some(receiver) = state.receivers.get(&to) {
                    // A stream that is gone needs no answer: the offer is made again.
                    receiver.answers.send(&wire::answer(&message));
                }
            }
            Transfer::Begin { .. }
            | Transfer::Complete { .. }
            | Transfer::Follow { .. }
            | Transfer::Take { .. }
            | Transfer::Stop { .. } => {
                if let Transfer::Follow { slot, .. } = message {
                    self.counted.slots_in.increment(1);
                    self.intake.lock().on_taken(slot, to);
                }
                if let Some(outbox) = state.senders.get(&to).and_then(sender::Handle::outbox) {
                    outbox.send(&wire::message(&message));
                }
            }
        }
    }

    /// The stream to a peer; a broken one if there is none, into which changes get lost, and replies wait in vain.
    fn outbox(state: &State, to: NodeId) -> Arc<Outbox> {
        state.senders.get(&to).and_then(sender::Handle::outbox).unwrap_or_else(Outbox::broken)
    }

    /// Sends a slot. `lasting`: the copy shall stay, and whether replies are to wait for it.
    fn export(&self, state: &mut State, (slot, to): (u16, NodeId), copy: u64, lasting: Option<bool>) {
        let outbox = Self::outbox(state, to);
        self.shared.store.tap(slot, &outbox, false);
        state.exports.insert((slot, to), outbox.clone());
        if let Some(sender) = state.senders.get(&to) {
            sender.copy(copying::Job { slot, lasting, copy, outbox, blocked: None });
        }
    }

    /// Whether a slot is held because the peer has not answered the offer of it.
    fn is_offered(&self, to: NodeId) -> bool {
        let state = self.state.lock();
        let mut exports = state.exports.keys().filter(|(_, peer)| *peer == to);
        exports.any(|(slot, _)| self.shared.store.gate(*slot) == Gate::Held)
    }

    fn follow(&self, state: &mut State, (slot, to): (u16, NodeId), wait: bool) {
        let outbox = Self::outbox(state, to);
        self.shared.store.follow(slot, &outbox, wait);
        state.exports.insert((slot, to), outbox);
    }

    fn unexport(&self, state: &mut State, slot: u16, to: NodeId) {
        if let Some(outbox) = state.exports.remove(&(slot, to)) {
            self.shared.store.untap(slot, &outbox);
        }
    }

    /// The slot is another's. Whether what is kept of it is no copy.
    fn gone(&self, state: &mut State, slot: u16, to: NodeId, keep: bool) -> bool {
        self.shared.set_gate(slot, Gate::Away);
        if let Some(place) = Self::place(state, to) {
            // Told when all of this is done: commands wait until then.
            state.moved.push((slot, place));
        }
        self.counted.slots_out.increment(1);
        if !keep {
            self.shared.store.drop_slot(slot, None);
        }
        let alone = |outbox| self.shared.store.is_emptied_alone(slot, outbox);
        keep && state.exports.get(&(slot, to)).is_some_and(alone)
    }

    /// A database (or all) was emptied in a slot at its former owner after that had offered it to us, and before it heard that we took it.
    /// Whoever did that is told only when this is through, with our copies and with whom we are handing the slot to: which, and from where
    /// on, is returned; `None` if it is another's by now, who will not hear of it.
    fn emptied(&self, slot: u16, db: Option<u8>) -> Option<Vec<Wait>> {
        let mut waits = Vec::new();
        self.shared.store.flush_slot(slot, db, |wait| waits.push(wait)).then_some(waits)
    }

    /// Counts what the view says of copies.
    fn measure_copies(&self, view: &View, me: NodeId) {
        let wanted = usize::from(view.replication().replicas).min(view.members.len().saturating_sub(1));
        let Some(place) = view.place(me).map(|place| place as u16) else { return };
        let (mut held, mut missing) = (0, 0);
        for (copies, owner) in view.all_copies().iter().zip(view.owners()) {
            held += usize::from(copies.has(place) == Some(true));
            if owner == place {
                missing += wanted.saturating_sub(copies.synced().count());
            }
        }
        metrics::gauge!("shoal_copies_held", "node" => self.name.clone()).set(held as f64);
        metrics::gauge!("shoal_copies_missing", "node" => self.name.clone()).set(missing as f64);
    }
}

/// The mover as the cluster's task sees it.
#[derive(Debug)]
pub struct DataPlane(pub Arc<Mover>);

impl Slots for DataPlane {
    fn install(&self, view: &Arc<View>, me: NodeId) {
        let state = &mut *self.0.state.lock();
        state.view = Some(view.clone());
        state.me = Some(me);
        state.moved.clear();
        // Before anything else: not even the record that is being put into effect may come into a slot that begins anew.
        self.0.intake.lock().on_view(view);
        self.0.measure_copies(view, me);
        let mut ownership = Ownership::of(view.clone(), me);
        if let Some(own) = self.0.cluster.get().map(ClusterHandle::own) {
            ownership = ownership.at(&own.host, own.resp_port);
        }
        if view.place(me).is_none() && self.0.shared.ownership().count() > 0 {
            // Nothing here counts any more; clients hear where it is.
            self.0.shared.serve_nothing(ownership);
        } else {
            self.0.shared.adopt(Arc::new(ownership));
        }
        if view.place(me).is_none() {
            state.exports.clear();
        }
        state.failed.retain(|id, _| view.place(*id).is_some());
        state.receivers.retain(|id, receiver| {
            let stays = view.place(*id).is_some();
            if !stays {
                receiver.task.abort();
            }
            stays
        });
    }

    fn act(&self, actions: Vec<Action>) -> Vec<SlotEvent> {
        // A stream is told once of all that is put into it.
        let round = Round::begin();
        let state = &mut *self.0.state.lock();
        let mut said = Vec::new();
        self.0.claim(state, &actions);
        for action in actions {
            match action {
                Action::Serve { slot, fresh } => self.0.serve(state, slot, fresh),
                Action::Freeze { slot, to, id } => {
                    if self.0.freeze(state, (slot, to), id) {
                        said.push(SlotEvent::Frozen { slot, id });
                    }
                }
                Action::Export { slot, to, copy, lasting, guard } => {
                    self.0.export(state, (slot, to), copy, lasting.then_some(guard));
                }
                Action::Follow { slot, to, guard } => self.0.follow(state, (slot, to), guard),
                Action::Allow { slot, from } => self.0.intake.lock().allow(slot, from),
                Action::Unexport { slot, to } => self.0.unexport(state, slot, to),
                Action::Send { to, message } => self.0.send(state, to, message),
                Action::Gone { slot, to, keep } => {
                    if self.0.gone(state, slot, to, keep) {
                        said.push(SlotEvent::EmptiedAlone(slot));
                    }
                }
                Action::Drop { slot } => {
                    self.0.intake.lock().refuse(slot);
                    self.0.shared.set_gate(slot, Gate::Away);
                    self.0.shared.store.drop_slot(slot, None);
                }
            }
        }
        self.0.flush_moved(state);
        self.0.tell_fates(state);
        drop(round);
        said
    }

    fn readable(&self, readable: &Readable) {
        self.0.shared.read_copies(readable.slots.iter(), readable.open);
    }

    fn lease(&self, until: Duration) {
        let outside = {
            let state = self.0.state.lock();
            state.view.as_ref().zip(state.me).is_some_and(|(view, me)| view.place(me).is_none())
        };
        // Who has no slots needs no leave to say so.
        self.0.shared.renew_lease(if outside { u64::MAX } else { until.as_millis() as u64 });
    }

    fn peers(&self, peers: Vec<Member>) {
        let state = &mut *self.0.state.lock();
        state.senders.retain(|id, _| peers.iter().any(|m| m.id == *id));
        for peer in peers {
            state.senders.entry(peer.id).or_insert_with(|| sender::start(&self.0, peer));
        }
    }

    fn accept(&self, from: NodeId, stream: TcpStream, rest: Vec<u8>) {
        // From the runtime of the control thread to ours.
        let Ok(stream) = stream.into_std() else { return };
        self.0.thread.spawn(receiver::run(self.0.clone(), from, stream, rest));
    }
}
