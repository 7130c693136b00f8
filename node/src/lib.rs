//! A Shoal cache node: store, commands and the loops that serve them.
//!
//! [`store`] keeps keys, [`value`] the data types, [`command`] the handlers on
//! keys, [`admin`] those on the server itself, [`server`] the sockets.

mod admin;
pub mod command;
pub mod config;
pub mod flags;
pub mod handoff;
mod heap;
pub mod launch;
pub mod memory_limit;
mod metrics;
mod same;
pub mod server;
mod stats;
pub mod store;
pub mod value;
