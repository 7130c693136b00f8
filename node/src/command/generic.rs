//! Commands on keys of any type: removing, renaming, copying.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{Family, Handler::Data};
use crate::store::{DATABASES, Db, Expiry};

pub(super) const HANDLERS: Family = &[
    ("copy", Data(copy)),
    ("del", Data(del)),
    ("exists", Data(exists)),
    ("move", Data(move_to)),
    ("rename", Data(rename)),
    ("renamenx", Data(renamenx)),
    ("touch", Data(touch)),
    ("type", Data(type_of)),
    // Large values leave in the background whichever of the two removes them.
    ("unlink", Data(del)),
];

/// What `COPY` and `MOVE` answer when they would do nothing by design.
const SAME: Error = Error::text("ERR source and destination objects are the same");

fn del(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let removed = args.from(1).iter().filter(|key| db.discard(key)).count();
    out.int(removed as i64);
    Ok(())
}

fn exists(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let found = args.from(1).iter().filter(|key| db.look(key).is_some()).count();
    out.int(found as i64);
    Ok(())
}

fn touch(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let found = args.from(1).iter().filter(|key| db.read(key).is_some()).count();
    out.int(found as i64);
    Ok(())
}

fn type_of(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.simple(db.look(args.at(1)).map_or("none", |value| value.type_name()));
    Ok(())
}

fn rename(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    rename_to(db, args, true)?;
    out.ok();
    Ok(())
}

fn renamenx(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let renamed = rename_to(db, args, false)?;
    out.flag(renamed);
    Ok(())
}

/// Renames, over an existing key only if `replace`; whether it did.
fn rename_to(db: &mut Db<'_>, args: Args<'_>, replace: bool) -> Result<bool> {
    let (from, to) = (args.at(1), args.at(2));
    if !db.contains(from) {
        return Err(Error::NoSuchKey);
    }
    if from == to || (!replace && db.contains(to)) {
        return Ok(false);
    }
    let (value, expires_at) = db.take(from).expect("it was there a moment ago");
    db.set(to, value, expiry(expires_at));
    Ok(true)
}

fn move_to(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (key, from, to) = (args.at(1), db.index(), database(args.at(2))?);
    if from == to {
        return Err(SAME);
    }
    let there = db.contains(key);
    db.select(to);
    let moves = there && !db.contains(key);
    db.select(from);
    if moves && let Some((value, expires_at)) = db.take(key) {
        db.select(to);
        db.set(key, value, expiry(expires_at));
        db.select(from);
    }
    out.flag(moves);
    Ok(())
}

fn copy(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (source, target) = (args.at(1), args.at(2));
    let (from, mut to, mut replace) = (db.index(), db.index(), false);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "replace") {
            replace = true;
        } else if args.is(at, "db") && at + 1 < args.len() {
            at += 1;
            to = database(args.at(at))?;
        } else {
            return Err(Error::Syntax);
        }
        at += 1;
    }
    if from == to && source == target {
        return Err(SAME);
    }
    out.flag(copy_value(db, (from, source), (to, target), replace));
    Ok(())
}

/// Copies a key with its expiry; whether it did.
fn copy_value(db: &mut Db<'_>, source: (u8, &[u8]), target: (u8, &[u8]), replace: bool) -> bool {
    if db.look(source.1).is_none() {
        return false;
    }
    db.select(target.0);
    let free = replace || !db.contains(target.1);
    db.select(source.0);
    if !free {
        return false;
    }
    let expires_at = db.expires_at(source.1).flatten().unwrap_or(0);
    let Some(value) = db.duplicate(source.1) else { return false };
    db.select(target.0);
    db.set(target.1, value, expiry(expires_at));
    db.select(source.0);
    true
}

fn expiry(at: u64) -> Expiry {
    if at == 0 { Expiry::Never } else { Expiry::At(at) }
}

/// A database's number.
fn database(arg: &[u8]) -> Result<u8> {
    let n = number::parse_i64(arg).ok_or(Error::NotInteger)?;
    if i32::try_from(n).is_err() {
        let (min, max) = (i32::MIN, i32::MAX);
        return Err(Error::owned(format!("ERR value is out of range, value must between {min} and {max}")));
    }
    u8::try_from(n).ok().filter(|n| usize::from(*n) < DATABASES).ok_or(Error::DbOutOfRange)
}

#[cfg(test)]
mod tests {
    use shoal_proto::slot::key_slot;

    use super::super::testing::Core;
    use crate::store::Db;

    #[test]
    fn expiry_travels_with_the_value() {
        let mut core = Core::new();
        core.run("SET {t}a 1 PX 100");
        assert_eq!(core.run("RENAME {t}a {t}b"), "+OK\r\n");
        assert_eq!(core.run("COPY {t}b {t}c"), ":1\r\n");
        assert_eq!(core.run("MOVE {t}b 3"), ":1\r\n");
        assert_eq!(core.run("PTTL {t}c"), ":100\r\n");
        core.db = 3;
        assert_eq!(core.run("PTTL {t}b"), ":100\r\n");
        core.now += 100;
        assert_eq!(core.run("EXISTS {t}b"), ":0\r\n");
        core.db = 0;
        assert_eq!(core.run("EXISTS {t}b {t}c"), ":0\r\n");
    }

    #[test]
    fn a_long_string_is_not_copied_under_the_lock() {
        let mut core = Core::new();
        core.run("SETRANGE {t}a 100000 end");
        let used = core.store.used_memory();
        assert_eq!(core.run("COPY {t}a {t}b"), ":1\r\n");
        assert!(core.store.used_memory() >= used + 100_000, "each counts, as if the other were not there");
        let mut db = core.store.lock_slot(0, key_slot(b"{t}a"), core.now);
        let at = |db: &mut Db<'_>, key: &[u8]| db.peek_str(key).map(|bytes| bytes.map(<[u8]>::as_ptr));
        assert_eq!(at(&mut db, b"{t}a"), at(&mut db, b"{t}b"));
        drop(db);
        core.run("APPEND {t}b more");
        assert_eq!(core.run("GETRANGE {t}a 99999 -1"), "$4\r\n\0end\r\n");
        assert_eq!(core.run("GETRANGE {t}b 99999 -1"), "$8\r\n\0endmore\r\n");
    }

    #[test]
    fn an_expired_key_is_no_obstacle() {
        let mut core = Core::new();
        core.run("SET {t}a 1");
        core.run("SET {t}b 2 PX 10");
        core.now += 10;
        assert_eq!(core.run("RENAMENX {t}a {t}b"), ":1\r\n");
        assert_eq!(core.run("PTTL {t}b"), ":-1\r\n");
        core.run("PEXPIRE {t}b 5");
        core.now += 5;
        assert_eq!(core.run("RENAME {t}b {t}a"), "-ERR no such key\r\n");
        assert_eq!(core.run("COPY {t}b {t}a"), ":0\r\n");
        assert_eq!(core.run("MOVE {t}b 1"), ":0\r\n");
        assert_eq!(core.run("DEL {t}b"), ":0\r\n");
    }

    #[test]
    fn only_accesses_count_as_accesses() {
        let mut core = Core::new();
        core.run("SET a 1");
        core.now += 10_000;
        for line in
            ["TYPE a", "EXISTS a", "TTL a", "OBJECT ENCODING a", "MEMORY USAGE a", "SCAN 0 TYPE string"]
        {
            core.run(line);
            assert_eq!(core.run("OBJECT IDLETIME a"), ":10\r\n", "{line}");
        }
        core.run("TOUCH a");
        assert_eq!(core.run("OBJECT IDLETIME a"), ":0\r\n");
    }
}
