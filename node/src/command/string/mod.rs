//! Strings: reading, changing in place, and the family's map.

mod counter;
mod lcs;
mod set;
#[cfg(test)]
mod tests;

use shoal_proto::{
    Error,
    error::Result,
    number::parse_i64,
    resp::{Args, Reply},
};

use super::{
    Family,
    Handler::{Changes, Data, Keeps},
};
use crate::{
    store::{Db, Expiry, Text},
    value::Str,
};

pub(super) const HANDLERS: Family = &[
    ("append", Changes(append)),
    ("decr", Data(counter::decr)),
    ("decrby", Data(counter::decrby)),
    ("get", Data(get)),
    ("getdel", Data(getdel)),
    ("getex", Data(set::getex)),
    ("getrange", Data(getrange)),
    ("getset", Keeps(getset)),
    ("incr", Data(counter::incr)),
    ("incrby", Data(counter::incrby)),
    ("incrbyfloat", Data(counter::incrbyfloat)),
    ("lcs", Data(lcs::lcs)),
    ("mget", Data(mget)),
    ("mset", Keeps(set::mset)),
    ("msetnx", Keeps(set::msetnx)),
    ("psetex", Keeps(set::psetex)),
    ("set", Keeps(set::set)),
    ("setex", Keeps(set::setex)),
    ("setnx", Keeps(set::setnx)),
    ("setrange", Changes(setrange)),
    ("strlen", Data(strlen)),
    ("substr", Data(getrange)),
];

fn get(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let text = db.read_text(args.at(1))?;
    bulk_or_null(out, text);
    Ok(())
}

/// Replies with the value of `key`, or null; whether there was one.
fn reply_value(db: &mut Db<'_>, key: &[u8], out: &mut Reply<'_>) -> Result<bool> {
    let text = db.read_text(key)?;
    bulk_or_null(out, text);
    Ok(text.is_some())
}

#[inline]
fn bulk_or_null(out: &mut Reply<'_>, text: Option<Text<'_>>) {
    match text {
        Some(Text::Bytes(bytes)) => out.bulk(bytes),
        Some(Text::Shared(bytes)) => out.part(bytes, bytes),
        None => out.null(),
    }
}

/// Keys of MGET and MSET that are brought into the cache together.
const PREFETCH: usize = 16;

fn mget(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(args.len() - 1);
    for (i, key) in args.iter().enumerate().skip(1) {
        // A few keys ahead, so that their waits for memory overlap.
        if (i - 1).is_multiple_of(PREFETCH) {
            db.prefetch(args.from(i).first(PREFETCH).iter());
        }
        // Another type is as good as nothing here.
        bulk_or_null(out, db.read_text(key).unwrap_or(None));
    }
    Ok(())
}

fn getdel(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if reply_value(db, args.at(1), out)? {
        db.discard(args.at(1));
    }
    Ok(())
}

fn getset(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_value(db, args.at(1), out)?;
    db.set_str(args.at(1), args.at(2), Expiry::Never);
    Ok(())
}

fn strlen(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let value = db.read_str(args.at(1))?;
    out.int(value.map_or(0, <[u8]>::len) as i64);
    Ok(())
}

fn getrange(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let start = parse_i64(args.at(2)).ok_or(Error::NotInteger)?;
    let end = parse_i64(args.at(3)).ok_or(Error::NotInteger)?;
    let text = db.read_text(args.at(1))?.unwrap_or(Text::Bytes(&[]));
    let wanted = slice(text.bytes(), start, end);
    match text {
        Text::Bytes(_) => out.bulk(wanted),
        Text::Shared(whole) => out.part(whole, wanted),
    }
    Ok(())
}

/// From `start` to `end` inclusive, both counted from the end if negative, both cut to what is there.
fn slice(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    // Both before the beginning are cut to one byte below unless they are the wrong way round.
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let len = bytes.len() as i64;
    let from_left = |i: i64| if i < 0 { (len + i).max(0) } else { i };
    let (start, end) = (from_left(start), from_left(end).min(len - 1));
    if start > end { &[] } else { &bytes[start as usize..=end as usize] }
}

fn append(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (key, bytes, limit) = (args.at(1), args.at(2), db.settings().max_string);
    let len = if let Some(mut string) = db.edit::<Str>(key)? {
        check_len(string.bytes().len(), bytes.len(), limit)?;
        string.append(bytes);
        string.bytes().len()
    } else {
        db.set_str(key, bytes, Expiry::Never);
        bytes.len()
    };
    out.int(len as i64);
    Ok(())
}

fn setrange(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (key, bytes, limit) = (args.at(1), args.at(3), db.settings().max_string);
    let offset = parse_i64(args.at(2)).ok_or(Error::NotInteger)?;
    let offset = usize::try_from(offset).map_err(|_| Error::OffsetOutOfRange)?;
    if bytes.is_empty() {
        return strlen(db, args, out);
    }
    let len = if let Some(mut string) = db.edit::<Str>(key)? {
        check_len(offset, bytes.len(), limit)?;
        string.write_at(offset, bytes);
        string.bytes().len()
    } else {
        check_len(offset, bytes.len(), limit)?;
        let mut string = Str::default();
        string.write_at(offset, bytes);
        db.set(key, string, Expiry::Never);
        offset + bytes.len()
    };
    out.int(len as i64);
    Ok(())
}

/// Refuses what would exceed `proto-max-bulk-len`.
fn check_len(len: usize, more: usize, limit: usize) -> Result {
    if len.checked_add(more).is_some_and(|total| total <= limit) { Ok(()) } else { Err(Error::TooLong) }
}
