//! Sorted sets: members, each with a score, in the order of scores and then of members.
//!
//! Used by the handlers of the family. Small ones are one packed run of member, score pairs (`small`); larger ones a
//! table from members to scores beside a counted B+-tree (`large`, `order`). Every range, by rank, score
//! or member, is first turned into a range of ranks, so that there is one way to walk, count and remove. Scores
//! are never NaN: the handlers refuse it.

mod bounds;
mod large;
mod node;
mod order;
mod small;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, ops::Range};

pub use bounds::{LexRange, ScoreRange};
pub use large::Large;
pub(crate) use small::{comes_before, score_of, score_text};

use super::{
    Encodings,
    packed::{Elem, Packed},
};

/// What [`Zset::put`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The member is new.
    Added,
    /// The member has another score.
    Updated,
    /// Nothing.
    Unchanged,
}

/// A member that is borrowed where it can be, and its score.
pub type Pair<'a> = (Cow<'a, [u8]>, f64);

/// A sorted set.
#[derive(Debug, Clone)]
pub enum Zset {
    /// Small: member, score, member, score, ... in order.
    Packed(Packed),
    /// Large.
    Large(Box<Large>),
}

impl Default for Zset {
    fn default() -> Self {
        Self::Packed(Packed::new())
    }
}

impl Zset {
    /// An empty sorted set that will hold about `len` members of up to `longest` bytes.
    pub fn sized_for(len: usize, longest: usize, limits: &Encodings) -> Self {
        if len <= limits.zset_entries && longest <= limits.zset_value {
            Self::default()
        } else {
            Self::Large(Box::new(Large::new()))
        }
    }

    /// A sorted set of these pairs, whose members are all different; as small as it can be.
    pub fn from_pairs(mut pairs: Vec<Pair<'_>>, limits: &Encodings) -> Self {
        sort(&mut pairs);
        let longest = pairs.iter().map(|(member, _)| member.len()).max().unwrap_or(0);
        let mut new = Self::sized_for(pairs.len(), longest, limits);
        for (member, score) in &pairs {
            match &mut new {
                Self::Packed(packed) => small::push(packed, member, *score),
                Self::Large(large) => {
                    large.put(member, Some(*score), |_| None);
                }
            }
        }
        new
    }

    /// A packed sorted set.
    pub(crate) fn from_packed(run: Packed) -> Self {
        Self::Packed(run)
    }

    /// The run, if it is packed.
    pub(crate) fn as_packed(&self) -> Option<&Packed> {
        match self {
            Self::Packed(run) => Some(run),
            Self::Large(_) => None,
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Packed(packed) => small::len(packed),
            Self::Large(large) => large.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name `OBJECT ENCODING` gives.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Packed(_) => "listpack",
            Self::Large(_) => "skiplist",
        }
    }

