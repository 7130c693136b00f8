//! From whom the data of each slot may come in, and who empties slots that were its own.
//!
//! One peer at most may send a slot. What it sends is put into effect while the slot is not served here; once it is, nothing is, not even a
//! record that was read before: the driver asks for each record, and holds this still while it is put into effect.

use std::collections::BTreeMap;

use super::mutant::{self, Mutant};
use crate::view::{NodeId, View};

/// What to do with a record of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Put it into effect.
    Take,
    /// The slot was taken over since its sender offered it: if it says that the slot was emptied, empty it.
    Taken,
    /// It was sent before the sender heard that the slot goes elsewhere.
    Skip,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Intake {
    allowed: BTreeMap<u16, NodeId>,
    /// Slots that were taken over, and from whom. That may have been in an earlier view, and the slot may have gone on since: what it
    /// had told us before it knew may come late.
    taken: BTreeMap<u16, NodeId>,
}

impl Intake {
    /// A stream from this peer begins: nothing may come by it yet.
    pub fn on_stream(&mut self, from: NodeId) {
        self.allowed.retain(|_, peer| *peer != from);
    }

    /// The slot may come from this peer, and from nobody else.
    pub fn allow(&mut self, slot: u16, from: NodeId) {
        if self.taken.get(&slot) == Some(&from) {
            // It has the slot again, and all that it said before has come.
            self.taken.remove(&slot);
        }
        self.allowed.insert(slot, from);
    }

    /// The slot comes from nobody any more: it is served here, or what came of it is worth nothing.
    pub fn refuse(&mut self, slot: u16) {
        if !mutant::off(Mutant::TakeInServed) {
            self.allowed.remove(&slot);
        }
    }

    /// The slot was taken over from this peer.
    pub fn on_taken(&mut self, slot: u16, from: NodeId) {
        self.taken.insert(slot, from);
    }

    /// A view is in force. Whoever is not in it sends us nothing.
    pub fn on_view(&mut self, view: &View) {
        let member = |id: NodeId| view.place(id).is_some();
        if !mutant::off(Mutant::TakeInServed) {
            self.allowed.retain(|_, from| member(*from));
        }
        self.taken.retain(|_, from| member(*from) && !mutant::off(Mutant::ForgetGiver));
    }

    /// What becomes of a record of `slot` that came from this peer.
    pub fn fate(&self, slot: u16, from: NodeId) -> Fate {
        if self.allowed.get(&slot) == Some(&from) {
            Fate::Take
        } else if self.taken.get(&slot) == Some(&from) {
            Fate::Taken
        } else {
            Fate::Skip
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Member, View};

    fn id(n: u64) -> NodeId {
        NodeId { node: n, boot: 1 }
    }

    fn view(members: &[u64], owners: &[u16]) -> View {
        let member = |n: &u64| Member::sample(id(*n));
        View::new(1, 2, members.iter().map(member).collect(), owners)
    }

    #[test]
    fn one_peer_sends_a_slot_until_it_is_served_or_a_new_stream_begins() {
        let mut intake = Intake::default();
        let fates = |intake: &Intake| [1, 2].map(|n| intake.fate(3, id(n)));
        assert_eq!(fates(&intake), [Fate::Skip; 2]);
        intake.allow(3, id(1));
        assert_eq!(fates(&intake), [Fate::Take, Fate::Skip]);
        intake.allow(3, id(2));
        assert_eq!(fates(&intake), [Fate::Skip, Fate::Take]);
        intake.on_stream(id(1));
        assert_eq!(fates(&intake), [Fate::Skip, Fate::Take]);
        intake.on_stream(id(2));
        assert_eq!(fates(&intake), [Fate::Skip; 2]);
        intake.allow(3, id(2));
        intake.on_taken(3, id(2));
        intake.refuse(3);
        assert_eq!(fates(&intake), [Fate::Skip, Fate::Taken]);
        intake.allow(3, id(2));
        intake.refuse(3);
        assert_eq!(fates(&intake), [Fate::Skip; 2], "it has had the slot since, and knows who has it now");
    }

    #[test]
    fn a_view_ends_what_comes_from_whom_it_leaves_out() {
        let mut intake = Intake::default();
        for (slot, from) in [(0, 1), (1, 2), (2, 3)] {
            intake.allow(slot, id(from));
            intake.on_taken(slot + 3, id(from));
        }
        intake.on_view(&view(&[1, 2, 9], &[0, 1, 2, 2, 1, 2]));
        let fates =
            [(0, 1), (1, 2), (2, 3), (3, 1), (4, 2), (5, 3)].map(|(slot, n)| intake.fate(slot, id(n)));
        // The slot may have gone on since; whoever had it would have to know.
        assert_eq!(fates, [Fate::Take, Fate::Take, Fate::Skip, Fate::Taken, Fate::Taken, Fate::Skip]);
    }
}
