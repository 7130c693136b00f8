//! Memory for segments and large strings, taken from the system in whole pages and given back page by page.
//!
//! A block that is freed is kept for the next one of its size while few are; otherwise its pages go back to the system at
//! once and only its addresses are kept. So what is resident is what is in use, whatever sizes come and go: there are no
//! holes between blocks of other sizes, as an allocator has them, only addresses without memory.
//!
//! The `unsafe` of the store's memory is here, but for huge pages ([`huge`](super::huge)), and rests on this:
//!
//! 1. A [`Block`] is the only owner of its bytes: [`Pool::take`] hands out a range that is in no other block, because it is
//!    fresh, or was taken off a free list onto which only a dropped block goes.
//! 2. A block's range is mapped, readable, writable and initialised (by the system, with zeros, or by whoever had it before)
//!    until the pool is dropped, and each block holds the pool.
//! 3. Pages are given back only between the drop of a block and the next use of its range, when nothing refers to them.

#![allow(unsafe_code, reason = "mapping memory and handing out parts of it")]

use std::{
    collections::{BTreeSet, VecDeque},
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use smallvec::SmallVec;

use super::huge::{self, HUGE, Ranges};

/// Sizes are divided by this where Miri interprets the code, which takes a thousand times as long: the same happens, with less
/// of everything.
const SCALE: usize = if cfg!(miri) { 32 } else { 1 };
/// Blocks are multiples of this: the system's page.
pub(super) const PAGE: usize = 4096;
/// Larger blocks are mapped on their own and unmapped when they are dropped.
pub(super) const LARGEST_POOLED: usize = (2 << 20) / SCALE;
/// Addresses that are reserved at once. They cost no memory until they are written to.
const REGION: usize = (32 << 20) / SCALE;
/// Free blocks whose pages are kept in any case: this much, and one in so many of the bytes in use.
const SPARE: usize = (1 << 20) / SCALE;
const SPARE_SHARE: usize = 64;
/// Where little is in use the first is no more than this and one in so many: it is held against the limit in the end.
const LEAST_SPARE: usize = (128 << 10) / SCALE;
const MOST_SPARE_SHARE: usize = 64;
/// Where memory is not short: this much, and one in so many, but no more than the third number. What of it was not needed
/// goes back at the next looks, so many bytes at each, as it takes the system a while.
const AMPLE: usize = (16 << 20) / SCALE;
const AMPLE_SHARE: usize = 4;
const MOST_AMPLE: usize = (64 << 20) / SCALE;
const GIVEN_BACK_AT_ONCE: usize = (16 << 20) / SCALE;

/// Where blocks come from.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    books: Mutex<Books>,
    /// Bytes of all blocks that came without memory: what was ever asked of the system.
    grown: AtomicU64,
}

/// Free blocks of one size.
#[derive(Debug, Default)]
struct Class {
    /// With their pages; the last one was used last.
    warm: VecDeque<NonNull<u8>>,
    /// Addresses only.
    cold: Vec<NonNull<u8>>,
}

#[derive(Debug, Default)]
struct Books {
    /// By size in pages, less one.
    classes: Vec<Class>,
    /// Regions mapped, to be unmapped with the pool.
    regions: BTreeSet<NonNull<u8>>,
    /// What is left of the newest region.
    fresh: Option<(NonNull<u8>, usize)>,
    /// The parts of regions that may become huge pages.
    ranges: Ranges,
    /// Bytes of all blocks.
    in_use: usize,
    /// Bytes of warm free blocks, and the fewest they were since the last look.
    warm: usize,
    least_warm: usize,
    /// Whether memory is not short, as far as is known.
    ample: bool,
    /// The class whose warm blocks are given back next.
    turn: usize,
}

/// Free blocks whose pages go back to the system: nearly always one.
type Surplus = SmallVec<[(NonNull<u8>, usize); 2]>;

// SAFETY: the pointers are to ranges that the books own (1), not to anything of a thread.
unsafe impl Send for Books {}

/// A range of memory with one owner.
pub(super) struct Block {
    start: NonNull<u8>,
    len: usize,
    pool: Arc<Shared>,
}

// SAFETY: a block owns its bytes as a `Box<[u8]>` does (1); the pool behind it is shared under a lock.
unsafe impl Send for Block {}
// SAFETY: as above; a shared block can only be read.
unsafe impl Sync for Block {}

