//! What nodes say to each other about views, leases and slots.
//!
//! All are one-way; an answer is another message. Delivery may lose, double or reorder any but [`Transfer`], whose
//! stream keeps its order until it breaks. The driver names the sender.

use serde::{Deserialize, Serialize};

use crate::view::{NodeId, Ranges, View};

/// Rank of a proposal; higher ones win. The proposer makes it its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ballot {
    /// Counts attempts; one more than any that the proposer has seen for this epoch.
    pub round: u64,
    /// Who proposes.
    pub proposer: NodeId,
}

/// What a member keeps of the slots when it promises. It holds until the next view, because a member that has
/// promised takes over nothing and hands over nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Report {
    /// Slots it is the owner of.
    pub owned: Ranges,
    /// Slots that it offered to their target and has no answer for, or handed over in this view and still has as they
    /// were then, or newer.
    pub sent: Ranges,
    /// Of slots it owns: who has a copy to which answers wait, by the streams that the copies came over.
    pub claims: Vec<Copied>,
    /// Slots of others of which it has such a copy.
    pub holds: Vec<Copied>,
}

/// Slots that were copied whole over one stream. A copy is in sync if both ends say so of the same stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Copied {
    /// The other end.
    pub peer: NodeId,
    /// The stream's number at the owner.
    pub stream: u64,
    /// Which.
    pub slots: Ranges,
}

/// A message between members, or to those who want to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Promise me to accept nothing older for view `epoch`, wedge, and grant no more leases to the suspects.
    Prepare {
        /// The view to be made.
        epoch: u64,
        /// Of this attempt.
        ballot: Ballot,
        /// Who shall not be in it though they may be alive.
        suspects: Vec<NodeId>,
    },
    /// Granted.
    Promise {
        /// The view to be made.
        epoch: u64,
        /// Of the attempt.
        ballot: Ballot,
        /// What was accepted before; it must be proposed again.
        accepted: Option<(Ballot, Box<View>)>,
        /// What is kept.
        report: Report,
        /// How long, in ms, the leases may still run that this voter granted to the suspects; longest first asked.
        lease_left: u32,
    },
    /// A later attempt was promised already.
    Nack {
        /// The view to be made.
        epoch: u64,
        /// What was promised.
        promised: Ballot,
    },
    /// Accept this view unless you promised otherwise.
    Accept {
        /// Of the attempt.
        ballot: Ballot,
        /// Its epoch is the one to be made.
        view: Box<View>,
    },
    /// Done.
    Accepted {
        /// The view's epoch.
        epoch: u64,
        /// Of the attempt.
        ballot: Ballot,
    },
    /// This view is chosen.
    Commit {
        /// To be installed if it is newer.
        view: Box<View>,
    },
    /// The sender has not got the view that your message speaks of: send it.
    Behind {
        /// The sender's epoch.
        epoch: u64,
    },
    /// Are you there? Asked before a member is excluded that gossip holds for dead.
    LastCall,
    /// Yes.
    Present,
    /// May I serve for a while?
    LeaseAsk {
        /// The asker's view.
        epoch: u64,
        /// Names the asker's round: never used again by it.
        round: u64,
    },
    /// You may, counted from when you asked.
    LeaseGrant {
        /// The view of both.
        epoch: u64,
        /// As asked.
        round: u64,
    },
    /// How far the sender's slots have come; to the one that leads.
    Progress {
        /// The sender's view.
        epoch: u64,
        /// Slots that it handed over in this view.
        moved: u16,
        /// Slots that it has yet to hand over.
        left: u16,
        /// Whether it is copying slots.
        copying: bool,
        /// Copies that are in sync, which the view does not know.
        copied: u16,
        /// Whether a copy is gone that the view holds to be in sync, so that writes wait in vain.
        broken: bool,
    },
}

impl Message {
    /// How many kinds there are. New ones come at the end, and a process that does not know them must do without.
    pub const KINDS: u32 = 12;

    /// The epoch of the view that its sender has, if the message tells.
    pub(super) fn epoch_in_force(&self) -> Option<u64> {
        match self {
            Self::LeaseAsk { epoch, .. } | Self::LeaseGrant { epoch, .. } | Self::Progress { epoch, .. } => {
                Some(*epoch)
            }
            Self::Prepare { epoch, .. }
            | Self::Promise { epoch, .. }
            | Self::Nack { epoch, .. }
            | Self::Accepted { epoch, .. } => epoch.checked_sub(1),
            Self::Accept { view, .. } => view.epoch.checked_sub(1),
            Self::Commit { view } => Some(view.epoch),
            Self::Behind { epoch } => Some(*epoch),
            Self::LastCall | Self::Present => None,
        }
    }
}

impl Transfer {
    /// How many kinds there are. New ones come at the end, and are not said to a peer of an older version.
    pub const KINDS: u32 = 8;
}

/// What the two ends of a stream of slots say to each other, in order with the data between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transfer {
    /// Data of this slot follows; forget what came of it before.
    Begin {
        /// Which.
        slot: u16,
        /// The owner's view.
        epoch: u64,
        /// The number of this stream, never used again by this owner.
        stream: u64,
    },
    /// All of the slot was sent and applied, and from now on answers wait for this copy: it is in sync.
    Complete {
        /// Which.
        slot: u16,
        /// As in [`Begin`](Self::Begin).
        stream: u64,
    },
    /// There is no such copy here: it was not begun, is gone, or there was no room for more of it.
    Missing {
        /// Which.
        slot: u16,
        /// Of the stream.
        stream: u64,
    },
    /// The target has taken the slot, and what changes follows on this stream: the former owner is its copy from now on,
    /// in sync.
    Follow {
        /// Which.
        slot: u16,
        /// Of the offer.
        id: u64,
        /// The number of this stream.
        stream: u64,
    },
    /// All data of the slot has been sent: take it over.
    Take {
        /// Which.
        slot: u16,
        /// The owner's view; it must be the target's, too.
        epoch: u64,
        /// Names the offer: never used again.
        id: u64,
    },
    /// The target is the owner now.
    Taken {
        /// Which.
        slot: u16,
        /// Of the offer.
        id: u64,
    },
    /// The target never takes this offer.
    Refused {
        /// Which.
        slot: u16,
        /// Of the offer.
        id: u64,
        /// Whether it still has all of the data, so that another offer may follow at once.
        ready: bool,
    },
    /// The owner will not hand over this slot now; forget it.
    Stop {
        /// Which.
        slot: u16,
    },
}
