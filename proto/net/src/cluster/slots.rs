//! What the cluster asks of whoever keeps the data, and what it wants to be told.

use std::sync::Arc;
use std::time::Duration;

use shoal_proto::cluster::{Action, Readable, Transfer};
use shoal_proto::view::{Member, NodeId, View};
use tokio::net::TcpStream;

/// The data plane as the cluster sees it. All but [`accept`](Self::accept) are called on the control thread, in the order
/// in which they must take effect, and must have taken effect when they return; none may block for longer than a
/// shard's lock is held.
pub trait Slots: Send + Sync + 'static {
    /// A view is in force.
    fn install(&self, view: &Arc<View>, me: NodeId);

    /// These things are to be done with slots, in order. What there is to be told of that at once is returned: of a slot that is frozen and
    /// has nothing left to be sent, [`SlotEvent::Frozen`]; of one that is gone, [`SlotEvent::EmptiedAlone`].
    fn act(&self, actions: Vec<Action>) -> Vec<SlotEvent>;

    /// Copies of these slots may be read here from now on, under the lease.
    fn readable(&self, readable: &Readable);

    /// Until when this node may serve, in time of [`crate::control::uptime`].
    fn lease(&self, until: Duration);

    /// Streams to these members are to stand: [`SlotEvent::Connected`] when one does.
    fn peers(&self, peers: Vec<Member>);

    /// A member's stream came in. [`SlotEvent::SourceLost`] must have been told, and answered, of the one before.
    fn accept(&self, from: NodeId, stream: TcpStream, rest: Vec<u8>);
}

/// What the data plane tells the cluster.
#[derive(Debug, Clone)]
pub enum SlotEvent {
    /// Nearly all of a slot is in the stream.
    Synced {
        /// Which.
        slot: u16,
        /// Of [`Action::Export`].
        copy: u64,
    },
    /// All of a frozen slot is in the stream.
    Frozen {
        /// Which.
        slot: u16,
        /// Of [`Action::Freeze`].
        id: u64,
    },
    /// What is kept of a slot that is gone is no copy: it was emptied here alone.
    EmptiedAlone(u16),
    /// There is no memory for more of a slot that comes in from this member. If the slot was given up, [`Action::Drop`] was carried out when
    /// this has been dealt with; if not, the stream has to end.
    NoRoom {
        /// Which.
        slot: u16,
        /// Whose stream.
        from: NodeId,
    },
    /// A stream to this member stands, nothing is in it.
    Connected(NodeId),
    /// It broke; what is put into it is lost from now on.
    Disconnected(NodeId),
    /// A stream from this member broke.
    SourceLost(NodeId),
    /// The other end of a stream says this; all data before it was dealt with.
    Transfer {
        /// Who.
        from: NodeId,
        /// What.
        message: Transfer,
    },
}
