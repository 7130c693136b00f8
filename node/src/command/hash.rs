//! Hashes.

use shoal_proto::{
    Error,
    error::Result,
    long_double::LongDouble,
    number,
    resp::{Args, Reply},
};

use super::{
    Family,
    Handler::Data,
    collection_scan::{self, CollectionScan},
    draw::{self, Draws},
    element::{element, element_or_null},
};
use crate::{
    store::{Db, Small},
    value::{Encodings, Hash, dense::Dense, packed::Elem},
};

pub(super) const HANDLERS: Family = &[
    ("hdel", Data(hdel)),
    ("hexists", Data(hexists)),
    ("hget", Data(hget)),
    ("hgetall", Data(hgetall)),
    ("hincrby", Data(hincrby)),
    ("hincrbyfloat", Data(hincrbyfloat)),
    ("hkeys", Data(hkeys)),
    ("hlen", Data(hlen)),
    ("hmget", Data(hmget)),
    ("hmset", Data(hmset)),
    ("hrandfield", Data(hrandfield)),
    ("hscan", Data(hscan)),
    ("hset", Data(hset)),
    ("hsetnx", Data(hsetnx)),
    ("hstrlen", Data(hstrlen)),
    ("hvals", Data(hvals)),
];

fn hset(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let created = set_fields(db, args, "hset")?;
    out.int(created);
    Ok(())
}

fn hmset(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    set_fields(db, args, "hmset")?;
    out.ok();
    Ok(())
}

/// Sets the fields of `HSET` or `HMSET`; how many are new.
fn set_fields(db: &mut Db<'_>, args: Args<'_>, command: &'static str) -> Result<i64> {
    if args.len() % 2 == 1 {
        return Err(Error::Arity(command.into()));
    }
    let limits = db.encodings();
    if args.len() > 4 {
        let mut hash = db.edit_or_new::<Hash>(args.at(1))?;
        return Ok(set_each(&mut hash, args, &limits));
    }
    let plan = |small: Dense<'_>| {
        let (splice, created) = small.set_field(args.at(2), args.at(3), &limits)?;
        Some((splice, i64::from(created)))
    };
    db.change_or_new(args.at(1), Small::Hash, plan, |hash: &mut Hash| set_each(hash, args, &limits))
}

/// Sets the fields of a value; how many are new.
fn set_each(hash: &mut Hash, args: Args<'_>, limits: &Encodings) -> i64 {
    let longest = args.from(2).iter().map(<[u8]>::len).max().unwrap_or(0);
    hash.prepare((args.len() - 2) / 2, longest, limits);
    let mut created = 0;
    for i in (2..args.len()).step_by(2) {
        created += i64::from(hash.set(args.at(i), args.at(i + 1), limits));
    }
    created
}

fn hsetnx(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let there = db.get::<Hash>(args.at(1))?.is_some_and(|hash| hash.contains(args.at(2)));
    if !there {
        let limits = db.encodings();
        db.edit_or_new::<Hash>(args.at(1))?.set(args.at(2), args.at(3), &limits);
    }
    out.flag(!there);
    Ok(())
}

fn hget(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if let Some(small) = db.read_small(args.at(1), Small::Hash) {
        element_or_null(out, small.value_of(args.at(2)));
        return Ok(());
    }
    let hash = db.get::<Hash>(args.at(1))?;
    element_or_null(out, hash.and_then(|hash| hash.get(args.at(2))));
    Ok(())
}

