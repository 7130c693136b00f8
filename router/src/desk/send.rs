//! Towards nodes: a planned request gets a ticket and is appended to the connections it goes to.

use shoal_proto::{
    Error,
    command::{Entry, Flags, Merge, Route},
    resp::Args,
    slot::key_slot,
};

use super::{Desk, detour::Terms};
use crate::{
    client::{Asker, Ticket, Wait, detour::Held},
    gather::{Gather, Origin, Target},
    merge,
    plan::Plan,
    routing::NOBODY,
    split::Parts,
    upstream::log::{Effect, Pending, Way},
    whole::{Own, Whole},
};

/// Why a request is refused that would have to wait.
const OVERLOADED: Error =
    Error::text("CLUSTERDOWN The cluster is down: too many requests wait for nodes that cannot serve them");

/// A request that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) client: u32,
    pub(crate) generation: u32,
    /// Database and RESP version.
    pub(crate) lane: u8,
    pub(crate) entry: &'static Entry,
    pub(crate) args: Args<'a>,
    /// Whether the client wants no reply.
    pub(crate) muted: bool,
}

impl Order<'_> {
    #[inline]
    fn pending(&self, seq: u32, part: u16, at: u32, way: Way) -> Pending {
        let asker = Asker { client: self.client, generation: self.generation, seq, part };
        Pending { asker, len: 0, at, way, turn: 0, hops: 0, effect: self.effect() }
    }

    fn ticket(&self) -> Ticket {
        if self.muted { Ticket::Muted } else { Ticket::Waiting }
    }

    #[inline]
    fn effect(&self) -> Effect {
        if self.entry.command.flags.contains(Flags::READONLY) { Effect::Read } else { effect(self.entry) }
    }
}

/// What sending a command twice would do that is not marked as a read.
fn effect(entry: &Entry) -> Effect {
    match entry.command.route {
        Route::AllNodes(Merge::Info) => Effect::Read,
        // Reports; DEBUG is for tests, and everything at once.
        Route::AllNodes(Merge::Special) if !entry.name.starts_with("debug") => Effect::Read,
        _ => Effect::Write,
    }
}

impl Pending {
    /// A part of a request about the whole cluster.
    pub(super) fn node(asker: Asker, at: u32) -> Self {
        Self { asker, len: 0, at, way: Way::Node, turn: 0, hops: 0, effect: Effect::Read }
    }
}

impl Desk {
    /// What a request has to wait for before it is sent, lest it overtake another one of its client.
    #[cold]
    pub(crate) fn obstacle(&mut self, order: &Order<'_>, plan: Plan) -> Option<Wait> {
        let write = order.effect() == Effect::Write;
        let client = &mut self.clients[order.client as usize];
        match plan {
            Plan::Slot(slot) => client.obstacle(write, |s| s == slot),
            Plan::Split { step, .. } => {
                let keys = (1..order.args.len()).step_by(usize::from(step));
                let mut slots: Vec<u16> = keys.map(|at| key_slot(order.args.at(at))).collect();
                slots.sort_unstable();
                client.obstacle(write, |s| slots.binary_search(&s).is_ok())
            }
            Plan::Any | Plan::AllNodes(_) | Plan::Local => None,
        }
    }

    /// Forwards a request as it is to the owner of `slot`. Returns the connection it went to, if it went.
    #[inline]
    pub(crate) fn forward(&mut self, order: &Order<'_>, slot: u16) -> Option<u32> {
        match self.owners[usize::from(slot)] {
            NOBODY => {
                self.hold(order, Way::Slot(slot));
                None
            }
            owner => self.forward_to(order, u32::from(owner), Way::Slot(slot)),
        }
    }

    /// Forwards a request that any node can answer.
    ///
    /// # Errors
    /// When there is no node.
    pub(crate) fn forward_any(&mut self, order: &Order<'_>) -> Result<Option<u32>, Error> {
        let first = *self.routing.serving.first().ok_or(Error::ClusterDown)?;
        Ok(self.forward_to(order, self.places[usize::from(first)], Way::Node))
    }

    #[inline]
    fn forward_to(&mut self, order: &Order<'_>, node: u32, way: Way) -> Option<u32> {
        let place = self.upstream(node, order.lane);
        if self.upstreams[place as usize].stuck && self.is_full() {
            self.overloaded(order, way);
            return None;
        }
        let client = &mut self.clients[order.client as usize];
        let pending = Pending { turn: self.turn, ..order.pending(client.next_seq(), 0, self.now, way) };
        client.tickets.push_back(order.ticket());
        self.upstreams[place as usize].log.push(order.args.raw(), pending);
        self.sent(place);
        Some(place)
    }

    /// Something was appended to a connection.
    #[inline]
    fn sent(&mut self, place: u32) {
        self.waiting |= !self.upstreams[place as usize].is_ready();
        self.touch_upstream(place);
    }

    /// Keeps a request whose slots nobody serves.
    #[cold]
    fn hold(&mut self, order: &Order<'_>, way: Way) {
        let client = &mut self.clients[order.client as usize];
        let pending = order.pending(client.next_seq(), 0, self.now, way);
        client.tickets.push_back(order.ticket());
        let (request, why) = (order.args.raw().to_vec(), merge::error(&Error::ClusterDown));
        self.detain_all(Held { pending, request, why, doubt: None }, Terms::default());
    }

