//! The index of one slot: buckets of one cache line, split and merged one at a time by linear hashing.
//!
//! A bucket holds a tag of eight bits and a handle for each of up to twelve items, so a look-up reads one line of the
//! index and, nearly always, only the item it wants. What does not fit goes to overflow lines. There are eleven items for each
//! bucket on average, at every size: about 8 bytes an item with the overflow lines, by simulation. All lines of a slot lie
//! together, the buckets before the others, and none is vacant: allocations of lines cost the allocator 64 bytes each, and
//! the holes between them ([`Lines`]).
//!
//! A bucket's items move only between it and its one partner, which makes stateless cursors possible
//! ([`linear`](crate::value::linear)). The table never looks at items itself: callers give hashes.

use smallvec::SmallVec;

use super::{
    few::{FEW, Few},
    line::{Bucket, EMPTY, LINK, NEVER, WIDTH, at_least, due, tag},
    lines::Lines,
    log::Handle,
};
use crate::value::linear::{bucket, next_cursor, partner, visited};

/// Items for each bucket, on average, above which the table grows.
const FULL: usize = 11;
/// The same, below which it shrinks.
const SPARSE: usize = 7;

/// Where a look-up goes on.
#[derive(Debug)]
pub(super) enum Lead<'a> {
    Item(Handle),
    Line(&'a Bucket),
    Nothing,
}

/// The index of one slot.
#[derive(Debug)]
#[repr(C)]
pub(super) struct SlotIndex {
    // What a look-up reads comes first.
    listed: Lines,
    /// How many lines are buckets.
    buckets: u32,
    len: u32,
    /// Items that have an expiry.
    expires: u32,
    /// Where the next sweep goes on.
    pub(super) sweep_at: u32,
    /// No item of this slot expires before this time (ms); `u64::MAX` if none expires at all.
    pub(super) min_expiry: u64,
    /// The earliest expiry among items that the sweep under way has seen or will not see; becomes `min_expiry`
    /// when it is through.
    pub(super) swept_min: u64,
}

impl Default for SlotIndex {
    fn default() -> Self {
        Self {
            listed: Lines::default(),
            buckets: 0,
            len: 0,
            expires: 0,
            sweep_at: 0,
            min_expiry: u64::MAX,
            swept_min: u64::MAX,
        }
    }
}

impl SlotIndex {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Items that have an expiry.
    pub(super) fn expires(&self) -> usize {
        self.expires as usize
    }

    /// So many of them are new, so many gone or without an expiry from now on.
    #[inline]
    pub(super) fn count_expires(&mut self, new: usize, gone: usize) {
        self.expires = self.expires + new as u32 - gone as u32;
    }

    /// Few items that have no line are in one bucket.
    pub(super) fn buckets(&self) -> usize {
        match self.listed {
            Lines::None(_) => usize::from(self.len > 0),
            _ => self.buckets as usize,
        }
    }

    /// Bytes of all lines.
    pub(super) fn memory(&self) -> usize {
        self.listed.len() * size_of::<Bucket>()
    }

    /// Bytes at its beginning that a look-up reads.
    pub(super) const READ: usize = std::mem::offset_of!(Self, expires);

    /// Puts all lines into a new allocation, with no more room than they need.
    pub(super) fn reallocate(&mut self) {
        self.listed.reallocate();
    }

    /// The line in which an item with this hash would be.
    #[inline(always)]
    pub(super) fn line_of(&self, hash: u32) -> Option<&Bucket> {
        match &self.listed {
            Lines::None(_) => None,
            _ => Some(self.listed.line(bucket(hash, self.buckets as usize))),
        }
    }

    /// The first of few items for which `is` holds.
    #[inline]
    fn find_few(&self, hash: u32, is: impl FnMut(Handle) -> bool) -> Option<Handle> {
        match &self.listed {
            Lines::None(few) => few.find(tag(hash), is),
            _ => None,
        }
    }

