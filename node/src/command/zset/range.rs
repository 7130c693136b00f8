//! `ZRANGE`, its older forms, and `ZRANGESTORE`.

use std::ops::Range;

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{begin, lex_range, pair, score_range, store};
use crate::{
    store::Db,
    value::{
        Zset,
        zset::{LexRange, ScoreRange, text},
    },
};

/// By what a range is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// What a command's name says already; `None` leaves it to the options.
#[derive(Debug, Clone, Copy)]
struct Form {
    by: Option<By>,
    descending: Option<bool>,
    /// Whether this is `ZRANGESTORE`.
    store: bool,
}

impl Form {
    const fn older(by: By, descending: bool) -> Self {
        Self { by: Some(by), descending: Some(descending), store: false }
    }
}

pub(super) fn zrange(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply(db, args, Form { by: None, descending: None, store: false }, out)
}

pub(super) fn zrevrange(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply(db, args, Form::older(By::Rank, true), out)
}

pub(super) fn zrangebyscore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply(db, args, Form::older(By::Score, false), out)
}

pub(super) fn zrevrangebyscore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply(db, args, Form::older(By::Score, true), out)
}

pub(super) fn zrangebylex(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply(db, args, Form::older(By::Lex, false), out)
}

pub(super) fn zrevrangebylex(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply(db, args, Form::older(By::Lex, true), out)
}

/// Writes the range straight into the reply.
fn reply(db: &mut Db<'_>, args: Args<'_>, form: Form, out: &mut Reply<'_>) -> Result {
    let query = Query::parse(args.from(1), form)?;
    let Some(zset) = db.get::<Zset>(args.at(1))? else {
        out.array(0);
        return Ok(());
    };
    let ranks = query.ranks(zset);
    begin(out, ranks.len(), query.scores);
    for (member, score) in zset.iter(ranks, query.descending) {
        pair(out, member, score, query.scores);
    }
    Ok(())
}

pub(super) fn zrangestore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let query = Query::parse(args.from(2), Form { by: None, descending: None, store: true })?;
    let limits = db.encodings();
    let result = match db.get::<Zset>(args.at(2))? {
        Some(zset) => {
            let found = zset.iter(query.ranks(zset), false);
            Zset::from_pairs(found.map(|(member, score)| (text(member), score)).collect(), &limits)
        }
        None => Zset::default(),
    };
    store(db, args.at(1), result, out);
    Ok(())
}

#[derive(Debug)]
enum Bounds<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

/// A range as it was asked for.
#[derive(Debug)]
struct Query<'a> {
    bounds: Bounds<'a>,
    descending: bool,
    scores: bool,
    offset: i64,
    /// Negative: no limit.
    count: i64,
}

impl<'a> Query<'a> {
    /// Reads source, both ends and options, which begin at argument 0.
    fn parse(args: Args<'a>, form: Form) -> Result<Self> {
        let (mut by, mut descending) = (form.by, form.descending);
        let (mut scores, mut offset, mut count) = (false, 0, -1);
        let mut i = 3;
        while i < args.len() {
            if !form.store && args.is(i, "withscores") {
                scores = true;
            } else if args.is(i, "limit") && i + 2 < args.len() {
                offset = number::parse_i64(args.at(i + 1)).ok_or(Error::NotInteger)?;
                count = number::parse_i64(args.at(i + 2)).ok_or(Error::NotInteger)?;
                i += 2;
            } else if descending.is_none() && args.is(i, "rev") {
                descending = Some(true);
            } else if by.is_none() && args.is(i, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(i, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(Error::Syntax);
            }
            i += 1;
        }
        let (by, descending) = (by.unwrap_or(By::Rank), descending.unwrap_or(false));
        if count != -1 && by == By::Rank {
            return Err(Error::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if scores && by == By::Lex {
            return Err(Error::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let bounds = bounds(by, descending, args.at(1), args.at(2))?;
        Ok(Self { bounds, descending, scores, offset, count })
    }

    /// The ranks, counted from the first, that the range covers in `zset`.
    fn ranks(&self, zset: &Zset) -> Range<usize> {
        match &self.bounds {
            Bounds::Ranks(start, stop) => {
                let ranks = clamp(*start, *stop, zset.len());
                if self.descending { zset.len() - ranks.end..zset.len() - ranks.start } else { ranks }
            }
            Bounds::Scores(range) => self.limited(zset.ranks_by_score(range)),
            Bounds::Members(range) => self.limited(zset.ranks_by_lex(range)),
        }
    }

    /// Applies `LIMIT`. As in Redis, a negative offset leaves nothing.
    fn limited(&self, ranks: Range<usize>) -> Range<usize> {
        let skip = usize::try_from(self.offset).unwrap_or(usize::MAX).min(ranks.len());
        let take = usize::try_from(self.count).unwrap_or(usize::MAX).min(ranks.len() - skip);
        let start = if self.descending { ranks.end - skip - take } else { ranks.start + skip };
        start..start + take
    }
}

/// Reads both ends. A descending range by score or member names its upper end first.
fn bounds<'a>(by: By, descending: bool, first: &'a [u8], second: &'a [u8]) -> Result<Bounds<'a>> {
    let (min, max) = if descending { (second, first) } else { (first, second) };
    Ok(match by {
        By::Rank => {
            let start = number::parse_i64(first).ok_or(Error::NotInteger)?;
            Bounds::Ranks(start, number::parse_i64(second).ok_or(Error::NotInteger)?)
        }
        By::Score => Bounds::Scores(score_range(min, max)?),
        By::Lex => Bounds::Members(lex_range(min, max)?),
    })
}

/// The ranks from `start` to `stop`, both included; negative ones count from the end.
pub(super) fn clamp(start: i64, stop: i64, len: usize) -> Range<usize> {
    let from_end = |i: i64| if i < 0 { i + len as i64 } else { i };
    let start = usize::try_from(from_end(start)).unwrap_or(0).min(len);
    let end = usize::try_from(from_end(stop)).map_or(0, |stop| stop.saturating_add(1)).min(len);
    start..end.max(start)
}
