//! Who a process is in gossip: small, for it travels twice in every datagram.
//!
//! Names, hosts and zones do not fit; they travel over TCP ([`crate::bus`]).

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::version::growing;
use crate::view::NodeId;

/// What a process does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Owns slots.
    Node,
    /// Sends requests on.
    Router,
}

/// A member as gossip knows it: 27 to 42 bytes.
///
/// `(node, boot)` is the process. `renew` only counts how often gossip took it for dead, and means nothing else:
/// a process that was suspected wrongly and came back has lost no data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Identity {
    /// Hash of the name, [`node_of`].
    pub node: u64,
    /// Start of the process; grows with every restart.
    pub boot: u64,
    /// How often it came back after others held it for down.
    pub renew: u16,
    /// Where it receives gossip.
    pub ip: IpAddr,
    /// UDP port of gossip, TCP port of views.
    pub gossip_port: u16,
    /// Port that speaks RESP.
    pub resp_port: u16,
    /// What it does.
    pub role: Role,
    /// Share of the slots relative to others.
    pub weight: u16,
    /// What it speaks: see [`version`](crate::version).
    pub version: u32,
}

growing!(Identity);

impl Identity {
    /// The process.
    pub fn id(&self) -> NodeId {
        NodeId { node: self.node, boot: self.boot }
    }

    /// Where it receives gossip.
    pub fn gossip_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.gossip_port)
    }
}

impl foca::Identity for Identity {
    type Addr = u64;

    fn renew(&self) -> Option<Self> {
        Some(Self { renew: self.renew.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> u64 {
        self.node
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        (self.boot, self.renew) > (other.boot, other.renew)
    }
}

/// The number of a node's name: FNV-1a with a final mix, so that `node-1` and `node-2` are far apart.
pub fn node_of(name: &str) -> u64 {
    let mut hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
