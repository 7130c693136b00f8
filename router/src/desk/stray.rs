//! Parts of requests about the whole cluster that cannot be answered yet: their node is not ready, or left.

use shoal_proto::Error;

use super::Desk;
use crate::{
    client::{Asker, Ticket, detour::Held},
    upstream::log::Pending,
    whole::Scene,
};

/// A node left while a command for it was under way.
const GONE: Error = Error::text("CLUSTERDOWN A node left the cluster while the command was under way");

/// Nodes that were asked know a view that never came here, or do not know the one that did.
const OUTDATED: Error = Error::text("CLUSTERDOWN The cluster changed while the command was under way");

/// A part that waits; the node is a member of the view.
#[derive(Debug)]
pub(crate) struct Stray {
    /// The node's place on the worker.
    pub(super) node: u32,
    pub(super) lane: u8,
    pub(super) held: Held,
    /// Not to be sent before; `None` while it waits for a decision.
    pub(super) resume_at: Option<u32>,
}

/// A request about the whole cluster that waits for a newer view than the one it was sent by, or for members to have that.
#[derive(Debug)]
pub(crate) struct Outdated {
    pub(super) asker: Asker,
    pub(super) lane: u8,
    /// When it was accepted.
    pub(super) at: u32,
    /// Or it is tried again after a while by the same.
    pub(super) again: bool,
}

impl Desk {
    /// Keeps a part for later.
    pub(super) fn keep(&mut self, stray: Stray) {
        if self.is_full() {
            self.tally.overloads += 1;
            return self.deliver(stray.held.pending.asker, &stray.held.why);
        }
        self.tally.held += 1;
        self.held.add(&stray.held);
        self.strays.push(stray);
        self.waiting = true;
    }

    pub(super) fn take_strays(&mut self, is: impl Fn(&Stray) -> bool) -> Vec<Stray> {
        let (taken, kept): (Vec<Stray>, Vec<Stray>) =
            std::mem::take(&mut self.strays).into_iter().partition(is);
        self.strays = kept;
        taken.iter().for_each(|stray| self.held.remove(&stray.held));
        taken
    }

    /// Sends what waits and may go, and gives up what is late.
    pub(super) fn tick_strays(&mut self) {
        let (now, patience) = (self.now, self.patience());
        for late in self.take_strays(|s| now.wrapping_sub(s.held.pending.at) > patience) {
            self.tally.unreachable += 1;
            self.deliver(late.held.pending.asker, &late.held.why);
        }
        let due = |s: &Stray| s.resume_at.is_some_and(|until| until.wrapping_sub(now) as i32 <= 0);
        for Stray { node, lane, held, .. } in self.take_strays(due) {
            self.again(node, lane, held.pending, held.request);
        }
        for (asker, lane) in std::mem::take(&mut self.homeless) {
            self.anew(asker, lane);
        }
        // A view helps these, or a while.
        let (late, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.outdated)
            .into_iter()
            .partition(|outdated| now.wrapping_sub(outdated.at) > patience);
        let (again, kept): (Vec<_>, Vec<_>) = kept.into_iter().partition(|outdated| outdated.again);
        self.outdated = kept;
        for outdated in late {
            self.give_up_whole(outdated.asker, &OUTDATED);
        }
        for outdated in again {
            self.anew(outdated.asker, outdated.lane);
        }
    }

    /// The view changed: what waits for nodes that left is decided, the rest is tried at once.
    pub(super) fn review_strays(&mut self) {
        let nodes = &self.nodes;
        let left: Vec<u32> = nodes.iter().filter(|(_, n)| !n.member).map(|(place, _)| place as u32).collect();
        for Stray { node, lane, held, .. } in
            self.take_strays(|s| s.held.doubt.is_none() || left.contains(&s.node))
        {
            // A node that left takes with it what it did to itself.
            self.again(node, lane, held.pending, held.request);
        }
        let outdated = std::mem::take(&mut self.outdated);
        let outdated = outdated.into_iter().map(|outdated| (outdated.asker, outdated.lane));
        for (asker, lane) in std::mem::take(&mut self.homeless).into_iter().chain(outdated) {
            self.anew(asker, lane);
        }
    }

    /// The cluster as the view in force has it.
    pub(super) fn scene(&self) -> Scene {
        let view = &self.routing.view;
        Scene { members: view.members.len() as u16, moves: view.moves(), epoch: view.epoch }
    }

    /// The node that a request was meant for is no member any more.
    pub(super) fn gone(&mut self, lane: u8, pending: Pending, request: Vec<u8>) {
        let Asker { client, generation, seq, .. } = pending.asker;
        let Some(client) = self.client(client, generation) else { return };
        let index = client.index(seq);
        match client.tickets.get_mut(index) {
            Some(Ticket::Gather(gather)) => {
                gather.lacks_one();
                self.deliver(pending.asker, b"");
            }
            // Any node will do.
            _ => match self.routing.serving.first() {
                Some(member) => {
                    self.send(self.places[usize::from(*member)], lane, pending, &request);
                }
                None => self.fail(pending.asker, &GONE),
            },
        }
    }

    /// Asks again what was asked of a cluster that has changed since.
    pub(super) fn anew(&mut self, asker: Asker, lane: u8) {
        let scene = self.scene();
        let (turn, now, patience) = (self.turn, self.now, self.patience());
        let Some(client) = self.client(asker.client, asker.generation) else { return };
        let index = client.index(asker.seq);
        let Some(Ticket::Gather(gather)) = client.tickets.get_mut(index) else { return };
        let (at, effect) = (gather.at, gather.effect);
        let late = now.wrapping_sub(at) > patience;
        if scene.members == 0 && !late {
            self.waiting = true;
            return self.homeless.push((asker, lane));
        }
        if late {
            return self.give_up_whole(asker, &GONE);
        }
        let next = gather.restart(scene, turn);
        self.tally.restarts += 1;
        self.ask(Pending { effect, ..Pending::node(asker, at) }, lane, next);
    }
    /// Answers a request about the whole cluster with an error.
    fn give_up_whole(&mut self, asker: Asker, error: &Error) {
        let Some(client) = self.client(asker.client, asker.generation) else { return };
        let index = client.index(asker.seq);
        let Some(Ticket::Gather(gather)) = client.tickets.get(index) else { return };
        client.tickets[index] = if gather.muted { Ticket::Muted } else { Ticket::Waiting };
        self.fail(asker, error);
    }
}
