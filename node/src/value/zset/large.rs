//! A large sorted set: a table from members to scores, and the order of its entries.
//!
//! A member is stored once, in the table; the order knows it by the table's number.

use std::ops::Range;

use super::{
    LexRange, Put, ScoreRange,
    node::{self, NONE},
    order::{self, Members, Order},
};
use crate::value::table::Table;

/// What the table knows of a member: its score, and which leaf of the order its item is in.
#[derive(Debug, Clone, Copy)]
struct Spot {
    score: f64,
    leaf: u32,
}

impl Spot {
    /// Before the order has said where.
    fn of(score: f64) -> Self {
        Self { score, leaf: NONE }
    }
}

impl Members for Table<Spot> {
    #[inline]
    fn member(&self, id: u32) -> &[u8] {
        self.at(id as usize).0
    }

    #[inline]
    fn leaf(&self, id: u32) -> u32 {
        self.at(id as usize).1.leaf
    }

    #[inline]
    fn note_leaf(&mut self, id: u32, leaf: u32) {
        self.payload_mut(id as usize).leaf = leaf;
    }
}

/// Both halves, always of the same members.
#[derive(Debug, Clone)]
pub struct Large {
    table: Table<Spot>,
    order: Order,
}

impl Large {
    pub(super) fn new() -> Self {
        Self { table: Table::new(), order: Order::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.table.memory() + self.order.memory()
    }

    pub(super) fn lead<'k>(&self, members: impl Iterator<Item = &'k [u8]>, ask: impl Fn(usize)) {
        self.table.lead(members, ask);
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.get(member).map(|spot| spot.score)
    }

    pub(super) fn put(
        &mut self,
        member: &[u8],
        absent: Option<f64>,
        present: impl FnOnce(f64) -> Option<f64>,
    ) -> Put {
        let (number, added) = match absent {
            Some(score) => self.table.number_or_insert(member, Spot::of(score)),
            None => match self.table.number(member) {
                Some(number) => (number, false),
                None => return Put::Unchanged,
            },
        };
        let current = self.table.at(number).1.score;
        if added {
            self.order.insert(current, number as u32, &mut self.table);
            return Put::Added;
        }
        match present(current) {
            Some(score) if score != current => {
                rescore(&mut self.table, &mut self.order, number, score);
                Put::Updated
            }
            _ => Put::Unchanged,
        }
    }

    /// See [`Zset::load`](super::Zset::load).
    pub(super) fn load(&mut self, group: &[(&[u8], f64)], ask: impl Fn(usize)) {
        let Self { table, order } = self;
        table.load(group, ask, Spot::of, |table, number, added, score| {
            if added {
                order.append(score, number as u32, table);
            } else if table.at(number).1.score != score {
                rescore(table, order, number, score);
            }
        });
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(number) = self.table.number(member) else { return false };
        let score = self.table.at(number).1.score;
        self.order.remove(score, number as u32, &mut self.table);
        self.forget(number);
        true
    }

    pub(super) fn remove_ranks(&mut self, ranks: Range<usize>, ask: impl Fn(usize)) {
        for _ in ranks.clone() {
            let (_, number) = self.order.remove_rank(ranks.start, &mut self.table);
            self.forget(number as usize);
            self.lead_removal(ranks.start, &ask);
        }
    }

    /// Asks for what another removal at this rank, or at the one before if this is the end, will read: whoever removes at an end
    /// mostly goes on with that. Without it each would wait for the table's last entry's bucket and leaf, and for its own entry.
    fn lead_removal(&self, rank: usize, ask: impl Fn(usize)) {
        let Some(last) = self.len().checked_sub(1) else { return };
        self.table.lead_relink(last, last.saturating_sub(1), &ask);
        self.order.lead_renumber(self.table.at(last.saturating_sub(1)).1.leaf, &ask);
        let (next, neighbour) = self.order.near(rank.min(last));
        self.table.lead_bucket(next as usize, &ask);
        self.table.lead_entry(neighbour as usize, &ask);
    }

