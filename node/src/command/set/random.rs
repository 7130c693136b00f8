//! `SPOP` and `SRANDMEMBER`.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use crate::{
    command::{
        draw::{self, Draws},
        element::{element, element_or_null},
    },
    store::Db,
    value::{Encodings, Set},
};

pub(super) fn srandmember(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let Some(count) = args.get(2) else {
        let set = db.get::<Set>(args.at(1))?;
        element_or_null(out, set.map(|set| set.at(draw::one(&mut rand::rng(), set.len()))));
        return Ok(());
    };
    let count = draw::count(count)?;
    let Some(set) = db.get::<Set>(args.at(1))? else {
        out.array(0);
        return Ok(());
    };
    let draws = Draws::bounded(rand::rng(), set.len(), count)?;
    out.array(draws.remaining());
    let mark = out.mark();
    set.pick(draws, |member| {
        element(out, member);
        draw::within_limit(out, mark)
    })
}

pub(super) fn spop(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let Some(count) = args.get(2) else {
        match db.edit::<Set>(args.at(1))? {
            Some(mut set) => pop(&mut set, out),
            None => out.null(),
        }
        return Ok(());
    };
    let count = number::parse_i64(count).and_then(|n| usize::try_from(n).ok()).ok_or(Error::NotPositive)?;
    let limits = db.encodings();
    match db.get::<Set>(args.at(1))?.map(Set::len) {
        Some(len) if count > 0 => {
            let mut set = db.edit::<Set>(args.at(1))?.expect("it was there a moment ago");
            pop_many(&mut set, count.min(len), &limits, out);
        }
        _ => out.set(0),
    }
    Ok(())
}

/// Takes a random member out, into the reply.
fn pop(set: &mut Set, out: &mut Reply<'_>) {
    let i = draw::one(&mut rand::rng(), set.len());
    element(out, set.at(i));
    set.remove_at(i);
}

/// Takes `count` random members out, into the reply; there are that many.
fn pop_many(set: &mut Set, count: usize, limits: &Encodings, out: &mut Reply<'_>) {
    out.set(count);
    let remaining = set.len() - count;
    // When few are to stay it is they that are drawn, into a new set; which is also how a table becomes small
    // again, in Redis too.
    if count / 5 < remaining {
        (0..count).for_each(|_| pop(set, out));
        return;
    }
    let mut stay = set.small_like();
    for _ in 0..remaining {
        let i = draw::one(&mut rand::rng(), set.len());
        stay.add_elem(set.at(i), limits);
        set.remove_at(i);
    }
    set.each(|member| element(out, member));
    *set = stay;
}
