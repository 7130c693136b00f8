//! Who comes where in a large sorted set: a counted B+-tree over (score, member).
//!
//! Items are a score and a *number*; the member that a number stands for lies in the table of the sorted set
//! ([`Large`](super::large::Large)) and is asked for only where scores are equal. Every inner node knows how many items
//! are below each child, so rank, select and counting a range cost O(log n), like insertion and removal.
//!
//! Members remember the leaf of their item, so that an item gets another number without a search.
//!
//! An inner node also keeps a copy of the first item below each child. These copies are exact at all times: a
//! removed member is never compared with. Nodes that become small are merged with a neighbour when both
//! fit into three quarters of one; they are never refilled from a fuller one, which keeps the code short and costs
//! some density after many removals. Rejected: a skip list (a pointer per step, no cache line shared) and a flat list of
//! blocks (moving its index costs O(n) now and then).

use std::ops::Range;

use slab::Slab;
use smallvec::SmallVec;

use super::node::{CAP, Child, Inner, Item, Leaf, NONE};

/// Below this a node looks for a neighbour to merge with.
const SMALL: usize = CAP / 4;
/// The most that a merge may put into one node; room is left so that the next insertion does not split it.
const MERGED: usize = CAP - CAP / 4;
/// What a slab and the allocator add to a node.
const SLOT: usize = 32;

/// What numbers stand for.
pub(super) trait Members {
    /// The member with this number.
    fn member(&self, id: u32) -> &[u8];
    /// The leaf that holds the item of this number, as it was noted last.
    fn leaf(&self, id: u32) -> u32;
    /// Notes it.
    fn note_leaf(&mut self, id: u32, leaf: u32);
}

/// Whether `item` comes before (`score`, `member`) or is it.
#[inline]
fn up_to(item: Item, score: f64, member: &[u8], members: &impl Members) -> bool {
    item.0 < score || item.0 == score && members.member(item.1) <= member
}

/// The way from the root to a leaf: inner nodes, and the child that was taken in each.
type Path = SmallVec<[(u32, usize); 6]>;

/// The sequence. The root is a leaf while `height` is 0, otherwise an inner node.
#[derive(Debug, Clone)]
pub(super) struct Order {
    leaves: Slab<Box<Leaf>>,
    inners: Slab<Box<Inner>>,
    root: u32,
    height: usize,
    len: usize,
}

impl Order {
    pub(super) fn new() -> Self {
        let mut leaves = Slab::new();
        let root = leaves.insert(Box::new(Leaf::new())) as u32;
        Self { leaves, inners: Slab::new(), root, height: 0, len: 0 }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of heap memory held. O(1).
    pub(super) fn memory(&self) -> usize {
        self.leaves.len() * (size_of::<Leaf>() + SLOT) + self.inners.len() * (size_of::<Inner>() + SLOT)
    }

    fn leaf(&self, id: u32) -> &Leaf {
        &self.leaves[id as usize]
    }

    fn leaf_mut(&mut self, id: u32) -> &mut Leaf {
        &mut self.leaves[id as usize]
    }

    fn inner(&self, id: u32) -> &Inner {
        &self.inners[id as usize]
    }

    fn inner_mut(&mut self, id: u32) -> &mut Inner {
        &mut self.inners[id as usize]
    }

    /// How many items satisfy `before`, which must hold for a first part of them: the rank at which a
    /// range begins or ends.
    pub(super) fn partition(&self, before: impl Fn(Item) -> bool) -> usize {
        let (mut node, mut rank) = (self.root, 0);
        for _ in 0..self.height {
            let inner = self.inner(node);
            let at = inner.child_for(&before);
            rank += inner.count_before(at);
            node = inner.children[at];
        }
        rank + self.leaf(node).partition(before)
    }

    /// The rank of an item that is there.
    pub(super) fn rank(&self, score: f64, member: &[u8], members: &impl Members) -> usize {
        self.partition(|item| up_to(item, score, member, members)) - 1
    }

    /// The leaf that holds the item of this rank, and the place in it.
    fn select(&self, mut rank: usize) -> (u32, usize) {
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = self.inner(node);
            let (at, rest) = inner.child_at(rank);
            (node, rank) = (inner.children[at], rest);
        }
        (node, rank)
    }

    /// The numbers of the item of this rank and of another one beside it.
    pub(super) fn near(&self, rank: usize) -> (u32, u32) {
        let (leaf, at) = self.select(rank);
        let node = self.leaf(leaf);
        let beside = if at + 1 < node.len { at + 1 } else { at.saturating_sub(1) };
        (node.ids[at], node.ids[beside])
    }