    /// Removes an entry from the table that is no longer in the order. The last entry takes its number.
    fn forget(&mut self, number: usize) {
        let last = self.table.len() - 1;
        if number != last {
            let score = self.table.at(last).1.score;
            self.order.renumber(score, last as u32, number as u32, &self.table);
        }
        self.table.remove_at(number);
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        Some((self.order.rank(score, member, &self.table), score))
    }

    /// The entry with this number in the table: any numbering serves a fair draw.
    pub(super) fn nth(&self, number: usize) -> (&[u8], f64) {
        let (member, spot) = self.table.at(number);
        (member, spot.score)
    }

    pub(super) fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let start = self.order.partition(|(score, _)| range.is_below(score));
        let end = self.order.partition(|(score, _)| range.is_up_to(score));
        start..end.max(start)
    }

    pub(super) fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let start = self.order.partition(|(_, id)| range.is_below(self.table.member(id)));
        let end = self.order.partition(|(_, id)| range.is_up_to(self.table.member(id)));
        start..end.max(start)
    }

    pub(super) fn iter(&self, ranks: Range<usize>, descending: bool) -> Iter<'_> {
        Iter { table: &self.table, items: self.order.iter(ranks, descending) }
    }

    /// The same from a rank to the end; what comes next is asked for.
    pub(super) fn iter_ahead<A: Fn(usize)>(&self, from: usize, ask: A) -> Ahead<'_, A> {
        let items = self.order.iter(from..self.len(), false);
        let mut ahead =
            Ahead { table: &self.table, items, now: Group::default(), next: Group::default(), ask };
        ahead.go_on();
        ahead
    }

    pub(super) fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(&'a [u8], f64)) -> u64 {
        self.table.scan(cursor, |member, spot| visit(member, spot.score))
    }

    #[cfg(test)]
    pub(super) fn order_memory(&self) -> usize {
        self.order.memory()
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.table.len(), self.order.len());
        self.order.check(&self.table);
        for (score, id) in self.order.iter(0..self.len(), false) {
            assert_eq!(score, self.table.at(id as usize).1.score);
        }
    }
}

/// Gives the member with this number another score.
fn rescore(table: &mut Table<Spot>, order: &mut Order, number: usize, score: f64) {
    let old = std::mem::replace(&mut table.payload_mut(number).score, score);
    order.update(old, score, number as u32, table);
}

/// Walks over members and scores in order.
#[derive(Debug)]
pub(super) struct Iter<'a> {
    table: &'a Table<Spot>,
    items: order::Iter<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (score, id) = self.items.next()?;
        Some((self.table.at(id as usize).0, score))
    }
}

/// Items whose memory is asked for together: enough for their waits to overlap.
const GROUP: usize = 16;

type Group = smallvec::SmallVec<[node::Item; GROUP]>;

/// Walks over members and scores in order, and asks for what it will read: the entries of one group while another is walked
/// over, and when these have come, their members. Without that it waits twice for each member, whose places have nothing
/// to do with the order.
#[derive(Debug)]
pub(super) struct Ahead<'a, A> {
    table: &'a Table<Spot>,
    items: order::Iter<'a>,
    /// Those that are walked over, the next one last.
    now: Group,
    /// Those whose entries were asked for.
    next: Group,
    ask: A,
}

impl<A: Fn(usize)> Ahead<'_, A> {
    /// On to the next group.
    fn go_on(&mut self) {
        let coming: Group = self.items.by_ref().take(GROUP).collect();
        coming.iter().for_each(|(_, id)| self.table.lead_entry(*id as usize, &self.ask));
        self.next.iter().for_each(|(_, id)| self.table.lead_key(*id as usize, &self.ask));
        self.now = std::mem::replace(&mut self.next, coming);
        self.now.reverse();
    }
}

impl<'a, A: Fn(usize)> Iterator for Ahead<'a, A> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.now.is_empty() {
            self.go_on();
        }
        let (score, id) = self.now.pop()?;
        Some((self.table.at(id as usize).0, score))
    }
}
