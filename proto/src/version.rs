//! The version of everything that processes of a cluster say to each other: requests, datagrams, streams.
//!
//! A process understands its own version and the ones next to it, so a cluster is updated node by node, one version at a
//! time. That works because messages only grow: see [`bus`](crate::bus).

/// What this process speaks.
pub const VERSION: u32 = 3;

/// The first version of which the rules of growing hold. Nothing older was ever released.
pub const OLDEST: u32 = 3;

/// Whether a process that speaks `own` understands one that speaks `other`.
pub fn understands(own: u32, other: u32) -> bool {
    other >= OLDEST && own.abs_diff(other) <= 1
}
