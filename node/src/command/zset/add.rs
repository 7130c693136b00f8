//! `ZADD` and `ZINCRBY`.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};
use smallvec::SmallVec;

use crate::{
    store::{Db, Small},
    value::{
        Encodings, Zset,
        dense::Dense,
        zset::{Put, score_text},
    },
};

pub(super) fn zadd(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    add(db, args, Options::default(), out)
}

pub(super) fn zincrby(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    add(db, args, Options { incr: true, ..Options::default() }, out)
}

/// The words between key and first score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Options {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
}

impl Options {
    /// Reads the options and returns the index of the first score. `self` are those that the command implies.
    fn parse(mut self, args: Args<'_>) -> Result<(Self, usize)> {
        let mut i = 2;
        while let Some(word) = args.get(i) {
            let option = match word {
                w if w.eq_ignore_ascii_case(b"nx") => &mut self.nx,
                w if w.eq_ignore_ascii_case(b"xx") => &mut self.xx,
                w if w.eq_ignore_ascii_case(b"gt") => &mut self.gt,
                w if w.eq_ignore_ascii_case(b"lt") => &mut self.lt,
                w if w.eq_ignore_ascii_case(b"ch") => &mut self.ch,
                w if w.eq_ignore_ascii_case(b"incr") => &mut self.incr,
                _ => break,
            };
            *option = true;
            i += 1;
        }
        let rest = args.len() - i;
        if rest == 0 || rest % 2 == 1 {
            return Err(Error::Syntax);
        }
        if self.nx && self.xx {
            return Err(Error::text("ERR XX and NX options at the same time are not compatible"));
        }
        if self.nx && (self.gt || self.lt) || self.gt && self.lt {
            return Err(Error::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if self.incr && rest > 2 {
            return Err(Error::text("ERR INCR option supports a single increment-element pair"));
        }
        Ok((self, i))
    }

    /// Whether a member that has the score `current` may get the score `new`.
    fn allow(self, current: f64, new: f64) -> bool {
        !(self.nx || self.gt && new <= current || self.lt && new >= current)
    }
}

/// What became of one score, member pair.
enum Outcome {
    /// The member has this score now, which is news or not.
    Applied(Put, f64),
    /// An option forbade it.
    Refused,
}

fn add(db: &mut Db<'_>, args: Args<'_>, options: Options, out: &mut Reply<'_>) -> Result {
    let (options, first) = options.parse(args)?;
    let pairs = args.from(first);
    let mut scores: SmallVec<[f64; 8]> = SmallVec::new();
    for score in pairs.iter().step_by(2) {
        scores.push(number::parse_f64(score).ok_or(Error::NotFloat)?);
    }
    if let [score] = scores[..]
        && options == Options::default()
    {
        let put = add_one(db, args.at(1), pairs.at(1), score)?;
        out.int(i64::from(put == Put::Added));
        return Ok(());
    }
    let limits = db.encodings();
    let edit = if options.xx { db.edit::<Zset>(args.at(1))? } else { Some(db.edit_or_new(args.at(1))?) };
    let Some(mut edit) = edit else {
        if options.incr {
            out.null()
        } else {
            out.int(0)
        }
        return Ok(());
    };
    let zset: &mut Zset = &mut edit;
    prepare(zset, pairs, &limits);
    let (mut added, mut updated) = (0, 0);
    let mut result = None;
    for (score, member) in scores.into_iter().zip(pairs.from(1).iter().step_by(2)) {
        if let Outcome::Applied(put, score) = put(zset, member, score, options, &limits)? {
            added += i64::from(put == Put::Added);
            updated += i64::from(put == Put::Updated);
            result = Some(score);
        }
    }
    match (options.incr, result) {
        (true, Some(score)) => out.double(score),
        (true, None) => out.null(),
        (false, _) => out.int(if options.ch { added + updated } else { added }),
    }
    Ok(())
}

/// Gives one member a score.
fn add_one(db: &mut Db<'_>, key: &[u8], member: &[u8], score: f64) -> Result<Put> {
    let (limits, text) = (db.encodings(), score_text(score));
    let plan = |small: Dense<'_>| small.put(member, (score, text.as_bytes()), &limits);
    let value = |zset: &mut Zset| zset.put(member, &limits, Some(score), |_| Some(score));
    db.change_or_new(key, Small::Zset, plan, value)
}

/// Gives a sorted set the form that all pairs will need, so that it is not converted on the way.
fn prepare(zset: &mut Zset, pairs: Args<'_>, limits: &Encodings) {
    let len = pairs.len() / 2;
    if zset.is_empty() {
        let longest = pairs.from(1).iter().step_by(2).map(<[u8]>::len).max();
        *zset = Zset::sized_for(len, longest.unwrap_or(0), limits);
    } else {
        zset.reserve(len, limits);
    }
}

/// Applies one pair.
fn put(zset: &mut Zset, member: &[u8], score: f64, options: Options, limits: &Encodings) -> Result<Outcome> {
    let mut refused = options.xx;
    let mut result = score;
    let put = zset.put(member, limits, (!options.xx).then_some(score), |current| {
        result = if options.incr { current + score } else { score };
        refused = result.is_nan() || !options.allow(current, result);
        (!refused).then_some(result)
    });
    if result.is_nan() && !options.nx {
        return Err(Error::text("ERR resulting score is not a number (NaN)"));
    }
    Ok(if refused { Outcome::Refused } else { Outcome::Applied(put, result) })
}
