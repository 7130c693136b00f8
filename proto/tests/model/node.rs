//! One process of the model: the product's core, and as much of a data plane as it needs.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use shoal_proto::cluster::Core;
use shoal_proto::view::{Member, NodeId};

/// How many slots worlds have.
pub(crate) const SLOTS: usize = 2;

/// Whether a slot's commands are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Gate {
    Away,
    Serve,
    Frozen,
}

/// See the module's documentation.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Node {
    pub(crate) core: Core,
    /// Runs and has a place in the cluster, or waits for one.
    pub(crate) alive: bool,
    pub(crate) lease: Duration,
    pub(crate) gates: [Gate; SLOTS],
    /// The last write that each slot has.
    pub(crate) values: [u8; SLOTS],
    /// Copies that have begun: to whom, and their names.
    pub(crate) copies: BTreeMap<u16, (NodeId, u64)>,
    /// Whom gossip holds to be up.
    pub(crate) up: Vec<bool>,
}

impl Node {
    pub(crate) fn new(n: usize, all: usize) -> Self {
        Self {
            core: Core::new(id(n)),
            alive: true,
            lease: Duration::ZERO,
            gates: [Gate::Away; SLOTS],
            values: [0; SLOTS],
            copies: BTreeMap::new(),
            up: vec![true; all],
        }
    }

    pub(crate) fn serves(&self, slot: usize, now: Duration) -> bool {
        self.alive && self.gates[slot] == Gate::Serve && now < self.lease
    }

    pub(crate) fn hash_of(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

pub(crate) fn id(n: usize) -> NodeId {
    NodeId { node: n as u64, boot: 1 + n as u64 }
}

pub(crate) fn number(id: NodeId) -> usize {
    id.node as usize
}

pub(crate) fn member(n: usize) -> Member {
    Member {
        id: id(n),
        name: format!("n{n}"),
        host: String::new(),
        resp_port: 0,
        gossip_port: 0,
        weight: 100,
        zone: String::new(),
        replication: Default::default(),
    }
}