/// Shared bytes of which more than one in so many would be lost in their last page come from the allocator. The others do not, though
/// that loses nothing there: between pieces of other sizes it leaves holes, which were more than what such strings held.
const MOST_LOST_SHARE: usize = 8;
/// No fewer than that always lie in pages.
pub(super) const LEAST_IN_PAGES: usize = 32 << 10;
const _: () = assert!((PAGE - 1) * MOST_LOST_SHARE <= LEAST_IN_PAGES);
/// What the allocator holds for the owner of shared bytes.
pub(super) const OWNER: usize = 64;

/// Bytes of the block for `len` bytes.
pub(super) fn rounded(len: usize) -> usize {
    len.max(1).next_multiple_of(PAGE)
}

impl Pool {
    /// A block of at least `len` bytes, of any content.
    ///
    /// # Panics
    /// When the system has no memory left, as every allocation does.
    pub(super) fn take(&self, len: usize) -> Block {
        let len = rounded(len);
        let (start, is_new) =
            if len > LARGEST_POOLED { (map(len), true) } else { self.0.books.lock().take(len) };
        if is_new {
            self.0.grown.fetch_add(len as u64, Relaxed);
        }
        Block { start, len, pool: Arc::clone(&self.0) }
    }

    /// A copy of these bytes that can be shared, and the memory it takes.
    pub(super) fn share(&self, bytes: &[u8]) -> (Bytes, usize) {
        if (rounded(bytes.len()) - bytes.len()) * MOST_LOST_SHARE > bytes.len() {
            return (Bytes::copy_from_slice(bytes), bytes.len() + OWNER);
        }
        let mut block = self.take(bytes.len());
        block[..bytes.len()].copy_from_slice(bytes);
        let memory = block.len() + OWNER;
        (Bytes::from_owner(block).slice(..bytes.len()), memory)
    }

    /// Bytes of the free blocks that nobody has needed since the last look and that should go back to the system; called a
    /// few times a second. Unless memory is `ample`, few blocks are kept even between looks.
    pub(super) fn look(&self, ample: bool) -> usize {
        let mut books = self.0.books.lock();
        books.ample = ample;
        books.ranges.look();
        let unneeded = if ample { books.least_warm } else { books.warm };
        books.least_warm = books.warm;
        unneeded.min(GIVEN_BACK_AT_ONCE).min(books.warm.saturating_sub(books.kept()))
    }

    /// Gives so many bytes of free blocks back, if there are more than what is kept in any case.
    pub(super) fn give_back(&self, bytes: usize) {
        let mut books = self.0.books.lock();
        let goal = books.warm.saturating_sub(bytes).max(books.kept());
        while books.warm > goal {
            let Some(surplus) = books.coldest() else { break };
            drop(books);
            give_back(&self.0, [surplus]);
            books = self.0.books.lock();
        }
    }

    /// The address of the next range that has been full for a while, the first time or again.
    pub(super) fn next_huge(&self) -> Option<usize> {
        let mut books = self.0.books.lock();
        books.ranges.next().map(|range| range.addr().get()).or_else(|| books.next_again())
    }

    /// Makes a huge page of such a range, unless something of it went back meanwhile.
    pub(super) fn make_huge(&self, address: usize) {
        let range = {
            let books = self.0.books.lock();
            books.ranges.is_whole(address).then(|| books.whole(address)).flatten()
        };
        if let Some(range) = range {
            // SAFETY: it is a part of a region, and the pool, which keeps that mapped, is here.
            unsafe { huge::collapse(range) };
        }
    }

    /// Bytes that blocks have taken from the system in all, whatever they gave back.
    #[inline]
    pub(super) fn grown(&self) -> u64 {
        self.0.grown.load(Relaxed)
    }

    /// Bytes of all blocks that are pooled, and of free ones that are kept with their memory.
    pub(super) fn resident(&self) -> (usize, usize) {
        let books = self.0.books.lock();
        (books.in_use, books.warm)
    }
}

impl Books {
    fn class(&mut self, len: usize) -> &mut Class {
        let at = len / PAGE - 1;
        if self.classes.len() <= at {
            self.classes.resize_with(at + 1, Class::default);
        }
        &mut self.classes[at]
    }

