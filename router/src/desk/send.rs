//! Towards nodes: a planned request gets a ticket and is appended to the connections it goes to.

use shoal_proto::{
    Error,
    command::{Entry, Flags, Merge},
    resp::Args,
    slot::key_slot,
};

use super::Desk;
use crate::{
    client::{Asker, Ticket},
    gather::{Gather, Target},
    routing::NOBODY,
    upstream::log::{Pending, Way},
    whole::{Own, Whole},
};

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
        Pending {
            asker: Asker { client: self.client, generation: self.generation, seq, part },
            len: 0,
            at,
            way,
            hops: 0,
            repeatable: self.entry.command.flags.contains(Flags::READONLY),
        }
    }
}

impl Desk {
    /// Forwards a request as it is to the owner of `slot`. Returns the connection it went to.
    ///
    /// # Errors
    /// When nobody owns the slot.
    #[inline]
    pub(crate) fn forward(&mut self, order: &Order<'_>, slot: u16) -> Result<u32, Error> {
        let owner = self.routing.owner(slot);
        if owner == NOBODY {
            return Err(Error::ClusterDown);
        }
        Ok(self.forward_to(order, owner, Way::Slot(slot)))
    }

    /// Forwards a request that any node can answer.
    ///
    /// # Errors
    /// When there is no node.
    pub(crate) fn forward_any(&mut self, order: &Order<'_>) -> Result<u32, Error> {
        let first = *self.routing.serving.first().ok_or(Error::ClusterDown)?;
        Ok(self.forward_to(order, first, Way::Node))
    }

    #[inline]
    fn forward_to(&mut self, order: &Order<'_>, member: u16, way: Way) -> u32 {
        let place = self.upstream(self.places[usize::from(member)], order.lane);
        let client = &mut self.clients[order.client as usize];
        let pending = order.pending(client.next_seq(), 0, self.now, way);
        client.tickets.push_back(if order.muted { Ticket::Muted } else { Ticket::Waiting });
        self.upstreams[place as usize].log.push(order.args.raw(), pending);
        self.sent(place);
        place
    }

    /// Something was appended to a connection.
    #[inline]
    fn sent(&mut self, place: u32) {
        self.waiting |= !self.upstreams[place as usize].is_ready();
        self.touch_upstream(place);
    }

    /// Splits a request by node; forwards it as it is if all keys are at one. Returns the last connection used.
    ///
    /// # Errors
    /// When nobody owns one of the slots, or the arguments do not come in whole steps (the node's own text).
    pub(crate) fn split(&mut self, order: &Order<'_>, step: u8, merge: Merge) -> Result<u32, Error> {
        if !(order.args.len() - 1).is_multiple_of(usize::from(step)) {
            return Err(Error::Arity(order.entry.name.clone().into()));
        }
        let routing = self.routing.clone();
        let mut parts = std::mem::take(&mut self.parts);
        let grouped = parts.group(order.args, step, |key| match routing.owner(key_slot(key)) {
            NOBODY => Err(Error::ClusterDown),
            owner => Ok(owner),
        });
        let result = grouped.map(|()| match parts.parts[..] {
            [(owner, _)] => self.forward_to(order, owner, Way::Split(step)),
            _ => {
                let client = &mut self.clients[order.client as usize];
                let seq = client.next_seq();
                client.tickets.push_back(Ticket::Gather(Box::new(Gather::split(merge, &parts, order.muted))));
                let mut last = 0;
                for (part, (owner, _)) in parts.parts.iter().enumerate() {
                    last = self.upstream(self.places[usize::from(*owner)], order.lane);
                    let pending = order.pending(seq, part as u16, self.now, Way::Split(step));
                    let log = &mut self.upstreams[last as usize].log;
                    let from = log.buffer().len();
                    parts.encode(part as u16, order.args, step, log.buffer());
                    log.commit(from, pending);
                    self.sent(last);
                }
                last
            }
        });
        self.parts = parts;
        result
    }

    /// Asks every node, and merges what they answer.
    ///
    /// # Errors
    /// When there is no node.
    pub(crate) fn ask_all(
        &mut self,
        order: &Order<'_>,
        merge: Merge,
        own: impl FnOnce() -> Own,
    ) -> Result<(), Error> {
        let members = self.routing.members().len() as u16;
        if members == 0 {
            return Err(Error::ClusterDown);
        }
        let whole = Whole::new(order.entry, merge, order.args, members, own);
        let next = whole.start();
        let client = &mut self.clients[order.client as usize];
        let seq = client.next_seq();
        client.tickets.push_back(Ticket::Gather(Box::new(Gather::whole(whole, next.len(), order.muted))));
        let pending = order.pending(seq, 0, self.now, Way::Node);
        self.ask(pending, order.lane, next);
        Ok(())
    }

    /// Sends the parts of a request about the whole cluster, numbered from 0.
    pub(super) fn ask(&mut self, pending: Pending, lane: u8, next: Vec<(Target, Vec<u8>)>) {
        for (part, (target, request)) in next.into_iter().enumerate() {
            let (member, way) = match target {
                Target::Slot(slot) => (self.routing.owner(slot), Way::Slot(slot)),
                Target::Member(member) => (member, Way::Node),
            };
            let pending = Pending { asker: Asker { part: part as u16, ..pending.asker }, way, ..pending };
            match self.places.get(usize::from(member)).copied() {
                Some(node) => self.send(node, lane, pending, &request),
                None => self.fail(pending.asker, &Error::ClusterDown),
            }
        }
    }

    /// Appends a request to a node's connection.
    pub(super) fn send(&mut self, node: u32, lane: u8, pending: Pending, request: &[u8]) {
        let place = self.upstream(node, lane);
        self.upstreams[place as usize].log.push(request, pending);
        self.sent(place);
    }
}
