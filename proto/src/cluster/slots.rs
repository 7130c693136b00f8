//! A set of slots as bits: cheap to ask and to combine.

use crate::slot::SLOTS;
use crate::view::Ranges;

/// A set of slots.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Slots([u64; SLOTS as usize / 64]);

impl Default for Slots {
    fn default() -> Self {
        Self([0; SLOTS as usize / 64])
    }
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

impl Slots {
    /// Whether `slot` is in it.
    #[inline]
    pub fn has(&self, slot: u16) -> bool {
        self.0[usize::from(slot) / 64] >> (slot % 64) & 1 == 1
    }

    /// Puts it in; whether it was not there.
    pub fn insert(&mut self, slot: u16) -> bool {
        let new = !self.has(slot);
        self.0[usize::from(slot) / 64] |= 1 << (slot % 64);
        new
    }

    /// Takes it out; whether it was there.
    pub fn remove(&mut self, slot: u16) -> bool {
        let had = self.has(slot);
        self.0[usize::from(slot) / 64] &= !(1 << (slot % 64));
        had
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(at as u16 * 64 + bit as u16)
            })
        })
    }

    /// As inclusive ranges.
    pub fn ranges(&self) -> Ranges {
        let mut ranges = Ranges::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }
}

impl FromIterator<u16> for Slots {
    fn from_iter<T: IntoIterator<Item = u16>>(slots: T) -> Self {
        let mut all = Self::default();
        slots.into_iter().for_each(|slot| {
            all.insert(slot);
        });
        all
    }
}

/// The slots of ranges, those beyond a table of `slots` left out.
pub(super) fn of_ranges(ranges: &Ranges, slots: u16) -> Slots {
    ranges.iter().flat_map(|(a, b)| *a..=*b).filter(|slot| *slot < slots).collect()
}