    /// Names the addresses that [`renumber`](Self::renumber) will read in this leaf.
    pub(super) fn lead_renumber(&self, leaf: u32, ask: impl Fn(usize)) {
        let Some(node) = self.leaves.get(leaf as usize) else { return };
        ask(std::ptr::from_ref(&node.len).addr());
        node.ids.chunks(16).for_each(|line| ask(line.as_ptr().addr()));
    }

    /// The leaf where the items up to (`score`, `member`) end, the way there, and how many of the leaf's are among them.
    fn descend(&self, score: f64, member: &[u8], members: &impl Members) -> (Path, u32, usize) {
        let before = |item| up_to(item, score, member, members);
        let mut path = Path::new();
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = self.inner(node);
            let at = inner.child_for(before);
            path.push((node, at));
            node = inner.children[at];
        }
        (path, node, self.leaf(node).partition(before))
    }

    /// Adds an item that is not there.
    pub(super) fn insert(&mut self, score: f64, id: u32, members: &mut impl Members) {
        let place = self.descend(score, members.member(id), members);
        self.insert_at(place, (score, id), members);
    }

    /// The same for an item that is most likely behind all others: such a one is spared the search.
    pub(super) fn append(&mut self, score: f64, id: u32, members: &mut impl Members) {
        let place = self.end();
        let node = self.leaf(place.1);
        let last = node.len.checked_sub(1).map(|at| node.item(at));
        if last.is_none_or(|last| up_to(last, score, members.member(id), members)) {
            self.insert_at(place, (score, id), members);
        } else {
            self.insert(score, id, members);
        }
    }

    /// The last leaf, the way there, and how many items it has.
    fn end(&self) -> (Path, u32, usize) {
        let mut path = Path::new();
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = self.inner(node);
            path.push((node, inner.len - 1));
            node = inner.children[inner.len - 1];
        }
        (path, node, self.leaf(node).len)
    }

    /// Adds an item at a place in a leaf.
    fn insert_at(&mut self, (path, leaf, at): (Path, u32, usize), item: Item, members: &mut impl Members) {
        self.len += 1;
        members.note_leaf(item.1, leaf);
        let node = self.leaf_mut(leaf);
        if node.len < CAP {
            node.insert(at, item);
            let first = node.item(0);
            self.grown(&path, first);
        } else {
            let right = self.split_leaf(leaf, at, item);
            self.note(right, members);
            self.split_upwards(&path, right);
        }
    }

    /// One more item lies below every step of the path, and `first` is the first of the leaf.
    fn grown(&mut self, path: &Path, mut first: Item) {
        for &(node, at) in path.iter().rev() {
            let inner = self.inner_mut(node);
            inner.counts[at] += 1;
            inner.set_first(at, first);
            first = inner.first();
        }
    }

    /// Splits a full leaf and inserts `item` at `at`; the new right leaf. Runs that arrive in order (either way) leave
    /// full leaves behind.
    fn split_leaf(&mut self, leaf: u32, at: usize, item: Item) -> u32 {
        let node = self.leaf_mut(leaf);
        let cut = match at {
            CAP if node.next == NONE => CAP,
            0 if node.prev == NONE => 0,
            _ => CAP / 2,
        };
        let mut right = node.split_off(cut);
        let into_left = at < cut || cut == 0;
        if into_left {
            node.insert(at, item);
        } else {
            right.insert(at - cut, item);
        }
        (right.prev, right.next) = (leaf, node.next);
        let after = right.next;
        let id = self.leaves.insert(Box::new(right)) as u32;
        self.leaf_mut(leaf).next = id;
        if after != NONE {
            self.leaf_mut(after).prev = id;
        }
        id
    }

    /// Has the members of a leaf's items remember it.
    fn note(&self, leaf: u32, members: &mut impl Members) {
        let node = self.leaf(leaf);
        node.ids[..node.len].iter().for_each(|id| members.note_leaf(*id, leaf));
    }

    /// After the node below the path was split: brings the path up to date and adds the new right
    /// node, splitting on the way up what is full.
    fn split_upwards(&mut self, path: &Path, right: u32) {
        let mut split = Some(right);
        for (above, &(node, at)) in path.iter().enumerate().rev() {
            let height = self.height - 1 - above;
            self.refresh(node, at, height);
            let Some(right) = split else { continue };
            let child = self.child(right, height);
            split = self.insert_child(node, at + 1, child);
        }
        if let Some(right) = split {
            let mut root = Inner::new();
            root.insert(0, self.child(self.root, self.height));
            root.insert(1, self.child(right, self.height));
            self.root = self.inners.insert(Box::new(root)) as u32;
            self.height += 1;
        }
    }

    /// Adds a child to an inner node; the new right node if it had to be split.
    fn insert_child(&mut self, node: u32, at: usize, child: Child) -> Option<u32> {
        let inner = self.inner_mut(node);
        if inner.len < CAP {
            inner.insert(at, child);
            return None;
        }
        // As with leaves, appending leaves full nodes behind.
        let cut = if at == CAP { CAP } else { CAP / 2 };
        let mut right = inner.split_off(cut);
        if at < cut {
            inner.insert(at, child);
        } else {
            right.insert(at - cut, child);
        }
        Some(self.inners.insert(Box::new(right)) as u32)
    }

    /// What a parent keeps about a node that is `height` steps above the leaves.
    fn child(&self, node: u32, height: usize) -> Child {
        let count = if height == 0 { self.leaf(node).len as u32 } else { self.inner(node).count() };
        Child { first: self.first(node, height), node, count }
    }

    /// The first item below a node that is `height` steps above the leaves.
    fn first(&self, node: u32, height: usize) -> Item {
        if height == 0 { self.leaf(node).item(0) } else { self.inner(node).first() }
    }

    /// Reads anew what `node` keeps about its child `at`, which is `height` steps above the leaves.
    fn refresh(&mut self, node: u32, at: usize, height: usize) {
        let child = self.child(self.inner(node).children[at], height);
        let inner = self.inner_mut(node);
        inner.set_first(at, child.first);
        inner.counts[at] = child.count;
    }

    /// Removes an item that is there.
    pub(super) fn remove(&mut self, score: f64, id: u32, members: &mut impl Members) {
        let (path, leaf, end) = self.descend(score, members.member(id), members);
        debug_assert_eq!(self.leaf(leaf).ids[end - 1], id, "the item is where its key says");
        self.remove_at(&path, (leaf, end - 1), members);
    }

    /// Removes and returns the item of this rank.
    pub(super) fn remove_rank(&mut self, mut rank: usize, members: &mut impl Members) -> Item {
        let mut path = Path::new();
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = self.inner(node);
            let (at, rest) = inner.child_at(rank);
            path.push((node, at));
            (node, rank) = (inner.children[at], rest);
        }
        let item = self.leaf(node).item(rank);
        self.remove_at(&path, (node, rank), members);
        item
    }

    fn remove_at(&mut self, path: &Path, (leaf, at): (u32, usize), members: &mut impl Members) {
        self.leaf_mut(leaf).remove(at);
        self.len -= 1;
        for (above, &(node, at)) in path.iter().enumerate().rev() {
            let height = self.height - 1 - above;
            self.shrunk(node, at, height, members);
        }
        while self.height > 0 && self.inner(self.root).len <= 1 {
            let root = self.inners.remove(self.root as usize);
            self.height -= 1;
            if root.len == 0 {
                *self = Self::new();
                return;
            }
            self.root = root.children[0];
        }
    }

    /// One item fewer lies below child `at` of `node`: drops the child if it is empty, merges it if it is small.
    fn shrunk(&mut self, node: u32, at: usize, height: usize, members: &mut impl Members) {
        let child = self.inner(node).children[at];
        let len = self.node_len(child, height);
        if len == 0 {
            if height == 0 {
                self.unlink_leaf(child);
            } else {
                self.inners.remove(child as usize);
            }
            self.inner_mut(node).remove(at);
            return;
        }
        let first = self.first(child, height);
        let inner = self.inner_mut(node);
        inner.set_first(at, first);
        inner.counts[at] -= 1;
        if len < SMALL {
            let with_next = at + 1 < self.inner(node).len && self.merge(node, at, height, members);
            if !with_next && at > 0 {
                self.merge(node, at - 1, height, members);
            }
        }
    }

    fn node_len(&self, node: u32, height: usize) -> usize {
        if height == 0 { self.leaf(node).len } else { self.inner(node).len }
    }

    /// Merges children `at` and `at + 1` of `node` if they fit into one; whether they did.
    fn merge(&mut self, node: u32, at: usize, height: usize, members: &mut impl Members) -> bool {
        let inner = self.inner(node);
        let (left, right) = (inner.children[at], inner.children[at + 1]);
        if self.node_len(left, height) + self.node_len(right, height) > MERGED {
            return false;
        }
        if height == 0 {
            let right = self.unlink_leaf(right);
            right.ids[..right.len].iter().for_each(|id| members.note_leaf(*id, left));
            self.leaf_mut(left).append(&right);
        } else {
            let right = self.inners.remove(right as usize);
            self.inner_mut(left).append(&right);
        }
        let inner = self.inner_mut(node);
        inner.counts[at] += inner.counts[at + 1];
        inner.remove(at + 1);
        true
    }

    /// Takes a leaf out of the chain of leaves.
    fn unlink_leaf(&mut self, id: u32) -> Box<Leaf> {
        let leaf = self.leaves.remove(id as usize);
        if leaf.prev != NONE {
            self.leaf_mut(leaf.prev).next = leaf.next;
        }
        if leaf.next != NONE {
            self.leaf_mut(leaf.next).prev = leaf.prev;
        }
        leaf
    }

    /// Changes the score of an item that is there. A change that does not move it costs one descent.
    pub(super) fn update(&mut self, old: f64, new: f64, id: u32, members: &mut impl Members) {
        let member = members.member(id);
        let (path, leaf, end) = self.descend(old, member, members);
        let at = end - 1;
        let node = self.leaf(leaf);
        // At the edge of a leaf the neighbour is elsewhere: taking the long way there is rare enough.
        let after_previous = at > 0 && up_to(node.item(at - 1), new, member, members);
        let before_next = end < node.len && !up_to(node.item(end), new, member, members);
        if after_previous && before_next {
            self.leaf_mut(leaf).scores[at] = new;
        } else {
            self.remove_at(&path, (leaf, at), members);
            self.insert(new, id, members);
        }
    }

    /// Gives the item of number `from`, which is there, the number `to`; its member must still be found by `from`.
    pub(super) fn renumber(&mut self, score: f64, from: u32, to: u32, members: &impl Members) {
        let leaf = members.leaf(from);
        let node = self.leaf(leaf);
        let at = node.ids[..node.len].iter().position(|id| *id == from).expect("it is in its leaf");
        let path = match at {
            // Inner nodes may have copies of it.
            0 if self.height > 0 => self.descend(score, members.member(from), members).0,
            _ => Path::new(),
        };
        self.leaf_mut(leaf).ids[at] = to;
        for (node, at) in path {
            let copy = &mut self.inner_mut(node).ids[at];
            if *copy == from {
                *copy = to;
            }
        }
    }

    /// The items of these ranks, ascending or descending.
    pub(super) fn iter(&self, ranks: Range<usize>, descending: bool) -> Iter<'_> {
        let left = ranks.len();
        let (leaf, at) = match (left, descending) {
            (0, _) => (self.root, 0),
            (_, false) => self.select(ranks.start),
            (_, true) => self.select(ranks.end - 1),
        };
        let node = (left > 0).then(|| self.leaf(leaf));
        Iter { order: self, node, at, left, descending }
    }

    /// Checks what every operation keeps: order, exact copies and counts, links.
    #[cfg(test)]
    pub(super) fn check(&self, members: &impl Members) {
        let mut leaves = Vec::new();
        let (_, count) = self.check_node(self.root, self.height, &mut leaves, members);
        assert_eq!(count, self.len);
        assert_eq!(leaves.len(), self.leaves.len());
        for (i, leaf) in leaves.iter().enumerate() {
            assert_eq!(self.leaf(*leaf).prev, if i == 0 { NONE } else { leaves[i - 1] });
            assert_eq!(self.leaf(*leaf).next, leaves.get(i + 1).copied().unwrap_or(NONE));
        }
        let items: Vec<Item> = self.iter(0..self.len, false).collect();
        assert!(items.is_sorted_by(|a, b| !up_to(*b, a.0, members.member(a.1), members)));
    }

    #[cfg(test)]
    fn check_node(
        &self,
        node: u32,
        height: usize,
        leaves: &mut Vec<u32>,
        members: &impl Members,
    ) -> (Option<Item>, usize) {
        if height == 0 {
            leaves.push(node);
            let leaf = self.leaf(node);
            assert!(leaf.len > 0 || self.height == 0);
            leaf.ids[..leaf.len].iter().for_each(|id| assert_eq!(members.leaf(*id), node));
            return ((leaf.len > 0).then(|| leaf.item(0)), leaf.len);
        }
        let inner = self.inner(node);
        assert!(inner.len > 0);
        for at in 0..inner.len {
            let (first, count) = self.check_node(inner.children[at], height - 1, leaves, members);
            assert_eq!(first, Some((inner.scores[at], inner.ids[at])));
            assert_eq!(count, inner.counts[at] as usize);
        }
        (Some((inner.scores[0], inner.ids[0])), inner.count() as usize)
    }
}

/// Walks along the leaves.
#[derive(Debug)]
pub(super) struct Iter<'a> {
    order: &'a Order,
    node: Option<&'a Leaf>,
    at: usize,
    left: usize,
    descending: bool,
}

impl Iterator for Iter<'_> {
    type Item = Item;

    #[inline]
    fn next(&mut self) -> Option<Item> {
        if self.left == 0 {
            return None;
        }
        let node = self.node?;
        let item = node.item(self.at);
        self.left -= 1;
        if self.left == 0 {
            return Some(item);
        }
        if self.descending {
            if self.at == 0 {
                let previous = self.order.leaf(node.prev);
                self.node = Some(previous);
                self.at = previous.len;
            }
            self.at -= 1;
        } else {
            self.at += 1;
            if self.at == node.len {
                self.node = Some(self.order.leaf(node.next));
                self.at = 0;
            }
        }
        Some(item)
    }
}
