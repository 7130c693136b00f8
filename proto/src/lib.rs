//! What every Shoal process agrees on: RESP, the command table, hash slots, members and views.
//!
//! This crate is pure. It never opens a socket, reads a clock, spawns a thread or keeps a global that
//! changes: bytes, `now` and seeds are parameters, so everything here can be tested and simulated exactly.

pub mod bus;
pub mod cluster;
pub mod command;
pub mod error;
pub mod glob;
pub mod long_double;
pub mod member;
pub mod number;
pub mod resp;
pub mod session;
pub mod slot;
pub mod version;
pub mod view;

pub use error::Error;
