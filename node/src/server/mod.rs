//! The node's data plane: worker threads, each a single-threaded loop over its clients' sockets.
//!
//! A worker reads what has arrived on a socket, executes every complete request in it and writes the
//! replies with one system call; there is no task and no allocation per command. Workers share the
//! store and nothing else on the hot path. A worker waits for its sockets itself ([`turn`]); tokio accepts connections
//! and drives the timers of those that wait for something else. Membership runs elsewhere and reaches the workers only
//! as an installed [`Ownership`].

mod backlog;
mod brief;
mod changes;
pub mod clock;
mod connection;
mod execute;
mod fence;
mod lease;
mod lookahead;
mod mailbox;
mod output;
mod ownership;
mod readable;
mod shared;
mod turn;
mod turns;
mod upkeep;
mod worker;
mod worker_clock;

pub use changes::Changes;
pub use lease::{Lease, uptime_ms};
pub use ownership::Ownership;
pub use shared::{BusHandler, Shared, Wiring};
pub(crate) use turns::TurnCounts;
pub use worker::{Node, start};
