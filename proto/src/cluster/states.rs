//! What one member knows of a slot on its way: the parts of [`super::handoff`]'s state.

use crate::view::NodeId;

/// How far an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Out {
    Syncing,
    /// A target has nearly all, a copy is in sync.
    Synced,
    /// A copy that was in sync and is out of reach.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Export {
    pub(super) copy: u64,
    pub(super) stream: u64,
    /// Whether it shall stay, and not only be handed over.
    pub(super) lasting: bool,
    pub(super) guard: bool,
    pub(super) state: Out,
}

/// A slot that is being handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Hand {
    pub(super) to: NodeId,
    pub(super) state: Offer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Offer {
    Frozen(u64),
    Sent(u64),
}

/// What comes in of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Incoming {
    pub(super) from: NodeId,
    pub(super) stream: u64,
    /// It is a copy in sync, or was one when its stream broke.
    pub(super) complete: bool,
    /// The stream stands.
    pub(super) live: bool,
}

/// What is wanted of a slot at another member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aim {
    pub(super) to: NodeId,
    pub(super) lasting: bool,
    /// The view holds it to be in sync.
    pub(super) listed: bool,
}

/// All pairs of a slot and a peer.
pub(super) fn of_slot(slot: u16) -> std::ops::RangeInclusive<(u16, NodeId)> {
    (slot, NodeId { node: 0, boot: 0 })..=(slot, NodeId { node: u64::MAX, boot: u64::MAX })
}
