//! Huge pages for the store: with them a look-up among many items does not wait for page tables too.
//!
//! A huge page that is asked for before it is needed is resident as a whole, however little of it is in use; on 64 shards, each of
//! which is filling a segment, that is a megabyte or two. So ranges are filled with small pages, and those that have been
//! full for a while become huge ones (`MADV_COLLAPSE`, Linux 6.1). A range of which something went back to the system
//! stays as it is.

#![allow(unsafe_code, reason = "the system is told about memory by its address")]

use std::{collections::VecDeque, ptr::NonNull, sync::LazyLock};

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;
/// The newest ranges still have segments in them that are being filled.
const RECENT: usize = 2;
/// Ranges known at once. More come only when nobody looks; the oldest stay small then.
const MOST: usize = 4096;

/// Ranges that are in use as a whole and made of small pages, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ranges(VecDeque<NonNull<u8>>);

impl Ranges {
    /// Blocks from `start` to `next` are in use for the first time, of a region of which `before` bytes had been so.
    pub(super) fn handed_out(&mut self, before: usize, start: NonNull<u8>, next: NonNull<u8>) {
        let (first, end) = (start.addr().get(), next.addr().get() & !(HUGE - 1));
        // The range that ends there lies in the region.
        if end <= first || first + HUGE > end + before || !*ALLOWED {
            return;
        }
        self.0.push_back(next.map_addr(|_| (end - HUGE).try_into().expect("not at address 0")));
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// What is at `start` went back to the system.
    pub(super) fn emptied(&mut self, start: NonNull<u8>) {
        let holds = |range: &NonNull<u8>| {
            (range.addr().get()..range.addr().get() + HUGE).contains(&start.addr().get())
        };
        if let Some(at) = self.0.iter().position(holds) {
            self.0.remove(at);
        }
    }

    /// Takes out the next range that is to become a huge page.
    pub(super) fn next(&mut self) -> Option<NonNull<u8>> {
        if self.0.len() > RECENT { self.0.pop_front() } else { None }
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
        assert_eq!(ranges.0, (6..12).map(|n| at(n * HUGE)).collect::<Vec<_>>());
        ranges.emptied(at(7 * HUGE + 8192));
        ranges.emptied(at(20 * HUGE));
        let next: Vec<_> = std::iter::from_fn(|| ranges.next()).collect();
        assert_eq!(next, [6, 8, 9].map(|n| at(n * HUGE)));
    }
}
