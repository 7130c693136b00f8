//! What is under way at a moment, and how long it has waited.

use std::collections::BTreeMap;

/// Leading bits of a wait that are kept: waits are known to within 3 %, so that a million of them take little room.
const BITS: u32 = 6;

/// How many requests have waited how long. The longest is known exactly, the others are told up to 3 % too short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    longest: u64,
    counts: BTreeMap<u64, u64>,
}

impl Standing {
    /// So many requests have waited so long, in nanoseconds.
    pub fn record(&mut self, waited: u64, count: u64) {
        if count > 0 {
            self.longest = self.longest.max(waited);
            *self.counts.entry(coarse(waited)).or_default() += count;
        }
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (waited, count) in other.each() {
            self.record(waited, count);
        }
    }

    /// Each time and how many have waited for it, shorter ones first.
    pub fn each(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let last = coarse(self.longest);
        let others =
            self.counts.iter().map(move |(waited, count)| (*waited, count - u64::from(*waited == last)));
        let longest = (!self.counts.is_empty()).then_some((self.longest, 1));
        others.filter(|(_, count)| *count > 0).chain(longest)
    }
}

fn coarse(waited: u64) -> u64 {
    let dropped = (u64::BITS - waited.leading_zeros()).saturating_sub(BITS);
    waited >> dropped << dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_exact_and_nothing_is_lost() {
        let mut standing = Standing::default();
        assert_eq!(standing.each().count(), 0);
        for waited in 1..=100_000u64 {
            standing.record(waited * 12_345, 1);
        }
        let mut both = standing.clone();
        both.add(&standing);
        both.record(7, 0);
        let all: Vec<(u64, u64)> = both.each().collect();
        assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), 200_000);
        assert_eq!(all.last().unwrap().0, 100_000 * 12_345);
        assert!(all.len() < 1000 && all.is_sorted(), "{}", all.len());
        let middle = |share: u64| {
            let mut left = 200_000 * share / 100;
            let found = all.iter().find(|(_, count)| {
                left = left.saturating_sub(*count);
                left == 0
            });
            found.unwrap().0 as f64 / (1000.0 * 12_345.0 * share as f64)
        };
        assert!([1, 10, 50, 99].into_iter().all(|share| (0.96..=1.0).contains(&middle(share))));
    }
}
