//! What a member's core wants done with slots.

use super::message::Transfer;
use crate::view::NodeId;

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
    /// Send what the slot holds to `to`, then every change of it; say [`Handoff::on_synced`](super::handoff::Handoff::on_synced) when little is left.
    Export {
        /// Which.
        slot: u16,
        /// The target or copy.
        to: NodeId,
        /// Names this copy: what is said of an earlier one counts no more.
        copy: u64,
        /// It shall stay, and is synced only when nothing is missing there.
        lasting: bool,
        /// Answers shall wait until `to` has applied what they tell, from before the word that it is synced, which is to be
        /// said when everything that was answered before is applied.
        guard: bool,
    },
    /// All that the slot holds is at `to`: send every change from now on. `guard` as above.
    Follow {
        /// Which.
        slot: u16,
        /// The copy.
        to: NodeId,
        /// Whether answers wait.
        guard: bool,
    },
    /// Execute nothing more on the slot, at once, until told to serve it or that it is gone; say [`Handoff::on_frozen`](super::handoff::Handoff::on_frozen)
    /// when all of it is in the stream.
    Freeze {
        /// Which.
        slot: u16,
        /// Into whose stream what is left goes.
        to: NodeId,
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
    /// Stop sending the slot: the export is off. Serving goes on if it did. Answers that wait for it go on waiting for its
    /// stream, but not if that is broken.
    Unexport {
        /// Which.
        slot: u16,
        /// The target or copy.
        to: NodeId,
    },
    /// The slot is at `to` now: say so to clients, drop what is here.
    Gone {
        /// Which.
        slot: u16,
        /// Where it is.
        to: NodeId,
        /// What is here stays: it is a copy. Unless the slot was emptied here alone ([`is_emptied_alone`](super::is_emptied_alone)), which is to be said
        /// by [`Handoff::on_emptied_alone`](super::handoff::Handoff::on_emptied_alone).
        keep: bool,
    },
    /// Put into effect what comes of the slot from this peer, and from nobody else.
    Allow {
        /// Which.
        slot: u16,
        /// The other end.
        from: NodeId,
    },
    /// Drop what came of a slot that we do not own.
    Drop {
        /// Which.
        slot: u16,
    },
}
