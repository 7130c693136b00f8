//! A Shoal cache node: store, commands and the loops that serve them.
//!
//! [`store`] keeps keys, [`value`] the data types, [`command`] the handlers, [`server`] the sockets.

pub mod command;
pub mod store;
pub mod value;
