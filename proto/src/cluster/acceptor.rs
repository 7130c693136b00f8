//! The voter's half of agreeing on the next view: Paxos for one decision, that of the epoch after the view in force.
//!
//! Nothing is written to disk: a process that restarts is another member and never votes for its past.
//! Source: Lamport, "Paxos Made Simple" (2001); views by reports as in Vertical Paxos (MSR-TR-2009-63).

use crate::view::{NodeId, View};

use super::message::Ballot;
use super::mutant::{self, Mutant};

/// What this process has promised and accepted for the next view. New with each view.
#[derive(Debug, Default, Clone, Hash)]
pub(super) struct Acceptor {
    promised: Option<Ballot>,
    accepted: Option<(Ballot, View)>,
    suspects: Vec<NodeId>,
}

impl Acceptor {
    /// Asked to promise.
    ///
    /// # Errors
    /// What was promised to another. Nothing has changed then.
    pub(super) fn prepare(
        &mut self,
        ballot: Ballot,
        suspects: &[NodeId],
    ) -> Result<Option<(Ballot, View)>, Ballot> {
        match self.promised {
            Some(promised) if promised > ballot => Err(promised),
            _ => {
                self.promised = Some(ballot);
                // An earlier attempt may be finished with what it collected: its suspects stay suspects.
                self.suspects
                    .extend(suspects.iter().filter(|id| !self.suspects.contains(id)).collect::<Vec<_>>());
                Ok(self.accepted.clone())
            }
        }
    }

    /// Asked to accept.
    ///
    /// # Errors
    /// What was promised to another. Nothing has changed then.
    pub(super) fn accept(&mut self, ballot: Ballot, view: View) -> Result<(), Ballot> {
        match self.promised {
            Some(promised) if promised > ballot && !mutant::off(Mutant::AcceptBelowPromise) => Err(promised),
            _ => {
                self.promised = Some(ballot);
                self.accepted = Some((ballot, view));
                Ok(())
            }
        }
    }

    /// Whether somebody is making the next view: no slot may change hands until it is there.
    pub(super) fn wedged(&self) -> bool {
        self.promised.is_some()
    }

    /// Whether leases may be granted to `id`. Not to suspects; and to nobody once a view was accepted: if it is
    /// chosen, a majority has accepted, and no lease of the old view can be had from then on.
    pub(super) fn grants(&self, id: NodeId) -> bool {
        (self.accepted.is_none() || mutant::off(Mutant::GrantAfterAccept))
            && (!self.suspects.contains(&id) || mutant::off(Mutant::GrantToSuspects))
    }

    /// The highest ballot seen.
    pub(super) fn promised(&self) -> Option<Ballot> {
        self.promised
    }
}
