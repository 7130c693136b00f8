//! `SINTER`, `SUNION`, `SDIFF`, their storing forms and `SINTERCARD`.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use crate::{
    command::element::element,
    store::{Db, Expiry},
    value::{
        Encodings, Set, Typed,
        packed::Elem,
        set::{difference, intersect, union},
    },
};

/// The sets at `keys`; `None` for a key that does not exist.
///
/// # Errors
/// If any key holds another type, whatever the others hold.
fn sets<'d>(db: &'d mut Db<'_>, keys: Args<'_>) -> Result<Vec<Option<&'d Set>>> {
    let values = db.read_each(keys.iter());
    values.into_iter().map(|value| value.map(|v| Set::of(v).ok_or(Error::WrongType)).transpose()).collect()
}

/// The sets at `keys` if all exist: otherwise the intersection is empty.
fn all_sets<'d>(db: &'d mut Db<'_>, keys: Args<'_>) -> Result<Option<Vec<&'d Set>>> {
    Ok(sets(db, keys)?.into_iter().collect())
}

pub(super) fn sinter(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let mark = out.mark();
    let mut n = 0;
    if let Some(sets) = all_sets(db, args.from(1))? {
        intersect(&sets, |member| {
            element(out, member);
            n += 1;
            true
        });
    }
    out.set_from(mark, n);
    Ok(())
}

pub(super) fn sintercard(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let count = number::parse_i64(args.at(1)).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let count = count.ok_or(Error::text("ERR numkeys should be greater than 0"))?;
    if count > args.len() - 2 {
        return Err(Error::text("ERR Number of keys can't be greater than number of args"));
    }
    let limit = limit(args.from(2 + count))?;
    let keys = args.first(2 + count).from(2);
    let mut n = 0;
    if let Some(sets) = all_sets(db, keys)? {
        intersect(&sets, |_| {
            n += 1;
            n != limit
        });
    }
    out.int(n);
    Ok(())
}

/// The limit of `SINTERCARD`; 0 if there is none.
fn limit(options: Args<'_>) -> Result<i64> {
    let mut limit = 0;
    for i in (0..options.len()).step_by(2) {
        let value = options.get(i + 1).filter(|_| options.is(i, "limit")).ok_or(Error::Syntax)?;
        let value = number::parse_i64(value).filter(|n| *n >= 0);
        limit = value.ok_or(Error::text("ERR LIMIT can't be negative"))?;
    }
    Ok(limit)
}

pub(super) fn sinterstore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let limits = db.encodings();
    let mut result = Set::default();
    if let Some(sets) = all_sets(db, args.from(2))? {
        let smallest = sets.iter().min_by_key(|set| set.len()).expect("there is at least one key");
        result = smallest.small_like();
        let mut only_integers = true;
        intersect(&sets, |member| {
            only_integers &= is_integer(member);
            result.add_elem(member, &limits);
            true
        });
        if only_integers {
            result.become_intset(&limits);
        }
    }
    store(db, args.at(1), result, out);
    Ok(())
}

fn is_integer(member: Elem<'_>) -> bool {
    match member {
        Elem::Int(_) => true,
        Elem::Bytes(text) => number::parse_i64(text).is_some(),
    }
}

pub(super) fn sunion(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let limits = db.encodings();
    let sets = sets(db, args.from(1))?;
    reply(unite(&sets, working_set(&sets), &limits), out);
    Ok(())
}

pub(super) fn sunionstore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let limits = db.encodings();
    let result = unite(&sets(db, args.from(2))?, Set::default(), &limits);
    store(db, args.at(1), result, out);
    Ok(())
}

fn unite(sets: &[Option<&Set>], into: Set, limits: &Encodings) -> Set {
    let sets: Vec<_> = sets.iter().copied().flatten().collect();
    union(&sets, into, limits)
}

pub(super) fn sdiff(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let limits = db.encodings();
    let sets = sets(db, args.from(1))?;
    reply(subtract(&sets, working_set(&sets), &limits), out);
    Ok(())
}

pub(super) fn sdiffstore(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let limits = db.encodings();
    let result = subtract(&sets(db, args.from(2))?, Set::default(), &limits);
    store(db, args.at(1), result, out);
    Ok(())
}

fn subtract(sets: &[Option<&Set>], into: Set, limits: &Encodings) -> Set {
    let Some((Some(first), others)) = sets.split_first() else { return into };
    let others: Vec<_> = others.iter().copied().flatten().collect();
    difference(first, &others, into, limits)
}

/// What a result that is not stored is collected in: a table, unless all are integers.
fn working_set(sets: &[Option<&Set>]) -> Set {
    if sets.iter().flatten().all(|set| set.is_intset()) { Set::default() } else { Set::table() }
}

fn reply(result: Set, out: &mut Reply<'_>) {
    out.set(result.len());
    result.each(|member| element(out, member));
}

/// Stores a result and answers its size; an empty one removes the key.
fn store(db: &mut Db<'_>, key: &[u8], result: Set, out: &mut Reply<'_>) {
    let len = result.len();
    if len == 0 {
        db.remove(key);
    } else {
        db.set(key, result, Expiry::Never);
    }
    out.int(len as i64);
}