    /// Answers a request that cannot wait because too many do already.
    #[cold]
    fn overloaded(&mut self, order: &Order<'_>, way: Way) {
        self.tally.overloads += 1;
        let client = &mut self.clients[order.client as usize];
        let pending = order.pending(client.next_seq(), 0, self.now, way);
        client.tickets.push_back(order.ticket());
        self.excuse(&pending, order.args.raw(), &merge::error(&OVERLOADED));
    }

    /// Splits a request by node; forwards it as it is if all keys are at one. Returns the last connection used.
    ///
    /// # Errors
    /// When the arguments do not come in whole steps (the node's own text).
    pub(crate) fn split(&mut self, order: &Order<'_>, step: u8, merge: Merge) -> Result<Option<u32>, Error> {
        if !(order.args.len() - 1).is_multiple_of(usize::from(step)) {
            return Err(Error::Arity(order.entry.name.clone().into()));
        }
        let mut parts = std::mem::take(&mut self.parts);
        parts.group(order.args, step, |slot| self.owners[usize::from(slot)]);
        let (seq, effect) = (self.clients[order.client as usize].next_seq(), order.effect());
        let used = match parts.parts[..] {
            [part] if part.to == NOBODY => {
                self.hold(order, part.way(step));
                None
            }
            [part] => self.forward_to(order, u32::from(part.to), part.way(step)),
            _ => self.split_up(order, &parts, step, merge),
        };
        if parts.is_mixed() {
            let client = &mut self.clients[order.client as usize];
            client.widen(seq, &parts.slots, effect == Effect::Write);
        }
        self.parts = parts;
        Ok(used)
    }

    fn split_up(&mut self, order: &Order<'_>, parts: &Parts, step: u8, merge: Merge) -> Option<u32> {
        let (now, turn, effect) = (self.now, self.turn, order.effect());
        let client = &mut self.clients[order.client as usize];
        let seq = client.next_seq();
        let origin = Origin { muted: order.muted, at: now, turn, effect };
        client.tickets.push_back(Ticket::Gather(Box::new(Gather::split(merge, parts, origin))));
        let mut used = None;
        for (number, part) in parts.parts.iter().enumerate() {
            let pending = Pending { turn, ..order.pending(seq, number as u16, now, part.way(step)) };
            if part.to == NOBODY {
                let mut request = Vec::new();
                parts.encode(number as u16, order.args, step, &mut request);
                let why = merge::error(&Error::ClusterDown);
                self.detain_all(Held { pending, request, why, doubt: None }, Terms::default());
                continue;
            }
            let place = self.upstream(u32::from(part.to), order.lane);
            if self.upstreams[place as usize].stuck && self.is_full() {
                self.tally.overloads += 1;
                let mut request = Vec::new();
                parts.encode(number as u16, order.args, step, &mut request);
                self.excuse(&pending, &request, &merge::error(&OVERLOADED));
                continue;
            }
            let log = &mut self.upstreams[place as usize].log;
            let from = log.buffer().len();
            parts.encode(number as u16, order.args, step, log.buffer());
            log.commit(from, pending);
            self.sent(place);
            used = Some(place);
        }
        used
    }

    /// Asks every node, and merges what they answer.
    pub(crate) fn ask_all(&mut self, order: &Order<'_>, merge: Merge, own: impl FnOnce() -> Own) {
        let scene = self.scene();
        let whole = Whole::new(order.entry, merge, order.args, scene, own);
        let next = if scene.members > 0 { whole.start() } else { Vec::new() };
        let (effect, now, turn) = (order.effect(), self.now, self.turn);
        let client = &mut self.clients[order.client as usize];
        let seq = client.next_seq();
        let origin = Origin { muted: order.muted, at: now, turn, effect };
        client.tickets.push_back(Ticket::Gather(Box::new(Gather::whole(whole, next.len(), origin))));
        let pending = order.pending(seq, 0, now, Way::Node);
        if scene.members == 0 {
            return self.anew(pending.asker, order.lane);
        }
        self.ask(pending, order.lane, next);
    }

    /// Sends the parts of a request about the whole cluster, numbered from 0.
    pub(super) fn ask(&mut self, pending: Pending, lane: u8, next: Vec<(Target, Vec<u8>)>) {
        for (part, (target, request)) in next.into_iter().enumerate() {
            let pending = Pending { asker: Asker { part: part as u16, ..pending.asker }, ..pending };
            match target {
                Target::Slot(slot) => {
                    // By whoever has it now: the cursor of a SCAN leads through the slots one by one.
                    let pending = Pending { way: Way::Slot(slot), ..pending };
                    self.again(0, lane, pending, request);
                }
                Target::Member(member) => match self.places.get(usize::from(member)).copied() {
                    Some(node) => {
                        self.send(node, lane, pending, &request);
                    }
                    None => self.gone(lane, pending, request),
                },
            }
        }
    }

    /// Appends a request to a node's connection; returns the connection.
    pub(super) fn send(&mut self, node: u32, lane: u8, pending: Pending, request: &[u8]) -> u32 {
        let place = self.upstream(node, lane);
        let pending = Pending { turn: self.turn, ..pending };
        self.upstreams[place as usize].log.push(request, pending);
        self.sent(place);
        place
    }
}
