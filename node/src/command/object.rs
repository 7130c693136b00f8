//! Looking at how a key is kept: `OBJECT` and `MEMORY USAGE`. None of these counts as an access.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{Family, Handler::Data};
use crate::store::Db;

pub(super) const HANDLERS: Family = &[
    ("memory|usage", Data(usage)),
    ("object|encoding", Data(encoding)),
    ("object|freq", Data(freq)),
    ("object|idletime", Data(idletime)),
    ("object|refcount", Data(refcount)),
];

const NO_FREQUENCY: Error = Error::text(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
     between policies at runtime LRU and LFU data will take some time to adjust.",
);
const NO_IDLE_TIME: Error = Error::text(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
     policies at runtime LRU and LFU data will take some time to adjust.",
);

fn encoding(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let encoding = db.look(args.at(2)).map(|value| value.encoding());
    out.bulk_or_null(encoding.map(str::as_bytes));
    Ok(())
}

/// Values are never shared here.
fn refcount(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    match db.look(args.at(2)) {
        Some(_) => out.int(1),
        None => out.null(),
    }
    Ok(())
}

fn freq(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    recency(db, args, out, true)
}

fn idletime(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    recency(db, args, out, false)
}

fn recency(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>, frequency: bool) -> Result {
    if db.look(args.at(2)).is_none() {
        out.null();
        return Ok(());
    }
    if db.settings().policy.is_lfu() != frequency {
        return Err(if frequency { NO_FREQUENCY } else { NO_IDLE_TIME });
    }
    let (idle, counter) = db.recency(args.at(2)).expect("it was there a moment ago");
    out.int(if frequency { i64::from(counter) } else { idle as i64 });
    Ok(())
}

/// `SAMPLES` is accepted and has nothing to do: memory is accounted exactly as values change.
fn usage(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut at = 3;
    while at < args.len() {
        if !args.is(at, "samples") || at + 1 == args.len() {
            return Err(Error::Syntax);
        }
        if number::parse_i64(args.at(at + 1)).ok_or(Error::NotInteger)? < 0 {
            return Err(Error::Syntax);
        }
        at += 2;
    }
    match db.memory(args.at(2)) {
        Some(bytes) => out.int(bytes as i64),
        None => out.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Core;
    use crate::store::Policy;

    #[test]
    fn one_of_frequency_and_idle_time_is_tracked() {
        let mut core = Core::new();
        core.run("SET a 1");
        assert!(core.run("OBJECT FREQ a").starts_with("-ERR An LFU maxmemory policy is not selected"));
        assert_eq!(core.run("OBJECT IDLETIME a"), ":0\r\n");
        core.store.configure(|s| s.policy = Policy::AllkeysLfu);
        assert!(core.run("OBJECT IDLETIME a").starts_with("-ERR An LFU maxmemory policy is selected"));
        assert_eq!(core.run("OBJECT FREQ a"), ":5\r\n");
        core.now += 3 * 60_000;
        assert_eq!(core.run("OBJECT FREQ a"), ":2\r\n");
        assert_eq!(core.run("OBJECT FREQ b"), "$-1\r\n");
    }
}
