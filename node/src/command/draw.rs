//! Random choices among the numbered elements of a collection: `HRANDFIELD`, `SRANDMEMBER`, `ZRANDMEMBER`, `SPOP`.
//!
//! Collections number their elements densely, so a fair choice of elements is a fair choice of numbers, and this
//! module needs to know nothing but how many there are.

use std::ops::Range;

use rand::{
    Rng, RngExt,
    seq::index::{self, IndexVecIntoIter},
};
use shoal_proto::{Error, error::Result, number, resp::Reply};

/// The longest reply to draws with repetition, whose number a client chooses freely, in bytes. Redis has no limit and
/// counts on closing the connection meanwhile.
const LONGEST: usize = 512 << 20;
/// The shortest element in a reply, an empty bulk string, in bytes.
const SHORTEST: usize = 6;
const TOO_MANY: Error = Error::text("ERR value is out of range");

/// Reads a count of elements to draw; a negative one asks for draws with repetition.
pub(super) fn count(arg: &[u8]) -> Result<i64> {
    match number::parse_i64(arg) {
        None => Err(Error::NotInteger),
        Some(i64::MIN) => Err(Error::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        Some(count) => Ok(count),
    }
}

/// Whether a reply that began at `mark` may go on; not if its client is to be disconnected for its length already.
pub(super) fn within_limit(out: &Reply<'_>, mark: usize) -> Result {
    if out.is_exceeded() || out.mark().saturating_sub(mark) > LONGEST { Err(TOO_MANY) } else { Ok(()) }
}

/// One of `len` numbers.
pub(super) fn one(rng: &mut impl Rng, len: usize) -> usize {
    rng.random_range(0..len)
}

/// Numbers below the length of a collection, as a count asks for them.
pub(super) enum Draws<R> {
    /// Every one.
    All(Range<usize>),
    /// Some, each at most once.
    Distinct(IndexVecIntoIter),
    /// Independent draws.
    Repeated { rng: R, len: usize, left: usize },
}

impl<R: Rng> Draws<R> {
    /// `count` different numbers below `len`, or as many as there are; if `count` is negative, `-count` independent
    /// ones. `len` is at least 1.
    pub(super) fn new(mut rng: R, len: usize, count: i64) -> Self {
        if count < 0 {
            let left = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            return Self::Repeated { rng, len, left };
        }
        match usize::try_from(count) {
            Ok(count) if count < len => Self::Distinct(index::sample(&mut rng, len, count).into_iter()),
            _ => Self::All(0..len),
        }
    }

    /// The same, unless the reply is certain to become too long.
    pub(super) fn bounded(rng: R, len: usize, count: i64) -> Result<Self> {
        if count.unsigned_abs() > (LONGEST / SHORTEST) as u64 && count < 0 {
            return Err(TOO_MANY);
        }
        Ok(Self::new(rng, len, count))
    }

    /// How many are still to come.
    pub(super) fn remaining(&self) -> usize {
        match self {
            Self::All(range) => range.len(),
            Self::Distinct(numbers) => numbers.len(),
            Self::Repeated { left, .. } => *left,
        }
    }
}

impl<R: Rng> Iterator for Draws<R> {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        match self {
            Self::All(range) => range.next(),
            Self::Distinct(numbers) => numbers.next(),
            Self::Repeated { rng, len, left } => {
                *left = left.checked_sub(1)?;
                Some(one(rng, *len))
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use rand::{SeedableRng, rngs::StdRng};
    use shoal_proto::resp::{Annex, Protocol};

    use super::*;

    /// How far observed counts are from equal ones. With `k` cells this is about `k - 1`, give or take
    /// `sqrt(2k)`, if each cell is as likely as any other.
    pub(in crate::command) fn chi_square(counts: &[u32]) -> f64 {
        let expected = counts.iter().sum::<u32>() as f64 / counts.len() as f64;
        counts.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum()
    }

    fn spread(len: usize, count: i64) -> f64 {
        let mut counts = vec![0; len];
        for seed in 0..2000 {
            Draws::new(StdRng::seed_from_u64(seed), len, count).for_each(|i| counts[i] += 1);
        }
        chi_square(&counts)
    }

    #[test]
    fn every_number_is_as_likely_as_any_other() {
        // 73 is the 99 % bound for 49 degrees of freedom; without repetition the value is smaller.
        for count in [-1, -5, -100, 1, 2, 5, 25, 45, 49] {
            assert!(spread(50, count) < 73.0, "count {count}: {}", spread(50, count));
        }
    }

    #[test]
    fn replies_are_bounded() {
        let draws = |count| Draws::bounded(StdRng::seed_from_u64(1), 3, count).map(|draws| draws.remaining());
        assert_eq!(draws(i64::MAX), Ok(3));
        assert_eq!(draws(-1_000_000), Ok(1_000_000));
        assert_eq!(draws(-100_000_000), Err(TOO_MANY));
        assert_eq!(draws(-i64::MAX), Err(TOO_MANY));
        // Zeros that are never touched take no memory.
        let mut bytes = vec![0; LONGEST + 10];
        let reply = Reply::new(&mut bytes, Protocol::Resp2);
        assert_eq!(within_limit(&reply, 10), Ok(()));
        assert_eq!(within_limit(&reply, 9), Err(TOO_MANY));
        let (mut bytes, mut annex) = (Vec::new(), Annex::default());
        annex.begin(5);
        let mut reply = Reply::with_annex(&mut bytes, &mut annex, Protocol::Resp2);
        assert_eq!(within_limit(&reply, 0), Ok(()));
        reply.bulk(b"x");
        assert_eq!(within_limit(&reply, 0), Err(TOO_MANY), "the client may have five bytes");
    }

    #[test]
    fn counts() {
        let draws = |len, count| Draws::new(StdRng::seed_from_u64(1), len, count);
        for count in [1, 3, 9, 10, 11, i64::MAX] {
            let numbers: Vec<_> = draws(10, count).collect();
            assert_eq!(numbers.len(), count.min(10) as usize);
            assert_eq!(draws(10, count).remaining(), numbers.len());
            assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
        }
        assert_eq!(draws(3, -20).collect::<Vec<_>>().len(), 20);
        assert_eq!(draws(10, 0).count(), 0);
        assert_eq!(count(b"x"), Err(Error::NotInteger));
        assert!(count(b"-9223372036854775808").is_err());
        assert_eq!(count(b"-9223372036854775807"), Ok(-i64::MAX));
    }
}
