//! What waits to be sent to one peer: appended under shard locks, taken by the task that owns the connection.
//!
//! Positions count bytes of the stream since it began. The order of the bytes is the order in which the locks were
//! held, so for one slot it is the order of its changes. Bounded: a peer that does not keep up breaks the stream instead
//! of filling memory, and whoever moves the slots begins anew or gives up. What a client may write at once can be longer than
//! the bound: one such write at a time is let through besides what is bounded.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    record::{HEAD, Record},
    turn,
};
use crate::server::Changes;

/// Bytes that may wait at most, by default: some seconds of writes.
pub const LIMIT: usize = 64 << 20;

/// A position that no stream reaches.
pub const NEVER: u64 = u64::MAX;

/// Bytes are kept in chunks of this size (or of one larger piece), so that appending never moves what waits.
const CHUNK: usize = 64 << 10;
/// Chunks kept to be filled again.
const SPARE: usize = 2;

/// Bytes that wait together, and whether they are of a long write.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    long: bool,
}

/// What waits to be taken.
#[derive(Debug, Default)]
struct Waiting {
    chunks: VecDeque<Chunk>,
    spare: Vec<Vec<u8>>,
    len: usize,
    /// Of that, bytes of the one long write that the limit does not count.
    long: usize,
    /// Such a write is under way.
    writing: bool,
}

impl Waiting {
    fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.chunks.back_mut() {
            Some(Chunk { bytes: last, long: false }) if last.len() + bytes.len() <= last.capacity() => {
                last.extend_from_slice(bytes);
            }
            _ => {
                let mut chunk = self.spare.pop().unwrap_or_default();
                chunk.reserve_exact(bytes.len().max(CHUNK));
                chunk.extend_from_slice(bytes);
                self.chunks.push_back(Chunk { bytes: chunk, long: false });
            }
        }
    }

    fn push_long(&mut self, bytes: Vec<u8>) {
        self.len += bytes.len();
        self.long += bytes.len();
        self.chunks.push_back(Chunk { bytes, long: true });
    }

    /// Whether so many bytes more are within the limit.
    fn has_room(&self, more: usize, limit: usize) -> bool {
        self.len - self.long + more <= limit
    }

    /// The oldest chunk, for one that was emptied.
    fn swap(&mut self, into: &mut Vec<u8>) {
        let Some(Chunk { bytes, long }) = self.chunks.pop_front() else { return };
        self.len -= bytes.len();
        if long {
            self.long -= bytes.len();
        }
        let empty = std::mem::replace(into, bytes);
        if self.spare.len() < SPARE && (CHUNK..2 * CHUNK).contains(&empty.capacity()) {
            self.spare.push(empty);
        }
    }
}

/// One peer's stream.
#[derive(Debug)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    limit: usize,
    appended: AtomicU64,
    acked: AtomicU64,
    /// Up to where the peer has said that it has put something into effect that its own copies lack, and up to where they
    /// have it.
    pending: AtomicU64,
    settled: AtomicU64,
    /// Bytes that wait, to be looked at without the lock.
    queued: AtomicUsize,
    broken: AtomicBool,
    /// Slots whose replies wait for this peer.
    waited: AtomicUsize,
    /// Somebody was refused for want of room.
    starved: AtomicBool,
    filled: Notify,
    /// Somebody waits for a key that is being copied in pieces.
    hurried: AtomicBool,
    hurry: Notify,
    /// Told of acknowledgements.
    acks: Changes,
    /// Told when commands that were held for want of room, or for a large key, may go on.
    node: Arc<Changes>,
}

/// A write that may be longer than what may wait. One part of it after the other.
#[derive(Debug)]
pub(crate) struct Long<'a> {
    outbox: &'a Arc<Outbox>,
    /// The limit does not count it.
    free: bool,
}

impl Long<'_> {
    /// Appends whole records, as [`Outbox::append`] does.
    pub(crate) fn append(&mut self, records: Vec<u8>) -> u64 {
        self.outbox.put(records.len(), |waiting| {
            if self.free {
                waiting.push_long(records);
            } else if waiting.has_room(records.len(), self.outbox.limit) {
                waiting.push(&records);
            } else {
                return false;
            }
            true
        })
    }
}

impl Drop for Long<'_> {
    fn drop(&mut self) {
        if self.free {
            self.outbox.waiting.lock().writing = false;
        }
    }
}

/// Why there is nothing to take any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is broken: the peer did not keep up")]
pub struct Broken;

