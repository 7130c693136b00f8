//! A sorted run of integers, each as wide as the widest needs: the smallest form of a set.
//!
//! Like Redis's intset it widens and never narrows. Look-ups cost O(log n), changes O(n).

/// The run. `width` is 2, 4 or 8 bytes; an empty run is narrow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ints {
    bytes: Vec<u8>,
    width: u8,
}

impl Default for Ints {
    fn default() -> Self {
        Self { bytes: Vec::new(), width: 2 }
    }
}

/// The bytes that `n` needs.
fn width_of(n: i64) -> u8 {
    if i16::try_from(n).is_ok() {
        2
    } else if i32::try_from(n).is_ok() {
        4
    } else {
        8
    }
}

impl Ints {
    pub(super) fn from_parts(width: u8, bytes: Vec<u8>) -> Self {
        Self { bytes, width }
    }

    pub(super) fn parts(&self) -> (u8, &[u8]) {
        (self.width, &self.bytes)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / usize::from(self.width)
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// The number at index `i`, which is below [`len`](Self::len), in ascending order.
    #[inline]
    pub(super) fn at(&self, i: usize) -> i64 {
        let width = usize::from(self.width);
        let mut le = [0u8; 8];
        le[8 - width..].copy_from_slice(&self.bytes[i * width..(i + 1) * width]);
        i64::from_le_bytes(le) >> (64 - 8 * width)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = i64> {
        (0..self.len()).map(|i| self.at(i))
    }

    /// Where `n` is, or else where it would be.
    fn search(&self, n: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        // Sets of numbers are often filled in ascending order.
        if high > 0 && n > self.at(high - 1) {
            return Err(high);
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.at(middle).cmp(&n) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub(super) fn contains(&self, n: i64) -> bool {
        self.search(n).is_ok()
    }

    /// Adds `n`; whether it was not there.
    pub(super) fn insert(&mut self, n: i64) -> bool {
        let Err(i) = self.search(n) else { return false };
        if width_of(n) > self.width {
            self.widen(width_of(n));
        }
        let width = usize::from(self.width);
        self.bytes.splice(i * width..i * width, n.to_le_bytes()[..width].iter().copied());
        true
    }

    /// Removes `n`; whether it was there.
    pub(super) fn remove(&mut self, n: i64) -> bool {
        let found = self.search(n);
        if let Ok(i) = found {
            self.remove_at(i);
        }
        found.is_ok()
    }

    /// Removes the number at index `i`, which is below [`len`](Self::len).
    pub(super) fn remove_at(&mut self, i: usize) {
        let width = usize::from(self.width);
        self.bytes.drain(i * width..(i + 1) * width);
        if self.bytes.capacity() > 4 * self.bytes.len() + 32 {
            self.bytes.shrink_to(2 * self.bytes.len());
        }
    }

    fn widen(&mut self, width: u8) {
        let mut wide = Vec::with_capacity((self.len() + 1) * usize::from(width));
        self.iter().for_each(|n| wide.extend_from_slice(&n.to_le_bytes()[..usize::from(width)]));
        *self = Self { bytes: wide, width };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![
            4 => -30i64..30,
            1 => any::<i16>().prop_map(i64::from),
            1 => any::<i32>().prop_map(i64::from),
            1 => any::<i64>(),
            1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0x7fff), Just(0x8000), Just(-0x8000), Just(-0x8001)],
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_sorted_set(ops in proptest::collection::vec((any::<bool>(), number()), 1..200)) {
            let (mut model, mut ints) = (BTreeSet::new(), Ints::default());
            for (add, n) in ops {
                if add {
                    prop_assert_eq!(ints.insert(n), model.insert(n));
                } else {
                    prop_assert_eq!(ints.remove(n), model.remove(&n));
                }
                prop_assert_eq!(ints.contains(n), add);
                prop_assert!(ints.iter().eq(model.iter().copied()));
                prop_assert_eq!(ints.len(), model.len());
            }
        }
    }
}
