//! Offers of slots and what is answered to them: how a slot changes hands.

use super::super::states::Hand;
use super::{Action, Export, Handoff, Incoming, Mutant, Offer, Out, Transfer, mutant};
use crate::view::{NodeId, View};

impl Handoff {
    /// A slot is offered to us.
    pub(super) fn on_take(
        &mut self,
        view: &View,
        me: NodeId,
        from: NodeId,
        (slot, epoch, id): (u16, u64, u64),
    ) {
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
        let complete = self.incoming.get(&slot).is_some_and(|i| i.from == from && i.live)
            || mutant::off(Mutant::TakeIncomplete);
        // The former owner has to follow from the first change on.
        let alone = self.copies && !self.streams.contains_key(&from) && !mutant::off(Mutant::TakeAlone);
        if refused || self.wedged || !agreed || !complete || self.owned.has(slot) || alone {
            let last = self.refused.entry((slot, from)).or_default();
            *last = id.max(*last);
            self.actions.push_back(answer(Transfer::Refused { slot, id, ready: complete }));
            return;
        }
        self.incoming.remove(&slot);
        self.owned.insert(slot);
        self.taken.insert(slot, (from, id));
        if let Some(stream) = self.streams.get(&from).copied().filter(|_| self.copies) {
            self.next_id += 1;
            let (copy, guard) = (self.next_id, self.guard);
            let export = Export { copy, stream, lasting: true, guard, state: Out::Synced };
            self.add_export(slot, from, export);
            self.unlisted.insert((slot, from));
            self.actions.push_back(answer(Transfer::Follow { slot, id, stream }));
            self.actions.push_back(Action::Follow { slot, to: from, guard });
        }
        self.actions.push_back(Action::Serve { slot, fresh: false });
        if !self.copies {
            self.actions.push_back(answer(Transfer::Taken { slot, id }));
        }
    }

    /// Whether this is the offer that waits for an answer.
    fn offered(&self, slot: u16, id: u64, to: NodeId) -> bool {
        self.hands.get(slot) == Some(Hand { to, state: Offer::Sent(id) })
    }

    /// A slot that we offered is the other's now.
    pub(super) fn on_taken(&mut self, slot: u16, id: u64, from: NodeId) {
        if !self.offered(slot, id, from) {
            return;
        }
        self.hands.remove(slot);
        self.owned.remove(slot);
        self.targets.remove(&slot);
        self.room.found(slot, from);
        self.moved += 1;
        if self.copies {
            self.handed.insert(slot, (from, id));
        }
        self.actions.push_back(Action::Gone { slot, to: from, keep: self.copies });
        self.end_exports(slot);
        self.start();
        self.hand_over();
    }

    /// As [`on_taken`](Self::on_taken), and what changes comes back to us.
    pub(super) fn on_follow(&mut self, slot: u16, id: u64, from: NodeId, stream: u64) {
        self.on_taken(slot, id, from);
        if self.handed.get(&slot) == Some(&(from, id)) {
            self.incoming.insert(slot, Incoming { from, stream, complete: true, live: true });
            self.actions.push_back(Action::Allow { slot, from });
        } else {
            // A view came before, which does not count us as its copy.
            self.say_missing(slot, stream, from);
        }
    }

    /// What we keep of a slot that we handed over is no copy of it: it was emptied here, and perhaps not by whoever has it. That one hears
    /// that we lack it, or says itself that it cannot reach us. If we have promised that we keep it, it may be all that there is in the next view.
    pub fn on_emptied_alone(&mut self, slot: u16) {
        if !self.handed.contains_key(&slot) {
            // It comes anew.
        } else if self.wedged {
            self.alone.insert(slot);
        } else {
            self.handed.remove(&slot);
            self.kept.remove(slot);
            self.reading.remove(slot);
            if let Some(Incoming { from, stream, .. }) = self.incoming.remove(&slot) {
                self.say_missing(slot, stream, from);
            }
            self.actions.push_back(Action::Drop { slot });
        }
    }

    pub(super) fn say_missing(&mut self, slot: u16, stream: u64, to: NodeId) {
        self.actions.push_back(Action::Send { to, message: Transfer::Missing { slot, stream } });
    }

    /// The other end did not take a slot that we offered.
    pub(super) fn on_refused(&mut self, slot: u16, id: u64, from: NodeId, ready: bool) {
        // Who has promised has said that it does not serve the slot, and may not begin to before the next view.
        let early = self.wedged && !mutant::off(Mutant::ServeRefusedWedged);
        if !self.offered(slot, id, from) || early {
            return;
        }
        self.thaw(slot);
        match self.exports.get(&(slot, from)).copied() {
            Some(export) if ready && export.state == Out::Synced => {
                self.ready.entry(from).or_default().insert(slot);
            }
            Some(export) if export.lasting => self.breaks(slot, from),
            Some(_) | None => {
                self.unexport(slot, from);
                self.enqueue(slot, from);
            }
        }
    }
}
