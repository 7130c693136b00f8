//! Lost connections: what was on them is sent again where that changes nothing, and answered otherwise.
//!
//! A write that was sent may have been executed. It is sent again only if whatever it did is gone for certain: a newer
//! view made its slot anew, empty, without the process it was sent to. Until there is such a view, or the process
//! shows that it lives, or time is up, nobody knows, and the write waits ([`Doubt`]).

use shoal_proto::{Error, view::NodeId};

use super::{
    Desk,
    detour::{By, Terms, Trouble},
    stray::Stray,
};
use crate::{
    client::detour::{Doubt, Held},
    merge,
    routing::NOBODY,
    upstream::{
        State,
        log::{Effect, Pending, Way},
    },
};

/// The node could not be reached in time; nothing was executed.
pub(super) const UNREACHABLE: Error =
    Error::text("CLUSTERDOWN The node that serves the hash slot cannot be reached");

/// The connection broke after the request was sent.
const LOST: Error = Error::text(
    "ERR The connection to a node was lost while the command was under way; it may or may not have been executed",
);

/// What is known of a write whose connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Whatever it did is gone: it can be sent again.
    Undone,
    /// It may have been executed, and what it did may be there.
    Unknown,
    /// The next view will tell.
    Open,
}

impl Desk {
    /// A connection broke: its requests are sent again where that is safe, the others answered.
    pub(crate) fn lost(&mut self, place: u32) {
        self.upstreams[place as usize].state = State::Down;
        self.upstreams[place as usize].stuck = true;
        self.replan(place);
    }

    /// Plans all requests of a connection anew that no node can have executed, or that may be executed twice.
    pub(super) fn replan(&mut self, place: u32) {
        let upstream = &mut self.upstreams[place as usize];
        let (lane, node, process) = (upstream.lane, upstream.node, upstream.process);
        let all = upstream.log.take();
        // Those that come meanwhile wait for what is sent meanwhile.
        let gates = std::mem::take(&mut upstream.gates);
        let waiters = std::mem::take(&mut upstream.waiters);
        self.release(&waiters);
        for (mut pending, sent, request) in all {
            if !sent {
                self.again(node, lane, pending, request);
            } else if pending.effect == Effect::Read {
                self.tally.retries += 1;
                pending.effect = Effect::Reread;
                self.again(node, lane, pending, request);
            } else {
                let meetings = self.nodes[node as usize].meetings;
                let doubt = process.map(|process| Doubt { node, process, meetings });
                match doubt.filter(|_| pending.effect == Effect::Write) {
                    Some(doubt) => self.doubt(place, pending, request, doubt),
                    None => self.give_up(pending),
                }
            }
        }
        self.open(gates);
    }

    /// A request that may have been executed, and must not be twice.
    fn give_up(&mut self, pending: Pending) {
        self.tally.lost += 1;
        self.fail(pending.asker, &LOST);
    }

    /// Decides about a write that was sent, or lets it wait for a decision.
    fn doubt(&mut self, place: u32, pending: Pending, request: Vec<u8>, doubt: Doubt) {
        if let Way::Split(step) = pending.way {
            // Slot by slot: some may be made anew and others not.
            return self.spread(pending, &request, step, By::Slot, |desk, _, pending, request| {
                desk.doubt(place, pending, request, doubt);
            });
        }
        let (node, lane) = (doubt.node, self.upstreams[place as usize].lane);
        match (self.verdict(&pending, doubt), pending.way) {
            (Verdict::Undone, _) => {
                self.tally.reborn += 1;
                self.again(node, lane, pending, request);
            }
            (Verdict::Unknown, _) => self.give_up(pending),
            (Verdict::Open, way) => {
                let upstream = &mut self.upstreams[place as usize];
                upstream.curious = true;
                upstream.wake.notify_one();
                let held = Held { pending, request, why: merge::error(&LOST), doubt: Some(doubt) };
                match way {
                    Way::Slot(slot) => self.detain(slot, held, Terms::default()),
                    _ => self.keep(Stray { node, lane, held, resume_at: None }),
                }
            }
        }
    }

