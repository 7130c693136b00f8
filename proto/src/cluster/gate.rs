//! Gates of slots, and what they mean for emptying a database where slots move.
//!
//! Who empties what a node serves is answered when nobody can bring back what was there. A slot that is held may be its
//! target's already: it is emptied here, the target is told to, behind the offer in the stream, and the answer waits for that.
//! While the target cannot be told, nobody knows who has the slot, and with what in it: then nothing is emptied before that is
//! decided. Who took a slot empties it for its former owner, and does the same with whom it hands the slot to. If its stream breaks before
//! it has done so, the former owner has emptied the slot alone: what is left there is no copy of it.

use super::mutant::{self, Mutant};

/// What may be done with a slot's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Commands are executed.
    Open,
    /// Commands wait: the slot is about to be taken over by another node. Nothing is evicted, nothing expires.
    Held,
    /// The slot is not served here. What it holds is on its way in or out and invisible to commands; it counts as
    /// memory, and only the owner evicts and expires.
    Away,
}

/// What emptying a slot calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptying {
    /// Nothing: it is not served here.
    Nothing,
    /// It has to wait until it is decided who has the slot.
    Later,
    /// It is done at once. The answer waits for the copies that answers wait for anyway.
    Now,
    /// It is done at once. The answer waits until all who get the slot's changes have put that into effect, and there is none if one of
    /// them cannot be told.
    Followed,
}

impl Gate {
    /// For whoever is asked to empty what is served here. `told`: all who get changes of the slot would hear of it.
    pub fn emptying(self, told: bool) -> Emptying {
        match self {
            Self::Away => Emptying::Nothing,
            Self::Open => Emptying::Now,
            Self::Held if told => Emptying::Followed,
            Self::Held if mutant::off(Mutant::EmptyUntold) => Emptying::Now,
            Self::Held => Emptying::Later,
        }
    }

    /// For a slot that its former owner emptied, after it had offered it here and before it knew that it was taken. `None`: it must
    /// not be told that this was done, because whoever has the slot cannot be told.
    pub fn emptying_taken(self, told: bool) -> Option<Emptying> {
        match self.emptying(told) {
            Emptying::Nothing if mutant::off(Mutant::EmptyHereOnly) => Some(Emptying::Nothing),
            Emptying::Followed | Emptying::Later if mutant::off(Mutant::EmptyHereOnly) => Some(Emptying::Now),
            Emptying::Nothing | Emptying::Later => None,
            now => Some(now),
        }
    }
}

/// Whether the other end of a stream has put everything up to `position` into effect, and its own copies have what they need of that.
/// It has acknowledged `acked`, has said of what is before `pending` that its copies lack something, and of what is before `settled` that they do not any more.
pub fn is_settled(position: u64, acked: u64, pending: u64, settled: u64) -> bool {
    acked >= position && (settled >= position.min(pending) || mutant::off(Mutant::Unsettled))
}

/// Whether a slot was emptied where it was offered and perhaps not where it was taken. `emptied` is the position behind the word of that in
/// the stream to whoever took it, of which `acked` is acknowledged; 0 if there was none.
pub fn is_emptied_alone(emptied: u64, acked: u64) -> bool {
    emptied > acked && !mutant::off(Mutant::FollowEmptied)
}
