//! The view: who is in the cluster and which node owns which slot, installed whole and versioned by epoch.
//!
//! Nodes decide by it what they serve, routers where they send. Whoever holds a view with a higher epoch is
//! right. How a view comes about is the business of [`crate::cluster`].

pub(crate) mod copies;
mod placement;
pub mod redis;

use serde::{Deserialize, Serialize};

use crate::slot::SLOTS;
use crate::version::growing;
pub use copies::{Copies, MAX_REPLICAS};

/// One run of a node process: a restart is a new member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId {
    /// Hash of the node's name, stable over restarts.
    pub node: u64,
    /// Grows with every start of the node: milliseconds since 1970 or one more than the last boot known.
    pub boot: u64,
}

impl NodeId {
    /// The node that [`hex`](Self::hex) was written for; `None` for anything else.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let number = |range| u64::from_str_radix(text.get(range)?, 16).ok();
        let id = Self { node: number(0..16)?, boot: number(16..32)? };
        (id.hex() == text).then_some(id)
    }

    /// The 40 hexadecimal digits by which Redis Cluster clients know a node.
    pub fn hex(self) -> String {
        format!("{:016x}{:016x}{:08x}", self.node, self.boot, self.node as u32 ^ self.boot as u32)
    }
}

/// A node as views describe it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
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
    /// How slots shall be copied.
    pub replication: Replication,
}

#[cfg(test)]
impl Member {
    /// One as any other, for tests.
    pub(crate) fn sample(id: NodeId) -> Self {
        Self {
            id,
            name: format!("n{}", id.node),
            host: "host".to_owned(),
            resp_port: 7000,
            gossip_port: 17000,
            weight: 100,
            zone: String::new(),
            replication: Replication::default(),
        }
    }
}

/// What a member was told about copies of slots. The view has of its members' wishes the strictest: see
/// [`View::replication`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Replication {
    /// Copies of each slot besides the owner's, at most [`MAX_REPLICAS`].
    pub replicas: u8,
    /// Whether answers wait until the copies in sync have what they tell.
    pub ack_all: bool,
}

impl Default for Replication {
    /// No copies; if others want some, answers wait for them.
    fn default() -> Self {
        Self { replicas: 0, ack_all: true }
    }
}

/// Members and slot table of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
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
    /// Where slots shall go within this view, as `runs` are; nowhere: the owner keeps them.
    targets: Vec<(u16, u16)>,
    /// Epochs in which slots were made anew, empty, because their data was lost; runs like the others.
    born: Vec<(u16, u64)>,
    /// Who has copies of slots, or is to get them; runs like the others. Slots behind the last run have none.
    copies: Vec<(u16, Copies)>,
    /// Members that want to go and get no slots, in order of age.
    pub leaving: Vec<NodeId>,
}

growing!(Member);
growing!(View);

/// No member: where slots have no owner, or no target.
pub const NOBODY: u16 = u16::MAX;

/// Most members of a view: beyond this the table gives some nodes too few slots to be of use.
pub const MAX_MEMBERS: usize = 1024;

/// Longest name, host or zone in bytes: the longest DNS name.
pub const MAX_NAME: usize = 253;

/// Which slots a node owns: inclusive ranges in ascending order.
pub type Ranges = Vec<(u16, u16)>;

