//! Huge pages for the store: with them a look-up among many items does not wait for page tables too.
//!
//! A huge page that is asked for before it is needed is resident as a whole, however little of it is in use; on 64 shards, each of
//! which is filling a segment, that is a megabyte or two. So ranges are filled with small pages, and those that have been
//! full for a while become huge ones (`MADV_COLLAPSE`, Linux 6.1). A huge page of which something goes back to the system
//! is split before, as the system would otherwise keep all of its memory until it is short of it, whatever the process's
//! resident memory says. A range of which something went back becomes a huge page once all of it has been in use again for
//! some seconds; few of them at a time, since where blocks come and go they may soon be split again.

#![allow(unsafe_code, reason = "the system is told about memory by its address")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    ptr::NonNull,
    sync::LazyLock,
};

/// Bytes of a huge page.
pub(super) const HUGE: usize = 2 << 20;
/// The newest ranges still have segments in them that are being filled.
const RECENT: usize = 2;
/// Ranges known at once. More come only when nobody looks; the oldest stay small then.
const MOST: usize = 4096;
/// Looks during which a range of which something went back has to be in use as a whole, to become a huge page again.
const A_WHILE: u32 = 20;
/// So many ranges become huge pages again at one look.
const AGAIN_AT_ONE_LOOK: usize = 2;
/// So many are looked at for each of them.
const SEARCHED: usize = 64;

/// A range of which something went back.
#[derive(Debug, Default)]
struct Holed {
    /// Bytes of it that have no memory.
    gone: usize,
    /// The look at which the last of them came to be in use again.
    since: u32,
}

/// What is known of the ranges of all regions.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// In use as a whole and made of small pages, oldest first.
    full: VecDeque<NonNull<u8>>,
    /// Addresses of those that were made huge pages.
    made: BTreeSet<usize>,
    /// Those of which something went back, by their addresses.
    holed: BTreeMap<usize, Holed>,
    looks: u32,
    /// Ranges that may become huge pages again until the next look, and the address behind which they are searched for.
    again: usize,
    searched: usize,
}

/// The ranges of which a block is a part, and how much of it is in each.
fn parts(start: NonNull<u8>, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let (first, end) = (start.addr().get(), start.addr().get() + len);
    let ranges = (first & !(HUGE - 1)..end).step_by(HUGE);
    ranges.map(move |range| (range, end.min(range + HUGE) - first.max(range)))
}

impl Ranges {
    /// Blocks from `start` to `next` are in use for the first time, of a region of which `before` bytes had been so.
    pub(super) fn handed_out(&mut self, before: usize, start: NonNull<u8>, next: NonNull<u8>) {
        let (first, end) = (start.addr().get(), next.addr().get() & !(HUGE - 1));
        // The range that ends there lies in the region.
        if end <= first || first + HUGE > end + before || self.holed.contains_key(&(end - HUGE)) || !*ALLOWED
        {
            return;
        }
        self.full.push_back(next.map_addr(|_| (end - HUGE).try_into().expect("not at address 0")));
        if self.full.len() > MOST {
            self.full.pop_front();
        }
    }

    /// A block is about to go back to the system; whether it has to be [`split`] from huge pages before.
    pub(super) fn hole(&mut self, start: NonNull<u8>, len: usize) -> bool {
        let mut split = false;
        for (range, bytes) in parts(start, len) {
            let known = self.holed.len();
            self.holed.entry(range).or_default().gone += bytes;
            if self.holed.len() > known {
                self.full.retain(|full| full.addr().get() != range);
                split |= self.made.remove(&range);
            }
        }
        split
    }

    /// A block that had gone back is in use again.
    pub(super) fn filled(&mut self, start: NonNull<u8>, len: usize) {
        for (range, bytes) in parts(start, len) {
            if let Some(holed) = self.holed.get_mut(&range) {
                debug_assert!(holed.gone >= bytes, "more comes back than went");
                *holed = Holed { gone: holed.gone - bytes, since: self.looks };
            }
        }
    }

    /// Called a few times a second.
    pub(super) fn look(&mut self) {
        self.looks = self.looks.wrapping_add(1);
        self.again = AGAIN_AT_ONE_LOOK;
    }

    /// Takes out the address of a range of which something went back and which has been in use as a whole for a while, if
    /// one is found among the next few. It is a part of a region, or of two, or not all of it was ever handed out.
    pub(super) fn next_again(&mut self) -> Option<usize> {
        if self.again == 0 || !*ALLOWED {
            return None;
        }
        let next = (Bound::Excluded(self.searched), Bound::Unbounded);
        let mut searched = 0;
        let ripe = self.holed.range(next).take(SEARCHED).find(|(address, holed)| {
            searched = **address;
            holed.gone == 0 && self.looks.wrapping_sub(holed.since) >= A_WHILE
        });
        let ripe = ripe.map(|(address, _)| *address);
        // Behind the last one it begins anew.
        self.searched = searched;
        self.again -= 1;
        self.holed.remove(&ripe?);
        ripe
    }

    /// A range becomes a huge page that [`next_again`](Self::next_again) gave.
    pub(super) fn remade(&mut self, address: usize) {
        self.made.insert(address);
    }

    /// Whether nothing went back of a range since it was given out to become a huge page.
    pub(super) fn is_whole(&self, address: usize) -> bool {
        self.made.contains(&address)
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

    #[test]
    fn ranges_that_have_been_full_again_for_a_while_come_out_few_at_a_time() {
        if !*ALLOWED {
            return;
        }
        let mut ranges = Ranges::default();
        let again = |ranges: &mut Ranges| {
            ranges.look();
            let found: Vec<usize> = (0..10).filter_map(|_| ranges.next_again()).collect();
            assert!(found.len() <= AGAIN_AT_ONE_LOOK);
            found.into_iter().for_each(|range| ranges.remade(range));
        };
        // One block in each of three ranges, and one that is a part of the third and the fourth.
        for n in [5, 6, 7] {
            ranges.hole(at(n * HUGE + 8192), 4096);
        }
        ranges.hole(at(8 * HUGE - 4096), 8192);
        for _ in 0..3 * A_WHILE {
            again(&mut ranges);
        }
        assert!(ranges.made.is_empty(), "none of them is full");
        for n in [5, 7] {
            ranges.filled(at(n * HUGE + 8192), 4096);
        }
        (1..A_WHILE).for_each(|_| again(&mut ranges));
        // The third is not whole yet, and the first had a hole for a moment.
        ranges.hole(at(5 * HUGE), 4096);
        ranges.filled(at(8 * HUGE - 4096), 8192);
        ranges.filled(at(5 * HUGE), 4096);
        assert!(ranges.made.is_empty());
        for _ in 0..A_WHILE + 4 {
            again(&mut ranges);
        }
        assert_eq!(ranges.made, [5, 7, 8].map(|n| n * HUGE).into());
        assert!(ranges.hole(at(8 * HUGE), 4096), "a huge page again, so it is split again");
    }
}
