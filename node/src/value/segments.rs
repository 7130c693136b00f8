//! A vector in segments: it grows without ever moving what it holds, so growing never stalls, and it wastes at
//! most one segment where a plain vector wastes up to half.
//!
//! Used by [`Table`](super::table::Table) and by the index of a slot with very many keys. Removal swaps with the last element; there is no insertion in the middle.

use std::ops::{Index, IndexMut};

/// Elements of a segment, as a power of two. The first segment starts small and doubles up to it.
const BITS: usize = 9;
pub(crate) const SEGMENT: usize = 1 << BITS;

/// The vector. All segments but the last are full.
#[derive(Debug, Clone)]
pub(crate) struct Segments<T> {
    segments: Vec<Vec<T>>,
}

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self { segments: Vec::new() }
    }
}

impl<T> FromIterator<T> for Segments<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut segments = Self::default();
        elements.into_iter().for_each(|element| segments.push(element));
        segments
    }
}

impl<T> Segments<T> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self.segments.last() {
            Some(last) => (self.segments.len() - 1) * SEGMENT + last.len(),
            None => 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn push(&mut self, element: T) {
        match self.segments.last_mut() {
            Some(last) if last.len() < SEGMENT => last.push(element),
            Some(_) => {
                let mut segment = Vec::with_capacity(SEGMENT);
                segment.push(element);
                self.segments.push(segment);
            }
            None => self.segments.push(vec![element]),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let first = self.segments.len() == 1;
        let last = self.segments.last_mut()?;
        let element = last.pop();
        if last.is_empty() {
            self.segments.pop();
            if self.segments.capacity() > 4 * self.segments.len() + 4 {
                self.segments.shrink_to_fit();
            }
        } else if first && last.capacity() > 4 * last.len() + 4 {
            last.shrink_to(2 * last.len());
        }
        element
    }

    /// Removes element `i`; the last takes its place.
    pub(crate) fn swap_remove(&mut self, i: usize) -> T {
        let last = self.pop().expect("element i exists, so there is a last one");
        if i == self.len() { last } else { std::mem::replace(&mut self[i], last) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flatten()
    }

    /// Bytes of heap memory held, without what the elements hold. O(1).
    pub(crate) fn memory(&self) -> usize {
        let Some(first) = self.segments.first() else { return 0 };
        let elements = first.capacity() + (self.segments.len() - 1) * SEGMENT;
        elements * size_of::<T>() + self.segments.capacity() * size_of::<Vec<T>>()
    }
}

impl<T> Index<usize> for Segments<T> {
    type Output = T;
    #[inline]
    fn index(&self, i: usize) -> &T {
        &self.segments[i >> BITS][i & (SEGMENT - 1)]
    }
}

impl<T> IndexMut<usize> for Segments<T> {
    #[inline]
    fn index_mut(&mut self, i: usize) -> &mut T {
        &mut self.segments[i >> BITS][i & (SEGMENT - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_a_vector_over_segment_borders() {
        let mut model = Vec::new();
        let mut segments = Segments::default();
        for n in 0..4 * SEGMENT {
            model.push(n);
            segments.push(n);
        }
        let mut at = 0;
        while !model.is_empty() {
            assert_eq!(segments.len(), model.len());
            at = (at * 31 + 17) % model.len();
            assert_eq!(segments[at], model[at]);
            assert_eq!(segments.swap_remove(at), model.swap_remove(at));
            if model.len() % 97 == 0 {
                assert!(segments.iter().eq(&model));
                assert!(segments.memory() >= model.len() * size_of::<usize>());
            }
        }
        assert!(segments.is_empty());
        assert_eq!(segments.memory(), 0);
        assert_eq!(segments.pop(), None);
    }
}