impl Outbox {
    /// An empty one for at most `limit` bytes. `node` is told when commands that waited for room may go on.
    pub fn new(limit: usize, node: Arc<Changes>) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            limit,
            appended: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            waited: AtomicUsize::new(0),
            starved: AtomicBool::new(false),
            filled: Notify::new(),
            hurried: AtomicBool::new(false),
            hurry: Notify::new(),
            acks: Changes::default(),
            node,
        })
    }

    /// One that is broken from the beginning: for what goes to a peer that is out of reach.
    pub fn broken() -> Arc<Self> {
        let outbox = Self::new(0, Arc::default());
        outbox.break_off();
        outbox
    }

    /// Appends whole records; the position behind them, or [`NEVER`] if the stream has ended: the peer will not have them.
    pub(crate) fn append(self: &Arc<Self>, records: &[u8]) -> u64 {
        if records.len() > self.limit / 8 {
            return self.long().append(records.to_vec());
        }
        self.put(records.len(), |waiting| {
            waiting.has_room(records.len(), self.limit) && {
                waiting.push(records);
                true
            }
        })
    }

    /// Begins a write of any length: the limit does not count it, unless another such write still waits.
    pub(crate) fn long(self: &Arc<Self>) -> Long<'_> {
        let mut waiting = self.waiting.lock();
        let free = !waiting.writing && waiting.long == 0;
        waiting.writing |= free;
        Long { outbox: self, free }
    }

    /// Appends `len` bytes by `push`, which says whether there was room.
    fn put(self: &Arc<Self>, len: usize, push: impl FnOnce(&mut Waiting) -> bool) -> u64 {
        let mut waiting = self.waiting.lock();
        if self.is_broken() {
            return NEVER;
        }
        if !push(&mut waiting) {
            drop(waiting);
            self.break_off();
            return NEVER;
        }
        self.queued.store(waiting.len, Ordering::Release);
        let end = self.appended.load(Ordering::Relaxed) + len as u64;
        self.appended.store(end, Ordering::Release);
        drop(waiting);
        turn::filled(self);
        end
    }

    /// There is something to take.
    pub(super) fn tell_filled(&self) {
        self.filled.notify_one();
    }

    /// Appends a message to the other end, behind all effects so far; the position behind it.
    pub fn send(self: &Arc<Self>, message: &[u8]) -> u64 {
        let mut record = Vec::with_capacity(HEAD + message.len());
        Record::Message(message).write(0, &mut record);
        self.append(&record)
    }

    /// The position behind everything appended so far.
    pub fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// The position up to which the peer has applied the stream.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Acquire)
    }

    /// The peer has applied the stream up to `position`. Never goes back.
    pub fn ack(&self, position: u64) {
        if self.acked.fetch_max(position, Ordering::AcqRel) < position {
            self.acks.tell();
        }
    }

    /// What stands before `position` is in effect at the peer, or will be when it says that it has applied it, but not yet
    /// at its own copies. To be told before that. Never goes back.
    pub fn pend(&self, position: u64) {
        self.pending.fetch_max(position, Ordering::AcqRel);
    }

    /// All that was pending up to `position` is with the peer's copies. Never goes back.
    pub fn settle(&self, position: u64) {
        if self.settled.fetch_max(position, Ordering::AcqRel) < position {
            self.acks.tell();
        }
    }

    /// Whether the peer has applied the stream up to `position`, and its copies have what they need of that.
    pub fn is_settled(&self, position: u64) -> bool {
        // Acknowledgements first: what is pending was told before.
        let (acked, settled) = (self.acked(), self.settled.load(Ordering::Acquire));
        shoal_proto::cluster::is_settled(position, acked, self.pending.load(Ordering::Acquire), settled)
    }

    /// Bytes that wait to be taken.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    /// Room for a snapshot: effects have the other half to themselves.
    pub(crate) fn room(&self) -> usize {
        (self.limit / 2).saturating_sub(self.queued())
    }

    /// Whether so much waits that writes have to. Those who are held for that are woken when there is room.
    pub(crate) fn is_full(&self) -> bool {
        let full = |outbox: &Self| outbox.queued() > outbox.limit / 4 * 3 && !outbox.is_broken();
        if !full(self) {
            return false;
        }
        self.starved.store(true, Ordering::SeqCst);
        // It may have been emptied before the flag was up.
        full(self)
    }

    /// Whether a write of so many bytes would break the stream, because a long one still waits. Those who are held for that are
    /// woken when there is room.
    pub(crate) fn is_clogged(&self, bytes: usize) -> bool {
        let clogged = |outbox: &Self| {
            let waiting = outbox.waiting.lock();
            let long = waiting.writing || waiting.long > 0;
            long && !waiting.has_room(bytes, outbox.limit) && !outbox.is_broken()
        };
        if !clogged(self) {
            return false;
        }
        self.starved.store(true, Ordering::SeqCst);
        // It may have been taken before the flag was up.
        clogged(self)
    }

    /// Takes the next bytes that wait into `into`, which is emptied first; nothing if none wait. There may be more.
    ///
    /// # Errors
    /// [`Broken`]: the stream has a gap from here on.
    pub fn take(&self, into: &mut Vec<u8>) -> Result<(), Broken> {
        into.clear();
        {
            let mut waiting = self.waiting.lock();
            if self.is_broken() {
                return Err(Broken);
            }
            waiting.swap(into);
            self.queued.store(waiting.len, Ordering::SeqCst);
        }
        self.fed();
        Ok(())
    }

    /// Waits until there is something to take, or the stream is broken. For one task only.
    pub async fn filled(&self) {
        loop {
            let notified = self.filled.notified();
            if self.queued() > 0 || self.is_broken() {
                return;
            }
            notified.await;
        }
    }

    /// Ends the stream: the peer is gone or has fallen behind. Nothing is appended any more, nothing can be taken.
    pub fn break_off(&self) {
        {
            let mut waiting = self.waiting.lock();
            self.broken.store(true, Ordering::SeqCst);
            *waiting = Waiting::default();
            self.queued.store(0, Ordering::SeqCst);
        }
        self.filled.notify_one();
        self.acks.tell();
        self.node.tell();
    }

    /// A command waits for the large key that is being copied.
    pub(crate) fn hurry(&self) {
        if !self.hurried.swap(true, Ordering::AcqRel) {
            self.hurry.notify_one();
        }
    }

    /// Whether any does.
    pub(crate) fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire)
    }

    /// Waits until one does. For one task only.
    pub(crate) async fn hurried(&self) {
        while !self.is_hurried() {
            self.hurry.notified().await;
        }
    }

    /// Commands that waited for a large key to be copied may go on.
    pub(crate) fn copied_large(&self) {
        self.hurried.store(false, Ordering::Release);
        self.node.tell();
    }

    /// Whether the stream has ended.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Whether what was appended up to `position` is with the peer, or need not be: the stream has ended and no slot's replies
    /// wait for it any more.
    pub fn is_safe(&self, position: u64) -> bool {
        self.acked() >= position || (self.is_broken() && self.waited.load(Ordering::Acquire) == 0)
    }

    /// The replies of one more slot wait for this peer.
    pub(crate) fn join(&self) {
        self.waited.fetch_add(1, Ordering::AcqRel);
    }

    /// Those of one less do. What was appended so far is still waited for while the stream stands.
    pub(crate) fn part(&self) {
        if self.waited.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.acks.tell();
        }
    }

    /// Whether replies of any slot wait for this peer.
    pub fn is_waited_for(&self) -> bool {
        self.waited.load(Ordering::Acquire) > 0
    }

    /// Bytes that the peer has not applied yet.
    pub fn lag(&self) -> u64 {
        self.appended().saturating_sub(self.acked())
    }

    /// Told of every acknowledgement, and of the stream's end.
    pub fn acks(&self) -> &Changes {
        &self.acks
    }

    fn fed(&self) {
        if self.starved.swap(false, Ordering::SeqCst) {
            self.node.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(limit: usize) -> (Arc<Outbox>, Arc<Changes>) {
        let changes = Arc::new(Changes::default());
        (Outbox::new(limit, changes.clone()), changes)
    }

    #[test]
    fn bytes_come_out_in_order_and_are_counted() {
        let (outbox, _) = outbox(100);
        assert_eq!((outbox.append(b"one "), outbox.append(b"two"), outbox.queued()), (4, 7, 7));
        let mut taken = b"old".to_vec();
        outbox.take(&mut taken).unwrap();
        assert_eq!((taken.as_slice(), outbox.queued(), outbox.appended()), (&b"one two"[..], 0, 7));
        assert!(!outbox.is_safe(7));
        outbox.ack(7);
        outbox.ack(3);
        assert!(outbox.is_safe(7) && outbox.acked() == 7);
        assert_eq!(outbox.append(b"three"), 12);
        assert!(!outbox.is_safe(12));
    }

    /// A second write that is longer than what may wait has to wait for the first, or it breaks the stream.
    #[test]
    fn long_writes_follow_one_another() {
        let (outbox, changes) = outbox(1000);
        assert!(!outbox.is_clogged(9000), "nothing waits");
        outbox.append(&[1; 100]);
        assert!(!outbox.is_clogged(9000), "one is let through besides");
        assert_eq!(outbox.long().append(vec![2; 5000]), 5100);
        assert!(!outbox.is_clogged(900) && outbox.is_clogged(901), "what is bounded has its room");
        let (seen, mut taken) = (changes.seen(), Vec::new());
        outbox.take(&mut taken).unwrap();
        assert!(outbox.is_clogged(1001) && changes.seen() > seen, "whoever waits looks again");
        outbox.take(&mut taken).unwrap();
        assert_eq!((taken.len(), outbox.is_clogged(9000)), (5000, false));
        assert_eq!(outbox.long().append(vec![3; 5000]), 10_100);
        assert!(outbox.is_clogged(9000));
        outbox.break_off();
        assert!(!outbox.is_clogged(9000), "nobody waits for a stream that has ended");
    }

    #[test]
    fn one_byte_too_many_breaks_it() {
        let (outbox, changes) = outbox(8);
        (1..=8).for_each(|n| assert_eq!(outbox.append(&[0]), n));
        assert!(outbox.is_full() && outbox.room() == 0);
        let seen = changes.seen();
        assert_eq!(outbox.append(&[0]), NEVER);
        assert!(outbox.is_broken() && outbox.queued() == 0 && !outbox.is_full());
        assert!(changes.seen() > seen, "whoever waited for room is told");
        assert_eq!(outbox.take(&mut Vec::new()), Err(Broken));
        assert_eq!(outbox.append(b"lost"), NEVER);
    }

    #[test]
    fn what_a_broken_stream_lost_is_safe_only_when_no_slot_waits_for_it() {
        let (outbox, _) = outbox(100);
        outbox.join();
        let sent = outbox.append(b"sent");
        outbox.ack(sent);
        outbox.break_off();
        let lost = outbox.append(b"lost");
        assert!(outbox.is_safe(sent) && !outbox.is_safe(lost));
        let seen = outbox.acks().seen();
        outbox.part();
        assert!(outbox.is_safe(lost) && outbox.acks().seen() > seen);
        assert!(!Outbox::new(1, Arc::default()).is_safe(1) && Outbox::broken().is_safe(1));
    }

    #[test]
    fn much_is_taken_in_chunks() {
        let (outbox, _) = outbox(1 << 30);
        let pieces = [CHUNK / 2, CHUNK / 2, 10, 3 * CHUNK, 1];
        for len in pieces {
            outbox.append(&vec![len as u8; len]);
        }
        let (mut taken, mut lens) = (Vec::new(), Vec::new());
        loop {
            outbox.take(&mut taken).unwrap();
            if taken.is_empty() {
                break;
            }
            lens.push(taken.len());
        }
        assert_eq!(lens, [CHUNK, 10, 3 * CHUNK, 1]);
        assert_eq!(outbox.queued(), 0);
    }

    #[test]
    fn one_long_write_passes_besides_what_is_bounded() {
        let (outbox, _) = outbox(80);
        let mut taken = Vec::new();
        assert_eq!(outbox.append(&[1; 10]), 10);
        let mut long = outbox.long();
        assert_eq!(long.append(vec![2; 100]), 110);
        assert_eq!(outbox.append(&[3; 10]), 120, "somebody else's in between");
        assert_eq!(long.append(vec![4; 100]), 220);
        drop(long);
        assert_eq!((outbox.queued(), outbox.room()), (220, 0));
        // The next one is bounded as everything else is, while any of the first waits.
        for _ in 0..6 {
            outbox.append(&[5; 10]);
        }
        assert_eq!(outbox.queued(), 280);
        for byte in [1, 2, 3] {
            outbox.take(&mut taken).unwrap();
            assert!(taken.iter().all(|b| *b == byte), "in order");
        }
        assert_eq!(outbox.long().append(vec![6; 20]), 300);
        assert_eq!(outbox.long().append(vec![6; 1]), NEVER);
        assert!(outbox.is_broken());
    }

    #[test]
    fn a_long_record_is_a_long_write() {
        let (outbox, _) = outbox(80);
        let mut taken = Vec::new();
        for _ in 0..2 {
            assert_ne!(outbox.append(&[0; 1000]), NEVER);
            assert_ne!(outbox.append(&[0; 10]), NEVER);
            outbox.take(&mut taken).unwrap();
            assert_eq!(taken.len(), 1000);
            outbox.take(&mut taken).unwrap();
        }
        outbox.append(&[0; 1000]);
        assert_eq!(outbox.append(&[0; 1000]), NEVER, "two of them do not");
    }

    #[test]
    fn who_waits_for_room_is_told() {
        let (outbox, changes) = outbox(16);
        for _ in 0..7 {
            outbox.append(&[0; 2]);
        }
        assert!(outbox.is_full());
        let seen = changes.seen();
        outbox.take(&mut Vec::new()).unwrap();
        assert!(changes.seen() > seen);
        outbox.append(&[0; 2]);
        let seen = changes.seen();
        outbox.take(&mut Vec::new()).unwrap();
        assert_eq!(changes.seen(), seen, "nobody waits");
    }
}