fn hmget(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let hash = db.get::<Hash>(args.at(1))?;
    out.array(args.len() - 2);
    for field in args.from(2).iter() {
        element_or_null(out, hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

fn hdel(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let plan = |small: Dense<'_>, (): &mut ()| {
        let (splice, there) = if args.len() == 3 { small.remove(args.at(2), 2)? } else { return None };
        Some((splice, i64::from(there)))
    };
    let value =
        |hash: &mut Hash, (): &mut ()| args.from(2).iter().map(|field| i64::from(hash.remove(field))).sum();
    out.int(db.change(args.at(1), Small::Hash, &mut (), plan, value)?.unwrap_or(0));
    Ok(())
}

fn hlen(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let hash = db.get::<Hash>(args.at(1))?;
    out.int(hash.map_or(0, Hash::len) as i64);
    Ok(())
}

fn hstrlen(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let hash = db.get::<Hash>(args.at(1))?;
    let value = hash.and_then(|hash| hash.get(args.at(2)));
    out.int(value.map_or(0, |value| value.text(&mut itoa::Buffer::new()).len()) as i64);
    Ok(())
}

fn hexists(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let hash = db.get::<Hash>(args.at(1))?;
    out.flag(hash.is_some_and(|hash| hash.contains(args.at(2))));
    Ok(())
}

fn hgetall(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let hash = db.get::<Hash>(args.at(1))?;
    out.map(hash.map_or(0, Hash::len));
    each(hash, |field, value| {
        element(out, field);
        element(out, value);
    });
    Ok(())
}

fn hkeys(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let hash = db.get::<Hash>(args.at(1))?;
    out.array(hash.map_or(0, Hash::len));
    each(hash, |field, _| element(out, field));
    Ok(())
}

fn hvals(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let hash = db.get::<Hash>(args.at(1))?;
    out.array(hash.map_or(0, Hash::len));
    each(hash, |_, value| element(out, value));
    Ok(())
}

fn each<'a>(hash: Option<&'a Hash>, visit: impl FnMut(Elem<'a>, Elem<'a>)) {
    if let Some(hash) = hash {
        hash.each(visit);
    }
}

fn hincrby(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let increment = number::parse_i64(args.at(3)).ok_or(Error::NotInteger)?;
    let hash = db.get::<Hash>(args.at(1))?;
    let old = match hash.and_then(|hash| hash.get(args.at(2))) {
        None => 0,
        Some(value) => number::parse_i64(value.text(&mut itoa::Buffer::new()))
            .ok_or(Error::text("ERR hash value is not an integer"))?,
    };
    let sum = old.checked_add(increment).ok_or(Error::Overflow)?;
    let limits = db.encodings();
    let text = itoa::Buffer::new().format(sum).to_owned();
    db.edit_or_new::<Hash>(args.at(1))?.set(args.at(2), text.as_bytes(), &limits);
    out.int(sum);
    Ok(())
}

fn hincrbyfloat(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let increment = LongDouble::parse(args.at(3)).ok_or(Error::NotFloat)?;
    let increment =
        LongDouble::ZERO.checked_add(increment).ok_or(Error::text("ERR value is NaN or Infinity"))?;
    let hash = db.get::<Hash>(args.at(1))?;
    let old = match hash.and_then(|hash| hash.get(args.at(2))) {
        None => LongDouble::ZERO,
        Some(value) => LongDouble::parse(value.text(&mut itoa::Buffer::new()))
            .ok_or(Error::text("ERR hash value is not a float"))?,
    };
    let sum = old
        .checked_add(increment)
        .ok_or(Error::text("ERR increment would produce NaN or Infinity"))?
        .to_string();
    let limits = db.encodings();
    db.edit_or_new::<Hash>(args.at(1))?.set(args.at(2), sum.as_bytes(), &limits);
    out.bulk(sum.as_bytes());
    Ok(())
}

fn hrandfield(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.len() == 2 {
        let hash = db.get::<Hash>(args.at(1))?;
        element_or_null(out, hash.map(|hash| hash.at(draw::one(&mut rand::rng(), hash.len())).0));
        return Ok(());
    }
    let count = draw::count(args.at(2))?;
    let values = args.len() > 3;
    if args.len() > 4 || values && !args.is(3, "withvalues") {
        return Err(Error::Syntax);
    }
    // Twice as many elements must still be countable.
    if values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::text("ERR value is out of range"));
    }
    let Some(hash) = db.get::<Hash>(args.at(1))? else {
        out.array(0);
        return Ok(());
    };
    let draws = Draws::bounded(rand::rng(), hash.len(), count)?;
    let nested = values && out.is_resp3();
    out.array(draws.remaining() * if values && !nested { 2 } else { 1 });
    let mark = out.mark();
    hash.pick(draws, |field, value| {
        if nested {
            out.array(2);
        }
        element(out, field);
        if values {
            element(out, value);
        }
        draw::within_limit(out, mark)
    })
}

fn hscan(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let cursor = collection_scan::cursor(args.at(2))?;
    let Some(hash) = db.get::<Hash>(args.at(1))? else {
        collection_scan::nothing(out);
        return Ok(());
    };
    let scan = CollectionScan::parse(args)?;
    let mark = out.mark();
    let mut written = 0;
    let mut text = itoa::Buffer::new();
    let next = scan.run(cursor, |cursor, seen| {
        hash.scan(cursor, |field, value| {
            *seen += 1;
            if scan.wants(field.text(&mut text)) {
                element(out, field);
                written += 1;
                if scan.values {
                    element(out, value);
                    written += 1;
                }
            }
        })
    });
    collection_scan::finish(out, mark, next, written);
    Ok(())
}

#[cfg(test)]
mod tests;
