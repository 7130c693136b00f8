//! What one member does with each slot: owner, on its way out, on its way in.
//!
//! ```text
//! owner:  Owned -> Syncing -> Synced -> Frozen -> Sent(id) -> gone       target:  none -> Incoming -> Ready -> Owned
//!              ^________________________________|  Refused                          ^____|  Begin, stream lost
//! ```
//! A slot changes hands without anybody else: the owner stops serving it, offers it with the last of its data, and is no
//! longer its owner when the target has taken it. An offer without an answer stays one until the answer comes or the next
//! view says who has the slot. Only slots of the view's targets move, each at most once in a view.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::message::{Report, Transfer};
use super::mutant::{self, Mutant};
use super::slots::Slots;
use crate::slot::SLOTS;
use crate::view::{NodeId, View};

/// Slots that one member sends to another at the same time.
pub const IN_FLIGHT: usize = 16;

/// What the driver must do with slots, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Serve the slot: it is here. `fresh`: it was made anew; what is kept of it is to be dropped before.
    Serve {
        /// Which.
        slot: u16,
        /// Whether it starts empty.
        fresh: bool,
    },
    /// Send what the slot holds to `to`, then every change of it; say [`Handoff::on_synced`] when little is left.
    Export {
        /// Which.
        slot: u16,
        /// The target.
        to: NodeId,
        /// Names this copy: what is said of an earlier one counts no more.
        copy: u64,
    },
    /// Execute nothing more on the slot, at once, until told to serve it or that it is gone; say [`Handoff::on_frozen`]
    /// when all of it is in the stream.
    Freeze {
        /// Which.
        slot: u16,
        /// Names this freeze: what is said of an earlier one counts no more.
        id: u64,
    },
    /// Put this into the stream to `to`, behind all data so far.
    Send {
        /// The other end.
        to: NodeId,
        /// What.
        message: Transfer,
    },
    /// Stop sending the slot: the export is off. Serving goes on if it did.
    Unexport {
        /// Which.
        slot: u16,
        /// The target.
        to: NodeId,
    },
    /// The slot is at `to` now: say so to clients, drop what is here.
    Gone {
        /// Which.
        slot: u16,
        /// Where it is.
        to: NodeId,
    },
    /// Drop what came of a slot that we do not own.
    Drop {
        /// Which.
        slot: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Out {
    Syncing,
    Synced,
    Frozen(u64),
    Sent(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Export {
    to: NodeId,
    copy: u64,
    state: Out,
}

/// States of all slots at one member. See the module's documentation.
#[derive(Debug, Default, Clone, Hash)]
pub struct Handoff {
    owned: Slots,
    exports: BTreeMap<u16, Export>,
    /// Slots that have a target and wait for their turn, by target.
    waiting: BTreeMap<NodeId, VecDeque<u16>>,
    /// Peers to whom a stream stands.
    connected: BTreeSet<NodeId>,
    /// Slots whose data comes in, and from whom.
    incoming: BTreeMap<u16, NodeId>,
    /// Offers taken, by slot: the owner may ask again.
    taken: BTreeMap<u16, (NodeId, u64)>,
    /// Offers that were refused are never taken: the largest id by slot and owner. Ids of one owner only grow.
    refused: BTreeMap<(u16, NodeId), u64>,
    next_id: u64,
    moved: u16,
    wedged: bool,
    epoch: u64,
    actions: VecDeque<Action>,
}

impl Handoff {
    /// What the driver must do next.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether we own `slot`.
    pub fn owns(&self, slot: u16) -> bool {
        self.owned.has(slot)
    }

    /// Slots handed over in this view, and those yet to be.
    pub fn progress(&self) -> (u16, u16) {
        let waiting: usize = self.waiting.values().map(VecDeque::len).sum();
        (self.moved, (waiting + self.exports.len()) as u16)
    }

    /// From whom the data of `slot` comes in. What anybody else sends of it is to be dropped.
    pub fn source(&self, slot: u16) -> Option<NodeId> {
        self.incoming.get(&slot).copied()
    }

    /// Targets to which something is to be sent: the driver keeps a stream to each.
    pub fn peers(&self) -> BTreeSet<NodeId> {
        let exports = self.exports.values().map(|e| e.to);
        exports.chain(self.waiting.iter().filter(|(_, w)| !w.is_empty()).map(|(id, _)| *id)).collect()
    }

    /// What we keep; does not change until the next view if we are wedged.
    pub fn report(&self) -> Report {
        let sent =
            self.exports.iter().filter(|(_, e)| matches!(e.state, Out::Sent(_))).map(|(slot, _)| *slot);
        let sent: Slots = sent.collect();
        let owned: Slots = self.owned.iter().filter(|slot| !sent.has(*slot)).collect();
        Report { owned: owned.ranges(), sent: sent.ranges() }
    }

    /// A view is being made: nothing changes hands until it is there. What was offered may still be answered.
    pub fn wedge(&mut self) {
        if self.wedged || mutant::off(Mutant::NoWedge) {
            return;
        }
        self.wedged = true;
        let frozen = self.exports.iter_mut().filter(|(_, e)| matches!(e.state, Out::Frozen(_)));
        for (slot, export) in frozen {
            export.state = Out::Synced;
            self.actions.push_back(Action::Serve { slot: *slot, fresh: false });
        }
    }

    /// A view that we are a member of is in force.
    pub fn on_view(&mut self, view: &View, me: NodeId) {
        self.wedged = false;
        self.epoch = view.epoch;
        self.moved = 0;
        self.waiting.clear();
        let place = |id: NodeId| view.place(id).map(|p| p as u16);
        let mine = place(me);
        let (owners, targets) = (view.owners(), view.targets());
        for slot in 0..view.slots() {
            let (owner, target) = (owners[usize::from(slot)], targets[usize::from(slot)]);
            if Some(owner) == mine {
                self.own(slot, view.born(slot) == view.epoch);
                let target = view.members.get(usize::from(target)).map(|m| m.id);
                self.aim(slot, target);
            } else {
                let from = view.members.get(usize::from(owner)).map(|m| m.id);
                self.disown(slot, from);
                let ours = Some(target) == mine;
                if self.incoming.get(&slot).is_some_and(|source| !ours || Some(*source) != from) {
                    self.forget(slot);
                }
            }
        }
        self.taken.retain(|slot, _| self.owned.has(*slot));
        self.refused.retain(|(_, owner), _| view.place(*owner).is_some());
        self.start();
    }

    /// The view says that `slot` is ours.
    fn own(&mut self, slot: u16, fresh: bool) {
        if fresh || !self.owned.has(slot) {
            // What we have of it is in doubt, or was never ours: it starts empty.
            if let Some(export) = self.exports.remove(&slot) {
                self.actions.push_back(Action::Unexport { slot, to: export.to });
            }
            self.incoming.remove(&slot);
            self.owned.insert(slot);
            self.actions.push_back(Action::Serve { slot, fresh: true });
        } else if let Some(export) = self.exports.get_mut(&slot)
            && matches!(export.state, Out::Frozen(_) | Out::Sent(_))
        {
            export.state = Out::Synced;
            self.actions.push_back(Action::Serve { slot, fresh: false });
        }
    }

    /// Sends `slot` to where the view wants it, or nowhere.
    fn aim(&mut self, slot: u16, target: Option<NodeId>) {
        match self.exports.get(&slot) {
            Some(export) if Some(export.to) == target => return,
            Some(_) => self.unexport(slot),
            None => {}
        }
        if let Some(target) = target {
            self.waiting.entry(target).or_default().push_back(slot);
        }
    }

    fn disown(&mut self, slot: u16, owner: Option<NodeId>) {
        if let Some(export) = self.exports.remove(&slot) {
            self.actions.push_back(Action::Unexport { slot, to: export.to });
        }
        if self.owned.remove(slot) {
            match owner {
                Some(to) => self.actions.push_back(Action::Gone { slot, to }),
                None => self.actions.push_back(Action::Drop { slot }),
            }
        }
    }

    fn forget(&mut self, slot: u16) {
        if self.incoming.remove(&slot).is_some() {
            self.actions.push_back(Action::Drop { slot });
        }
    }

    /// Ends an export of a slot that we go on serving.
    fn unexport(&mut self, slot: u16) {
        let Some(export) = self.exports.remove(&slot) else { return };
        if matches!(export.state, Out::Frozen(_)) {
            self.actions.push_back(Action::Serve { slot, fresh: false });
        }
        self.actions.push_back(Action::Unexport { slot, to: export.to });
        if self.connected.contains(&export.to) {
            self.actions.push_back(Action::Send { to: export.to, message: Transfer::Stop { slot } });
        }
    }

    /// Begins as many exports as may be under way.
    fn start(&mut self) {
        for (to, waiting) in &mut self.waiting {
            if !self.connected.contains(to) {
                continue;
            }
            let mut under_way = self.exports.values().filter(|e| e.to == *to).count();
            while under_way < IN_FLIGHT
                && !self.wedged
                && let Some(slot) = waiting.pop_front()
            {
                under_way += 1;
                self.next_id += 1;
                let copy = self.next_id;
                self.exports.insert(slot, Export { to: *to, copy, state: Out::Syncing });
                self.actions.push_back(Action::Send { to: *to, message: Transfer::Begin { slot } });
                self.actions.push_back(Action::Export { slot, to: *to, copy });
            }
        }
        // What waited for the wedge to go.
        let synced: Vec<u16> =
            self.exports.iter().filter(|(_, e)| e.state == Out::Synced).map(|(slot, _)| *slot).collect();
        synced.into_iter().for_each(|slot| self.freeze(slot));
    }

    fn freeze(&mut self, slot: u16) {
        let Some(export) = self.exports.get_mut(&slot) else { return };
        if export.state == Out::Synced && !self.wedged && self.connected.contains(&export.to) {
            self.next_id += 1;
            export.state = Out::Frozen(self.next_id);
            self.actions.push_back(Action::Freeze { slot, id: self.next_id });
        }
    }

    /// A stream to `peer` stands, with nothing in it yet. Offers that have no answer are made again.
    pub fn on_connected(&mut self, peer: NodeId) {
        self.connected.insert(peer);
        for (slot, export) in &self.exports {
            if let Export { to, state: Out::Sent(id), .. } = *export
                && to == peer
            {
                let message = Transfer::Take { slot: *slot, epoch: self.epoch, id };
                self.actions.push_back(Action::Send { to, message });
            }
        }
        self.start();
    }

    /// The stream to `peer` is gone, and with it what was on the way.
    pub fn on_disconnected(&mut self, peer: NodeId) {
        self.connected.remove(&peer);
        let lost: Vec<u16> = self
            .exports
            .iter()
            .filter(|(_, e)| e.to == peer && !matches!(e.state, Out::Sent(_)))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in lost {
            self.unexport(slot);
            self.waiting.entry(peer).or_default().push_front(slot);
        }
    }

    /// The stream from `peer` is gone: its slots come anew.
    pub fn on_source_lost(&mut self, peer: NodeId) {
        let lost: Vec<u16> =
            self.incoming.iter().filter(|(_, from)| **from == peer).map(|(s, _)| *s).collect();
        lost.into_iter().for_each(|slot| self.forget(slot));
    }

    /// Nearly all of the slot was sent.
    pub fn on_synced(&mut self, slot: u16, copy: u64) {
        if let Some(export) = self.exports.get_mut(&slot)
            && export.copy == copy
            && export.state == Out::Syncing
        {
            export.state = Out::Synced;
            self.freeze(slot);
        }
    }

    /// Nothing more is executed on the slot, and all of it is in the stream.
    pub fn on_frozen(&mut self, slot: u16, id: u64) {
        let Some(export) = self.exports.get_mut(&slot) else { return };
        if export.state != Out::Frozen(id) {
            return;
        }
        self.next_id += 1;
        export.state = Out::Sent(self.next_id);
        let message = Transfer::Take { slot, epoch: self.epoch, id: self.next_id };
        self.actions.push_back(Action::Send { to: export.to, message });
        if mutant::off(Mutant::ServeWhileSent) {
            self.actions.push_back(Action::Serve { slot, fresh: false });
        }
    }

    /// The driver could not send a slot (the stream overflowed, the slot grew too fast): it begins anew later.
    pub fn on_export_failed(&mut self, slot: u16, copy: u64) {
        let failed = self.exports.get(&slot).filter(|e| e.copy == copy && !matches!(e.state, Out::Sent(_)));
        if let Some(Export { to, .. }) = failed.copied() {
            self.unexport(slot);
            self.waiting.entry(to).or_default().push_back(slot);
        }
    }

    /// The other end of a stream says something; everything before it in the stream was dealt with.
    pub fn on_transfer(&mut self, view: &View, me: NodeId, from: NodeId, message: Transfer) {
        match message {
            Transfer::Begin { slot } => {
                self.forget(slot);
                if slot < SLOTS && !self.owned.has(slot) {
                    self.incoming.insert(slot, from);
                }
            }
            Transfer::Stop { slot } => {
                if self.incoming.get(&slot) == Some(&from) {
                    self.forget(slot);
                }
            }
            Transfer::Take { slot, epoch, id } => self.on_take(view, me, from, (slot, epoch, id)),
            Transfer::Taken { slot, id } => self.on_taken(slot, id, from),
            Transfer::Refused { slot, id, ready } => self.on_refused(slot, id, from, ready),
        }
    }

    fn on_take(&mut self, view: &View, me: NodeId, from: NodeId, (slot, epoch, id): (u16, u64, u64)) {
        let answer = |message| Action::Send { to: from, message };
        let any_epoch = mutant::off(Mutant::NoEpochInTake);
        if epoch < self.epoch && !any_epoch {
            // The view in force says who has the slot; the owner will get it. An answer might contradict it.
            return;
        }
        if self.taken.get(&slot) == Some(&(from, id)) {
            self.actions.push_back(answer(Transfer::Taken { slot, id }));
            return;
        }
        let refused = self.refused.get(&(slot, from)).is_some_and(|last| id <= *last);
        let agreed = (epoch == self.epoch || any_epoch)
            && view.owner(slot).is_some_and(|m| m.id == from)
            && view.target(slot).is_some_and(|m| m.id == me);
        let complete = self.incoming.get(&slot) == Some(&from) || mutant::off(Mutant::TakeIncomplete);
        if refused || self.wedged || !agreed || !complete || self.owned.has(slot) {
            let last = self.refused.entry((slot, from)).or_default();
            *last = id.max(*last);
            self.actions.push_back(answer(Transfer::Refused { slot, id, ready: complete }));
            return;
        }
        self.incoming.remove(&slot);
        self.owned.insert(slot);
        self.taken.insert(slot, (from, id));
        self.actions.push_back(Action::Serve { slot, fresh: false });
        self.actions.push_back(answer(Transfer::Taken { slot, id }));
    }

    /// Whether this is the offer that waits for an answer.
    fn offered(&self, slot: u16, id: u64, to: NodeId) -> bool {
        self.exports.get(&slot).is_some_and(|e| e.to == to && e.state == Out::Sent(id))
    }

    fn on_taken(&mut self, slot: u16, id: u64, from: NodeId) {
        if !self.offered(slot, id, from) {
            return;
        }
        self.exports.remove(&slot);
        self.owned.remove(slot);
        self.moved += 1;
        self.actions.push_back(Action::Unexport { slot, to: from });
        self.actions.push_back(Action::Gone { slot, to: from });
        self.start();
    }

    fn on_refused(&mut self, slot: u16, id: u64, from: NodeId, ready: bool) {
        // Who has promised has said that it does not serve the slot, and may not begin to before the next view.
        let early = self.wedged && !mutant::off(Mutant::ServeRefusedWedged);
        if !self.offered(slot, id, from) || early {
            return;
        }
        self.exports.entry(slot).and_modify(|export| export.state = Out::Synced);
        self.actions.push_back(Action::Serve { slot, fresh: false });
        if !ready {
            self.unexport(slot);
            self.waiting.entry(from).or_default().push_back(slot);
        }
    }

    /// Tries again what was refused or had to wait. To be called now and then.
    pub fn retry(&mut self) {
        if !self.wedged {
            self.start();
        }
    }

    /// We are nobody any more: nothing is ours, all that is kept must go.
    pub fn end(&mut self) {
        let next_id = self.next_id;
        let actions = std::mem::take(&mut self.actions);
        *self = Self { next_id, actions, ..Self::default() };
    }
}
