//! What the process really holds, kept near what the store accounts for.
//!
//! Items and large strings lie in memory of the store's own, which goes back to the system by itself. Collections, indexes and
//! connections use the allocator, which keeps what was freed between pieces still in use. Once in a while the difference is
//! measured: while it is large, the allocator is told to give back what it can ([`trim`]), and what it cannot is held against
//! `maxmemory` ([`Keeper`]), so that the process stays within its limit whatever comes and goes. Where much has gone, what is
//! left of the index lies scattered, a little of it in each page: it is moved together first.
//!
//! A task looks at that a few times a second ([`keep`]). Where collections give way to strings a limit's worth of memory changes
//! its kind between two looks: so those who take memory have it looked at, too, each time they have taken a part of the limit
//! ([`Trims`], [`Store::watch_growth`](crate::store::Store::watch_growth)).

#![allow(unsafe_code, reason = "calls of the C library's allocator")]

mod keep;
mod keeper;
mod patience;
mod trims;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

pub(crate) use keep::keep;
pub(crate) use keeper::{GLANCE_SHARE, Keeper};
use patience::Patience;
pub(crate) use trims::Trims;

/// Differences that are left alone: this many bytes, and one in so many of those accounted for.
const SLACK: u64 = 2 << 20;
const SLACK_SHARE: u64 = 20;
/// What may be resident beyond `maxmemory`, the process itself included, before anything is held against the limit.
const PADDED: u64 = 9 << 20;
const PADDED_SHARE: u64 = 12;
/// Allocations above this have their own mapping, which goes when they go.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_MAPPING: libc::c_int = 128 << 10;
/// Free memory at the end of the heap above this goes back at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAP_END: libc::c_int = 1 << 20;

/// Resident memory of the process in bytes; 0 where /proc is not there.
pub(crate) fn resident() -> u64 {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Fixes what the allocator would otherwise adapt: after the first large value it would never map one on its own again.
pub(crate) fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the settings are plain numbers that may be set at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_TRIM_THRESHOLD, HEAP_END);
        // Small pieces are joined as they are freed, not all at once with the lock held: after those of a large collection
        // that takes tens of milliseconds, for which everybody who allocates waits.
        libc::mallopt(libc::M_MXFAST, 0);
    }
}

/// What may be resident with a limit, in a process of which so much was there before the first key.
pub(crate) fn allowed(base: u64, limit: u64) -> u64 {
    let around = base + PADDED.saturating_sub(base).max(SLACK);
    limit.saturating_add(limit / PADDED_SHARE + around)
}

/// Gives free memory of the allocator back to the system. Takes milliseconds where much is free, and whoever allocates
/// from the same arena waits: for a thread that nobody waits for.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only touches memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes of the allocator; zeros where it does not tell.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Allocated {
    pub(crate) in_use: u64,
    pub(crate) free: u64,
    pub(crate) mapped: u64,
}

/// Asks the allocator. Walks over what is free: for people who ask, not for a loop.
pub(crate) fn allocated() -> Allocated {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it only reads the allocator's state, under its locks.
        let info = unsafe { libc::mallinfo2() };
        Allocated { in_use: info.uordblks as u64, free: info.fordblks as u64, mapped: info.hblkhd as u64 }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    Allocated::default()
}

/// What was resident before there was a key.
static BASE: AtomicU64 = AtomicU64::new(0);

/// Bytes of the process itself: what was resident before there was a key; 0 where that was not measured.
pub(crate) fn base() -> u64 {
    BASE.load(Relaxed)
}

/// Nodes in this process that are looked after.
static NODES: AtomicUsize = AtomicUsize::new(0);

/// How many there are.
pub(crate) fn nodes() -> usize {
    NODES.load(Relaxed)
}

/// Counts a node while it is looked after.
struct Counted;

impl Counted {
    /// The first one measures the process itself.
    fn new() -> Self {
        if NODES.fetch_add(1, Relaxed) == 0 {
            BASE.store(resident(), Relaxed);
        }
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        NODES.fetch_sub(1, Relaxed);
    }
}
