//! Items one behind the other in segments: no allocation per item, and used memory is known exactly.
//!
//! The segments form two queues, the small and the main one of S3-FIFO (Yang et al., "FIFO queues are all you need
//! for cache eviction", SOSP 2023), so the order of the bytes is the order of eviction. Items are only appended to
//! the last segment of a queue; one that goes is marked dead, and its segment is given back when all in it are
//! dead. Nothing here knows keys' places in the index: whoever moves an item tells the index.

use std::collections::VecDeque;

use super::{
    item::{Item, ItemMut, Parts},
    litter::{BANDS, Listed, Litter, band},
    pool::{Block, Pool},
    prefetch,
};

/// Where an item is: the segment's number and the offset in it.
pub(super) type Handle = u32;

/// Bits of a handle that are the offset.
const OFFSET_BITS: u32 = 16;
/// The largest segment. Offsets have 16 bits.
pub(super) const LARGEST_SEGMENT: usize = 1 << OFFSET_BITS;
/// The smallest.
pub(super) const SMALLEST_SEGMENT: usize = 4 << 10;
/// The first ones of a log, unless all are smaller.
const FIRST_SEGMENT: usize = 16 << 10;

/// With fewer segments than this, new ones are small.
const FEW_SEGMENTS: usize = 256;
/// With more segments than this a log takes no more writes; the rest is for moving items.
const MOST_SEGMENTS: usize = 60_000;

/// One of the two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    Small,
    Main,
}

#[derive(Debug)]
struct Segment {
    bytes: Block,
    queue: Queue,
    /// Nothing more is appended.
    sealed: bool,
    /// Where it is listed for its dead bytes.
    listed: Listed,
    /// Where the items end.
    end: u32,
    /// Bytes of dead items.
    dead: u32,
    /// Every item before is dead, or has been met by the walk that will kill it.
    walked: u32,
    /// Bytes of dead items behind that: what moving the others would give back.
    waste: u32,
}

impl Segment {
    fn is_empty(&self) -> bool {
        self.dead == self.end
    }

    /// Bytes behind the items that no item will take.
    fn rest(&self) -> u64 {
        if self.sealed { self.bytes.len() as u64 - u64::from(self.end) } else { 0 }
    }
}

/// A segment to which an item was not appended that was too long for its rest.
#[derive(Debug, Clone, Copy)]
struct NearlyFull {
    number: u16,
    /// Bytes behind its items.
    rest: u32,
}

/// The log of one shard.
#[derive(Debug)]
pub(super) struct Log {
    pool: Pool,
    segments: Vec<Option<Segment>>,
    /// Where the bytes of each begin, or 0: so little that it stays in the cache, to ask for an item's memory without waiting for
    /// its segment's.
    starts: Vec<usize>,
    vacant: Vec<u16>,
    /// Oldest first; the last one is open unless it is sealed.
    queues: [VecDeque<u16>; 2],
    /// The one before it, if it is open as well: what it has room for is appended to it, so that little is lost at its end.
    nearly_full: [Option<NearlyFull>; 2],
    /// Sealed segments, by how much of each is dead.
    litter: Litter,
    /// The segment out of which items are being moved.
    emptying: Option<u16>,
    /// Bytes that may be moved to give back what has died since; negative where the last segment took more than that.
    earned: i64,
    /// Bytes of dead items and rests of sealed segments, where no walk has passed yet.
    waste: u64,
    /// Items that have died or moved, and times that others were left out of the index.
    gone: u64,
    /// Size of new segments.
    segment_size: usize,
}

/// Bytes of living items that may be moved for each byte that has died. Where a tenth of the segments is dead that is
/// about what it takes to give them back.
const MOVED_FOR_DEAD: i64 = 16;
/// Bands of a segment of which much is dead: a quarter.
pub(super) const SPARSE: usize = BANDS / 4;
/// The same where memory is not short: three eighths, and half of the moves.
pub(super) const SPARSE_IF_AMPLE: usize = 3 * BANDS / 8;
/// Bands of one that is worth being emptied where memory is short.
pub(super) const LITTERED: usize = 1;

