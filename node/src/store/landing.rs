//! A request with a long argument, received into memory in which that argument can be stored where it lies.
//!
//! The server begins one when it knows how long the argument will be. It never takes much more memory than was received,
//! whatever a client announces: above [`AT_ONCE`] it doubles as it fills. Whoever stores the argument takes a reference
//! instead of a copy, if the argument is nearly all there is.

use bytes::Bytes;

use super::{
    Store,
    pool::{self, Block},
};

/// Shorter arguments are copied: what is lost around them in whole pages would weigh more.
pub const LEAST_LANDED: usize = pool::LEAST_IN_PAGES;
/// So much memory is taken for a request before it was received: a megabyte, its command and a key.
const AT_ONCE: usize = (1 << 20) + pool::PAGE;
/// An argument is stored where it lies if so many bytes around it are lost at most: a page more than a copy loses.
const LOST: usize = pool::PAGE + 512;

/// The request while it is received.
#[derive(Debug)]
pub struct Landing {
    block: Block,
    len: usize,
}

impl Store {
    /// Memory for a request of which these bytes have come, and which will have `total` bytes or more.
    pub fn landing(&self, received: &[u8], total: usize) -> Landing {
        let mut block = self.pool.take(total.min(AT_ONCE).max(received.len()));
        block[..received.len()].copy_from_slice(received);
        Landing { block, len: received.len() }
    }
}

impl Landing {
    /// Bytes received.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was received.
    pub fn bytes(&self) -> &[u8] {
        &self.block[..self.len]
    }

    /// Room for what comes next, never empty: up to `end` if that is given and still to come, else as much as there is.
    pub fn room(&mut self, end: Option<usize>) -> &mut [u8] {
        let end = end.filter(|end| *end > self.len);
        if self.len == self.block.len() {
            self.grow(self.len + 1, end);
        }
        let end = end.map_or(self.block.len(), |end| end.min(self.block.len()));
        &mut self.block[self.len..end]
    }

    /// So many bytes were written into the room.
    pub fn received(&mut self, bytes: usize) {
        self.len += bytes;
        debug_assert!(self.len <= self.block.len(), "no more than there was room for");
    }

    /// Makes room for `len` bytes in all, and for as many as have come: less often than with each read. No more than up to
    /// `end` if that is given, where a long argument ends that is stored as it lies.
    fn grow(&mut self, len: usize, end: Option<usize>) {
        let most = end.filter(|end| *end >= len).unwrap_or(usize::MAX);
        self.block.grow((2 * self.len).max(len).min(most), self.len);
    }

    /// Takes bytes that came behind the room; `end` as for [`room`](Self::room).
    pub fn extend(&mut self, bytes: &[u8], end: Option<usize>) {
        let len = self.len + bytes.len();
        if len > self.block.len() {
            self.grow(len, end);
        }
        self.block[self.len..len].copy_from_slice(bytes);
        self.len = len;
    }

    /// The request, to be executed.
    pub fn land(self) -> Landed {
        let memory = self.block.len();
        Landed { bytes: Bytes::from_owner(self.block).slice(..self.len), memory }
    }
}

/// Received bytes that can be held.
#[derive(Debug, Clone)]
pub struct Landed {
    bytes: Bytes,
    /// The memory that is held with them.
    memory: usize,
}

