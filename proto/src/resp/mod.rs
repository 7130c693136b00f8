//! RESP on the wire: scanning requests, measuring and writing replies.
//!
//! Requests are always flat arrays (or inline commands), so [`request`] is a small resumable scanner that
//! enforces its limits before anything is buffered. Replies are nested; [`reply`] writes them and
//! [`frame`] finds where one ends without decoding it.

pub mod annex;
pub mod frame;
pub mod inline;
pub mod reply;
pub mod request;

pub use annex::Annex;
pub use reply::{Protocol, Reply};
pub use request::{Args, Limits, ProtocolError, Request, Scanner, Span};
