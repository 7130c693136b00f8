//! A long list: a deque of nodes, Redis's quicklist.
//!
//! Where nodes begin and end is visible to clients (a list becomes a listpack again when one node is left), so
//! elements are put into nodes by Redis's rules: an end node takes elements until it is full; an insertion
//! into a full node goes to the neighbour or splits the node; small neighbours are joined afterwards.

use std::collections::VecDeque;

use super::{End, Fill, iter::Iter, iter::NodeIter, node::Node, shrink_run};
use crate::value::packed::{Elem, Packed, growth};

/// Nodes, none of them empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Quick {
    nodes: VecDeque<Node>,
    /// Elements in all nodes.
    len: usize,
    /// Heap bytes of all nodes.
    memory: usize,
}

/// What an element takes at most beyond its text.
const AROUND: usize = 10;
/// What it takes mostly.
const ELEMENT: usize = 2;
/// The nodes at the ends keep room for this part of the list's bytes, if they may take so many: what they leave empty is little
/// beside the others, and from the ninth on, full ones have it at once.
const SHARES: usize = 8;

/// Where an element is: its node, and its place in the node.
type Place = (usize, usize);

impl Quick {
    /// A list whose first node is `packed`.
    pub(super) fn new(packed: Packed) -> Self {
        let mut quick = Self::default();
        if !packed.is_empty() {
            quick.add_node(0, Node::Packed(packed));
        }
        quick
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Heap bytes, this structure included: it lives in a box.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.nodes.capacity() * size_of::<Node>() + self.memory
    }

    /// The only run, if that is all there is.
    pub(super) fn single(&self) -> Option<&Packed> {
        match self.nodes.front() {
            Some(Node::Packed(packed)) if self.nodes.len() == 1 => Some(packed),
            _ => None,
        }
    }

    /// Takes that run out.
    pub(super) fn take_single(&mut self) -> Packed {
        match self.nodes.pop_front() {
            Some(Node::Packed(packed)) => packed,
            _ => Packed::new(),
        }
    }