/// Items of the longest kind in one segment: what is lost at a segment's end stays small.
const ITEMS_PER_SEGMENT: usize = 4;

/// In the smallest segments so many must do.
const LEAST_LONGEST: usize = SMALLEST_SEGMENT / 2;

/// Longest item for segments of that size.
#[inline]
pub(super) fn longest_item(segment_size: usize) -> usize {
    (segment_size / ITEMS_PER_SEGMENT).max(LEAST_LONGEST)
}

#[inline]
fn split(handle: Handle) -> (usize, usize) {
    ((handle >> OFFSET_BITS) as usize, handle as usize & (LARGEST_SEGMENT - 1))
}

impl Log {
    pub(super) fn new(pool: Pool, segment_size: usize) -> Self {
        debug_assert!((SMALLEST_SEGMENT..=LARGEST_SEGMENT).contains(&segment_size));
        Self {
            pool,
            segments: Vec::new(),
            starts: Vec::new(),
            vacant: Vec::new(),
            queues: Default::default(),
            nearly_full: [None; 2],
            litter: Litter::default(),
            emptying: None,
            earned: 0,
            waste: 0,
            gone: 0,
            segment_size,
        }
    }

    /// Bytes that hold no living item and are not about to be given back.
    pub(super) fn waste(&self) -> u64 {
        self.waste
    }

    /// Whether little room is left: handles have 16 bits for the segment.
    #[inline]
    pub(super) fn is_nearly_full(&self) -> bool {
        self.segments.len() - self.vacant.len() > MOST_SEGMENTS
    }

    pub(super) fn segment_size(&self) -> usize {
        self.segment_size
    }

    /// Everything that is in it; it is empty then.
    pub(super) fn emptied(&mut self) -> Self {
        let fresh = Self::new(self.pool.clone(), self.segment_size);
        let gone = self.gone + 1;
        std::mem::replace(self, Self { gone, ..fresh })
    }

    /// Where large strings get their memory.
    #[inline]
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// New segments have this size.
    pub(super) fn set_segment_size(&mut self, size: usize) {
        self.segment_size = size;
    }

    #[inline]
    fn segment(&self, number: usize) -> &Segment {
        self.segments[number].as_ref().expect("a handle names a segment that is there")
    }

    #[inline]
    fn segment_mut(&mut self, number: usize) -> &mut Segment {
        self.segments[number].as_mut().expect("a handle names a segment that is there")
    }

