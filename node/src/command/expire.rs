//! Expiry: setting it, asking for it, taking it away.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{Family, Handler::Data};
use crate::store::Db;

pub(super) const HANDLERS: Family = &[
    ("expire", Data(expire)),
    ("expireat", Data(expireat)),
    ("expiretime", Data(expiretime)),
    ("persist", Data(persist)),
    ("pexpire", Data(pexpire)),
    ("pexpireat", Data(pexpireat)),
    ("pexpiretime", Data(pexpiretime)),
    ("pttl", Data(pttl)),
    ("ttl", Data(ttl)),
];

fn expire(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let from = db.now();
    set_expiry(db, args, out, Time { command: "expire", from, unit: 1000 })
}

fn pexpire(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let from = db.now();
    set_expiry(db, args, out, Time { command: "pexpire", from, unit: 1 })
}

fn expireat(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    set_expiry(db, args, out, Time { command: "expireat", from: 0, unit: 1000 })
}

fn pexpireat(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    set_expiry(db, args, out, Time { command: "pexpireat", from: 0, unit: 1 })
}

/// How a command means its number.
struct Time {
    command: &'static str,
    /// Ms since 1970 from which it counts.
    from: u64,
    /// Ms.
    unit: i64,
}

impl Time {
    /// Ms since 1970; negative for times before.
    fn parse(&self, arg: &[u8]) -> Result<i64> {
        let n = number::parse_i64(arg).ok_or(Error::NotInteger)?;
        let at = n.checked_mul(self.unit).and_then(|ms| ms.checked_add(self.from as i64));
        at.ok_or_else(|| Error::owned(format!("ERR invalid expire time in '{}' command", self.command)))
    }
}

fn set_expiry(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>, time: Time) -> Result {
    let only = Condition::parse(args)?;
    let at = time.parse(args.at(2))?;
    let key = args.at(1);
    let set = match db.expires_at(key) {
        None => false,
        Some(now) => only.allows(now, at) && db.set_expiry(key, Some(at.max(0) as u64)),
    };
    out.flag(set);
    Ok(())
}

/// When an expiry may be replaced.
#[derive(Default)]
struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn parse(args: Args<'_>) -> Result<Self> {
        let mut only = Self::default();
        for i in 3..args.len() {
            let option = match () {
                () if args.is(i, "nx") => &mut only.nx,
                () if args.is(i, "xx") => &mut only.xx,
                () if args.is(i, "gt") => &mut only.gt,
                () if args.is(i, "lt") => &mut only.lt,
                () => {
                    // Redis echoes it as a C string.
                    let option = args.at(i).split(|c| *c == 0).next().unwrap_or_default();
                    return Err(Error::UnsupportedOption(option.to_vec()));
                }
            };
            *option = true;
        }
        if only.nx && (only.xx || only.gt || only.lt) {
            const NX: &str = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(Error::text(NX));
        }
        if only.gt && only.lt {
            return Err(Error::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(only)
    }

    /// Whether an expiry of `new` may take the place of `old`. No expiry counts as infinitely late.
    fn allows(&self, old: Option<u64>, new: i64) -> bool {
        let old = old.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        match old {
            Some(old) => !(self.nx || (self.gt && new <= old) || (self.lt && new >= old)),
            None => !self.xx && !self.gt,
        }
    }
}

/// Answers -2 for a key that does not exist, -1 for one that never expires, else what `show` makes of its time.
fn reply_time(
    db: &mut Db<'_>,
    args: Args<'_>,
    out: &mut Reply<'_>,
    show: impl Fn(u64, u64) -> u64,
) -> Result {
    let (key, now) = (args.at(1), db.now());
    let expires_at = if db.look(key).is_some() { db.expires_at(key) } else { None };
    out.int(match expires_at {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => show(at, now) as i64,
    });
    Ok(())
}

/// Redis rounds half a second up, so that `TTL` right after `EXPIRE 10` says 10.
fn seconds(ms: u64) -> u64 {
    (ms + 500) / 1000
}

fn ttl(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_time(db, args, out, |at, now| seconds(at - now))
}

fn pttl(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_time(db, args, out, |at, now| at - now)
}

fn expiretime(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_time(db, args, out, |at, _| seconds(at))
}

fn pexpiretime(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    reply_time(db, args, out, |at, _| at)
}

fn persist(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = args.at(1);
    let persisted = matches!(db.expires_at(key), Some(Some(_))) && db.set_expiry(key, None);
    out.flag(persisted);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Core;

    #[test]
    fn a_key_lives_to_the_millisecond() {
        let mut core = Core::new();
        core.run("SET a 1");
        assert_eq!(core.run("PEXPIRE a 1500"), ":1\r\n");
        assert_eq!(core.run("TTL a"), ":2\r\n");
        core.now += 1;
        assert_eq!(core.run("TTL a"), ":1\r\n");
        core.now += 1498;
        assert_eq!(core.run("PTTL a"), ":1\r\n");
        assert_eq!(core.run("GET a"), "$1\r\n1\r\n");
        core.now += 1;
        assert_eq!(core.run("PTTL a"), ":-2\r\n");
        assert_eq!(core.run("GET a"), "$-1\r\n");
        assert_eq!(core.store.stats().expired, 1);
    }

    #[test]
    fn a_time_that_has_passed_removes_the_key() {
        let mut core = Core::new();
        for line in ["EXPIRE a 0", "PEXPIRE a -1", "EXPIREAT a 0", "PEXPIREAT a -5", "EXPIREAT a 1700000000"]
        {
            core.run("SET a 1");
            assert_eq!(core.run(line), ":1\r\n", "{line}");
            assert_eq!(core.run("EXISTS a"), ":0\r\n", "{line}");
        }
        // It was removed, it did not expire.
        assert_eq!(core.store.stats().expired, 0);
        assert_eq!(core.store.used_memory(), 0);
    }

    #[test]
    fn expiring_later_and_earlier_only() {
        let mut core = Core::new();
        core.run("SET a 1 PX 1000");
        assert_eq!(core.run("PEXPIRE a 1000 GT"), ":0\r\n");
        assert_eq!(core.run("PEXPIRE a 1001 GT"), ":1\r\n");
        assert_eq!(core.run("PEXPIRE a 1001 LT"), ":0\r\n");
        assert_eq!(core.run("PEXPIRE a 1000 LT XX"), ":1\r\n");
    }
}
