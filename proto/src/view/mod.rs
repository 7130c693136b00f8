//! The view: who is in the cluster and which node owns which slot, installed whole and versioned by epoch.
//!
//! Nodes decide by it what they serve, routers where they send. Whoever holds a view with a higher epoch is
//! right. How a view comes about (today: the oldest member computes and pushes it) is not this module's business.

pub mod lead;
mod placement;
pub mod redis;

use serde::{Deserialize, Serialize};

use crate::slot::SLOTS;

/// One run of a node process: a restart is a new member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId {
    /// Hash of the node's name, stable over restarts.
    pub node: u64,
    /// Grows with every start of the node: milliseconds since 1970 or one more than the last boot known.
    pub boot: u64,
}

impl NodeId {
    /// The 40 hexadecimal digits by which Redis Cluster clients know a node.
    pub fn hex(self) -> String {
        format!("{:016x}{:016x}{:08x}", self.node, self.boot, self.node as u32 ^ self.boot as u32)
    }
}

/// A node as views describe it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which process.
    pub id: NodeId,
    /// Name for people; unique in the cluster (the pod's name).
    pub name: String,
    /// Host that clients and peers connect to: an IP address or a DNS name.
    pub host: String,
    /// Port that speaks RESP.
    pub resp_port: u16,
    /// Port of gossip (UDP) and of views (TCP).
    pub gossip_port: u16,
    /// Share of the slots relative to others; 100 is usual.
    pub weight: u16,
    /// Failure domain; empty if unknown.
    pub zone: String,
}

/// Members and slot table of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Drawn once when a cluster is born; views of other clusters are ignored.
    pub cluster: u64,
    /// Counts views; the higher one is in force.
    pub epoch: u64,
    /// Members in order of age (boot, then node).
    pub members: Vec<Member>,
    /// Runs of slots in ascending order: the last slot of the run, and the owner's place in `members`.
    /// Slots behind the last run have no owner.
    runs: Vec<(u16, u16)>,
}

/// Most members of a view: beyond this the table gives some nodes too few slots to be of use.
pub const MAX_MEMBERS: usize = 1024;

/// Longest name, host or zone in bytes: the longest DNS name.
pub const MAX_NAME: usize = 253;

/// Which slots a node owns: inclusive ranges in ascending order.
pub type Ranges = Vec<(u16, u16)>;

impl View {
    /// The view of a process that knows of no cluster yet: epoch 0, nobody owns anything.
    pub fn empty() -> Self {
        Self { cluster: 0, epoch: 0, members: Vec::new(), runs: Vec::new() }
    }

    /// The first view of a new cluster, epoch 1.
    pub fn first(cluster: u64, members: Vec<Member>) -> Self {
        Self { cluster, ..Self::empty() }.next(members)
    }

    /// The view that follows this one when the members are `members`: the next epoch, everyone's share of the
    /// slots by weight, and no slot moved without need.
    pub fn next(&self, mut members: Vec<Member>) -> Self {
        members.sort_by_key(|m| (m.id.boot, m.id.node));
        let owners = placement::place(Some(self), &members);
        Self::new(self.cluster, self.epoch + 1, members, &owners)
    }

    /// Whether a view that came over the wire is one that [`View::new`] could have made.
    ///
    /// # Errors
    /// What is wrong with it; such a view must not be installed.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.members.len() > MAX_MEMBERS {
            return Err("too many members");
        }
        if !self.members.is_sorted_by_key(|m| (m.id.boot, m.id.node)) {
            return Err("members are not in order of age");
        }
        let nodes: std::collections::BTreeSet<u64> = self.members.iter().map(|m| m.id.node).collect();
        if nodes.len() != self.members.len() {
            return Err("a node is listed twice");
        }
        if self.members.iter().any(|m| m.name.len().max(m.host.len()).max(m.zone.len()) > MAX_NAME) {
            return Err("a name is too long");
        }
        if !self.runs.is_sorted_by(|(a, _), (b, _)| a < b) || self.runs.iter().any(|(last, _)| *last >= SLOTS)
        {
            return Err("the slot table is not in order");
        }
        if self.runs.iter().any(|(_, o)| *o != u16::MAX && usize::from(*o) >= self.members.len()) {
            return Err("a slot belongs to nobody in the view");
        }
        Ok(())
    }

    /// Whether this view is to be installed by a process that has `current`, both of one cluster: by epoch, and
    /// between two views of one epoch (two sides of a partition made them) the one with more members, then
    /// the one whose oldest member is older.
    pub fn supersedes(&self, current: &View) -> bool {
        let rank = |v: &View| {
            let oldest = v.members.iter().map(|m| (m.id.boot, m.id.node)).collect::<Vec<_>>();
            (v.epoch, v.members.len(), std::cmp::Reverse(oldest))
        };
        rank(self) > rank(current)
    }

    /// A number that two views of one epoch share only if they are the same, for all practical purposes.
    pub fn fingerprint(&self) -> u64 {
        let members = self.members.iter().flat_map(|m| [m.id.node, m.id.boot]);
        let runs = self.runs.iter().map(|(last, owner)| u64::from(*last) << 16 | u64::from(*owner));
        members.chain(runs).fold(self.cluster ^ self.epoch, |hash, word| {
            let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ (mixed >> 29)
        })
    }

    /// A view from an explicit table: for each slot the owner's place in `members`.
    pub fn new(cluster: u64, epoch: u64, members: Vec<Member>, owners: &[u16]) -> Self {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for (slot, owner) in owners.iter().enumerate().take(usize::from(SLOTS)) {
            match runs.last_mut() {
                Some((last, o)) if o == owner => *last = slot as u16,
                _ => runs.push((slot as u16, *owner)),
            }
        }
        Self { cluster, epoch, members, runs }
    }

    /// The owner's place in `members` for each slot; `u16::MAX` where there is none.
    pub fn owners(&self) -> Vec<u16> {
        let mut owners = Vec::with_capacity(usize::from(SLOTS));
        for (last, owner) in &self.runs {
            let owner = if usize::from(*owner) < self.members.len() { *owner } else { u16::MAX };
            owners.resize(usize::from(*last) + 1, owner);
        }
        owners.resize(usize::from(SLOTS), u16::MAX);
        owners
    }

    /// The owner of `slot`. O(log runs): keep [`owners`](Self::owners) for hot paths.
    pub fn owner(&self, slot: u16) -> Option<&Member> {
        let run = self.runs.partition_point(|(last, _)| *last < slot);
        self.members.get(usize::from(self.runs.get(run)?.1))
    }

    /// The ranges that the member at `place` owns.
    pub fn ranges(&self, place: usize) -> Ranges {
        let mut first = 0;
        let mut ranges = Ranges::new();
        for (last, owner) in &self.runs {
            if usize::from(*owner) == place {
                ranges.push((first, *last));
            }
            first = last + 1;
        }
        ranges
    }

    /// All runs in order: first slot, last slot, owner.
    pub fn runs(&self) -> impl Iterator<Item = (u16, u16, Option<&Member>)> {
        let mut first = 0;
        self.runs.iter().map(move |(last, owner)| {
            let run = (first, *last, self.members.get(usize::from(*owner)));
            first = last + 1;
            run
        })
    }

    /// The place of a member.
    pub fn place(&self, id: NodeId) -> Option<usize> {
        self.members.iter().position(|m| m.id == id)
    }

    /// Whether every slot has an owner.
    pub fn covers_all(&self) -> bool {
        self.runs.iter().all(|(_, o)| usize::from(*o) < self.members.len())
            && self.runs.last().is_some_and(|(last, _)| *last == SLOTS - 1)
    }
}
