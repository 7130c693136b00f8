//! The thin I/O glue that the daemons share. Never holds protocol rules: those live in `shoal-proto`.
//!
//! Control plane only: nothing here is on the path of a client's request. [`control`] gives it a thread of its
//! own, so that load on the data plane never delays a gossip answer.

pub mod address;
pub mod admin;
pub mod bus;
pub mod cluster;
pub mod control;
pub mod fatal;
pub mod flags;
pub mod listen;
pub mod open_files;
pub mod shutdown;
pub mod telemetry;
pub mod watch;

pub use address::HostPort;
pub use cluster::{Cluster, ClusterHandle};
pub use control::Control;
pub use open_files::OpenFiles;
pub use shutdown::Shutdown;
pub use watch::ViewWatch;