    /// What a look-up reads behind that line: the first item in it that may be the one, or the next line.
    #[inline]
    pub(super) fn lead(&self, hash: u32) -> Lead<'_> {
        let Some(line) = self.line_of(hash) else {
            return self.find_few(hash, |_| true).map_or(Lead::Nothing, Lead::Item);
        };
        let mask = line.matches(tag(hash));
        match line.next() {
            _ if mask != 0 => Lead::Item(line.handles[mask.trailing_zeros() as usize]),
            Some(next) => Lead::Line(self.line(next)),
            None => Lead::Nothing,
        }
    }

    /// The first item in the whole chain that may be the one.
    #[inline]
    pub(super) fn candidate(&self, hash: u32) -> Option<Handle> {
        let Some(mut line) = self.line_of(hash) else { return self.find_few(hash, |_| true) };
        loop {
            let mask = line.matches(tag(hash));
            if mask != 0 {
                return Some(line.handles[mask.trailing_zeros() as usize]);
            }
            line = self.line(line.next()?);
        }
    }

    #[inline]
    fn line(&self, at: u32) -> &Bucket {
        self.listed.line(at as usize)
    }

    #[inline]
    fn line_mut(&mut self, at: u32) -> &mut Bucket {
        self.listed.line_mut(at as usize)
    }

    /// The item with this hash for which `is` holds.
    #[inline(always)]
    pub(super) fn find(&self, hash: u32, mut is: impl FnMut(Handle) -> bool) -> Option<Handle> {
        let Some(mut line) = self.line_of(hash) else { return self.find_few(hash, is) };
        let wanted = tag(hash);
        loop {
            let mut mask = line.matches(wanted);
            while mask != 0 {
                let handle = line.handles[mask.trailing_zeros() as usize];
                if is(handle) {
                    return Some(handle);
                }
                mask &= mask - 1;
            }
            line = self.line(line.next()?);
        }
    }

    /// Adds an item that is not there. `hash_of` gives the hash of items that are.
    pub(super) fn insert(
        &mut self,
        hash: u32,
        handle: Handle,
        expires_at: u64,
        hash_of: impl Fn(Handle) -> u32,
    ) {
        self.len += 1;
        let listed = match &mut self.listed {
            Lines::None(few) => few.put(tag(hash), handle),
            _ => false,
        };
        if !listed {
            self.insert_in_line(hash, handle, hash_of);
        }
        self.note_expiry(hash, expires_at);
    }

    fn insert_in_line(&mut self, hash: u32, handle: Handle, hash_of: impl Fn(Handle) -> u32) {
        if let Lines::None(few) = self.listed {
            // They get a line.
            let due = if self.min_expiry == u64::MAX { NEVER } else { due(self.min_expiry) };
            (self.listed, self.buckets) = (Lines::Some(vec![Bucket { due, ..Bucket::new() }]), 1);
            few.items().for_each(|(tag, handle)| self.put(0, tag, handle));
        }
        if self.len as usize > self.buckets() * FULL {
            self.grow(hash_of);
        }
        self.put(bucket(hash, self.buckets()), tag(hash), handle);
    }

    /// An item of this hash expires then (ms; 0 never).
    pub(super) fn note_expiry(&mut self, hash: u32, expires_at: u64) {
        if expires_at != 0 {
            if self.buckets > 0 {
                let line = self.listed.line_mut(bucket(hash, self.buckets as usize));
                line.due = line.due.min(due(expires_at));
            }
            self.min_expiry = self.min_expiry.min(expires_at);
            self.swept_min = self.swept_min.min(expires_at);
        }
    }

    /// Puts an item behind the others of chain `b`.
    fn put(&mut self, b: usize, tag: u8, handle: Handle) {
        if let Lines::None(few) = &mut self.listed {
            let listed = few.put(tag, handle);
            return debug_assert!(listed, "it was there before");
        }
        let mut at = b as u32;
        while let Some(next) = self.line(at).next() {
            at = next;
        }
        let len = self.line(at).len();
        if len < WIDTH {
            let line = self.line_mut(at);
            (line.tags[len], line.handles[len]) = (tag, handle);
            return;
        }
        let new = self.listed.len() as u32;
        let line = self.line_mut(at);
        let last = (line.tags[WIDTH - 1], line.handles[WIDTH - 1]);
        (line.tags[WIDTH - 1], line.handles[WIDTH - 1]) = (LINK, new);
        let mut line = Bucket { due: at, ..Bucket::new() };
        (line.tags[0], line.handles[0]) = last;
        (line.tags[1], line.handles[1]) = (tag, handle);
        self.listed.push(line);
    }

    /// An overflow line has come to this place: tells the lines before and behind it.
    fn relink(&mut self, at: usize) {
        let line = self.listed.line(at);
        let (before, behind) = (line.due, line.next());
        self.line_mut(before).handles[WIDTH - 1] = at as u32;
        if let Some(behind) = behind {
            self.line_mut(behind).due = at as u32;
        }
    }

    /// Removes an overflow line to which none leads any more; the last one takes its place.
    fn give_back(&mut self, at: u32) {
        self.listed.swap_remove(at as usize);
        if (at as usize) < self.listed.len() {
            self.relink(at as usize);
        }
    }

    /// The place of an item that is there: line and position, and the line before.
    fn place(&self, hash: u32, handle: Handle) -> (u32, usize) {
        let wanted = tag(hash);
        let mut at = bucket(hash, self.buckets()) as u32;
        loop {
            let line = self.line(at);
            for i in 0..WIDTH {
                if line.tags[i] == wanted && line.handles[i] == handle {
                    return (at, i);
                }
            }
            at = line.next().expect("the item is in the index");
        }
    }

    /// The item has moved.
    pub(super) fn moved(&mut self, hash: u32, from: Handle, to: Handle) {
        if let Lines::None(few) = &mut self.listed {
            return few.moved(tag(hash), from, to);
        }
        let (at, i) = self.place(hash, from);
        self.line_mut(at).handles[i] = to;
    }

    /// Takes an item out.
    pub(super) fn remove(&mut self, hash: u32, handle: Handle) {
        if let Lines::None(few) = &mut self.listed {
            few.remove(tag(hash), handle);
        } else {
            self.remove_from_line(hash, handle);
        }
        self.left(1);
    }

    fn remove_from_line(&mut self, hash: u32, handle: Handle) {
        let (hole, i) = self.place(hash, handle);
        let first = bucket(hash, self.buckets()) as u32;
        // The last item of the chain fills the hole.
        let (mut before, mut last) = (None, first);
        while let Some(next) = self.line(last).next() {
            before = Some(last);
            last = next;
        }
        let end = self.line(last).len() - 1;
        let line = self.line_mut(last);
        let filler = (line.tags[end], line.handles[end]);
        line.tags[end] = EMPTY;
        if (last, end) != (hole, i) {
            let line = self.line_mut(hole);
            (line.tags[i], line.handles[i]) = filler;
        }
        if end == 0
            && let Some(before) = before
        {
            self.line_mut(before).tags[WIDTH - 1] = EMPTY;
            self.give_back(last);
        }
    }

    /// So many items are not listed any more.
    fn left(&mut self, count: usize) {
        self.len -= count as u32;
        if self.len == 0 {
            self.reset();
            return;
        }
        while self.is_sparse() {
            self.shrink();
        }
        // One more than that would bring the line back at once.
        if (self.len as usize) < FEW && self.memory() > 0 {
            let mut few = Few::default();
            self.chain(0).for_each(|(tag, handle)| {
                few.put(tag, handle);
            });
            (self.listed, self.buckets) = (Lines::None(few), 0);
        }
    }

    /// Takes these items out of bucket `b`, in the order in which [`bucket`](Self::bucket) gives them. A sweep
    /// has seen the bucket: the earliest of those that stay expires then (ms).
    pub(super) fn drop_from(&mut self, b: usize, gone: &[Handle], earliest: u64) {
        if !gone.is_empty() {
            let mut gone_yet = gone.iter().peekable();
            for (tag, handle) in self.take_chain(b) {
                if gone_yet.next_if_eq(&&handle).is_none() {
                    self.put(b, tag, handle);
                }
            }
            debug_assert!(gone_yet.next().is_none(), "they were all in the bucket");
        }
        self.swept(b, earliest);
        self.left(gone.len());
    }

    /// The last item has gone: so does all memory.
    fn reset(&mut self) {
        let (expires, min_expiry, swept_min) = (self.expires, self.min_expiry, self.swept_min);
        *self = Self { expires, min_expiry, swept_min, ..Self::default() };
    }

    /// Whether there are more buckets than are needed.
    fn is_sparse(&self) -> bool {
        self.buckets > 1 && (self.len as usize) < (self.buckets as usize - 1) * SPARSE
    }

    /// Splits one bucket.
    fn grow(&mut self, hash_of: impl Fn(Handle) -> u32) {
        let n = self.buckets();
        // The overflow line that was there comes behind all others.
        let last = self.listed.len();
        self.listed.push(Bucket::new());
        if n < last {
            self.listed.swap(n, last);
            self.relink(last);
        }
        self.buckets += 1;
        let from = partner(n);
        // Items may leave a bucket that the sweep has yet to reach for one that it has passed.
        let due = self.line(from as u32).due;
        self.swept_min = self.swept_min.min(at_least(due));
        let items = self.take_chain(from);
        (self.line_mut(from as u32).due, self.line_mut(n as u32).due) = (due, due);
        for (tag, handle) in items {
            self.put(bucket(hash_of(handle), n + 1), tag, handle);
        }
    }

    /// Merges the last bucket into its partner.
    fn shrink(&mut self) {
        let n = self.buckets() - 1;
        let due = self.line(n as u32).due;
        let items = self.take_chain(n);
        self.buckets -= 1;
        // No line leads to a bucket.
        self.give_back(n as u32);
        let to = partner(n);
        let line = self.line_mut(to as u32);
        line.due = line.due.min(due);
        self.swept_min = self.swept_min.min(at_least(due));
        for (tag, handle) in items {
            self.put(to, tag, handle);
        }
        self.listed.shrink();
    }

    /// Empties a chain.
    fn take_chain(&mut self, b: usize) -> SmallVec<[(u8, Handle); 2 * WIDTH]> {
        let items = self.chain(b).collect();
        if let Lines::None(few) = &mut self.listed {
            *few = Few::default();
            return items;
        }
        while let Some(next) = self.line(b as u32).next() {
            // The bucket leads to what is behind that line.
            if let Some(behind) = self.line(next).next() {
                self.line_mut(b as u32).handles[WIDTH - 1] = behind;
                self.line_mut(behind).due = b as u32;
            } else {
                self.line_mut(b as u32).tags[WIDTH - 1] = EMPTY;
            }
            self.give_back(next);
        }
        *self.line_mut(b as u32) = Bucket::new();
        items
    }

    /// Bucket `b`, if there is one.
    fn first(&self, b: usize) -> Option<&Bucket> {
        (b < self.buckets as usize).then(|| self.listed.line(b))
    }

    fn chain(&self, b: usize) -> impl Iterator<Item = (u8, Handle)> + '_ {
        let few = match self.listed {
            Lines::None(few) if b == 0 => few,
            _ => Few::default(),
        };
        let mut line = self.first(b);
        let mut i = 0;
        let lined = std::iter::from_fn(move || {
            loop {
                let current = line?;
                if i < WIDTH && current.tags[i] > LINK {
                    i += 1;
                    return Some((current.tags[i - 1], current.handles[i - 1]));
                }
                line = current.next().map(|at| self.line(at));
                i = 0;
            }
        });
        few.items().chain(lined)
    }

    /// The items of bucket `b`.
    pub(super) fn bucket(&self, b: usize) -> impl Iterator<Item = Handle> + '_ {
        self.chain(b).map(|(_, handle)| handle)
    }

    /// All items.
    pub(super) fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        (0..self.buckets()).flat_map(move |b| self.bucket(b))
    }

    /// A sweep begins: it has learnt nothing yet. The bucket behind the first that it looks at.
    pub(super) fn begin_sweep(&mut self) -> usize {
        self.swept_min = u64::MAX;
        self.buckets()
    }

    /// A walk over all buckets begins, whatever is due in them.
    pub(super) fn begin_walk(&mut self) {
        self.sweep_at = self.buckets() as u32;
    }

    /// The next bucket of that walk. Downwards: a removal may merge the last bucket into one further down.
    pub(super) fn next_bucket(&mut self) -> Option<usize> {
        let at = self.buckets().min(self.sweep_at as usize).checked_sub(1)?;
        self.sweep_at = at as u32;
        Some(at)
    }

    /// A sweep came through: what it has learnt is the new bound.
    pub(super) fn finish_sweep(&mut self) {
        self.min_expiry = self.swept_min;
    }

    /// No item of bucket `b` expires before this time (ms).
    pub(super) fn due_of(&self, b: usize) -> u64 {
        match self.listed {
            Lines::None(_) => self.min_expiry,
            _ => self.first(b).map_or(u64::MAX, |line| at_least(line.due)),
        }
    }

    /// The sweep has seen all items of bucket `b`; the earliest that is left expires then (ms).
    pub(super) fn swept(&mut self, b: usize, earliest: u64) {
        if b < self.buckets as usize {
            self.listed.line_mut(b).due = if earliest == u64::MAX { NEVER } else { due(earliest) };
        }
        self.swept_min = self.swept_min.min(earliest);
    }

    /// The sweep has passed bucket `b` without looking: nothing in it is due.
    pub(super) fn skipped(&mut self, b: usize) {
        self.swept_min = self.swept_min.min(self.due_of(b));
    }

    /// Visits the buckets that `cursor` stands for and returns the next cursor; 0 when the round is
    /// complete. An item that stays in the table for a whole round is visited however the table grows and shrinks.
    pub(super) fn visit(&self, cursor: u32, mut f: impl FnMut(Handle)) -> u32 {
        let n = self.buckets();
        if n == 0 {
            return 0;
        }
        let (first, second) = visited(cursor, n);
        self.bucket(first).for_each(&mut f);
        if let Some(second) = second {
            self.bucket(second).for_each(&mut f);
        }
        next_cursor(cursor, n)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn hash_of(handle: Handle) -> u32 {
        handle.wrapping_mul(0x9e37_79b9)
    }

    #[test]
    fn an_index_is_less_than_a_cache_line() {
        assert_eq!(size_of::<SlotIndex>(), 56);
    }

    #[test]
    fn items_cost_little_at_every_size() {
        const COUNT: u32 = if cfg!(miri) { 1500 } else { 50_000 };
        let mut index = SlotIndex::default();
        for n in 0..COUNT {
            index.insert(hash_of(n), n, 0, hash_of);
            assert!(n < 1000 || index.memory() < (n as usize) * 10, "{} bytes for {n}", index.memory());
        }
        for n in 0..COUNT {
            index.remove(hash_of(n), n);
            let left = (COUNT - 1 - n) as usize;
            let capacity = index.listed.allocated();
            assert!(left < 200 || capacity < left * 15, "{capacity} bytes for {left}");
        }
        assert_eq!((index.len(), index.memory()), (0, 0));
    }

    /// Cases of a property, and steps of one.
    const CASES: u32 = if cfg!(miri) { 3 } else { 256 };
    const STEPS: usize = if cfg!(miri) { 300 } else { 2000 };

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

        /// Whatever comes and goes, the table holds exactly what it should.
        #[test]
        fn it_holds_what_was_put(steps in proptest::collection::vec((any::<bool>(), 0u32..400), 1..STEPS)) {
            // Few hashes, so that chains grow long.
            let hash_of = |handle: Handle| super::tests::hash_of(handle % 50);
            let (mut index, mut model) = (SlotIndex::default(), HashSet::new());
            for (add, handle) in steps {
                if add && model.insert(handle) {
                    index.insert(hash_of(handle), handle, 0, hash_of);
                } else if !add && model.remove(&handle) {
                    index.remove(hash_of(handle), handle);
                }
            }
            // Every line belongs to one chain and knows the line before it.
            let mut chained = 0;
            for b in 0..index.buckets as usize {
                let mut at = b as u32;
                while let Some(next) = index.line(at).next() {
                    prop_assert!(next >= index.buckets && index.line(next).due == at);
                    (at, chained) = (next, chained + 1);
                }
            }
            prop_assert_eq!(index.listed.len(), index.buckets as usize + chained);
            let held: Vec<Handle> = index.handles().collect();
            prop_assert_eq!(held.len(), model.len());
            prop_assert_eq!(held.into_iter().collect::<HashSet<_>>(), model.clone());
            for handle in 0..400 {
                let found = index.find(hash_of(handle), |h| h == handle);
                prop_assert_eq!(found.is_some(), model.contains(&handle));
            }
        }
    }
}
