//! What was asked on one upstream connection and is not answered: the requests' bytes and whom each answer is for.
//!
//! Bytes are appended once and kept until the answer is there, so that a request can be sent again (a redirect, a lost
//! connection) without a copy for the many that need none. Replies belong to requests in order: the only
//! thing that ties them together.

use std::collections::VecDeque;

use crate::client::Asker;

/// Answered bytes are cut off when they are this many and half of all.
const TRIM_AT: usize = 64 << 10;

/// A buffer that grew beyond this is given back when it is empty.
const KEEP: usize = 1 << 20;

/// How a request finds another node when the one it was sent to is not the right one any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// All its keys are in this slot.
    Slot(u16),
    /// Keys in several slots, each of this many arguments: is split again.
    Split(u8),
    /// Meant for this node and no other.
    Node,
}

/// What sending a request twice would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Read,
    /// Nothing, but it was sent twice already.
    Reread,
    /// Perhaps something.
    Write,
}

/// A request that is not answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    /// Whom the answer is for.
    pub(crate) asker: Asker,
    /// Length of its bytes.
    pub(crate) len: u32,
    /// When it was accepted, in the worker's ms.
    pub(crate) at: u32,
    pub(crate) way: Way,
    /// The worker's count of views when it was sent; wraps, and is only compared with later ones of the same seconds.
    pub(crate) turn: u16,
    /// Redirects followed.
    pub(crate) hops: u8,
    pub(crate) effect: Effect,
}

/// Requests of one connection, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Log {
    bytes: Vec<u8>,
    /// Bytes before this offset are answered.
    start: usize,
    /// Bytes before this offset are written.
    written: usize,
    pending: VecDeque<Pending>,
    /// Requests that were here and no longer are.
    passed: u64,
}

impl Log {
    /// Where to append a request's bytes; to be followed by [`commit`](Self::commit).
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The bytes appended since the buffer had length `from` are this request's.
    #[inline]
    pub(crate) fn commit(&mut self, from: usize, mut pending: Pending) {
        pending.len = (self.bytes.len() - from) as u32;
        self.pending.push_back(pending);
    }