    pub(super) fn peek(&self, end: End) -> Option<Elem<'_>> {
        match if end == End::Front { self.nodes.front()? } else { self.nodes.back()? } {
            Node::Packed(packed) => packed.peek(end == End::Front),
            Node::Plain(bytes) => Some(Elem::Bytes(bytes)),
        }
    }

    pub(super) fn push(&mut self, end: End, bytes: &[u8], fill: Fill) {
        let node = if end == End::Front { self.nodes.front_mut() } else { self.nodes.back_mut() };
        if let Some(Node::Packed(packed)) = node
            && fill.admits(packed.byte_len(), packed.len(), bytes.len())
        {
            if packed.room(end == End::Front) >= bytes.len() + AROUND {
                push_run(packed, end, bytes);
                self.len += 1;
                return;
            }
            return self.push_growing(end, bytes, fill);
        }
        self.push_node(end, bytes, fill);
    }

    /// The same in the node at that end, which has too little room.
    #[cold]
    fn push_growing(&mut self, end: End, bytes: &[u8], fill: Fill) {
        let node = if end == End::Front { 0 } else { self.nodes.len() - 1 };
        let share = self.share(end);
        self.change(node, |packed| {
            let (len, bytes_there) = (packed.len() + 1, packed.byte_len());
            let all = bytes_there + bytes.len() + ELEMENT;
            let left = bytes.len() + AROUND + fill.left(all + AROUND, len, (all, len));
            packed.make_room(
                end == End::Front,
                bytes.len() + AROUND,
                left.min(share.max(growth(bytes_there))),
            );
            push_run(packed, end, bytes);
        });
    }

    /// How much room the list's size justifies at an end: its part of the bytes, less what the other end has.
    fn share(&self, end: End) -> usize {
        let other = if end == End::Front { self.nodes.back() } else { self.nodes.front() };
        let room = match other {
            Some(Node::Packed(packed)) if self.nodes.len() > 1 => packed.memory() - packed.byte_len(),
            _ => 0,
        };
        (self.memory / SHARES).saturating_sub(room)
    }

    /// The same in a new node.
    #[cold]
    fn push_node(&mut self, end: End, bytes: &[u8], fill: Fill) {
        let (node, new) = match end {
            End::Front => (0, 0),
            End::Back => (self.nodes.len().saturating_sub(1), self.nodes.len()),
        };
        // The node is full: it will hardly grow again.
        if self.nodes.get(node).is_some_and(|n| !n.is_plain()) {
            self.change(node, Packed::shrink_to_fit);
        }
        let mut added = Node::of(bytes, fill);
        if let Node::Packed(packed) = &mut added {
            // It may become what the one beside it is.
            let sample = match self.nodes.get(node) {
                Some(Node::Packed(full)) => (full.byte_len(), full.len()),
                _ => (packed.byte_len(), 1),
            };
            let room = fill.left(packed.byte_len(), 1, sample).min(self.share(end));
            if room > packed.room(end == End::Front) {
                packed.make_room(end == End::Front, room, 0);
            }
        }
        self.add_node(new, added);
    }

    /// Removes up to `n` elements at one end, whole nodes at once.
    pub(super) fn cut(&mut self, end: End, mut n: usize) {
        while n > 0 && self.len > 0 {
            let node = if end == End::Front { 0 } else { self.nodes.len() - 1 };
            let len = self.nodes[node].len();
            if len > n {
                let share = self.memory / SHARES;
                self.change(node, |packed| {
                    super::take_off_run(packed, end, n);
                    // What is little beside the list will be used by what comes next.
                    if packed.memory() - packed.byte_len() > 2 * share {
                        super::shrink_run(packed);
                    }
                });
                return;
            }
            self.remove_node(node);
            n -= len;
        }
        self.give_back();
    }

    pub(super) fn iter_from(&self, index: usize, backwards: bool) -> Iter<'_> {
        let Some((node, offset)) = self.locate(index) else {
            return Iter::single(NodeIter::Plain(None), backwards);
        };
        let rest = if backwards { self.nodes.range(..node) } else { self.nodes.range(node + 1..) };
        Iter { current: self.nodes[node].iter_at(offset, backwards), rest, backwards }
    }

    /// Where element `index` is; counts whole nodes from the nearer end.
    fn locate(&self, index: usize) -> Option<Place> {
        if index >= self.len {
            return None;
        }
        if index <= self.len / 2 {
            let mut left = index;
            for (i, node) in self.nodes.iter().enumerate() {
                if left < node.len() {
                    return Some((i, left));
                }
                left -= node.len();
            }
        } else {
            let mut left = self.len - index;
            for (i, node) in self.nodes.iter().enumerate().rev() {
                if left <= node.len() {
                    return Some((i, node.len() - left));
                }
                left -= node.len();
            }
        }
        None
    }

    /// Where the first element equal to `wanted` is.
    fn find(&self, wanted: &[u8]) -> Option<Place> {
        let elem = Elem::of(wanted);
        self.nodes.iter().enumerate().find_map(|(i, node)| {
            let offset = Iter::single(node.iter(), false).position(|e| e == elem)?;
            Some((i, offset))
        })
    }

    /// Replaces element `index`, which exists.
    pub(super) fn replace(&mut self, index: usize, bytes: &[u8], fill: Fill) {
        let Some((i, offset)) = self.locate(index) else { return };
        match (self.nodes[i].is_plain(), fill.is_large(bytes.len())) {
            (false, false) => self.change(i, |packed| {
                if let Some(at) = packed.position(offset as i64) {
                    packed.replace(at, bytes);
                }
            }),
            (true, true) => {
                self.remove_node(i);
                self.add_node(i, Node::of(bytes, fill));
            }
            (true, false) => {
                self.insert_at((i, 0), true, bytes, fill);
                self.remove_node(i);
            }
            (false, true) => {
                self.split(i, offset + 1);
                self.add_node(i + 1, Node::of(bytes, fill));
                self.change(i, |packed| super::cut_run(packed, End::Back, 1));
                let emptied = self.nodes[i].len() == 0;
                if emptied {
                    self.remove_node(i);
                }
                self.join_around(if emptied { i } else { i + 1 }, fill);
            }
        }
    }

    /// Inserts beside the first element equal to `pivot`; whether there is one.
    pub(super) fn insert(&mut self, pivot: &[u8], after: bool, bytes: &[u8], fill: Fill) -> bool {
        let Some(place) = self.find(pivot) else { return false };
        self.insert_at(place, after, bytes, fill);
        true
    }

    fn insert_at(&mut self, (i, offset): Place, after: bool, bytes: &[u8], fill: Fill) {
        let node = &self.nodes[i];
        let at_edge = offset == if after { node.len() - 1 } else { 0 };
        let beside = if after { i + 1 } else { i };
        let cut = if after { offset + 1 } else { offset };
        if node.admits(bytes.len(), fill) {
            self.change(i, |packed| {
                let at = packed.position(cut as i64).unwrap_or(packed.end());
                packed.insert(at, bytes);
            });
        } else if at_edge {
            let (neighbour, end) = if after { (i + 1, End::Front) } else { (i.wrapping_sub(1), End::Back) };
            if self.nodes.get(neighbour).is_some_and(|n| n.admits(bytes.len(), fill)) {
                self.change(neighbour, |packed| push_run(packed, end, bytes));
            } else {
                self.add_node(beside, Node::of(bytes, fill));
            }
        } else if fill.is_large(bytes.len()) {
            self.split(i, cut);
            self.add_node(i + 1, Node::of(bytes, fill));
        } else {
            self.split(i, cut);
            // The new element goes to the part without the pivot.
            let (part, end) = if after { (i + 1, End::Front) } else { (i, End::Back) };
            self.change(part, |packed| push_run(packed, end, bytes));
            self.join_around(if after { i } else { i + 1 }, fill);
        }
    }

    /// Removes up to `max` elements equal to `wanted`; how many.
    pub(super) fn remove(&mut self, wanted: &[u8], max: usize, backwards: bool) -> usize {
        let elem = Elem::of(wanted);
        let (mut removed, mut emptied) = (0, false);
        for k in 0..self.nodes.len() {
            if removed == max {
                break;
            }
            let i = if backwards { self.nodes.len() - 1 - k } else { k };
            match &mut self.nodes[i] {
                Node::Packed(_) => {
                    let max = max - removed;
                    removed +=
                        self.change(i, |packed| super::remove_from_run(packed, wanted, max, backwards));
                    emptied |= self.nodes[i].len() == 0;
                }
                Node::Plain(bytes) if Elem::Bytes(bytes) == elem => {
                    // An empty run in its place, until the sweep below.
                    self.memory -= bytes.len();
                    self.len -= 1;
                    self.nodes[i] = Node::Packed(Packed::new());
                    removed += 1;
                    emptied = true;
                }
                Node::Plain(_) => {}
            }
        }
        if emptied {
            self.memory -= self.nodes.iter().filter(|n| n.len() == 0).map(Node::memory).sum::<usize>();
            self.nodes.retain(|node| node.len() > 0);
            self.give_back();
        }
        removed
    }

    /// Changes the run in node `i` and keeps the accounts.
    fn change<R>(&mut self, i: usize, f: impl FnOnce(&mut Packed) -> R) -> R {
        let Node::Packed(packed) = &mut self.nodes[i] else {
            unreachable!("a plain node is replaced, never changed");
        };
        let (len, memory) = (packed.len(), packed.memory());
        let result = f(packed);
        self.len = self.len + packed.len() - len;
        self.memory = self.memory + packed.memory() - memory;
        result
    }

    fn add_node(&mut self, i: usize, node: Node) {
        self.len += node.len();
        self.memory += node.memory();
        self.nodes.insert(i, node);
    }

    fn remove_node(&mut self, i: usize) -> Option<Node> {
        let node = self.nodes.remove(i)?;
        self.len -= node.len();
        self.memory -= node.memory();
        Some(node)
    }

    /// Moves the elements from `offset` on to a new node behind node `i`, if there are any.
    fn split(&mut self, i: usize, offset: usize) {
        let count = self.nodes[i].len() - offset;
        if count == 0 {
            return;
        }
        let tail = self.change(i, |packed| {
            let at = packed.position(offset as i64).unwrap_or(packed.end());
            let tail = packed.split_off(at, count);
            shrink_run(packed);
            tail
        });
        self.add_node(i + 1, Node::Packed(tail));
    }

    /// Joins small nodes near node `center`, as Redis does after a split.
    fn join_around(&mut self, mut center: usize, fill: Fill) {
        if center >= 2 && self.join(center - 2, fill) {
            center -= 1;
        }
        self.join(center + 1, fill);
        if center >= 1 && self.join(center - 1, fill) {
            center -= 1;
        }
        self.join(center, fill);
    }

    /// Joins node `i` and the one behind it, if they may be one node.
    fn join(&mut self, i: usize, fill: Fill) -> bool {
        let fits = match (self.nodes.get(i), self.nodes.get(i + 1)) {
            (Some(a), Some(b)) => a.can_join(b, fill),
            _ => false,
        };
        if fits && let Some(Node::Packed(tail)) = self.remove_node(i + 1) {
            self.change(i, |packed| packed.append(&tail));
        }
        fits
    }

    fn give_back(&mut self) {
        if self.nodes.capacity() > 4 * self.nodes.len() + 16 {
            self.nodes.shrink_to(2 * self.nodes.len());
        }
    }

    /// Panics if the accounts or the nodes are wrong.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(self.nodes.iter().all(|n| n.len() > 0), "an empty node");
        assert_eq!(self.len, self.nodes.iter().map(Node::len).sum::<usize>());
        assert_eq!(self.memory, self.nodes.iter().map(Node::memory).sum::<usize>());
    }

    /// Heap bytes of the nodes alone.
    #[cfg(test)]
    pub(super) fn run_memory(&self) -> usize {
        self.memory
    }

    /// Elements of each node.
    #[cfg(test)]
    pub(super) fn shape(&self) -> Vec<usize> {
        self.nodes.iter().map(Node::len).collect()
    }
}

#[inline]
fn push_run(packed: &mut Packed, end: End, bytes: &[u8]) {
    let at = if end == End::Front { 0 } else { packed.end() };
    packed.insert(at, bytes);
}
