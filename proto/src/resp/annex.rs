//! What belongs to a run of replies but does not lie in their buffer.
//!
//! A long string that somebody else owns is not copied into the buffer: the annex holds a reference to it and the place
//! where it belongs, and whoever sends the replies gathers both. It also knows how large a run of replies may become, so
//! that one request cannot make a process hold any amount of memory.

use bytes::Bytes;

/// Shorter strings are copied: that costs less than a reference and one more piece to send.
pub const LEAST_ATTACHED: usize = 16 << 10;

/// Parts of replies that lie elsewhere, in order, and the bound on the whole.
#[derive(Debug)]
pub struct Annex {
    /// Each with its place: as many of the buffer's bytes come before it.
    parts: Vec<(usize, Bytes)>,
    /// Their bytes.
    len: usize,
    most: usize,
    exceeded: bool,
}

impl Default for Annex {
    /// Nothing, and no bound.
    fn default() -> Self {
        Self { parts: Vec::new(), len: 0, most: usize::MAX, exceeded: false }
    }
}

impl Annex {
    /// Begins another run of replies, which may have `most` bytes.
    pub fn begin(&mut self, most: usize) {
        self.parts.clear();
        (self.len, self.most, self.exceeded) = (0, most, false);
    }

    /// Whether all replies lie in their buffer.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes of the parts.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The parts, in order, and how many of the buffer's bytes come before each.
    pub fn parts(&self) -> &[(usize, Bytes)] {
        &self.parts
    }

    /// Takes the parts out, so that nothing is held any longer than it is needed.
    pub fn take(&mut self) -> Vec<(usize, Bytes)> {
        self.len = 0;
        std::mem::take(&mut self.parts)
    }

    /// Whether the replies became larger than they may. What the buffer holds then is worth nothing.
    #[inline]
    pub fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    /// Attaches bytes behind `place` bytes of the buffer.
    pub(super) fn attach(&mut self, place: usize, bytes: Bytes) {
        self.len += bytes.len();
        self.parts.push((place, bytes));
    }

    /// Takes back what was attached behind more than `place` bytes.
    #[inline]
    pub fn truncate(&mut self, place: usize) {
        while let Some((_, bytes)) = self.parts.pop_if(|(at, _)| *at > place) {
            self.len -= bytes.len();
        }
    }

    /// As many bytes were put before everything behind `place`.
    pub(super) fn shift(&mut self, place: usize, by: usize) {
        self.parts.iter_mut().rev().take_while(|(at, _)| *at > place).for_each(|(at, _)| *at += by);
    }

    /// Whether a buffer of `len` bytes may become one of `more`; from the first time that it may not, nothing that is
    /// written counts.
    pub(super) fn allows(&mut self, len: usize, more: usize) -> bool {
        self.exceeded |= len.saturating_add(more).saturating_add(self.len) > self.most;
        !self.exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Protocol, Reply};
    use super::*;

    /// The replies as a client sees them.
    fn whole(buffer: &[u8], annex: &Annex) -> Vec<u8> {
        let (mut whole, mut from) = (Vec::new(), 0);
        for (at, bytes) in annex.parts() {
            whole.extend_from_slice(&buffer[from..*at]);
            whole.extend_from_slice(bytes);
            from = *at;
        }
        whole.extend_from_slice(&buffer[from..]);
        whole
    }

    #[test]
    fn long_strings_are_attached_and_short_ones_copied() {
        let long = Bytes::from(vec![b'x'; LEAST_ATTACHED]);
        let (mut buffer, mut annex) = (Vec::new(), Annex::default());
        let (mut plain, bulk) = (Vec::new(), |out: &mut Reply<'_>| {
            out.part(&long, &long[1..]);
            let mark = out.mark();
            out.part(&long, &long);
            out.int(5);
            out.part(&long, &long);
            out.array_from(mark, 3);
            let mark = out.mark();
            out.part(&long, &long);
            out.truncate(mark);
            out.part(&long, &long);
        });
        bulk(&mut Reply::with_annex(&mut buffer, &mut annex, Protocol::Resp2));
        bulk(&mut Reply::new(&mut plain, Protocol::Resp2));
        assert_eq!(annex.parts().len(), 3);
        assert_eq!(annex.len(), 3 * long.len());
        assert!(annex.parts().iter().all(|(_, part)| part.as_ptr() == long.as_ptr()), "nothing is copied");
        assert!(whole(&buffer, &annex) == plain);
        annex.truncate(0);
        assert!(annex.is_empty());
        assert_eq!(annex.len(), 0, "they count no more");
    }

    #[test]
    fn a_run_of_replies_is_bounded() {
        let long = Bytes::from(vec![b'x'; LEAST_ATTACHED]);
        let (mut buffer, mut annex) = (Vec::new(), Annex::default());
        annex.begin(1 << 20);
        let mut largest = 0;
        for _ in 0..10_000 {
            let mut out = Reply::with_annex(&mut buffer, &mut annex, Protocol::Resp2);
            let mark = out.mark();
            out.bulk(&long[..1000]);
            // Marks of what is gone are harmless.
            out.array_from(mark, 1);
            largest = buffer.capacity().max(largest);
        }
        assert!(annex.is_exceeded() && largest <= 2 << 20, "{largest}");
        annex.begin(1 << 20);
        assert!(!annex.is_exceeded());
        // What is attached counts.
        for n in 1..100 {
            buffer.clear();
            buffer.shrink_to_fit();
            let mut out = Reply::with_annex(&mut buffer, &mut annex, Protocol::Resp2);
            out.part(&long, &long);
            if annex.is_exceeded() {
                assert_eq!(n, 65);
                return;
            }
        }
        panic!("no bound");
    }
}
