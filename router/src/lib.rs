//! The Shoal router: looks like one Redis server and spreads keys over the nodes of a cluster.
//!
//! The path of a request: a client's task reads it ([`client`]), its slot decides the node ([`plan`], [`routing`]),
//! the desk gives it a ticket and appends its original bytes to the node's connection ([`desk`], [`upstream`]), the
//! flusher writes each dirty socket once per turn ([`worker`]), and the reply goes to the ticket and leaves in the
//! client's order. Several replies become one in [`gather`], [`merge`] and [`whole`].
//!
//! The router keeps no data, never decodes values, never waits for one node to answer a client that asked
//! another, and workers never lock anything on that path.

mod admission;
mod client;
mod desk;
#[cfg(feature = "embedded")]
mod embedded;
pub mod flags;
mod gather;
pub mod launch;
mod merge;
mod pace;
mod plan;
mod routing;
mod scan;
mod server;
mod settings;
mod shared;
mod split;
mod stats;
mod upstream;
mod whole;
mod worker;

pub use server::{Router, RouterHandle, Views};
pub use settings::{ClusterView, Settings, WhenDown};
pub use shared::Hook;
pub use stats::METRICS;
