//! Walking a run of elements.

use super::{Elem, Packed, SHORT, back_len_size, decode};

/// Walks a run from both ends.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    pub(super) packed: &'a Packed,
    pub(super) at: usize,
    pub(super) end: usize,
}

impl<'a> Iter<'a> {
    /// Hands up to `n` elements to `f`; how many there were.
    #[inline]
    pub(in crate::value) fn visit(&self, n: usize, mut f: impl FnMut(Elem<'a>)) -> usize {
        let mut rest = &self.packed.bytes()[self.at..self.end];
        for visited in 0..n {
            let Some(&first) = rest.first() else { return visited };
            // Most are texts.
            let (elem, len) = match first {
                0x80..=0xbf => {
                    let end = 1 + usize::from(first & 0x3f);
                    (Elem::Bytes(&rest[1..end]), end)
                }
                0xe0..=0xef => {
                    let end = 2 + (usize::from(first & 0x0f) << 8 | usize::from(rest[1]));
                    (Elem::Bytes(&rest[2..end]), end)
                }
                _ => decode(rest),
            };
            f(elem);
            let back = if len <= SHORT { 1 } else { back_len_size(len) };
            rest = &rest[len + back..];
        }
        n
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Elem<'a>;
    #[inline]
    fn next(&mut self) -> Option<Elem<'a>> {
        if self.at >= self.end {
            return None;
        }
        let (elem, next) = self.packed.read(self.at)?;
        self.at = next;
        Some(elem)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        self.end = self.packed.before(self.end)?;
        self.packed.read(self.end).map(|(elem, _)| elem)
    }
}