    /// A range for a block, and whether it comes without memory.
    fn take(&mut self, len: usize) -> (NonNull<u8>, bool) {
        self.in_use += len;
        let class = self.class(len);
        if let Some(start) = class.warm.pop_back() {
            self.warm -= len;
            self.least_warm = self.least_warm.min(self.warm);
            return (start, false);
        }
        if let Some(start) = class.cold.pop() {
            self.ranges.filled(start, len);
            return (start, true);
        }
        let (start, left) = match self.fresh.take() {
            Some((start, left)) if left >= len => (start, left),
            rest => {
                self.keep_rest(rest);
                let region = map(REGION);
                self.regions.insert(region);
                (region, REGION)
            }
        };
        // SAFETY: `len <= left`, so the sum is in the region, or one past its end, where nothing is left.
        let next = unsafe { start.add(len) };
        self.ranges.handed_out(REGION - left, start, next);
        self.fresh = Some((next, left - len));
        (start, true)
    }

    /// The end of a region becomes free blocks.
    fn keep_rest(&mut self, rest: Option<(NonNull<u8>, usize)>) {
        if let Some((start, left)) = rest.filter(|(_, left)| *left > 0) {
            // It is smaller than a block, and blocks are no larger than the largest class.
            self.class(left).cold.push(start);
            self.ranges.hole(start, left);
        }
    }

    /// The next range that has been full again for a while.
    fn next_again(&mut self) -> Option<usize> {
        while let Some(address) = self.ranges.next_again() {
            if self.whole(address).is_some() {
                self.ranges.remade(address);
                return Some(address);
            }
        }
        None
    }

    /// The range at an address, if it is a part of one region and all of it has been handed out.
    fn whole(&self, address: usize) -> Option<NonNull<u8>> {
        let at = NonNull::without_provenance(address.try_into().ok()?);
        let region = *self.regions.range(..=at).next_back()?;
        let end = address + HUGE;
        // Where nothing is left of a region it is the beginning of the next.
        let fresh = self.fresh.filter(|(_, left)| *left > 0).map(|(fresh, _)| fresh.addr().get());
        let handed_out = fresh.is_none_or(|fresh| !(region.addr().get()..end).contains(&fresh));
        let inside = end <= region.addr().get() + REGION;
        (inside && handed_out).then(|| region.map_addr(|_| at.addr()))
    }

    /// Takes a free block back; warm ones that have to be given to the system instead.
    fn put(&mut self, start: NonNull<u8>, len: usize) -> Surplus {
        self.in_use -= len;
        self.warm += len;
        self.class(len).warm.push_back(start);
        let ample = (AMPLE + self.in_use / AMPLE_SHARE).min(MOST_AMPLE);
        let most = if self.ample { ample.max(self.kept()) } else { self.kept() };
        let mut surplus = Surplus::new();
        while self.warm > most {
            surplus.extend(self.coldest());
        }
        surplus
    }

    /// Bytes of free blocks that are kept whether or not they are needed.
    fn kept(&self) -> usize {
        SPARE.min(LEAST_SPARE + self.in_use / MOST_SPARE_SHARE) + self.in_use / SPARE_SHARE
    }

    /// Takes out the free block that was used longest ago, of every class in turn, so that none keeps what it will not use
    /// again. There is one with its pages.
    fn coldest(&mut self) -> Option<(NonNull<u8>, usize)> {
        for _ in 0..self.classes.len() {
            self.turn = (self.turn + 1) % self.classes.len();
            if let Some(oldest) = self.classes[self.turn].warm.pop_front() {
                let len = (self.turn + 1) * PAGE;
                self.warm -= len;
                self.least_warm = self.least_warm.min(self.warm);
                return Some((oldest, len));
            }
        }
        None
    }
}

/// Gives the pages of free blocks that were taken out of the books to the system; keeps their addresses.
fn give_back(pool: &Shared, surplus: impl IntoIterator<Item = (NonNull<u8>, usize)>) {
    for (start, len) in surplus {
        let is_huge = pool.books.lock().ranges.hole(start, len);
        // Without the lock, since it takes the system a while.
        // SAFETY: it has just been taken off a free list, so nothing refers to it (3), and its region is mapped (2).
        unsafe {
            if is_huge {
                huge::split(start, len);
            }
            empty(start, len);
        }
        pool.books.lock().class(len).cold.push(start);
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        for region in &self.regions {
            // SAFETY: the region was mapped with this length; no block is left, since each holds the pool (2).
            let result = unsafe { munmap(region.as_ptr().cast(), REGION) };
            debug_assert!(result.is_ok(), "a mapped region can be unmapped");
        }
    }
}

