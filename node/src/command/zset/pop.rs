//! `ZPOPMIN`, `ZPOPMAX` and `ZMPOP`.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{begin, pair};
use crate::{
    command::element::element,
    store::{Db, prefetch_at},
    value::Zset,
};

/// From which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

pub(super) fn zpopmin(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    pop_one_key(db, args, End::Min, out)
}

pub(super) fn zpopmax(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    pop_one_key(db, args, End::Max, out)
}

fn pop_one_key(db: &mut Db<'_>, args: Args<'_>, end: End, out: &mut Reply<'_>) -> Result {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let count = match args.get(2) {
        Some(count) => {
            let count = number::parse_i64(count).and_then(|n| usize::try_from(n).ok());
            Some(count.ok_or(Error::NotPositive)?)
        }
        None => None,
    };
    // A count of 0 must check the type and change nothing.
    let zset = db.edit::<Zset>(args.at(1))?;
    let n = count.unwrap_or(1).min(zset.as_ref().map_or(0, |zset| zset.len()));
    let Some(mut zset) = zset.filter(|_| n > 0) else {
        out.array(0);
        return Ok(());
    };
    if count.is_none() {
        // Without a count the one pair is flat in RESP3 too.
        out.array(2);
        pop(&mut zset, 1, end, |member, score| {
            element(out, member);
            out.double(score);
        });
    } else {
        begin(out, n, true);
        pop(&mut zset, n, end, |member, score| pair(out, member, score, true));
    }
    Ok(())
}

/// Takes `n` members out, from the outermost on; there are that many.
fn pop(zset: &mut Zset, n: usize, end: End, mut visit: impl FnMut(crate::value::packed::Elem<'_>, f64)) {
    let len = zset.len();
    let ranks = if end == End::Max { len - n..len } else { 0..n };
    for (member, score) in zset.iter(ranks.clone(), end == End::Max) {
        visit(member, score);
    }
    zset.remove_ranks(ranks, prefetch_at);
}

pub(super) fn zmpop(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let keys = positive(args.at(1)).ok_or(Error::text("ERR numkeys should be greater than 0"))?;
    let end = match keys.checked_add(2) {
        Some(i) if args.is(i, "min") => End::Min,
        Some(i) if args.is(i, "max") => End::Max,
        _ => return Err(Error::Syntax),
    };
    let count = count(args.from(keys + 3))?.unwrap_or(1);
    for key in args.from(2).iter().take(keys) {
        let Some(mut zset) = db.edit::<Zset>(key)? else { continue };
        let n = count.min(zset.len());
        out.array(2);
        out.bulk(key);
        out.array(n);
        pop(&mut zset, n, end, |member, score| {
            out.array(2);
            element(out, member);
            out.double(score);
        });
        return Ok(());
    }
    out.null_array();
    Ok(())
}

/// `[COUNT count]`.
fn count(options: Args<'_>) -> Result<Option<usize>> {
    if options.is_empty() {
        return Ok(None);
    }
    if !options.is(0, "count") || options.len() < 2 {
        return Err(Error::Syntax);
    }
    let count = positive(options.at(1)).ok_or(Error::text("ERR count should be greater than 0"))?;
    if options.len() > 2 { Err(Error::Syntax) } else { Ok(Some(count)) }
}

fn positive(arg: &[u8]) -> Option<usize> {
    number::parse_i64(arg).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0)
}
