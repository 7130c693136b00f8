//! What was evicted lately: fingerprints of 16 bits, in lines of one cache line, first in, first out in each.

use super::prefetch::prefetch;

/// Fingerprints in one line.
const WIDTH: usize = 32;
/// Fingerprints kept for each item, as in S3-FIFO.
const SHARE: f64 = 0.9;

/// The ghost queue of one shard.
#[derive(Debug, Default)]
pub(super) struct Ghost {
    lines: Vec<[u16; WIDTH]>,
    /// Where the next fingerprint of each line goes.
    next: Vec<u8>,
}

fn fingerprint(hash: u32) -> u16 {
    // Zero stands for none.
    (hash >> 16).max(1) as u16
}

fn lines_for(items: usize) -> usize {
    ((items as f64 * SHARE) as usize).div_ceil(WIDTH)
}

impl Ghost {
    fn line(&self, hash: u32) -> usize {
        // The low bits, spread over the lines.
        ((u64::from(hash.wrapping_mul(0x9e37_79b9)) * self.lines.len() as u64) >> 32) as usize
    }

    /// Adapts to the number of items; what it knew is forgotten when its size changes.
    pub(super) fn fit(&mut self, items: usize) {
        let wanted = lines_for(items);
        // It shrinks as well, but late: what it knew is forgotten then.
        if wanted > self.lines.len() + self.lines.len() / 4 || wanted * 4 < self.lines.len() {
            self.resize(wanted + wanted / 8);
        }
    }

    /// The same where many items have gone at once: what it knew of them is of less use than its memory.
    pub(super) fn fit_closely(&mut self, items: usize) {
        self.fit(items);
        let wanted = lines_for(items);
        if wanted + wanted / 4 < self.lines.len() {
            self.resize(wanted + wanted / 8);
        }
    }

    fn resize(&mut self, lines: usize) {
        self.lines = vec![[0; WIDTH]; lines];
        self.next = vec![0; lines];
    }

    /// Asks for the line of this hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        if !self.lines.is_empty() {
            prefetch(&self.lines[self.line(hash)]);
        }
    }

    /// An item goes.
    pub(super) fn add(&mut self, hash: u32) {
        if self.lines.is_empty() {
            return;
        }
        let line = self.line(hash);
        let at = usize::from(self.next[line]);
        self.lines[line][at] = fingerprint(hash);
        self.next[line] = ((at + 1) % WIDTH) as u8;
    }

    /// Whether an item went lately; it is forgotten then.
    pub(super) fn take(&mut self, hash: u32) -> bool {
        if self.lines.is_empty() {
            return false;
        }
        let line = self.line(hash);
        let wanted = fingerprint(hash);
        match self.lines[line].iter_mut().find(|f| **f == wanted) {
            Some(found) => {
                *found = 0;
                true
            }
            None => false,
        }
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.lines.len() * (WIDTH * 2 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_about_as_many_as_there_are_items() {
        const COUNT: u32 = if cfg!(miri) { 1000 } else { 10_000 };
        let mut ghost = Ghost::default();
        ghost.fit(COUNT as usize);
        let hash = |n: u32| n.wrapping_mul(0x85eb_ca6b) ^ n >> 7;
        (0..5 * COUNT).for_each(|n| ghost.add(hash(n)));
        let known = (0..5 * COUNT).filter(|n| ghost.take(hash(*n))).count();
        assert!((COUNT as usize * 9 / 10..COUNT as usize * 6 / 5).contains(&known), "{known}");
        assert!(ghost.memory() < COUNT as usize * 3);
        assert_eq!((0..5 * COUNT).filter(|n| ghost.take(hash(*n))).count(), 0, "each is told once");
    }
}