    /// Appends a request.
    #[inline]
    pub(crate) fn push(&mut self, request: &[u8], pending: Pending) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(request);
        self.commit(from, pending);
    }

    /// Bytes that wait for an answer.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The requests, oldest first, each with its number: [`passed`](Self::passed) reaches that when it is answered.
    pub(crate) fn numbered(&self) -> impl DoubleEndedIterator<Item = (u64, &Pending)> + ExactSizeIterator {
        let next = self.passed + 1;
        self.pending.iter().enumerate().map(move |(i, pending)| (next + i as u64, pending))
    }

    /// The same, with their bytes.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (u64, &Pending, &[u8])> {
        let mut at = self.start;
        self.numbered().map(move |(number, pending)| {
            let request = &self.bytes[at..at + pending.len as usize];
            at += pending.len as usize;
            (number, pending, request)
        })
    }

    /// How many requests were here and no longer are.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    /// What is to be written next.
    #[inline]
    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    #[inline]
    pub(crate) fn wrote(&mut self, n: usize) {
        self.written += n;
    }

    /// Takes the request that the next reply answers. `None` if no written request is left, which means that the node
    /// answered more than it was asked.
    #[inline]
    pub(crate) fn answered(&mut self) -> Option<Pending> {
        let len = self.pending.front()?.len as usize;
        if self.start + len > self.written {
            return None;
        }
        self.start += len;
        self.passed += 1;
        self.pending.pop_front()
    }

    /// The bytes of the request that [`answered`](Self::answered) just returned.
    pub(crate) fn last(&self, pending: &Pending) -> &[u8] {
        &self.bytes[self.start - pending.len as usize..self.start]
    }

    /// Drops answered bytes where that is cheap; after each batch of replies.
    #[inline]
    pub(crate) fn trim(&mut self) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            if self.bytes.capacity() > KEEP {
                self.bytes = Vec::new();
            }
        } else if self.start >= TRIM_AT && self.start * 2 >= self.bytes.len() {
            self.bytes.drain(..self.start);
        } else {
            return;
        }
        self.written -= self.start;
        self.start = 0;
    }

    /// Takes everything: for each request whether the node may have it whole, and its bytes.
    pub(crate) fn take(&mut self) -> Vec<(Pending, bool, Vec<u8>)> {
        let mut at = self.start;
        let all = self.pending.drain(..).map(|pending| {
            let end = at + pending.len as usize;
            let request = self.bytes[at..end].to_vec();
            at = end;
            (pending, end <= self.written, request)
        });
        let all: Vec<_> = all.collect();
        self.passed += all.len() as u64;
        (self.bytes, self.start, self.written) = (Vec::new(), 0, 0);
        all
    }

    /// Takes the requests that are late, of a log of which nothing is written. The others get new numbers: the second
    /// result is, for each of the old ones in order, the number that now tells that it and all before it are gone.
    pub(crate) fn take_late(
        &mut self,
        is_late: impl Fn(&Pending) -> bool,
    ) -> (Vec<(Pending, Vec<u8>)>, Vec<u64>) {
        debug_assert_eq!(self.written, self.start, "late requests are not under way");
        let passed = self.passed + self.pending.iter().filter(|p| is_late(p)).count() as u64;
        if passed == self.passed {
            return (Vec::new(), Vec::new());
        }
        let (mut late, mut numbers) = (Vec::new(), Vec::new());
        for (pending, _, request) in self.take() {
            if is_late(&pending) {
                late.push((pending, request));
            } else {
                self.push(&request, pending);
            }
            numbers.push(passed + self.pending.len() as u64);
        }
        self.passed = passed;
        (late, numbers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pending(seq: u32) -> Pending {
        let asker = Asker { client: 0, generation: 0, seq, part: 0 };
        Pending { asker, len: 0, at: 0, way: Way::Slot(0), turn: 0, hops: 0, effect: Effect::Write }
    }

    #[test]
    fn a_reply_without_a_request_is_noticed() {
        let mut log = Log::default();
        log.push(b"one", pending(1));
        assert!(log.answered().is_none());
        log.wrote(3);
        assert_eq!(log.answered().unwrap().asker.seq, 1);
        assert!(log.answered().is_none());
    }

    #[test]
    fn a_request_takes_no_more_than_half_a_cache_line() {
        assert_eq!(size_of::<Pending>(), 32);
    }

    #[test]
    fn numbers_tell_what_is_answered() {
        let mut log = Log::default();
        log.push(b"one", pending(1));
        log.push(b"two", pending(2));
        assert_eq!(log.numbered().map(|(n, _)| n).collect::<Vec<_>>(), [1, 2]);
        log.wrote(6);
        log.answered();
        assert_eq!((log.passed(), log.numbered().next().unwrap().0), (1, 2));
        assert_eq!(log.requests().map(|(_, _, bytes)| bytes).collect::<Vec<_>>(), [b"two"]);
        log.take();
        assert_eq!(log.passed(), 2);
    }

    #[test]
    fn late_requests_leave_from_the_middle() {
        let mut log = Log::default();
        for seq in 1..=4 {
            log.push(b"x", pending(seq));
        }
        let (late, numbers) = log.take_late(|p| p.asker.seq % 2 == 1);
        assert_eq!(late.iter().map(|(p, _)| p.asker.seq).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((log.passed(), numbers), (2, vec![2, 3, 3, 4]));
        assert_eq!(log.numbered().map(|(n, p)| (n, p.asker.seq)).collect::<Vec<_>>(), [(3, 2), (4, 4)]);
        assert_eq!(log.unwritten(), b"xx");
    }

    #[test]
    fn only_whole_requests_count_as_sent() {
        let mut log = Log::default();
        log.push(b"one", pending(1));
        log.push(b"two", pending(2));
        log.wrote(4);
        let taken: Vec<(u32, bool, Vec<u8>)> =
            log.take().into_iter().map(|(p, w, b)| (p.asker.seq, w, b)).collect();
        assert_eq!(taken, [(1, true, b"one".to_vec()), (2, false, b"two".to_vec())]);
        assert!(log.is_empty() && log.held() == 0 && log.unwritten().is_empty());
    }

    proptest! {
        /// Bytes leave in order and answers find their requests, whatever the sizes and the pace.
        #[test]
        fn bytes_and_order_hold(steps in proptest::collection::vec((0..4u8, 1..40_000usize), 1..200)) {
            let mut log = Log::default();
            let (mut next, mut answered, mut sent, mut expected) = (0u32, 0u32, Vec::new(), Vec::new());
            for (step, n) in steps {
                match step {
                    0 | 1 => {
                        let request = vec![next as u8; n];
                        expected.extend_from_slice(&request);
                        log.push(&request, pending(next));
                        next += 1;
                    }
                    2 => {
                        let n = n.min(log.unwritten().len());
                        sent.extend_from_slice(&log.unwritten()[..n]);
                        log.wrote(n);
                    }
                    _ => {
                        if let Some(p) = log.answered() {
                            prop_assert_eq!(p.asker.seq, answered);
                            prop_assert!(log.last(&p).iter().all(|b| *b == answered as u8));
                            answered += 1;
                        }
                        log.trim();
                    }
                }
            }
            prop_assert!(expected.starts_with(&sent));
            prop_assert_eq!(log.len() as u32, next - answered);
        }
    }
}
