//! Requests that have to go elsewhere: redirects, lost connections, new views.

use std::rc::Rc;

use shoal_proto::{
    Error,
    command::{Route, table},
    number,
    resp::{Args, Limits, Scanner},
    slot::key_slot,
};

use super::Desk;
use crate::{
    client::{Asker, Parked, Redirect, Ticket},
    gather::Gather,
    routing::NOBODY,
    split::Parts,
    upstream::{
        State,
        log::{Pending, Way},
    },
};

/// The node could not be reached in time; nothing was executed.
pub(super) const UNREACHABLE: Error =
    Error::text("CLUSTERDOWN The node that serves the hash slot cannot be reached");

/// The connection broke after the request was sent.
const LOST: Error = Error::text(
    "ERR The connection to a node was lost while the command was under way; it may or may not have been executed",
);

/// A node left while a command for it was under way.
const GONE: Error = Error::text("CLUSTERDOWN A node left the cluster while the command was under way");

/// Nodes disagree for too long about who owns the slot.
const ASTRAY: Error = Error::text("CLUSTERDOWN Hash slot is moving between nodes");

/// The node and slot that a `-MOVED slot host:port` names.
fn moved(reply: &[u8]) -> Option<(u16, &str, u16)> {
    let text = std::str::from_utf8(reply.strip_prefix(b"-MOVED ")?.strip_suffix(b"\r\n")?).ok()?;
    let (slot, address) = text.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    let slot =
        number::parse_i64(slot.as_bytes()).and_then(|s| u16::try_from(s).ok()).filter(|s| *s < 16384)?;
    Some((slot, host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}

impl Desk {
    /// A node says that the slot of a request lives elsewhere.
    pub(super) fn redirect(&mut self, from: u32, mut pending: Pending, request: Vec<u8>, reply: &[u8]) {
        self.tally.redirects += 1;
        self.shared.refresh();
        let settings = &self.shared.settings;
        let late = self.now.wrapping_sub(pending.at) > settings.patience.as_millis() as u32;
        if pending.hops >= settings.max_hops || late {
            return self.fail(pending.asker, &ASTRAY);
        }
        let Some((slot, host, port)) = moved(reply) else { return self.deliver(pending.asker, reply) };
        let asker = pending.asker;
        let Some(client) = self.client(asker.client, asker.generation) else { return };
        client.barrier = true;
        pending.hops += 1;
        // An empty host means the one that was asked.
        let host: Rc<str> = if host.is_empty() {
            self.nodes[self.upstreams[from as usize].node as usize].host.clone()
        } else {
            host.into()
        };
        match pending.way {
            Way::Split(step) => {
                // Slot by slot from here on, so that each part can follow redirects of its own.
                let by_slot = |key: &[u8]| Ok(key_slot(key));
                self.spread(pending, &request, step, by_slot, |desk, slot_of_part, pending, request| {
                    let pending = Pending { way: Way::Slot(slot_of_part), ..pending };
                    let owner = match slot_of_part == slot {
                        true => Some((host.clone(), port)),
                        false => desk.owner_address(slot_of_part),
                    };
                    match owner {
                        Some((host, port)) => {
                            desk.follow(Parked { pending, request, host, port }, slot_of_part)
                        }
                        None => desk.fail(pending.asker, &Error::ClusterDown),
                    }
                });
            }
            _ => self.follow(Parked { pending, request, host, port }, slot),
        }
    }

    fn owner_address(&self, slot: u16) -> Option<(Rc<str>, u16)> {
        let node = *self.places.get(usize::from(self.routing.owner(slot)))?;
        let node = &self.nodes[node as usize];
        Some((node.host.clone(), node.port))
    }

    /// Sends a redirected request on, or queues it behind an earlier one of its client and slot.
    fn follow(&mut self, parked: Parked, slot: u16) {
        let Asker { client, generation, seq, part } = parked.pending.asker;
        let Some(client) = self.client(client, generation) else { return };
        let on_its_way =
            client.redirects.iter().any(|r| r.seq == seq && r.part == part && r.parked.is_none());
        if on_its_way {
            return self.unpark(parked);
        }
        let queue = client.redirects.iter().any(|r| r.slot == slot);
        if queue {
            client.redirects.push(Redirect { seq, part, slot, parked: Some(parked) });
        } else {
            client.redirects.push(Redirect { seq, part, slot, parked: None });
            self.unpark(parked);
        }
    }

    /// Sends a redirected request.
    pub(super) fn unpark(&mut self, parked: Parked) {
        let asker = parked.pending.asker;
        let Some(client) = self.client(asker.client, asker.generation) else { return };
        let lane = client.lane;
        let node = self.node(&parked.host, parked.port);
        self.send(node, lane, parked.pending, &parked.request);
    }

    /// A connection broke, or a connection attempt is hopeless because the view changed: its requests are sent again
    /// where that is safe, the others answered.
    pub(crate) fn lost(&mut self, place: u32) {
        self.upstreams[place as usize].state = State::Down;
        self.replan(place);
    }

    /// Plans all requests of a connection anew that no node can have executed, or that may be executed twice.
    pub(super) fn replan(&mut self, place: u32) {
        let upstream = &mut self.upstreams[place as usize];
        let (lane, node) = (upstream.lane, upstream.node);
        let all = upstream.log.take();
        let waiters = std::mem::take(&mut upstream.waiters);
        self.release(&waiters);
        for (mut pending, sent, request) in all {
            if !sent {
                self.resend(node, lane, pending, request);
            } else if pending.repeatable {
                self.tally.retries += 1;
                pending.repeatable = false;
                pending.at = self.now;
                self.resend(node, lane, pending, request);
            } else {
                self.tally.lost += 1;
                self.fail(pending.asker, &LOST);
            }
        }
    }

    /// Sends a request by the view in force.
    fn resend(&mut self, node: u32, lane: u8, pending: Pending, request: Vec<u8>) {
        if self.client(pending.asker.client, pending.asker.generation).is_none() {
            return;
        }
        match pending.way {
            Way::Slot(slot) => match self.places.get(usize::from(self.routing.owner(slot))).copied() {
                Some(owner) => self.send(owner, lane, pending, &request),
                None => self.fail(pending.asker, &Error::ClusterDown),
            },
            Way::Node if self.nodes.get(node as usize).is_some_and(|n| n.member) => {
                self.send(node, lane, pending, &request);
            }
            Way::Node => self.fail(pending.asker, &GONE),
            Way::Split(step) => {
                let routing = self.routing.clone();
                let by_owner = |key: &[u8]| match routing.owner(key_slot(key)) {
                    NOBODY => Err(Error::ClusterDown),
                    owner => Ok(owner),
                };
                self.spread(pending, &request, step, by_owner, |desk, owner, pending, request| {
                    desk.send(desk.places[usize::from(owner)], lane, pending, &request);
                });
            }
        }
    }

    /// Splits a multi-key request, or a part of one, anew by `destination`, and hands each piece to `go` with its
    /// destination, its ticket and its bytes.
    fn spread(
        &mut self,
        pending: Pending,
        request: &[u8],
        step: u8,
        destination: impl Fn(&[u8]) -> Result<u16, Error>,
        mut go: impl FnMut(&mut Self, u16, Pending, Vec<u8>),
    ) {
        let asker = pending.asker;
        let mut scanner = Scanner::new();
        let limits = Limits { max_bulk_len: u64::MAX, ..Limits::default() };
        let scanned = scanner.next(request, &limits);
        debug_assert!(matches!(scanned, Ok(Some(_))), "a request was scanned when it came");
        let args = Args::new(request, scanner.spans());
        let mut parts = Parts::default();
        if let Err(error) = parts.group(args, step, destination) {
            return self.fail(asker, &error);
        }
        if let [(to, _)] = parts.parts[..] {
            return go(self, to, pending, request.to_vec());
        }
        let Some(first) = self.more_parts(asker, args, &parts) else { return self.fail(asker, &ASTRAY) };
        for (i, (to, _)) in parts.parts.iter().enumerate() {
            let mut bytes = Vec::new();
            parts.encode(i as u16, args, step, &mut bytes);
            let asker = Asker { part: first + i as u16, ..asker };
            go(self, *to, Pending { asker, ..pending }, bytes);
        }
    }

    /// Makes room in a ticket for several parts instead of one; returns the first one's number.
    fn more_parts(&mut self, asker: Asker, args: Args<'_>, parts: &Parts) -> Option<u16> {
        let Route::Split { merge, .. } = table().command(args.at(0))?.command.route else { return None };
        let client = self.client(asker.client, asker.generation)?;
        // The part itself is answered by its pieces.
        client.redirects.retain(|r| !(r.seq == asker.seq && r.part == asker.part && r.parked.is_none()));
        let index = client.index(asker.seq);
        match client.tickets.get_mut(index)? {
            Ticket::Gather(gather) => gather.split_again(asker.part, parts),
            ticket => {
                let muted = matches!(ticket, Ticket::Muted);
                *ticket = Ticket::Gather(Box::new(Gather::split(merge, parts, muted)));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        assert_eq!(moved(b"-MOVED 42 10.0.0.1:7000\r\n"), Some((42, "10.0.0.1", 7000)));
        assert_eq!(moved(b"-MOVED 1 [::1]:7000\r\n"), Some((1, "::1", 7000)));
        assert_eq!(moved(b"-MOVED 1 :7000\r\n"), Some((1, "", 7000)));
        assert_eq!(moved(b"-MOVED 16384 a:1\r\n"), None);
        assert_eq!(moved(b"-MOVED x\r\n"), None);
    }
}
