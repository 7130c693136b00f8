//! Huge pages for the store: with them a look-up among many items does not wait for page tables too.
//!
//! A huge page that is asked for before it is needed is resident as a whole, however little of it is in use; on 64 shards, each of
//! which is filling a segment, that is a megabyte or two. So ranges are filled with small pages, and those that have been
//! full for a while become huge ones (`MADV_COLLAPSE`, Linux 6.1). A range of which something went back to the system
//! stays as it is; a huge page of which something goes back is split before, as the system would otherwise keep all of its
//! memory until it is short of it, whatever the process's resident memory says.

#![allow(unsafe_code, reason = "the system is told about memory by its address")]

use std::{
    collections::{BTreeSet, VecDeque},
    ptr::NonNull,
    sync::LazyLock,
};

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;
/// The newest ranges still have segments in them that are being filled.
const RECENT: usize = 2;
/// Ranges known at once. More come only when nobody looks; the oldest stay small then.
const MOST: usize = 4096;

/// What is known of the ranges of all regions.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// In use as a whole and made of small pages, oldest first.
    full: VecDeque<NonNull<u8>>,
    /// Addresses of those that were made huge pages.
    made: BTreeSet<usize>,
    /// Addresses of those of which something went back.
    holed: BTreeSet<usize>,
}

impl Ranges {
    /// Blocks from `start` to `next` are in use for the first time, of a region of which `before` bytes had been so.
    pub(super) fn handed_out(&mut self, before: usize, start: NonNull<u8>, next: NonNull<u8>) {
        let (first, end) = (start.addr().get(), next.addr().get() & !(HUGE - 1));
        // The range that ends there lies in the region.
        if end <= first || first + HUGE > end + before || self.holed.contains(&(end - HUGE)) || !*ALLOWED {
            return;
        }
        self.full.push_back(next.map_addr(|_| (end - HUGE).try_into().expect("not at address 0")));
        if self.full.len() > MOST {
            self.full.pop_front();
        }
    }

    /// A block is about to go back to the system; whether it has to be [`split`] from huge pages before.
    pub(super) fn hole(&mut self, start: NonNull<u8>, len: usize) -> bool {
        let (first, last) = (start.addr().get(), start.addr().get() + len - 1);
        let mut split = false;
        for range in (first & !(HUGE - 1)..=last).step_by(HUGE) {
            if self.holed.insert(range) {
                self.full.retain(|full| full.addr().get() != range);
                split |= self.made.remove(&range);
            }
        }
        split
    }

    /// Takes out the next range that is to become a huge page.
    pub(super) fn next(&mut self) -> Option<NonNull<u8>> {
        let next = if self.full.len() > RECENT { self.full.pop_front() } else { None };
        self.made.extend(next.map(|next| next.addr().get()));
        next
    }
}

/// Whether the system's administrator lets programs have huge pages. `MADV_COLLAPSE` would not ask.
static ALLOWED: LazyLock<bool> = LazyLock::new(|| {
    let modes = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    modes.is_ok_and(|modes| !modes.contains("[never]"))
});

/// Makes a range one huge page. Its bytes stay as they are; where the system cannot do that, so do its pages.
///
/// # Safety
/// The range came from [`Ranges::next`], and its region is still mapped.
pub(super) unsafe fn collapse(range: NonNull<u8>) {
    #[cfg(all(target_os = "linux", not(miri)))]
    // SAFETY: the range is mapped, by the caller, and no byte of it changes.
    unsafe {
        libc::madvise(range.as_ptr().cast(), HUGE, libc::MADV_COLLAPSE);
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = range;
}

/// Makes small pages of the huge ones of which a range is a part.
///
/// # Safety
/// The range is mapped, of whole pages.
pub(super) unsafe fn split(start: NonNull<u8>, len: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    // SAFETY: the range is mapped, by the caller, and no byte of it changes. Pages that are said to be cold one by one are
    // split from those that are not (Linux, `madvise_cold_or_pageout_pte_range`).
    unsafe {
        libc::madvise(start.as_ptr().cast(), len, libc::MADV_COLD);
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (start, len);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: usize) -> NonNull<u8> {
        NonNull::without_provenance(address.try_into().expect("not 0"))
    }

    #[test]
    fn full_ranges_come_out_in_order_unless_something_of_them_went_back() {
        if !*ALLOWED {
            return;
        }
        let mut ranges = Ranges::default();
        let region = 5 * HUGE + 4096;
        let mut used = 0;
        while used < 7 * HUGE {
            ranges.handed_out(used, at(region + used), at(region + used + HUGE / 4));
            used += HUGE / 4;
        }
        // The first range begins before the region does, the last one is not full.
        assert_eq!(ranges.full, (6..12).map(|n| at(n * HUGE)).collect::<Vec<_>>());
        // A block at the end of one range and the beginning of another, and one in what is not full yet.
        assert!(!ranges.hole(at(8 * HUGE - 8192), 16384));
        assert!(!ranges.hole(at(12 * HUGE), 4096));
        while used < 9 * HUGE {
            ranges.handed_out(used, at(region + used), at(region + used + HUGE / 4));
            used += HUGE / 4;
        }
        let next: Vec<_> = std::iter::from_fn(|| ranges.next()).collect();
        assert_eq!(next, [6, 9, 10].map(|n| at(n * HUGE)));
        assert_eq!(ranges.full, [11, 13].map(|n| at(n * HUGE)));
        // What is a huge page is split once.
        assert_eq!([ranges.hole(at(9 * HUGE), 4096), ranges.hole(at(9 * HUGE + 4096), 4096)], [true, false]);
    }
}
