//! Commands on whole databases: counting, drawing a key, emptying, exchanging.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{Family, Handler::Whole, Scope};
use crate::store::{DATABASES, Store};

pub(super) const HANDLERS: Family = &[
    ("dbsize", Whole(dbsize)),
    ("flushall", Whole(flushall)),
    ("flushdb", Whole(flushdb)),
    ("randomkey", Whole(randomkey)),
    ("swapdb", Whole(swapdb)),
];

fn dbsize(store: &Store, scope: Scope<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.int(store.len(scope.db).0 as i64);
    Ok(())
}

fn randomkey(store: &Store, scope: Scope<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulk_or_null(store.random_key(scope.db, scope.now).as_deref());
    Ok(())
}

fn flushall(store: &Store, scope: Scope<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    flush(store, None, scope, args, out)
}

fn flushdb(store: &Store, scope: Scope<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    flush(store, Some(scope.db), scope, args, out)
}

fn flush(store: &Store, db: Option<u8>, scope: Scope<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    // The keys are gone at once either way. Who asks for nothing else does not keep others waiting for their memory.
    let background = match args.len() {
        1 => true,
        2 if args.is(1, "sync") => false,
        2 if args.is(1, "async") => true,
        _ => return Err(Error::Syntax),
    };
    let flushed = store.flush(db, |outbox, position| scope.wait_until_applied(outbox, position))?;
    if background {
        store.reclaim().flushed(flushed);
    } else {
        // The others' turn comes between two holds of a lock.
        drop(flushed);
        while store.drop_left(1) {}
    }
    out.ok();
    Ok(())
}

/// Nodes of a cluster of several have no instant in common at which slots could be exchanged, some of which may be on their way.
fn swapdb(store: &Store, scope: Scope<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if !scope.alone {
        return Err(Error::text("ERR SWAPDB is not allowed in cluster mode"));
    }
    let index = |i: usize, text: &'static str| {
        let n = number::parse_i64(args.at(i)).and_then(|n| i32::try_from(n).ok());
        n.ok_or(Error::text(text))
    };
    let first = index(1, "ERR invalid first DB index")?;
    let second = index(2, "ERR invalid second DB index")?;
    let there =
        |n: i32| u8::try_from(n).ok().filter(|n| usize::from(*n) < DATABASES).ok_or(Error::DbOutOfRange);
    store.swap(there(first)?, there(second)?)?;
    out.ok();
    Ok(())
}
