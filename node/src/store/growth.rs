//! What the process holds beside what is accounted for: what keeps it near the limit works on the store from here.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::{Easing, Store};
use crate::heap::{GLANCE_SHARE, Keeper};

/// What is taken from the system between two looks at what is resident: one in so many bytes of the limit, and at least
/// this much.
const GROWN_SHARE: u64 = 64;
const LEAST_GROWN: u64 = 1 << 20;
/// The limit was lowered if more than one in so many bytes of it are held above it.
const LOWERED_SHARE: u64 = 4;
/// Holds of a shard's lock for which somebody evicts because of what he took from the system.
const MOST_HOLDS: usize = 64;

impl Store {
    /// Bytes that count against the limit beyond those of which the store knows.
    #[inline]
    pub fn padding(&self) -> u64 {
        self.padding.load(Ordering::Relaxed)
    }

    /// Sets them, from what was measured.
    pub fn set_padding(&self, bytes: u64) {
        if bytes > self.padding() {
            // No write has brought it.
            self.tolerate();
        }
        self.padding.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of the pool that are not needed at the moment and should go back to the system; called a few times a second.
    pub(crate) fn unneeded(&self) -> usize {
        let ample = self.has_room();
        self.ample.store(ample, Ordering::Relaxed);
        self.pool.look(ample)
    }

    /// Near the limit memory counts; nothing that is kept for later is held against it.
    fn has_room(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit == 0 || self.held_memory() < limit / 2
    }

    /// Whether memory has become short since [`unneeded`](Self::unneeded) was called.
    pub(crate) fn became_short(&self) -> bool {
        self.is_ample() && !self.has_room()
    }

    /// Gives that many bytes of the pool back, if it still has them.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.pool.give_back(bytes);
    }

    /// The address of memory that is full and should become a huge page, each once.
    pub(crate) fn next_huge(&self) -> Option<usize> {
        self.pool.next_huge()
    }

    /// Makes a huge page of it, which takes milliseconds.
    pub(crate) fn make_huge(&self, address: usize) {
        self.pool.make_huge(address);
    }

    /// What decides about what was measured.
    pub(crate) fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock()
    }

    /// To be called often: sees to it, while much is taken from the system, that as much comes back of what was freed.
    #[inline]
    pub(crate) fn watch_growth(&self, now: u64) {
        if self.taken() >= self.next_look.load(Ordering::Relaxed) {
            self.has_grown(now);
        }
    }

    /// Bytes that were taken from the system, as far as that can be known: by the pool, and by the allocator at most as much as
    /// was evicted.
    #[inline]
    fn taken(&self) -> u64 {
        self.pool.grown() + self.evicted_bytes.load(Ordering::Relaxed)
    }

    #[cold]
    fn has_grown(&self, now: u64) {
        let limit = self.limit.load(Ordering::Relaxed);
        let step = (limit / GROWN_SHARE).max(LEAST_GROWN);
        self.next_look.store(self.taken() + step, Ordering::Relaxed);
        if limit == 0 {
            return;
        }
        let flushed = self.reclaim.flushed_bytes();
        if flushed > 0 && self.accounted() + flushed as u64 > limit {
            self.reclaim.wait_for_flushed(step as usize);
        }
        let excess = self.reclaim.trim_above(limit).saturating_sub(limit / GLANCE_SHARE);
        // What waits to be dropped comes back by itself, and what is accounted for above the limit is being evicted.
        let accounted = self.accounted();
        let known = self.reclaim.coming_back() + accounted.saturating_sub(limit);
        let excess = excess.saturating_sub(known).min(step);
        // Writes do not bring it so far above the limit: that was lowered, and what lies around what goes will go with it.
        let lowered = accounted > limit + limit / LOWERED_SHARE;
        if excess > 0 && !lowered {
            let mut keeper = self.keeper();
            keeper.add(excess, limit);
            self.padding.store(keeper.padding(), Ordering::Relaxed);
            drop(keeper);
            self.evict_as_much(excess, now);
        }
    }

    /// Evicts so many bytes, as far as the bounded work does and if that much is held above the limit.
    fn evict_as_much(&self, bytes: u64, now: u64) {
        let goal = self.accounted().saturating_sub(bytes);
        let mut easing = Easing::default();
        for _ in 0..MOST_HOLDS {
            if self.accounted() <= goal || !self.ease(&mut easing, now) {
                break;
            }
        }
    }
}
