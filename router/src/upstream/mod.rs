//! Connections to nodes: one per worker, node, database and RESP version, shared by all clients of the worker.

pub(crate) mod connection;
pub(crate) mod log;

use std::rc::Rc;

use shoal_proto::view::NodeId;
use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};

/// Databases times RESP versions.
pub(crate) const LANES: usize = 2 * shoal_proto::session::DATABASES as usize;

/// No connection.
pub(crate) const NONE: u32 = u32::MAX;

/// Which of a node's connections a client uses.
pub(crate) fn lane(db: u8, resp3: bool) -> u8 {
    db << 1 | u8::from(resp3)
}

/// A node as a worker knows it: its address and the connections to it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) host: Rc<str>,
    pub(crate) port: u16,
    /// Whether the view names it, or another node has since.
    pub(crate) member: bool,
    /// How often a connection to it was opened, and which process answered last, if it says.
    pub(crate) meetings: u32,
    pub(crate) met: Option<NodeId>,
    /// By lane, the connection's place on the worker.
    pub(crate) lanes: [u32; LANES],
}

/// The detour that goes on when a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gate {
    /// The request's number in the connection's log.
    pub(crate) number: u64,
    pub(crate) client: u32,
    pub(crate) generation: u32,
    pub(crate) slot: u16,
}

/// Where a connection stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Nobody needed it so far: it has no task.
    New,
    /// There is no connection; the task is looking after that, or waits until somebody needs it.
    Down,
    /// Open, and the node has agreed to how it is used.
    Ready(Rc<OwnedWriteHalf>),
}

/// One connection to a node.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) node: u32,
    pub(crate) lane: u8,
    pub(crate) log: log::Log,
    pub(crate) state: State,
    /// The process that answers or answered last, if it says which it is.
    pub(crate) process: Option<NodeId>,
    /// It was lost or cannot be opened: whatever is to be sent on it waits for who knows how long.
    pub(crate) stuck: bool,
    /// Somebody wants to know whether that process lives: a reason to connect.
    pub(crate) curious: bool,
    /// Detours that wait until a request of this number is answered.
    pub(crate) gates: Vec<Gate>,
    /// Counts connections, so that what belongs to an earlier one is never taken for this one's.
    pub(crate) generation: u32,
    /// In the list of those with something to write.
    pub(crate) dirty: bool,
    /// The socket takes nothing at the moment.
    pub(crate) blocked: bool,
    /// When the view stopped naming the node, in the worker's ms.
    pub(crate) retired: Option<u32>,
    /// Clients (place, generation) that wait for room.
    pub(crate) waiters: Vec<(u32, u32)>,
    /// Wakes the task.
    pub(crate) wake: Rc<Notify>,
}

impl Upstream {
    pub(crate) fn new(node: u32, lane: u8) -> Self {
        Self {
            node,
            lane,
            log: log::Log::default(),
            process: None,
            stuck: false,
            curious: false,
            gates: Vec::new(),
            state: State::New,
            generation: 0,
            dirty: false,
            blocked: false,
            retired: None,
            waiters: Vec::new(),
            wake: Rc::new(Notify::new()),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }
}