/// Maps `len` bytes of zeros, a multiple of the page.
fn map(len: usize) -> NonNull<u8> {
    // Miri knows private memory only; what is reserved is not used there either.
    let unreserved = if cfg!(miri) { MapFlags::empty() } else { MapFlags::NORESERVE };
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | unreserved);
    // SAFETY: the system chooses the addresses, so no other mapping is touched.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), len, protection, flags) };
    let start = start.ok().and_then(|start| NonNull::new(start.cast::<u8>()));
    start.unwrap_or_else(|| panic!("memory allocation of {len} bytes failed"))
}

/// Tells the system that nobody needs what is in a range: its pages may go, and reads see zeros afterwards.
///
/// # Safety
/// The range is mapped, of whole pages, and nothing refers to it.
unsafe fn empty(start: NonNull<u8>, len: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        use rustix::mm::{Advice, madvise};
        // SAFETY: the caller's.
        let result = unsafe { madvise(start.as_ptr().cast(), len, Advice::LinuxDontNeed) };
        debug_assert!(result.is_ok(), "a mapped range can be given back");
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (start, len);
}

impl Block {
    /// Makes the block as large as `len` bytes need; its first `used` bytes stay, whatever is behind them.
    pub(super) fn grow(&mut self, len: usize, used: usize) {
        let len = rounded(len);
        if len <= self.len || self.grow_mapping(len) {
            return;
        }
        let mut larger = Pool(Arc::clone(&self.pool)).take(len);
        larger[..used].copy_from_slice(&self[..used]);
        *self = larger;
    }

    /// The same without a copy, for a block that is mapped on its own; whether that was done.
    #[cfg(target_os = "linux")]
    fn grow_mapping(&mut self, len: usize) -> bool {
        use rustix::mm::{MremapFlags, mremap};
        if self.len <= LARGEST_POOLED {
            return false;
        }
        // SAFETY: it was mapped with this length, and nobody else refers to it (1); the system chooses where it goes.
        let moved = unsafe { mremap(self.start.as_ptr().cast(), self.len, len, MremapFlags::MAYMOVE) };
        let Some(start) = moved.ok().and_then(|start| NonNull::new(start.cast::<u8>())) else { return false };
        self.pool.grown.fetch_add((len - self.len) as u64, Relaxed);
        (self.start, self.len) = (start, len);
        true
    }

    #[cfg(not(target_os = "linux"))]
    fn grow_mapping(&mut self, _len: usize) -> bool {
        false
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.len > LARGEST_POOLED {
            // SAFETY: it was mapped with this length, and this was its only owner (1).
            let result = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
            debug_assert!(result.is_ok(), "a mapped block can be unmapped");
            return;
        }
        let surplus = self.pool.books.lock().put(self.start, self.len);
        give_back(&self.pool, surplus);
    }
}

impl Deref for Block {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: (2), and by (1) nobody changes it meanwhile.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: (2), and by (1) nobody else reads or changes it meanwhile.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block of {} bytes", self.len)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    /// Whether all bytes of a block are this one; compared as a whole, since Miri takes a while for each step.
    fn holds(block: &Block, byte: u8) -> bool {
        **block == *vec![byte; block.len()]
    }

    /// Each block is filled with its own number and must hold nothing else when it goes: two that overlap would show.
    #[test]
    fn blocks_never_overlap_and_never_lose_bytes() {
        let pool = Pool::default();
        let mut random = StdRng::seed_from_u64(1);
        let mut held: Vec<(u8, Block)> = Vec::new();
        for step in 0..if cfg!(miri) { 150 } else { 20_000u32 } {
            if held.len() < 300 && random.random_range(0..100) < 55 {
                let len = match random.random_range(0..100) {
                    0 => random.random_range(1..2 * LARGEST_POOLED),
                    1..20 => 16 << 10,
                    20..40 => 64 << 10,
                    _ => random.random_range(1..128 << 10),
                };
                let mut block = pool.take(len);
                assert_eq!(block.len(), rounded(len));
                block.fill(step as u8);
                if random.random_range(0..20) == 0 {
                    let (used, len) = (block.len(), random.random_range(1..3 * len));
                    block.grow(len, used);
                    assert_eq!(block.len(), used.max(rounded(len)));
                    block[used..].fill(step as u8);
                }
                held.push((step as u8, block));
                pool.give_back(pool.look(step % 1000 < 500));
            } else if !held.is_empty() {
                let (number, block) = held.swap_remove(random.random_range(0..held.len()));
                assert!(holds(&block, number), "step {step}");
            }
        }
        let pooled: usize = held.iter().map(|(_, b)| b.len()).filter(|len| *len <= LARGEST_POOLED).sum();
        assert_eq!(pool.resident().0, pooled);
        // Blocks outlive the pool's own handle, and another thread may drop them.
        drop(pool);
        std::thread::spawn(move || {
            assert!(held.iter().all(|(number, block)| holds(block, *number)));
        })
        .join()
        .expect("all blocks are as they were");
    }

