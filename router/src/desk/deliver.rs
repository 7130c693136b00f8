//! Towards clients: a reply finds its ticket, and leaves when nothing is before it.

use shoal_proto::{
    Error,
    resp::{
        Protocol,
        frame::{FrameError, Frames},
    },
};

use shoal_proto::view::NodeId;

use super::{Desk, refusal::Refusal, shut, stray::Outdated};
use crate::{
    client::{Asker, Ticket},
    gather::{Outcome, Target},
    merge,
    upstream::log::Pending,
};

/// Why what a node sent cannot be used. The connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Nonsense {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a reply to nothing that was asked")]
    Unasked,
}

impl Desk {
    /// Takes what a node sent; returns how many bytes were complete replies.
    ///
    /// # Errors
    /// When it is not what a node may send.
    pub(crate) fn replies(
        &mut self,
        place: u32,
        frames: &mut Frames,
        input: &[u8],
    ) -> Result<usize, Nonsense> {
        let mut at = 0;
        while let Some(len) = frames.next(&input[at..])? {
            let reply = &input[at..at + len];
            at += len;
            // Out of band: nothing was asked for, and nothing a router's clients could use.
            if reply[0] == b'>' {
                continue;
            }
            let log = &mut self.upstreams[place as usize].log;
            let pending = log.answered().ok_or(Nonsense::Unasked)?;
            if reply[0] == b'-'
                && let Some(refusal) = Refusal::of(reply)
            {
                self.refused(place, pending, refusal, reply);
            } else if self.troubled.is_empty() || self.in_order(place, &pending) {
                self.deliver(pending.asker, reply);
            }
        }
        let upstream = &mut self.upstreams[place as usize];
        upstream.log.trim();
        if !upstream.gates.is_empty() {
            self.open_gates(place);
        }
        let upstream = &mut self.upstreams[place as usize];
        if !upstream.waiters.is_empty() && upstream.log.held() <= self.shared.settings.upstream_buffer / 2 {
            let waiters = std::mem::take(&mut upstream.waiters);
            self.release(&waiters);
        }
        if self.upstreams[place as usize].retired.is_some() {
            self.waiting = true;
        }
        Ok(at)
    }

    /// Gives a reply to the ticket that waits for it.
    #[inline]
    pub(crate) fn deliver(&mut self, asker: Asker, reply: &[u8]) {
        // A client that is gone needs no reply.
        let Some(client) = self.clients.get_mut(asker.client as usize) else { return };
        if client.generation != asker.generation {
            return;
        }
        let index = client.index(asker.seq);
        if client.out.capacity() == 0 {
            client.out = self.buffers.pop().unwrap_or_default();
        }
        match client.tickets.get_mut(index) {
            Some(Ticket::Waiting) if index == 0 => {
                client.out.extend_from_slice(reply);
                client.tickets.pop_front();
                client.base = client.base.wrapping_add(1);
                client.advance(&mut self.spares);
            }
            Some(ticket @ Ticket::Waiting) => *ticket = Ticket::Ready(self.spares.copy(reply)),
            Some(ticket @ Ticket::Muted) => {
                *ticket = Ticket::Ready(Vec::new());
                client.advance(&mut self.spares);
            }
            Some(Ticket::Gather(gather)) => {
                if gather.answer(asker.part, reply) {
                    self.finish(asker, reply);
                }
            }
            // Every request is answered once: there is no other reply for a ticket that has one.
            Some(Ticket::Ready(_)) | None => debug_assert!(false, "a second reply for one ticket"),
        }
        self.delivered(asker);
    }

    /// The client may have something to write, or to go on with.
    #[inline]
    fn delivered(&mut self, asker: Asker) {
        let settings = &self.shared.settings;
        let (max, soft, hard) =
            (settings.max_outstanding, settings.client_output_soft, settings.client_output_hard);
        let Some(client) = self.clients.get_mut(asker.client as usize) else { return };
        if client.owed() > hard {
            self.tally.slow_clients_closed += 1;
            return self.kill(asker.client, asker.generation);
        }
        if client.dead {
            client.out.clear();
            client.written = 0;
        }
        client.check_wait(max, soft);
        if client.out.len() > client.written && !client.dirty {
            client.dirty = true;
            self.dirty_clients.push(asker.client);
        }
    }

    /// All parts of a ticket are answered, the last one by `last`.
    fn finish(&mut self, asker: Asker, last: &[u8]) {
        let client = &mut self.clients[asker.client as usize];
        let index = client.index(asker.seq);
        let lane = client.lane;
        let protocol = if lane & 1 == 1 { Protocol::Resp3 } else { Protocol::Resp2 };
        let Ticket::Gather(gather) = &mut client.tickets[index] else { return };
        // The first in the queue is written to where it goes; others wait in their ticket.
        let mut own = Vec::new();
        let mark = client.out.len();
        let direct = index == 0 && !gather.muted;
        let out = if direct { &mut client.out } else { &mut own };
        match gather.finish(asker.part, last, protocol, out) {
            Outcome::Done => {
                if gather.muted {
                    own.clear();
                }
                client.tickets[index] = Ticket::Ready(own);
                client.advance(&mut self.spares);
            }
            Outcome::Again(next) => {
                debug_assert_eq!(client.out.len(), mark, "nothing is written before the end");
                let pending = Pending { effect: gather.effect, ..Pending::node(asker, gather.at) };
                let members = next.iter().any(|(target, _)| matches!(target, Target::Member(_)));
                if members && gather.turn != self.turn {
                    // They are counted differently now.
                    return self.anew(asker, lane);
                }
                self.ask(pending, lane, next);
            }
            Outcome::Anew => self.anew(asker, lane),
            Outcome::Outdated | Outcome::Changing if gather.turn != self.turn => self.anew(asker, lane),
            outcome => {
                self.waiting = true;
                let (at, again) = (gather.at, matches!(outcome, Outcome::Changing));
                self.shared.refresh();
                self.outdated.push(Outdated { asker, lane, at, again });
            }
        }
    }

    /// Answers a request with an error of the router's own.
    pub(crate) fn fail(&mut self, asker: Asker, error: &Error) {
        self.deliver(asker, &merge::error(error));
    }

    /// A connection is open and agreed on: what waits can be written.
    pub(crate) fn opened(
        &mut self,
        place: u32,
        writer: std::rc::Rc<tokio::net::tcp::OwnedWriteHalf>,
        process: Option<NodeId>,
    ) {
        let upstream = &mut self.upstreams[place as usize];
        let node = upstream.node;
        upstream.process = process;
        (upstream.curious, upstream.stuck) = (false, false);
        upstream.generation = upstream.generation.wrapping_add(1);
        upstream.blocked = false;
        upstream.state = crate::upstream::State::Ready(writer);
        self.touch_upstream(place);
        self.met(node, process);
    }

    /// Bytes that cannot be replies came: nothing that this connection sends can be trusted.
    pub(crate) fn distrust(&mut self, place: u32) {
        if let crate::upstream::State::Ready(writer) = &self.upstreams[place as usize].state {
            shut(writer);
        }
    }
}
