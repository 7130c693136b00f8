//! Sorted sets.
//!
//! One file per noun: [`add`], [`read`] (of single members and counts), [`range`], [`remove`], [`pop`], [`combine`]
//! (union, intersection, difference), [`random`] and [`scan`].

mod add;
mod combine;
mod pop;
mod random;
mod range;
mod read;
mod remove;
mod scan;
#[cfg(test)]
mod tests;

use shoal_proto::{Error, error::Result, resp::Reply};

use super::{Family, Handler::Data, element::element};
use crate::{
    store::{Db, Expiry},
    value::{
        Zset,
        packed::Elem,
        zset::{LexRange, ScoreRange},
    },
};

pub(super) const HANDLERS: Family = &[
    ("zadd", Data(add::zadd)),
    ("zcard", Data(read::zcard)),
    ("zcount", Data(read::zcount)),
    ("zdiff", Data(combine::zdiff)),
    ("zdiffstore", Data(combine::zdiffstore)),
    ("zincrby", Data(add::zincrby)),
    ("zinter", Data(combine::zinter)),
    ("zintercard", Data(combine::zintercard)),
    ("zinterstore", Data(combine::zinterstore)),
    ("zlexcount", Data(read::zlexcount)),
    ("zmpop", Data(pop::zmpop)),
    ("zmscore", Data(read::zmscore)),
    ("zpopmax", Data(pop::zpopmax)),
    ("zpopmin", Data(pop::zpopmin)),
    ("zrandmember", Data(random::zrandmember)),
    ("zrange", Data(range::zrange)),
    ("zrangebylex", Data(range::zrangebylex)),
    ("zrangebyscore", Data(range::zrangebyscore)),
    ("zrangestore", Data(range::zrangestore)),
    ("zrank", Data(read::zrank)),
    ("zrem", Data(remove::zrem)),
    ("zremrangebylex", Data(remove::zremrangebylex)),
    ("zremrangebyrank", Data(remove::zremrangebyrank)),
    ("zremrangebyscore", Data(remove::zremrangebyscore)),
    ("zrevrange", Data(range::zrevrange)),
    ("zrevrangebylex", Data(range::zrevrangebylex)),
    ("zrevrangebyscore", Data(range::zrevrangebyscore)),
    ("zrevrank", Data(read::zrevrank)),
    ("zscan", Data(scan::zscan)),
    ("zscore", Data(read::zscore)),
    ("zunion", Data(combine::zunion)),
    ("zunionstore", Data(combine::zunionstore)),
];

/// Reads a range of scores.
fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange> {
    ScoreRange::parse(min, max).ok_or(Error::text("ERR min or max is not a float"))
}

/// Reads a range of members.
fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>> {
    LexRange::parse(min, max).ok_or(Error::text("ERR min or max not valid string range item"))
}

/// Begins a reply of `n` members. With scores, RESP2 has one flat array, RESP3 an array of pairs; a map would lose
/// the order.
fn begin(out: &mut Reply<'_>, n: usize, scores: bool) {
    out.array(if scores && !out.is_resp3() { n.saturating_mul(2) } else { n });
}

/// Writes one member of such a reply.
#[inline]
fn pair(out: &mut Reply<'_>, member: Elem<'_>, score: f64, scores: bool) {
    if !scores {
        return element(out, member);
    }
    if out.is_resp3() {
        out.array(2);
    }
    element(out, member);
    out.double(score);
}

/// Stores a result and answers its length; an empty one removes the key.
fn store(db: &mut Db<'_>, key: &[u8], result: Zset, out: &mut Reply<'_>) {
    out.int(result.len() as i64);
    if result.is_empty() {
        db.remove(key);
    } else {
        db.set(key, result, Expiry::Never);
    }
}