    #[test]
    fn what_is_free_is_given_back() {
        let pool = Pool::default();
        let take = || (0..1024 / SCALE).map(|n| pool.take((n % 16 + 1) * PAGE)).collect::<Vec<Block>>();
        let blocks = take();
        let in_use: usize = blocks.iter().map(|block| block.len()).sum();
        assert_eq!(pool.resident(), (in_use, 0));
        drop(blocks);
        let (in_use, warm) = pool.resident();
        assert!(in_use == 0 && warm <= LEAST_SPARE, "{warm} bytes are kept");
        // A block whose pages went back reads as zeros and can be used again.
        assert!(take().iter().all(|block| holds(block, 0)));
        assert_eq!(pool.0.books.lock().regions.len(), 2, "their addresses are used again");
    }

    /// Segments come and go, so that most huge pages are split: what is full again afterwards becomes huge again, after a while.
    #[test]
    fn what_is_full_again_becomes_huge_again() {
        const BLOCKS: usize = 4 * REGION / (64 << 10);
        let pool = Pool::default();
        let take = |n: usize| (0..n).map(|_| pool.take(64 << 10)).collect::<Vec<Block>>();
        // What is made in so many looks, and most at one of them.
        let made = |looks: usize| {
            let at_one_look = |_| {
                pool.give_back(pool.look(false));
                std::iter::from_fn(|| pool.next_huge()).inspect(|range| pool.make_huge(*range)).count()
            };
            (0..looks).map(at_one_look).fold((0, 0), |(all, most), n| (all + n, most.max(n)))
        };
        let mut blocks = take(BLOCKS);
        let (first, _) = made(1);
        if cfg!(miri) || first == 0 {
            // There are no huge pages here.
            return;
        }
        // Three of four go, one here and one there.
        let mut n = 0;
        blocks.retain(|_| {
            n += 1;
            n % 4 == 0
        });
        assert_eq!(made(100).0, 0, "nothing is full");
        blocks.extend(take(BLOCKS - blocks.len()));
        assert_eq!(made(10).0, 0, "not for long");
        let (again, most) = made(1000);
        assert!(again * 10 >= first * 9 && most <= 4, "{again} of {first} again, {most} at one look");
        assert_eq!(pool.resident().0, BLOCKS * (64 << 10));
    }

    /// Where memory is not short, what is taken and given back again and again keeps its pages, however much it is; what
    /// is not needed any more goes back within two looks.
    #[test]
    fn what_is_needed_again_stays_and_the_rest_goes_at_the_second_look() {
        let pool = Pool::default();
        let look = |ample| pool.give_back(pool.look(ample));
        look(true);
        const BLOCKS: usize = if cfg!(miri) { 12 } else { 100 };
        let size = rounded((100 << 10) * 100 / BLOCKS / SCALE);
        let take = |n: usize| (0..n).map(|_| pool.take(size)).collect::<Vec<Block>>();
        for _ in 0..if cfg!(miri) { 3 } else { 10 } {
            drop(take(BLOCKS));
            look(true);
        }
        assert_eq!(pool.resident(), (0, BLOCKS * size));
        drop(take(BLOCKS * 6 / 10));
        look(true);
        assert_eq!(pool.resident(), (0, BLOCKS * 6 / 10 * size));
        look(true);
        assert!(pool.resident().1 <= SPARE);
        // Where it is short nothing waits for a look.
        drop(take(BLOCKS));
        look(false);
        assert!(pool.resident().1 <= SPARE);
        drop(take(BLOCKS));
        assert!(pool.resident().1 <= SPARE);
        // Nor does more stay than is in proportion.
        look(true);
        drop(take(10 * BLOCKS));
        assert!(pool.resident().1 <= AMPLE);
    }
}
