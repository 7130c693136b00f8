//! Listing keys: all at once, or step by step.

use shoal_proto::{
    Error,
    error::Result,
    glob, number,
    resp::{Args, Reply},
};

use super::{Family, Handler::Whole, Scope};
use crate::store::Store;

pub(super) const HANDLERS: Family = &[("keys", Whole(keys)), ("scan", Whole(scan))];

fn keys(store: &Store, scope: Scope<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let pattern = Pattern::of(args.at(1));
    let (mark, mut found) = (out.mark(), 0);
    store.each_key(scope.db, scope.now, |key| {
        if pattern.matches(key) {
            out.bulk(key);
            found += 1;
        }
    });
    out.array_from(mark, found);
    Ok(())
}

fn scan(store: &Store, scope: Scope<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let cursor = number::parse_cursor(args.at(1)).ok_or(Error::text("ERR invalid cursor"))?;
    let filter = Filter::parse(args)?;
    let (mut elements, mut found) = (Vec::new(), 0);
    let mut list = Reply::new(&mut elements, out.protocol());
    let next = store.scan((scope.db, scope.now), cursor, filter.count, scope.within, |key, kind_of| {
        if filter.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(kind_of.as_bytes()))
            && filter.pattern.as_ref().is_none_or(|p| p.matches(key))
        {
            list.bulk(key);
            found += 1;
        }
    });
    if let Some(slot) = next.elsewhere {
        return Err(Error::NotHere(slot));
    }
    out.array(2);
    out.bulk(itoa::Buffer::new().format(next.cursor).as_bytes());
    out.array(found);
    out.raw().extend_from_slice(&elements);
    Ok(())
}

/// What `SCAN` should look at and show.
struct Filter<'a> {
    count: usize,
    pattern: Option<Pattern<'a>>,
    /// A type's name. One that does not exist matches nothing, as in Redis 7.2.
    kind: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Self> {
        let mut filter = Self { count: 10, pattern: None, kind: None };
        let mut at = 2;
        while at < args.len() {
            let value = args.get(at + 1).ok_or(Error::Syntax)?;
            if args.is(at, "count") {
                let count = number::parse_i64(value).ok_or(Error::NotInteger)?;
                filter.count = usize::try_from(count).ok().filter(|n| *n > 0).ok_or(Error::Syntax)?;
            } else if args.is(at, "match") {
                filter.pattern = Some(Pattern::of(value));
            } else if args.is(at, "type") {
                filter.kind = Some(value);
            } else {
                return Err(Error::Syntax);
            }
            at += 2;
        }
        Ok(filter)
    }
}

/// A glob pattern; the one that matches everything costs nothing.
struct Pattern<'a>(Option<&'a [u8]>);

impl<'a> Pattern<'a> {
    fn of(pattern: &'a [u8]) -> Self {
        Self((pattern != b"*").then_some(pattern))
    }

    fn matches(&self, key: &[u8]) -> bool {
        self.0.is_none_or(|pattern| glob::matches(pattern, key))
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::{
        Error,
        resp::{Protocol, Reply, request::OwnedArgs},
        slot::{SLOTS, key_slot},
    };

    use super::super::{Scope, testing::Core};
    use crate::store::slot_cursor;

    #[test]
    fn a_router_is_told_that_a_slot_is_elsewhere() {
        let mut core = Core::new();
        core.run("SET a 1");
        let slot = key_slot(b"a");
        let mut owned = [u64::MAX; SLOTS as usize / 64];
        let scan = |owned: &[u64; SLOTS as usize / 64], cursor: u64| {
            let scope = Scope {
                db: 0,
                now: core.now,
                touch: true,
                within: Some(owned),
                alone: false,
                waits: None,
                landed: None,
            };
            let request = OwnedArgs::new(["SCAN", &cursor.to_string(), "COUNT", "100000"]);
            let mut out = Vec::new();
            let mut reply = Reply::new(&mut out, Protocol::Resp2);
            super::scan(&core.store, scope, request.args(), &mut reply)
                .map(|()| String::from_utf8_lossy(&out).into_owned())
        };
        assert_eq!(scan(&owned, 0).unwrap(), "*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n");
        owned[usize::from(slot) / 64] &= !(1 << (slot % 64));
        let next = slot_cursor(slot).to_string();
        let empty = format!("*2\r\n${}\r\n{next}\r\n*0\r\n", next.len());
        assert_eq!(scan(&owned, 0).unwrap(), empty, "the walk ends before the slot");
        assert_eq!(scan(&owned, slot_cursor(slot)), Err(Error::NotHere(slot)));
        assert_eq!(scan(&owned, slot_cursor(slot) + 5), Err(Error::NotHere(slot)));
        assert_eq!(scan(&owned, slot_cursor(slot + 1)).unwrap(), "*2\r\n$1\r\n0\r\n*0\r\n");
        assert_eq!(scan(&owned, slot_cursor(SLOTS - 1) + 1).unwrap(), "*2\r\n$1\r\n0\r\n*0\r\n");
        owned[0] &= !1;
        assert_eq!(scan(&owned, 0), Err(Error::NotHere(0)), "and does not say that all was seen");
    }

    #[test]
    fn expired_keys_are_not_listed() {
        let mut core = Core::new();
        core.run("SET a 1 PX 10");
        core.run("SET b 1");
        core.now += 10;
        assert_eq!(core.run("KEYS *"), "*1\r\n$1\r\nb\r\n");
        assert_eq!(core.run("SCAN 0"), "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n");
        assert_eq!(core.run("RANDOMKEY"), "$1\r\nb\r\n");
    }
}
