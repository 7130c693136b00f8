//! A load generator and checker for any Redis-compatible endpoint.
//!
//! The path of a request: [`arrivals`] (or a free connection) says when, [`requests`] draws which command and key
//! and encodes it straight into the output buffer of a [`connection`], [`reply`] finds where its answer ends, and
//! [`tally`] keeps what it cost. [`generator`] is the loop of one thread that does all this; [`run`] starts the
//! threads and watches the server's processes. Keys, sizes and times are drawn by pure code from a seed, so the
//! same seed makes the same requests.

pub mod answer;
pub mod arrivals;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod connection;
pub mod error;
pub mod generator;
pub mod input;
pub mod key_text;
pub mod keys;
pub mod limits;
pub mod line;
pub mod patience;
pub mod procfs;
pub mod random;
pub mod replay;
pub mod reply;
pub mod report;
pub mod requests;
pub mod rounds;
pub mod run;
pub mod scenario;
pub mod series;
pub mod sizes;
pub mod standing;
pub mod tally;
pub mod target;
pub mod template;
pub mod tls;
pub mod trace;
pub mod transport;
pub mod ttl;
pub mod verify;
pub mod watch;
pub mod workload;
pub mod zipf;

pub use error::Error;
