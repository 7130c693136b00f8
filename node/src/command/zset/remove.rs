//! `ZREM` and the removal of ranges.

use std::ops::Range;

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{lex_range, range::clamp, score_range};
use crate::{
    store::{Db, Small, prefetch_at},
    value::{Zset, dense::Dense},
};

pub(super) fn zrem(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let plan = |small: Dense<'_>, (): &mut ()| {
        let (splice, there) = if args.len() == 3 { small.remove(args.at(2), 2)? } else { return None };
        Some((splice, i64::from(there)))
    };
    let value =
        |zset: &mut Zset, (): &mut ()| args.from(2).iter().map(|member| i64::from(zset.remove(member))).sum();
    out.int(db.change(args.at(1), Small::Zset, &mut (), plan, value)?.unwrap_or(0));
    Ok(())
}

pub(super) fn zremrangebyrank(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let start = number::parse_i64(args.at(2)).ok_or(Error::NotInteger)?;
    let stop = number::parse_i64(args.at(3)).ok_or(Error::NotInteger)?;
    remove(db, args, |zset| clamp(start, stop, zset.len()), out)
}

pub(super) fn zremrangebyscore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let range = score_range(args.at(2), args.at(3))?;
    remove(db, args, |zset| zset.ranks_by_score(&range), out)
}

pub(super) fn zremrangebylex(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let range = lex_range(args.at(2), args.at(3))?;
    remove(db, args, |zset| zset.ranks_by_lex(&range), out)
}

fn remove(
    db: &mut Db<'_>,
    args: Args<'_>,
    ranks: impl FnOnce(&Zset) -> Range<usize>,
    out: &mut Reply<'_>,
) -> Result {
    let mut removed = 0;
    if let Some(mut zset) = db.edit::<Zset>(args.at(1))? {
        let ranks = ranks(&zset);
        removed = ranks.len();
        zset.remove_ranks(ranks, prefetch_at);
    }
    out.int(removed as i64);
    Ok(())
}
