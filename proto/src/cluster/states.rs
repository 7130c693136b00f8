//! What one member knows of a slot on its way: the parts of [`super::handoff`]'s state.

use std::collections::{BTreeMap, BTreeSet};

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

/// Slots that are being handed over. How many to each peer is asked with every step of each, so it is counted.
#[derive(Debug, Default, Clone, Hash)]
pub(super) struct Hands {
    slots: BTreeMap<u16, Hand>,
    counts: BTreeMap<NodeId, usize>,
}

impl Hands {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, Hand)> + '_ {
        self.slots.iter().map(|(slot, hand)| (*slot, *hand))
    }

    pub(super) fn get(&self, slot: u16) -> Option<Hand> {
        self.slots.get(&slot).copied()
    }

    /// How many go to this peer.
    pub(super) fn count(&self, to: NodeId) -> usize {
        self.counts.get(&to).copied().unwrap_or(0)
    }

    /// Begins one, or says how far it is.
    pub(super) fn set(&mut self, slot: u16, hand: Hand) {
        self.remove(slot);
        self.slots.insert(slot, hand);
        *self.counts.entry(hand.to).or_default() += 1;
    }

    pub(super) fn remove(&mut self, slot: u16) -> Option<Hand> {
        let hand = self.slots.remove(&slot)?;
        if let Some(count) = self.counts.get_mut(&hand.to) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&hand.to);
            }
        }
        Some(hand)
    }
}

/// Slots that are being copied, by peer.
#[derive(Debug, Default, Clone, Hash)]
pub(super) struct Syncing(BTreeMap<NodeId, BTreeSet<u16>>);

impl Syncing {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many to this peer.
    pub(super) fn count(&self, to: NodeId) -> usize {
        self.0.get(&to).map_or(0, BTreeSet::len)
    }

    pub(super) fn insert(&mut self, to: NodeId, slot: u16) {
        self.0.entry(to).or_default().insert(slot);
    }

    pub(super) fn remove(&mut self, to: NodeId, slot: u16) {
        if let Some(slots) = self.0.get_mut(&to) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.0.remove(&to);
            }
        }
    }
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
