//! A small sorted set: member, score, member, score, ... in order, in one packed run.

use std::{cmp::Ordering, ops::Range};

use shoal_proto::number;

use super::{LexRange, Put, ScoreRange};
use crate::value::packed::{Elem, Packed};

/// How many members there are.
pub(super) fn len(packed: &Packed) -> usize {
    packed.len() / 2
}

/// Where `member` is, and its score.
pub(super) fn find(packed: &Packed, member: &[u8]) -> Option<(usize, f64)> {
    let at = packed.find(member, 0, 2)?;
    let (_, score, _) = pair(packed, at)?;
    Some((at, score))
}

/// The pair at position `at` and the position of the next.
#[inline]
fn pair(packed: &Packed, at: usize) -> Option<(Elem<'_>, f64, usize)> {
    let (member, at) = packed.read(at)?;
    let (score, at) = packed.read(at)?;
    Some((member, score_of(score), at))
}

/// The score that an element says.
#[inline]
pub(crate) fn score_of(elem: Elem<'_>) -> f64 {
    match elem {
        Elem::Int(n) => n as f64,
        Elem::Bytes(text) => number::parse_f64(text).expect("every second element is a score"),
    }
}

/// The text that says a score. As in Redis, what is stored as an integer has no negative zero.
pub(crate) fn score_text(score: f64) -> String {
    match number::exact_int(score) {
        Some(n) => itoa::Buffer::new().format(n).to_owned(),
        None => number::format_f64(score),
    }
}

/// Whether a pair comes before another.
#[inline]
pub(crate) fn comes_before((other, other_score): (Elem<'_>, f64), (member, score): (&[u8], f64)) -> bool {
    other_score < score
        || other_score == score && other.text(&mut itoa::Buffer::new()).cmp(member) != Ordering::Greater
}

/// Adds a member that is not there, at its place.
pub(super) fn insert(packed: &mut Packed, member: &[u8], score: f64) {
    let mut at = 0;
    while let Some((other, other_score, next)) = pair(packed, at) {
        if !comes_before((other, other_score), (member, score)) {
            break;
        }
        at = next;
    }
    insert_at(packed, at, member, score);
}

/// Adds a member that comes after all others.
pub(super) fn push(packed: &mut Packed, member: &[u8], score: f64) {
    insert_at(packed, packed.end(), member, score);
}

fn insert_at(packed: &mut Packed, at: usize, member: &[u8], score: f64) {
    packed.insert(at, member);
    let after = packed.read(at).map_or(at, |(_, next)| next);
    packed.insert(after, score_text(score).as_bytes());
}

/// Removes the pair at position `at`.
pub(super) fn remove(packed: &mut Packed, at: usize) {
    packed.remove(at, 2);
    packed.shrink();
}

/// Changes the score of the member at position `at`, as `change` says; what came of it.
pub(super) fn rescore(
    packed: &mut Packed,
    at: usize,
    member: &[u8],
    change: impl FnOnce(f64) -> Option<f64>,
) -> Put {
    let Some((_, current, _)) = pair(packed, at) else { return Put::Unchanged };
    match change(current) {
        Some(score) if score != current => {
            packed.remove(at, 2);
            insert(packed, member, score);
            Put::Updated
        }
        _ => Put::Unchanged,
    }
}

/// The rank of `member`, and its score.
pub(super) fn rank(packed: &Packed, member: &[u8]) -> Option<(usize, f64)> {
    let wanted = Elem::of(member);
    let (mut at, mut rank) = (0, 0);
    while let Some((other, score, next)) = pair(packed, at) {
        if other == wanted {
            return Some((rank, score));
        }
        (at, rank) = (next, rank + 1);
    }
    None
}

/// The pair of this rank.
pub(super) fn at(packed: &Packed, rank: usize) -> Option<(Elem<'_>, f64)> {
    let at = packed.position(2 * rank as i64)?;
    pair(packed, at).map(|(member, score, _)| (member, score))
}

/// Removes the pairs of these ranks.
pub(super) fn remove_ranks(packed: &mut Packed, ranks: Range<usize>) {
    if let Some(at) = packed.position(2 * ranks.start as i64) {
        packed.remove(at, 2 * ranks.len());
        packed.shrink();
    }
}

/// The ranks of the scores in `range`.
pub(super) fn ranks_by_score(packed: &Packed, range: &ScoreRange) -> Range<usize> {
    ranks(packed, |_, score| range.is_below(score), |_, score| range.is_up_to(score))
}

/// The ranks of the members in `range`.
pub(super) fn ranks_by_lex(packed: &Packed, range: &LexRange<'_>) -> Range<usize> {
    let text = |member: Elem<'_>, test: &dyn Fn(&[u8]) -> bool| test(member.text(&mut itoa::Buffer::new()));
    let below = |member: Elem<'_>, _| text(member, &|m| range.is_below(m));
    ranks(packed, below, |member, _| text(member, &|m| range.is_up_to(m)))
}

/// Skips the pairs that are `below`, then takes those that are `up_to` the end.
fn ranks(
    packed: &Packed,
    below: impl Fn(Elem<'_>, f64) -> bool,
    up_to: impl Fn(Elem<'_>, f64) -> bool,
) -> Range<usize> {
    let (mut at, mut start) = (0, 0);
    while let Some((member, score, next)) = pair(packed, at)
        && below(member, score)
    {
        (at, start) = (next, start + 1);
    }
    let mut end = start;
    while let Some((member, score, next)) = pair(packed, at)
        && up_to(member, score)
    {
        (at, end) = (next, end + 1);
    }
    start..end
}

/// Walks over the pairs of some ranks.
#[derive(Debug, Clone)]
pub(super) struct Iter<'a> {
    packed: &'a Packed,
    /// Ascending: where the next pair begins; descending: where it ends.
    at: usize,
    left: usize,
    descending: bool,
}

impl<'a> Iter<'a> {
    pub(super) fn new(packed: &'a Packed, ranks: Range<usize>, descending: bool) -> Self {
        let border = if descending { ranks.end } else { ranks.start };
        let at = packed.position(2 * border as i64).unwrap_or_else(|| packed.end());
        Self { packed, at, left: ranks.len(), descending }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Elem<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.descending {
            self.at = self.packed.before(self.at)?;
            self.at = self.packed.before(self.at)?;
            return pair(self.packed, self.at).map(|(member, score, _)| (member, score));
        }
        let (member, score, next) = pair(self.packed, self.at)?;
        self.at = next;
        Some((member, score))
    }
}