impl Landed {
    /// All of them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The argument where it lies, and the memory it takes; `None` if a copy is better.
    pub(super) fn part(&self, argument: &[u8]) -> Option<(Bytes, usize)> {
        if argument.len() < LEAST_LANDED || self.memory - argument.len().min(self.memory) > LOST {
            return None;
        }
        let start = argument.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr())?;
        let end = start + argument.len();
        (end <= self.bytes.len()).then(|| (self.bytes.slice(start..end), self.memory + pool::OWNER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Settings;

    /// Receives `bytes` in pieces as a socket would give them.
    fn receive(store: &Store, bytes: &[u8], total: usize, piece: usize) -> Landing {
        let mut landing = store.landing(&bytes[..10], total);
        while landing.len() < bytes.len() {
            let at = landing.len();
            let room = landing.room(Some(total));
            let n = room.len().min(piece).min(bytes.len() - at);
            room[..n].copy_from_slice(&bytes[at..at + n]);
            landing.received(n);
        }
        landing
    }

    /// A socket that always has more gives the room and 2 KB behind it at each read.
    #[test]
    fn few_reads_bring_a_long_request_and_its_argument_fills_its_memory() {
        let store = Store::new(Settings::default());
        for total in [40_000, 1 << 20, 1_500_000, 2 << 20, 20_000_000] {
            for end in [Some(total), None] {
                let mut landing = store.landing(&[0; 2048], end.unwrap_or(2048));
                let mut reads = 0;
                while landing.len() < total {
                    let room = landing.room(end).len().min(total - landing.len());
                    landing.received(room);
                    let behind = 2048.min(total - landing.len());
                    landing.extend(&vec![0; behind], end);
                    reads += 1;
                }
                assert!(reads <= 16, "{reads} reads of {total} bytes");
                let memory = landing.land().memory;
                assert!(end.is_none() || memory == pool::rounded(total), "{memory} for {total} bytes");
                assert!(memory <= 2 * total + 4096, "{memory} for {total} bytes");
            }
        }
    }

    #[test]
    fn an_argument_that_is_nearly_all_is_not_copied_and_charged_with_all_that_it_holds() {
        let store = Store::new(Settings::default());
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n * 7) as u8).collect();
        for (total, kept) in [(100_000, 99_950), (102_400, 102_350), (32_900, 32_800)] {
            let landed = receive(&store, &bytes[..total], total, 30_000).land();
            assert!(landed.bytes() == &bytes[..total]);
            let argument = &landed.bytes()[total - kept - 2..total - 2];
            let (part, memory) = landed.part(argument).expect("nothing much is around it");
            assert_eq!((part.as_ptr(), part.len()), (argument.as_ptr(), kept));
            assert_eq!(memory, pool::rounded(total) + pool::OWNER);
            drop(landed);
            assert!(part == bytes[total - kept - 2..total - 2]);
        }
        let landed = receive(&store, &bytes, 200_000, usize::MAX).land();
        assert!(landed.part(&landed.bytes()[..100_000]).is_none(), "half of it would be held for nothing");
        assert!(landed.part(&bytes).is_none(), "these bytes are elsewhere");
        let short = receive(&store, &bytes[..20_000], 20_000, usize::MAX).land();
        assert!(short.part(short.bytes()).is_none(), "too much of a page would be lost");
    }

    #[test]
    fn what_is_announced_costs_nothing_before_it_comes() {
        let store = Store::new(Settings::default());
        const COUNT: u32 = if cfg!(miri) { 200_000 } else { 9_000_000 };
        let bytes: Vec<u8> = (0..COUNT).map(|n| (n * 13) as u8).collect();
        let mut landing = store.landing(&bytes[..100], 512 << 20);
        while landing.len() < bytes.len() {
            let at = landing.len();
            assert!(landing.block.len() <= AT_ONCE.max(2 * at), "{at}: {}", landing.block.len());
            let room = landing.room(Some(512 << 20));
            let n = room.len().min(bytes.len() - at);
            room[..n].copy_from_slice(&bytes[at..at + n]);
            landing.received(n);
        }
        assert!(landing.land().bytes() == bytes);
    }

    #[test]
    fn there_is_always_room() {
        let store = Store::new(Settings::default());
        let mut landing = store.landing(&[7; 4096], 4096);
        assert_eq!(landing.room(None).len(), 4096, "grown, as nobody knows how much comes");
        landing.received(4096);
        assert_eq!(landing.room(Some(9000)).len(), 9000 - 8192, "exactly what is missing");
        assert_eq!(landing.bytes()[..4096], [7; 4096]);
        landing.extend(&[8; 5000], None);
        assert_eq!((landing.len(), landing.bytes()[13_191]), (13_192, 8));
    }
}