impl View {
    /// The view of a process that knows of no cluster yet: epoch 0, nobody owns anything.
    pub fn empty() -> Self {
        Self::new(0, 0, Vec::new(), &[])
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

    /// The table by which `members` would share the slots, given who has them now: for each slot a place in
    /// `members`, which are in order of age. Sticky and contiguous, see `placement.rs`.
    pub fn shares(&self, members: &[Member]) -> Vec<u16> {
        placement::place(Some(self), members)
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
        if !is_table(&self.runs) {
            return Err("the slot table is not in order");
        }
        if !is_table(&self.targets) || !is_table(&self.born) || !is_table(&self.copies) {
            return Err("the slot table is not in order");
        }
        let stranger =
            |(_, place): &(u16, u16)| *place != NOBODY && usize::from(*place) >= self.members.len();
        let copies = self.copies.iter().flat_map(|(slot, copies)| copies.iter().map(|(at, _)| (*slot, at)));
        if self.runs.iter().chain(&self.targets).any(stranger) || copies.into_iter().any(|c| stranger(&c)) {
            return Err("a slot belongs to nobody in the view");
        }
        if self.leaving.iter().any(|id| self.place(*id).is_none()) {
            return Err("someone leaves who is not in the view");
        }
        Ok(())
    }

    /// A view from an explicit table: for each slot the owner's place in `members`. Nothing is to move, and all
    /// slots are new.
    pub fn new(cluster: u64, epoch: u64, members: Vec<Member>, owners: &[u16]) -> Self {
        let runs = runs_of(owners);
        let (targets, born, copies, leaving) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { cluster, epoch, members, runs, targets, born, copies, leaving }
            .born_at(&vec![epoch; owners.len()])
    }

    /// With these targets, a place in `members` or [`NOBODY`] for each slot.
    pub fn with_targets(mut self, targets: &[u16]) -> Self {
        self.targets = if targets.iter().all(|t| *t == NOBODY) { Vec::new() } else { runs_of(targets) };
        self
    }

    /// With these copies of each slot.
    #[must_use]
    pub fn with_copies(mut self, copies: &[Copies]) -> Self {
        self.copies = if copies.iter().all(Copies::is_empty) { Vec::new() } else { runs_of(copies) };
        self
    }

    /// With these epochs in which slots were made anew.
    pub fn born_at(mut self, born: &[u64]) -> Self {
        self.born = runs_of(born);
        self
    }

    /// The same but for the slot table: what one member knows of slots that changed hands within the view.
    #[must_use]
    pub fn with_owners(&self, owners: &[u16]) -> Self {
        Self { runs: runs_of(owners), ..self.clone() }
    }

    /// The same view so many epochs later, also for the slots that were made anew in it.
    #[must_use]
    pub fn later(mut self, epochs: u64) -> Self {
        let now = self.epoch;
        self.epoch += epochs;
        self.born.iter_mut().filter(|(_, born)| *born == now).for_each(|(_, born)| *born += epochs);
        self
    }

    /// How many slots the table has: all there are. Simulations make do with a first table that is shorter, and
    /// those made from it are as long.
    pub fn slots(&self) -> u16 {
        self.runs.last().map_or(SLOTS, |(last, _)| last.saturating_add(1))
    }

    /// The owner's place in `members` for each slot; [`NOBODY`] where there is none.
    pub fn owners(&self) -> Vec<u16> {
        let known = |owner: u16| if usize::from(owner) < self.members.len() { owner } else { NOBODY };
        spread(&self.runs, NOBODY, self.slots()).into_iter().map(known).collect()
    }

    /// The target's place in `members` for each slot that is to move; else [`NOBODY`].
    pub fn targets(&self) -> Vec<u16> {
        spread(&self.targets, NOBODY, self.slots())
    }

    /// For each slot the epoch in which it was made anew.
    pub fn births(&self) -> Vec<u64> {
        spread(&self.born, 0, self.slots())
    }

    /// Who has copies of each slot, or is to get them.
    pub fn all_copies(&self) -> Vec<Copies> {
        spread(&self.copies, Copies::default(), self.slots())
    }

    /// Who has copies of `slot`, or is to get them.
    pub fn copies(&self, slot: u16) -> Copies {
        value_at(&self.copies, slot).unwrap_or_default()
    }

    /// Whether any slot has copies, or is to get them.
    pub fn has_copies(&self) -> bool {
        !self.copies.is_empty()
    }

    /// How slots are copied while this view is in force: the most copies that a member wants, and answers wait for them
    /// if one of those who want copies wants that. So a cluster whose flags change one by one is strict at once and
    /// becomes lax with the last.
    pub fn replication(&self) -> Replication {
        let wishes = || self.members.iter().map(|m| m.replication).filter(|wish| wish.replicas > 0);
        let replicas = wishes().map(|wish| wish.replicas).max().unwrap_or(0).min(MAX_REPLICAS);
        Replication { replicas, ack_all: wishes().any(|wish| wish.ack_all) }
    }

    /// The epoch in which `slot` was last made anew, empty, because its data was lost; 0 if there never was such a
    /// slot. A write that was sent in an older epoch has no effect that anybody could see.
    pub fn born(&self, slot: u16) -> u64 {
        value_at(&self.born, slot).unwrap_or(0)
    }

    /// Where `slot` shall go in this view.
    pub fn target(&self, slot: u16) -> Option<&Member> {
        self.members.get(usize::from(value_at(&self.targets, slot)?))
    }

    /// Whether any slot is to move in this view.
    pub fn moves(&self) -> bool {
        !self.targets.is_empty()
    }

    /// The owner of `slot`. O(log runs): keep [`owners`](Self::owners) for hot paths.
    pub fn owner(&self, slot: u16) -> Option<&Member> {
        self.members.get(usize::from(value_at(&self.runs, slot)?))
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

/// Whether runs are in order and within the slots.
fn is_table<T>(runs: &[(u16, T)]) -> bool {
    runs.is_sorted_by(|(a, _), (b, _)| a < b) && runs.last().is_none_or(|(last, _)| *last < SLOTS)
}

/// Runs of equal values: the last slot of each, and the value.
fn runs_of<T: Copy + PartialEq>(values: &[T]) -> Vec<(u16, T)> {
    let mut runs: Vec<(u16, T)> = Vec::new();
    for (slot, value) in values.iter().enumerate().take(usize::from(SLOTS)) {
        match runs.last_mut() {
            Some((last, v)) if v == value => *last = slot as u16,
            _ => runs.push((slot as u16, *value)),
        }
    }
    runs
}

/// The value of each slot; `rest` behind the last run.
fn spread<T: Copy>(runs: &[(u16, T)], rest: T, slots: u16) -> Vec<T> {
    let mut values = Vec::with_capacity(usize::from(slots));
    for (last, value) in runs {
        values.resize(usize::from(*last) + 1, *value);
    }
    values.resize(usize::from(slots), rest);
    values
}

/// The value of one slot. O(log runs).
fn value_at<T: Copy>(runs: &[(u16, T)], slot: u16) -> Option<T> {
    runs.get(runs.partition_point(|(last, _)| *last < slot)).map(|(_, value)| *value)
}
