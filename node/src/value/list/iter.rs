//! Walking a list from any element in either direction.

use std::collections::{VecDeque, vec_deque};

use super::node::Node;
use crate::value::packed::{self, Elem};

/// The elements of one node, or of a whole packed list.
#[derive(Debug)]
pub(super) enum NodeIter<'a> {
    Packed(packed::Iter<'a>),
    Plain(Option<&'a [u8]>),
}

impl<'a> NodeIter<'a> {
    #[inline]
    fn step(&mut self, backwards: bool) -> Option<Elem<'a>> {
        match self {
            Self::Packed(iter) if backwards => iter.next_back(),
            Self::Packed(iter) => iter.next(),
            Self::Plain(bytes) => bytes.take().map(Elem::Bytes),
        }
    }
}

/// Elements of a list, in its order or backwards.
#[derive(Debug)]
pub struct Iter<'a> {
    pub(super) current: NodeIter<'a>,
    /// The nodes beyond `current`, in the list's order.
    pub(super) rest: vec_deque::Iter<'a, Node>,
    pub(super) backwards: bool,
}

impl<'a> Iter<'a> {
    /// The elements of `current` alone.
    pub(super) fn single(current: NodeIter<'a>, backwards: bool) -> Self {
        Self { current, rest: VecDeque::iter(const { &VecDeque::new() }), backwards }
    }

    /// Hands up to `n` elements to `f`: the same as one by one, with less to decide for each.
    #[inline]
    pub fn visit(mut self, mut n: usize, mut f: impl FnMut(Elem<'a>)) {
        while n > 0 {
            match &self.current {
                NodeIter::Packed(run) if !self.backwards => {
                    n -= run.visit(n, &mut f);
                    let Some(node) = self.rest.next() else { return };
                    self.current = node.iter();
                }
                _ => {
                    let Some(elem) = self.next() else { return };
                    f(elem);
                    n -= 1;
                }
            }
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Elem<'a>;

    #[inline]
    fn next(&mut self) -> Option<Elem<'a>> {
        loop {
            if let Some(elem) = self.current.step(self.backwards) {
                return Some(elem);
            }
            let node = if self.backwards { self.rest.next_back() } else { self.rest.next() };
            self.current = node?.iter();
        }
    }
}
