//! Numbers kept as text: `INCR` and its kin.

use shoal_proto::{
    Error,
    error::Result,
    long_double::LongDouble,
    number::parse_i64,
    resp::{Args, Reply},
};

use crate::{
    store::{Db, Expiry},
    value::Str,
};

pub(super) fn incr(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    add(db, args.at(1), 1, out)
}

pub(super) fn decr(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    add(db, args.at(1), -1, out)
}

pub(super) fn incrby(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let delta = parse_i64(args.at(2)).ok_or(Error::NotInteger)?;
    add(db, args.at(1), delta, out)
}

pub(super) fn decrby(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let delta = parse_i64(args.at(2)).ok_or(Error::NotInteger)?;
    let delta = delta.checked_neg().ok_or(Error::text("ERR decrement would overflow"))?;
    add(db, args.at(1), delta, out)
}

fn add(db: &mut Db<'_>, key: &[u8], delta: i64, out: &mut Reply<'_>) -> Result {
    // A number is short: to write it is less than to take the value out, change it and put it back.
    let sum = db.count(key, |counter| match counter {
        Some(counter) => {
            parse_i64(counter).ok_or(Error::NotInteger)?.checked_add(delta).ok_or(Error::Overflow)
        }
        None => Ok(delta),
    })?;
    out.int(sum);
    Ok(())
}

pub(super) fn incrbyfloat(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (key, delta) = (args.at(1), args.at(2));
    if let Some(mut counter) = db.edit::<Str>(key)? {
        let old = LongDouble::parse(counter.bytes()).ok_or(Error::NotFloat)?;
        let sum = float_sum(old, delta)?;
        counter.set_text(&sum);
        out.bulk(sum.as_bytes());
    } else {
        let sum = float_sum(LongDouble::ZERO, delta)?;
        out.bulk(sum.as_bytes());
        db.set(key, Str::from_text(sum), Expiry::Never);
    }
    Ok(())
}

fn float_sum(old: LongDouble, delta: &[u8]) -> Result<String> {
    let delta = LongDouble::parse(delta).ok_or(Error::NotFloat)?;
    let sum = old.checked_add(delta);
    sum.map(|n| n.to_string()).ok_or(Error::text("ERR increment would produce NaN or Infinity"))
}