    /// The item at `handle`.
    #[inline]
    pub(super) fn item(&self, handle: Handle) -> Item<'_> {
        let (number, offset) = split(handle);
        Item(&self.segment(number).bytes[offset..])
    }

    /// The same, to change it where it is.
    #[inline]
    pub(super) fn item_mut(&mut self, handle: Handle) -> ItemMut<'_> {
        let (number, offset) = split(handle);
        ItemMut(&mut self.segment_mut(number).bytes[offset..])
    }

    /// Where the item at `handle` begins; asks for what finding it there needs.
    #[inline]
    pub(super) fn ask_item(&self, handle: Handle) -> usize {
        let (number, offset) = split(handle);
        prefetch::prefetch(&self.segments[number]);
        self.starts[number] + offset
    }

    /// The queue of an item.
    pub(super) fn queue_of(&self, handle: Handle) -> Queue {
        self.segment(split(handle).0).queue
    }

    /// Appends an item; `None` when the log cannot take more (4 GB in one shard).
    pub(super) fn append(&mut self, queue: Queue, parts: &Parts<'_>) -> Option<Handle> {
        let (handle, room) = self.room(queue, parts.len())?;
        parts.write(room);
        Some(handle)
    }

    /// Appends a copy of an item to the end of `queue` and kills the original.
    pub(super) fn relocate(&mut self, handle: Handle, queue: Queue) -> Option<Handle> {
        let (from, offset) = split(handle);
        let len = self.item(handle).len();
        let (new, _) = self.room(queue, len)?;
        let (to, start) = split(new);
        if from == to {
            self.segment_mut(to).bytes.copy_within(offset..offset + len, start);
        } else if let Ok([Some(from), Some(to)]) = self.segments.get_disjoint_mut([from, to]) {
            to.bytes[start..start + len].copy_from_slice(&from.bytes[offset..offset + len]);
        }
        self.kill(handle);
        Some(new)
    }

    /// Room for `len` bytes at the end of `queue`.
    fn room(&mut self, queue: Queue, len: usize) -> Option<(Handle, &mut [u8])> {
        let open = self.queues[queue as usize].back().copied().map(usize::from);
        let full = self.nearly_full[queue as usize].filter(|full| full.rest as usize >= len);
        let number = match (full, open) {
            (Some(full), _) => {
                let rest = full.rest - len as u32;
                self.nearly_full[queue as usize] = Some(NearlyFull { rest, ..full });
                usize::from(full.number)
            }
            (None, Some(number)) if self.has_room(number, len) => number,
            (None, open) => {
                let opened = self.open(queue, len)?;
                if let Some(number) = open {
                    self.set_aside(queue, number);
                }
                opened
            }
        };
        let segment = self.segments[number].as_mut().expect("it is there or was just opened");
        let start = segment.end as usize;
        segment.end += len as u32;
        let handle = (number as u32) << OFFSET_BITS | start as u32;
        Some((handle, &mut segment.bytes[start..start + len]))
    }

    /// An open segment will take only what it still has room for, the one that was set aside before nothing any more.
    #[cold]
    fn set_aside(&mut self, queue: Queue, number: usize) {
        if let Some(full) = self.nearly_full[queue as usize] {
            self.seal(usize::from(full.number));
        }
        let segment = self.segment(number);
        let rest = segment.bytes.len() as u32 - segment.end;
        if segment.sealed || rest == 0 {
            self.seal(number);
        } else {
            self.nearly_full[queue as usize] = Some(NearlyFull { number: number as u16, rest });
        }
    }

    #[inline]
    fn has_room(&self, number: usize, len: usize) -> bool {
        let segment = self.segment(number);
        !segment.sealed && segment.end as usize + len <= segment.bytes.len()
    }

    /// Begins a segment for an item of `len` bytes. A log that holds little begins with small ones, so that what is
    /// not written yet stays a small part of it.
    #[cold]
    fn open(&mut self, queue: Queue, len: usize) -> Option<usize> {
        let few = self.segments.len() < FEW_SEGMENTS;
        let size = if few {
            (ITEMS_PER_SEGMENT * len).next_power_of_two().max(FIRST_SEGMENT).min(self.segment_size)
        } else {
            self.segment_size
        };
        // What was written when segments were larger is moved as it is.
        let size = size.max(len);
        let number = match self.vacant.pop() {
            Some(number) => usize::from(number),
            None if self.segments.len() <= usize::from(u16::MAX) => {
                self.segments.push(None);
                self.starts.push(0);
                self.segments.len() - 1
            }
            None => return None,
        };
        let bytes = self.pool.take(size);
        self.starts[number] = bytes.as_ptr().addr();
        let (end, dead, walked, waste) = (0, 0, 0, 0);
        let listed = Listed::default();
        self.segments[number] =
            Some(Segment { bytes, queue, sealed: false, listed, end, dead, walked, waste });
        self.queues[queue as usize].push_back(number as u16);
        Some(number)
    }

    /// Ends a segment: its rest is lost until it is given back.
    fn seal(&mut self, number: usize) {
        let segment = self.segment_mut(number);
        if !segment.sealed {
            segment.sealed = true;
            let queue = segment.queue as usize;
            self.nearly_full[queue].take_if(|full| usize::from(full.number) == number);
            self.waste += self.segment(number).rest();
            self.settle(number);
        }
    }

    /// Marks an item dead.
    pub(super) fn kill(&mut self, handle: Handle) {
        let (number, offset) = split(handle);
        self.gone += 1;
        let segment = self.segment_mut(number);
        let mut item = ItemMut(&mut segment.bytes[offset..]);
        debug_assert!(!Item(item.0).is_dead(), "an item dies once");
        let len = Item(item.0).len() as u32;
        item.kill();
        segment.dead += len;
        if offset >= segment.walked as usize {
            segment.waste += len;
            self.waste += u64::from(len);
            let most = (self.segments.len() * LARGEST_SEGMENT) as i64;
            self.earned = (self.earned + MOVED_FOR_DEAD * i64::from(len)).min(most);
        }
        self.settle(number);
    }

    /// Items were left out of the index, and will die later.
    pub(super) fn note_gone(&mut self) {
        self.gone += 1;
    }

    /// How many items have died or moved, or how often others were left out of the index: while it stays the same, so does every
    /// handle, and what was in the index is in it.
    #[inline]
    pub(super) fn gone(&self) -> u64 {
        self.gone
    }

    /// Whether more living items may be moved for what has died: a segment that was begun is emptied, or nothing would come of
    /// what was moved out of it.
    pub(super) fn affords_moves(&self) -> bool {
        self.earned > 0 || self.emptying.is_some()
    }

    /// So many bytes of them were moved. At most a segment's are owed for.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.earned = (self.earned - bytes as i64).max(-(self.segment_size as i64));
    }

    /// Gives a segment back that holds nothing any more; takes note of one that holds less than before.
    #[inline]
    fn settle(&mut self, number: usize) {
        let segment = self.segment(number);
        if segment.is_empty() {
            let full = self.nearly_full[segment.queue as usize];
            if full.is_some_and(|full| usize::from(full.number) == number) {
                // Sealed, it goes as others do.
                return self.seal(number);
            }
            return self.clear(number);
        }
        let next = usize::from(segment.listed.band) + 1;
        if segment.sealed && segment.waste as usize * BANDS >= next * segment.bytes.len() {
            self.list(number);
        }
    }

    /// Lists a sealed segment in the band of its dead bytes.
    fn list(&mut self, number: usize) {
        let segment = self.segment(number);
        let band = band(segment.waste as usize, segment.bytes.len());
        if band != usize::from(segment.listed.band) {
            self.strike(number);
            self.segment_mut(number).listed = self.litter.add(number as u16, band);
        }
    }

    /// Strikes a segment off.
    fn strike(&mut self, number: usize) {
        let listed = std::mem::take(&mut self.segment_mut(number).listed);
        if let Some(moved) = self.litter.remove(listed) {
            self.segment_mut(usize::from(moved)).listed = listed;
        }
    }

    #[cold]
    fn clear(&mut self, number: usize) {
        let segment = self.segments[number].as_mut().expect("the caller has just seen it");
        self.waste -= u64::from(segment.waste) + segment.rest();
        if !segment.sealed {
            // It begins anew.
            (segment.end, segment.dead, segment.walked, segment.waste) = (0, 0, 0, 0);
            return;
        }
        let queue = segment.queue as usize;
        self.strike(number);
        self.segments[number] = None;
        self.starts[number] = 0;
        // The oldest goes far more often than one from the middle.
        let queue = &mut self.queues[queue];
        if let Some(at) = queue.iter().position(|n| usize::from(*n) == number) {
            queue.remove(at);
        }
        if self.emptying == Some(number as u16) {
            self.emptying = None;
        }
        self.vacant.push(number as u16);
    }

    /// The segment whose items leave `queue` next. Seals it if it is the open one.
    pub(super) fn oldest(&mut self, queue: Queue) -> Option<u16> {
        let number = *self.queues[queue as usize].front()?;
        self.seal(usize::from(number));
        // Sealing gives a segment back whose items are all dead.
        self.queues[queue as usize].front().copied()
    }

    /// Whether a walk through the segment has begun and not come to its end.
    #[inline]
    pub(super) fn is_underway(&self, number: u16) -> bool {
        let segment = self.segments.get(usize::from(number)).and_then(Option::as_ref);
        segment.is_some_and(|segment| segment.walked > 0 && segment.walked < segment.end)
    }

    /// Whether the oldest segment of a queue is such a one.
    #[inline]
    pub(super) fn is_begun(&self, queue: Queue) -> bool {
        self.queues[queue as usize].front().is_some_and(|oldest| self.is_underway(*oldest))
    }

    /// Whether items are being moved out of a segment, or there is one of which at least so many bands are dead.
    #[inline]
    pub(super) fn is_littered(&self, least: usize) -> bool {
        self.emptying.is_some() || self.litter.reaches(least)
    }

    /// The segment out of which items are moved next: that from which some were, else the one of which most is dead, if
    /// that is at least so many bands.
    pub(super) fn littered(&mut self, least: usize) -> Option<u16> {
        if self.emptying.is_none() {
            self.emptying = self.litter.worst(least);
        }
        self.emptying
    }

    /// Whether items have been moved out of a segment that is still there.
    pub(super) fn is_emptying(&self) -> bool {
        self.emptying.is_some()
    }

    /// The next living item of a sealed segment that no walk has met yet. Whoever walks must kill or relocate it.
    pub(super) fn walk(&mut self, number: u16) -> Option<Handle> {
        let number = usize::from(number);
        let segment = self.segments.get_mut(number)?.as_mut()?;
        let (mut living, mut passed) = (None, 0);
        while segment.walked < segment.end && living.is_none() {
            let at = segment.walked;
            let item = Item(&segment.bytes[at as usize..]);
            let len = item.len() as u32;
            segment.walked += len;
            prefetch::ask_behind(&segment.bytes, at as usize, len as usize);
            if item.is_dead() {
                // It is as good as given back.
                passed += len;
            } else {
                living = Some((number as u32) << OFFSET_BITS | at);
            }
        }
        if passed > 0 {
            segment.waste -= passed;
            self.waste -= u64::from(passed);
            self.list(number);
        }
        living
    }

    /// Recomputes what is kept count of; bytes of living items.
    ///
    /// # Panics
    /// When they differ.
    pub(super) fn audit(&self) -> usize {
        let (mut living, mut waste, mut listed) = (0, 0, 0);
        for full in self.nearly_full.iter().flatten() {
            let segment = self.segment(usize::from(full.number));
            let rest = segment.bytes.len() - segment.end as usize;
            assert_eq!((segment.sealed, full.rest as usize), (false, rest), "what is nearly full");
        }
        for (number, segment) in self.segments.iter().enumerate() {
            let Some(segment) = segment else {
                assert!(self.vacant.contains(&(number as u16)), "a segment is lost");
                continue;
            };
            let queued = self.queues[segment.queue as usize].iter().filter(|n| usize::from(**n) == number);
            assert_eq!(queued.count(), 1, "a segment is in its queue once");
            let (mut at, mut dead, mut behind) = (0, 0, 0);
            while at < segment.end as usize {
                let item = Item(&segment.bytes[at..]);
                if item.is_dead() {
                    dead += item.len();
                    behind += if at >= segment.walked as usize { item.len() } else { 0 };
                } else {
                    living += item.len();
                }
                at += item.len();
            }
            assert_eq!(
                (at, dead),
                (segment.end as usize, segment.dead as usize),
                "bytes of segment {number}"
            );
            assert_eq!(segment.waste as usize, behind, "dead bytes that no walk has passed");
            waste += behind as u64 + segment.rest();
            let band = if segment.sealed { band(behind, segment.bytes.len()) } else { 0 };
            assert_eq!(usize::from(segment.listed.band), band, "the band of segment {number}");
            assert!(
                self.litter.has(number as u16, segment.listed),
                "segment {number} is not where it is listed"
            );
            listed += usize::from(band > 0);
        }
        assert_eq!(self.litter.len(), listed, "listed segments");
        assert_eq!(self.waste, waste, "wasted bytes");
        living
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::store::item::Form;

    fn parts(key: &[u8]) -> Parts<'_> {
        Parts { form: Form::Whole, space: 0, expires_at: 0, accessed: 0, key: Some(key), value: key }
    }

    /// Items come, move, change and go in any order: those that live keep their bytes, accounts stay right, and nothing is
    /// left when all are dead.
    #[test]
    fn living_items_keep_their_bytes() {
        const STEPS: u32 = if cfg!(miri) { 400 } else { 100_000 };
        let mut log = Log::new(Pool::default(), SMALLEST_SEGMENT);
        let mut random = StdRng::seed_from_u64(2);
        let mut living: Vec<(Handle, Vec<u8>)> = Vec::new();
        for step in 0..STEPS {
            let queue = if random.random_range(0..4) == 0 { Queue::Main } else { Queue::Small };
            match random.random_range(0..10) {
                0..5 => {
                    let key = step.to_le_bytes().repeat(random.random_range(1..100));
                    living.push((log.append(queue, &parts(&key)).expect("there is room"), key));
                }
                5..8 if !living.is_empty() => {
                    let (handle, _) = living.swap_remove(random.random_range(0..living.len()));
                    log.kill(handle);
                }
                8 if !living.is_empty() => {
                    let at = random.random_range(0..living.len());
                    living[at].0 = log.relocate(living[at].0, queue).expect("there is room");
                }
                _ => {
                    // As compaction does it: what is met moves to the end of its queue.
                    let least = random.random_range(LITTERED..=SPARSE);
                    let Some(handle) = log.littered(least).and_then(|segment| log.walk(segment)) else {
                        continue;
                    };
                    let at = living.iter().position(|(known, _)| *known == handle);
                    let at = at.expect("a walk meets living items");
                    living[at].0 = log.relocate(handle, log.queue_of(handle)).expect("there is room");
                }
            }
            if step % (STEPS / 50) == 0 {
                let bytes: usize = living.iter().map(|(_, key)| parts(key).len()).sum();
                assert_eq!(log.audit(), bytes);
            }
        }
        for (handle, key) in &living {
            let item = log.item(*handle);
            assert_eq!((item.key(), item.value(), item.is_dead()), (Some(&key[..]), &key[..], false));
        }
        living.iter().for_each(|(handle, _)| log.kill(*handle));
        assert_eq!((log.audit(), log.waste()), (0, 0));
    }

    /// What is too long for the rest of a segment leaves it to what is shorter; nothing is left of a segment when all of it is dead.
    #[test]
    fn little_is_lost_behind_the_last_item() {
        const ITEMS: usize = if cfg!(miri) { 200 } else { 20_000 };
        let mut log = Log::new(Pool::default(), LARGEST_SEGMENT / 4);
        let mut random = StdRng::seed_from_u64(3);
        let value = [7; 2000];
        let mut append = |log: &mut Log| {
            let longest = 1 << random.random_range(4..11);
            let value = &value[..random.random_range(1..longest)];
            log.append(Queue::Small, &parts(value)).expect("there is room")
        };
        let handles: Vec<Handle> = (0..ITEMS).map(|_| append(&mut log)).collect();
        let living = log.audit();
        assert!(log.waste() * 50 < living as u64, "{} bytes are lost, {living} are not", log.waste());
        for handle in handles {
            log.kill(handle);
        }
        assert_eq!((log.audit(), log.waste()), (0, 0));
        assert!(log.segments.len() - log.vacant.len() <= 1, "only the open segment is left");
    }
}