    /// Bytes of heap memory held. O(1).
    pub fn memory(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.memory(),
            Self::Large(large) => large.memory(),
        }
    }

    /// Becomes large if that many members will not fit the small form.
    pub fn reserve(&mut self, len: usize, limits: &Encodings) {
        if len > limits.zset_entries {
            self.enlarge();
        }
    }

    fn enlarge(&mut self) {
        if let Self::Packed(packed) = self {
            let mut large = Large::new();
            for (member, score) in small::Iter::new(packed, 0..small::len(packed), false) {
                large.put(member.text(&mut itoa::Buffer::new()), Some(score), |_| None);
            }
            *self = Self::Large(Box::new(large));
        }
    }

    /// Names the addresses that looking up these members will read, if it is a table.
    pub(crate) fn lead<'k>(&self, members: impl Iterator<Item = &'k [u8]>, ask: impl Fn(usize)) {
        if let Self::Large(large) = self {
            large.lead(members, ask);
        }
    }

    /// The score of `member`.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Packed(packed) => small::find(packed, member).map(|(_, score)| score),
            Self::Large(large) => large.score(member),
        }
    }

    /// Adds `member` with the score `absent`, if it is not there and there is such a score; if it is there,
    /// gives it the score that `present` makes of its own, if any. One look-up for both.
    pub fn put(
        &mut self,
        member: &[u8],
        limits: &Encodings,
        absent: Option<f64>,
        present: impl FnOnce(f64) -> Option<f64>,
    ) -> Put {
        if let Self::Packed(packed) = self {
            if let Some((at, _)) = small::find(packed, member) {
                return small::rescore(packed, at, member, present);
            }
            let Some(score) = absent else { return Put::Unchanged };
            if small::len(packed) < limits.zset_entries && member.len() <= limits.zset_value {
                small::insert(packed, member, score);
                return Put::Added;
            }
            self.enlarge();
        }
        match self {
            Self::Large(large) => large.put(member, absent, present),
            Self::Packed(_) => Put::Unchanged,
        }
    }

    /// Gives a group of members their scores. They are most likely new and, in this order, behind all others; what
    /// that will read is named first. For large sorted sets: a packed one becomes large.
    pub(crate) fn load(&mut self, group: &[(&[u8], f64)], ask: impl Fn(usize)) {
        self.enlarge();
        if let Self::Large(large) = self {
            large.load(group, ask);
        }
    }

    /// Removes `member`; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Self::Packed(packed) => match small::find(packed, member) {
                Some((at, _)) => {
                    small::remove(packed, at);
                    true
                }
                None => false,
            },
            Self::Large(large) => large.remove(member),
        }
    }

    /// Removes the members of these ranks, which must exist. `ask` is called with the addresses that removing those that come to
    /// have these ranks will read.
    pub fn remove_ranks(&mut self, ranks: Range<usize>, ask: impl Fn(usize)) {
        match self {
            Self::Packed(packed) => small::remove_ranks(packed, ranks),
            Self::Large(large) => large.remove_ranks(ranks, ask),
        }
    }

    /// The rank of `member`, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            Self::Packed(packed) => small::rank(packed, member),
            Self::Large(large) => large.rank(member),
        }
    }

    /// A member and its score by a dense number below [`len`](Self::len), which means nothing: a fair draw of a
    /// member is a fair draw of this number.
    pub fn nth(&self, number: usize) -> (Elem<'_>, f64) {
        match self {
            Self::Packed(packed) => small::at(packed, number).expect("the number is below the length"),
            Self::Large(large) => {
                let (member, score) = large.nth(number);
                (Elem::Bytes(member), score)
            }
        }
    }

    /// The ranks of the scores in `range`.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        match self {
            Self::Packed(packed) => small::ranks_by_score(packed, range),
            Self::Large(large) => large.ranks_by_score(range),
        }
    }

    /// The ranks of the members in `range`. As in Redis, this has a meaning only if all scores are equal.
    pub fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        match self {
            Self::Packed(packed) => small::ranks_by_lex(packed, range),
            Self::Large(large) => large.ranks_by_lex(range),
        }
    }

    /// Members and scores of these ranks, which must exist, from the first or from the last.
    pub fn iter(&self, ranks: Range<usize>, descending: bool) -> Iter<'_> {
        Iter(match self {
            Self::Packed(packed) => Walk::Small(small::Iter::new(packed, ranks, descending)),
            Self::Large(large) => Walk::Large(large.iter(ranks, descending)),
        })
    }

    /// Members and scores from a rank to the end. `ask` is called with the addresses that this will read.
    pub(crate) fn iter_ahead(
        &self,
        rank: usize,
        ask: impl Fn(usize),
    ) -> impl Iterator<Item = (Elem<'_>, f64)> {
        let (small, large) = match self {
            Self::Packed(packed) => (Some(small::Iter::new(packed, rank..small::len(packed), false)), None),
            Self::Large(large) => (None, Some(large.iter_ahead(rank, ask))),
        };
        let large = large.into_iter().flatten().map(|(member, score)| (Elem::Bytes(member), score));
        small.into_iter().flatten().chain(large)
    }

    /// All members and scores in order.
    pub fn all(&self) -> Iter<'_> {
        self.iter(0..self.len(), false)
    }

    /// Visits the members of the given numbers, as [`nth`](Self::nth) counts them, in the order given, until
    /// `visit` fails.
    ///
    /// # Errors
    /// What `visit` fails with.
    pub fn pick<'a, E>(
        &'a self,
        mut numbers: impl Iterator<Item = usize>,
        mut visit: impl FnMut(Elem<'a>, f64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Packed(_) => {
                let all: Vec<_> = self.all().collect();
                numbers.try_for_each(|number| visit(all[number].0, all[number].1))
            }
            Self::Large(large) => numbers.try_for_each(|number| {
                let (member, score) = large.nth(number);
                visit(Elem::Bytes(member), score)
            }),
        }
    }

    /// One step of a scan, as [`Table::scan`](super::table::Table::scan); the small form is visited whole by any
    /// cursor.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Elem<'a>, f64)) -> u64 {
        match self {
            Self::Packed(_) => {
                self.all().for_each(|(member, score)| visit(member, score));
                0
            }
            Self::Large(large) => large.scan(cursor, |member, score| visit(Elem::Bytes(member), score)),
        }
    }
}

/// Brings pairs into the order of sorted sets.
pub fn sort(pairs: &mut [Pair<'_>]) {
    pairs.sort_unstable_by(|a, b| {
        let scores = a.1.partial_cmp(&b.1).expect("scores are never NaN");
        scores.then_with(|| a.0.cmp(&b.0))
    });
}

/// A member, borrowed unless it is stored as a number.
pub fn text(member: Elem<'_>) -> Cow<'_, [u8]> {
    match member {
        Elem::Bytes(bytes) => Cow::Borrowed(bytes),
        Elem::Int(_) => Cow::Owned(member.to_vec()),
    }
}

impl PartialEq for Zset {
    fn eq(&self, other: &Self) -> bool {
        let pairs =
            |zset: &Self| zset.all().map(|(member, score)| (text(member).into_owned(), score)).collect();
        self.len() == other.len() && {
            let (a, b): (Vec<_>, Vec<_>) = (pairs(self), pairs(other));
            a == b
        }
    }
}

/// Walks over members and scores.
#[derive(Debug)]
pub struct Iter<'a>(Walk<'a>);

#[derive(Debug)]
enum Walk<'a> {
    Small(small::Iter<'a>),
    Large(large::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Elem<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Small(pairs) => pairs.next(),
            Walk::Large(items) => items.next().map(|(member, score)| (Elem::Bytes(member), score)),
        }
    }
}
