//! Sets: one set at a time here, several in [`algebra`], chance in [`random`].

mod algebra;
mod random;

use shoal_proto::{
    error::Result,
    resp::{Args, Reply},
};

use super::{
    Family,
    Handler::Data,
    collection_scan::{self, CollectionScan},
    element::element,
};
use crate::{
    store::{Db, Small},
    value::{Set, dense::Dense},
};

pub(super) const HANDLERS: Family = &[
    ("sadd", Data(sadd)),
    ("scard", Data(scard)),
    ("sdiff", Data(algebra::sdiff)),
    ("sdiffstore", Data(algebra::sdiffstore)),
    ("sinter", Data(algebra::sinter)),
    ("sintercard", Data(algebra::sintercard)),
    ("sinterstore", Data(algebra::sinterstore)),
    ("sismember", Data(sismember)),
    ("smembers", Data(smembers)),
    ("smismember", Data(smismember)),
    ("smove", Data(smove)),
    ("spop", Data(random::spop)),
    ("srandmember", Data(random::srandmember)),
    ("srem", Data(srem)),
    ("sscan", Data(sscan)),
    ("sunion", Data(algebra::sunion)),
    ("sunionstore", Data(algebra::sunionstore)),
];

fn sadd(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let limits = db.encodings();
    let count = args.len() - 2;
    let plan = |small: Dense<'_>| {
        let (splice, added) = if count == 1 { small.add(args.at(2), &limits)? } else { return None };
        Some((splice, i64::from(added)))
    };
    let value = |set: &mut Set| {
        if set.is_empty() {
            *set = Set::fitting(args.at(2), count, &limits);
        } else {
            set.prepare(count, &limits);
        }
        args.from(2).iter().map(|member| i64::from(set.add(member, &limits))).sum()
    };
    out.int(db.change_or_new(args.at(1), Small::Set, plan, value)?);
    Ok(())
}

fn srem(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let plan = |small: Dense<'_>, (): &mut ()| {
        let (splice, there) = if args.len() == 3 { small.remove(args.at(2), 1)? } else { return None };
        Some((splice, i64::from(there)))
    };
    let value =
        |set: &mut Set, (): &mut ()| args.from(2).iter().map(|member| i64::from(set.remove(member))).sum();
    out.int(db.change(args.at(1), Small::Set, &mut (), plan, value)?.unwrap_or(0));
    Ok(())
}

fn sismember(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if let Some(small) = db.read_small(args.at(1), Small::Set) {
        out.flag(small.contains(args.at(2)));
        return Ok(());
    }
    let set = db.get::<Set>(args.at(1))?;
    out.flag(set.is_some_and(|set| set.contains(args.at(2))));
    Ok(())
}

fn smismember(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let set = db.get::<Set>(args.at(1))?;
    out.array(args.len() - 2);
    for member in args.from(2).iter() {
        out.flag(set.is_some_and(|set| set.contains(member)));
    }
    Ok(())
}

fn scard(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let set = db.get::<Set>(args.at(1))?;
    out.int(set.map_or(0, Set::len) as i64);
    Ok(())
}

fn smembers(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let set = db.get::<Set>(args.at(1))?;
    out.set(set.map_or(0, Set::len));
    if let Some(set) = set {
        set.each(|member| element(out, member));
    }
    Ok(())
}

fn smove(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (from, to, member) = (args.at(1), args.at(2), args.at(3));
    // A source that does not exist answers before the destination's type is looked at.
    let Some(source) = db.get::<Set>(from)? else {
        out.flag(false);
        return Ok(());
    };
    let there = source.contains(member);
    db.get::<Set>(to)?;
    if there && from != to {
        let limits = db.encodings();
        if let Some(mut source) = db.edit::<Set>(from)? {
            source.remove(member);
        }
        let mut destination = db.edit_or_new::<Set>(to)?;
        if destination.is_empty() {
            *destination = Set::fitting(member, 1, &limits);
        }
        destination.add(member, &limits);
    }
    out.flag(there);
    Ok(())
}

fn sscan(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let cursor = collection_scan::cursor(args.at(2))?;
    let Some(set) = db.get::<Set>(args.at(1))? else {
        collection_scan::nothing(out);
        return Ok(());
    };
    let scan = CollectionScan::parse(args)?;
    let mark = out.mark();
    let mut written = 0;
    let mut text = itoa::Buffer::new();
    let next = scan.run(cursor, |cursor, seen| {
        set.scan(cursor, |member| {
            *seen += 1;
            if scan.wants(member.text(&mut text)) {
                element(out, member);
                written += 1;
            }
        })
    });
    collection_scan::finish(out, mark, next, written);
    Ok(())
}

#[cfg(test)]
mod tests;
