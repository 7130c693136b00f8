//! Scores, ranks and counts.

use std::ops::Range;

use shoal_proto::{
    Error,
    error::Result,
    resp::{Args, Reply},
};

use super::{lex_range, score_range};
use crate::{
    store::{Db, Small},
    value::{Zset, zset::score_of},
};

pub(super) fn zcard(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let zset = db.get::<Zset>(args.at(1))?;
    out.int(zset.map_or(0, Zset::len) as i64);
    Ok(())
}

pub(super) fn zscore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if let Some(small) = db.read_small(args.at(1), Small::Zset) {
        score(out, small.value_of(args.at(2)).map(score_of));
        return Ok(());
    }
    let zset = db.get::<Zset>(args.at(1))?;
    score(out, zset.and_then(|zset| zset.score(args.at(2))));
    Ok(())
}

pub(super) fn zmscore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let zset = db.get::<Zset>(args.at(1))?;
    let members = args.from(2);
    out.array(members.len());
    for member in members.iter() {
        score(out, zset.and_then(|zset| zset.score(member)));
    }
    Ok(())
}

fn score(out: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

pub(super) fn zcount(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let range = score_range(args.at(2), args.at(3))?;
    let ranks = db.get::<Zset>(args.at(1))?.map(|zset| zset.ranks_by_score(&range));
    out.int(ranks.map_or(0, |ranks: Range<usize>| ranks.len()) as i64);
    Ok(())
}

pub(super) fn zlexcount(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let range = lex_range(args.at(2), args.at(3))?;
    let ranks = db.get::<Zset>(args.at(1))?.map(|zset| zset.ranks_by_lex(&range));
    out.int(ranks.map_or(0, |ranks: Range<usize>| ranks.len()) as i64);
    Ok(())
}

pub(super) fn zrank(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    rank(db, args, "zrank", |rank, _| rank, out)
}

pub(super) fn zrevrank(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    rank(db, args, "zrevrank", |rank, len| len - 1 - rank, out)
}

fn rank(
    db: &mut Db<'_>,
    args: Args<'_>,
    name: &'static str,
    place: impl FnOnce(usize, usize) -> usize,
    out: &mut Reply<'_>,
) -> Result {
    if args.len() > 4 {
        return Err(Error::Arity(name.into()));
    }
    let with_score = args.is(3, "withscore");
    if args.len() == 4 && !with_score {
        return Err(Error::Syntax);
    }
    let zset = db.get::<Zset>(args.at(1))?;
    let found =
        zset.and_then(|zset| zset.rank(args.at(2)).map(|(rank, score)| (place(rank, zset.len()), score)));
    match found {
        Some((rank, score)) if with_score => {
            out.array(2);
            out.int(rank as i64);
            out.double(score);
        }
        Some((rank, _)) => out.int(rank as i64),
        None if with_score => out.null_array(),
        None => out.null(),
    }
    Ok(())
}
