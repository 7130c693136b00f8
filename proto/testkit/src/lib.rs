//! What Shoal's tests share: text scripts, a small blocking RESP client, real processes on free ports.
//!
//! Only tests use this crate. It shares no code with what it tests: replies are read by a parser of
//! its own, so that a mistake in the product's reply code cannot hide itself.

pub mod client;
pub mod frame;
pub mod process;
pub mod script;
pub mod target;

pub use client::Client;
pub use frame::Frame;
pub use target::{Target, Tcp};
