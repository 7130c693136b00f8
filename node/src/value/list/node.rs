//! One node of a long list.

use super::{Fill, iter::NodeIter};
use crate::value::packed::Packed;

/// A run of elements, or one element too large to share a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Packed(Packed),
    Plain(Box<[u8]>),
}

impl Node {
    /// A node of one element.
    pub(super) fn of(bytes: &[u8], fill: Fill) -> Self {
        if fill.is_large(bytes.len()) {
            return Self::Plain(bytes.into());
        }
        let mut packed = Packed::new();
        packed.push(bytes);
        Self::Packed(packed)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.len(),
            Self::Plain(_) => 1,
        }
    }

    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.memory(),
            Self::Plain(bytes) => bytes.len(),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Whether an element of `len` bytes may be added.
    pub(super) fn admits(&self, len: usize, fill: Fill) -> bool {
        match self {
            Self::Packed(packed) => fill.admits(packed.byte_len(), packed.len(), len),
            Self::Plain(_) => false,
        }
    }

    /// Whether this node and the one behind it may become one.
    pub(super) fn can_join(&self, next: &Self, fill: Fill) -> bool {
        match (self, next) {
            (Self::Packed(a), Self::Packed(b)) => {
                !fill.exceeded(a.byte_len() + b.byte_len(), a.len() + b.len())
            }
            _ => false,
        }
    }

    pub(super) fn iter(&self) -> NodeIter<'_> {
        match self {
            Self::Packed(packed) => NodeIter::Packed(packed.iter()),
            Self::Plain(bytes) => NodeIter::Plain(Some(bytes)),
        }
    }

    /// The elements from `offset` on, or those up to `offset` and including it.
    pub(super) fn iter_at(&self, offset: usize, backwards: bool) -> NodeIter<'_> {
        let Self::Packed(packed) = self else { return self.iter() };
        NodeIter::Packed(packed_at(packed, offset, backwards))
    }
}

/// The same for a run.
pub(super) fn packed_at(packed: &Packed, offset: usize, backwards: bool) -> crate::value::packed::Iter<'_> {
    if backwards {
        packed.slice(0, packed.position(offset as i64 + 1).unwrap_or(packed.end()))
    } else {
        packed.slice(packed.position(offset as i64).unwrap_or(packed.end()), packed.end())
    }
}