    fn verdict(&self, pending: &Pending, doubt: Doubt) -> Verdict {
        let view = &self.routing.view;
        if view.place(doubt.process).is_some() {
            let node = self.nodes.get(doubt.node as usize);
            let lives = node.is_some_and(|n| {
                n.meetings != doubt.meetings && n.met.is_none_or(|process| process == doubt.process)
            });
            return if lives { Verdict::Unknown } else { Verdict::Open };
        }
        match pending.way {
            // It was sent before this view came, in this view the slot is made anew, and the process has no part in it:
            // it can only have executed the write on data that nobody will see again. With a later view than the one
            // that made the slot anew, the process might have been in that one, and handed the slot over since.
            Way::Slot(slot) if view.born(slot) == view.epoch && pending.turn != self.turn => Verdict::Undone,
            // What a node did to itself went with it.
            Way::Node if pending.turn != self.turn => Verdict::Undone,
            _ => Verdict::Unknown,
        }
    }

    /// The doubts of a detour whose turn has come are decided if they can be.
    pub(super) fn decide(&mut self, trouble: Trouble) {
        let Trouble { client, generation, slot } = trouble;
        loop {
            let Some(client) = self.clients.get(client as usize).filter(|c| c.generation == generation)
            else {
                return;
            };
            let head = client.detours.iter().find(|d| d.slot == slot).and_then(|d| d.queue().front());
            let Some((pending, doubt)) = head.and_then(|h| h.doubt.map(|doubt| (h.pending, doubt))) else {
                return;
            };
            match self.verdict(&pending, doubt) {
                Verdict::Open => return,
                Verdict::Undone => {
                    self.tally.reborn += 1;
                    if let Some(head) = self.head(trouble) {
                        head.doubt = None;
                    }
                    return;
                }
                Verdict::Unknown => self.give_up_head(trouble),
            }
        }
    }

    fn head(&mut self, trouble: Trouble) -> Option<&mut Held> {
        self.client(trouble.client, trouble.generation)?.detour(trouble.slot)?.head()
    }

    fn give_up_head(&mut self, trouble: Trouble) {
        let client = self.client(trouble.client, trouble.generation);
        if let Some(held) = client.and_then(|c| c.detour(trouble.slot)).and_then(|d| d.pop()) {
            self.held.remove(&held);
            self.give_up(held.pending);
        }
    }

    /// A node answers again: if it is the same process, it may have executed what it was sent before.
    pub(super) fn met(&mut self, node: u32, process: Option<NodeId>) {
        let known = &mut self.nodes[node as usize];
        known.meetings = known.meetings.wrapping_add(1);
        known.met = process;
        for trouble in self.troubled.iter().copied().collect::<Vec<_>>() {
            self.pump(trouble);
        }
        let same = |s: &Stray| {
            s.held.doubt.is_some_and(|d| d.node == node && process.is_none_or(|process| process == d.process))
        };
        for stray in self.take_strays(same) {
            self.give_up(stray.held.pending);
        }
    }

    /// Sends a request by the view in force, behind what waits of its client and slot.
    pub(super) fn again(&mut self, node: u32, lane: u8, pending: Pending, request: Vec<u8>) {
        let asker = pending.asker;
        let Some(client) = self.client(asker.client, asker.generation) else { return };
        match pending.way {
            Way::Slot(slot) => {
                let owner = self.owners[usize::from(slot)];
                let detoured = self.clients[asker.client as usize].detour(slot).is_some();
                if detoured || owner == NOBODY {
                    let held = Held { pending, request, why: merge::error(&UNREACHABLE), doubt: None };
                    self.detain(slot, held, Terms::default());
                } else {
                    self.send(u32::from(owner), lane, pending, &request);
                }
            }
            Way::Split(step) if client.detours.is_empty() => {
                self.spread(
                    pending,
                    &request,
                    step,
                    By::Owner,
                    |desk, owner, pending, request| match owner {
                        NOBODY => {
                            let held =
                                Held { pending, request, why: merge::error(&UNREACHABLE), doubt: None };
                            desk.detain_all(held, Terms::default());
                        }
                        owner => {
                            desk.send(u32::from(owner), lane, pending, &request);
                        }
                    },
                );
            }
            Way::Split(step) => {
                self.spread(pending, &request, step, By::Slot, |desk, _, pending, request| {
                    desk.again(node, lane, pending, request);
                });
            }
            Way::Node if self.nodes.get(node as usize).is_some_and(|n| n.member) => {
                self.send(node, lane, pending, &request);
            }
            Way::Node => self.gone(lane, pending, request),
        }
    }
}
