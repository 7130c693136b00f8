//! `SET` and its older forms, `GETEX`, and the options they share.

use std::{iter::StepBy, ops::Range};

use shoal_proto::{
    Error,
    error::Result,
    number::parse_i64,
    resp::{Args, Reply},
};

use super::{PREFETCH, reply_value};
use crate::store::{Db, Expiry};

/// An option that says how long the key will live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Ex,
    Px,
    ExAt,
    PxAt,
    Keep,
    Persist,
}

impl Life {
    fn parse(word: &[u8]) -> Option<Self> {
        const WORDS: [(&str, Life); 6] = [
            ("ex", Life::Ex),
            ("px", Life::Px),
            ("exat", Life::ExAt),
            ("pxat", Life::PxAt),
            ("keepttl", Life::Keep),
            ("persist", Life::Persist),
        ];
        WORDS.iter().find(|(w, _)| word.eq_ignore_ascii_case(w.as_bytes())).map(|(_, life)| *life)
    }

    fn takes_time(self) -> bool {
        !matches!(self, Self::Keep | Self::Persist)
    }

    /// The moment that `text` names with this option; `command` is the one to blame in an error.
    fn deadline(self, text: &[u8], now: u64, command: &str) -> Result<u64> {
        let n = parse_i64(text).ok_or(Error::NotInteger)?;
        let ms = match self {
            Self::Ex | Self::ExAt => n.checked_mul(1000),
            _ => Some(n),
        };
        let base = if matches!(self, Self::Ex | Self::Px) { now as i64 } else { 0 };
        ms.filter(|_| n > 0)
            .and_then(|ms| ms.checked_add(base))
            .map(i64::unsigned_abs)
            .ok_or_else(|| Error::owned(format!("ERR invalid expire time in '{command}' command")))
    }
}

/// `NX` or `XX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Missing,
    Exists,
}

/// The options of `SET` or `GETEX`, checked against each other but with the time still unread: a
/// malformed option is reported before a malformed time.
#[derive(Debug, Default)]
struct Options<'a> {
    condition: Option<Condition>,
    get: bool,
    life: Option<(Life, &'a [u8])>,
}

impl<'a> Options<'a> {
    /// Reads the options of `SET`.
    fn of_set(args: Args<'a>) -> Result<Self> {
        let mut options = Self::default();
        let mut i = 3;
        while let Some(word) = args.get(i) {
            i += 1;
            let condition = match () {
                () if word.eq_ignore_ascii_case(b"nx") => Condition::Missing,
                () if word.eq_ignore_ascii_case(b"xx") => Condition::Exists,
                () if word.eq_ignore_ascii_case(b"get") => {
                    options.get = true;
                    continue;
                }
                () => {
                    i = options.life(args, i, Life::Persist)?;
                    continue;
                }
            };
            if options.condition.is_some_and(|old| old != condition) {
                return Err(Error::Syntax);
            }
            options.condition = Some(condition);
        }
        Ok(options)
    }

    /// Reads the options of `GETEX`.
    fn of_getex(args: Args<'a>) -> Result<Self> {
        let mut options = Self::default();
        let mut i = 2;
        while i < args.len() {
            i = options.life(args, i + 1, Life::Keep)?;
        }
        Ok(options)
    }

    /// Reads the option before argument `i`, one of lifetime but not `foreign`; where the next one begins.
    /// The same option may come again, the last one counts; two different ones contradict each other.
    fn life(&mut self, args: Args<'a>, i: usize, foreign: Life) -> Result<usize> {
        let life = Life::parse(args.at(i - 1)).filter(|life| *life != foreign).ok_or(Error::Syntax)?;
        if self.life.is_some_and(|(old, _)| old != life) {
            return Err(Error::Syntax);
        }
        if !life.takes_time() {
            self.life = Some((life, b""));
            return Ok(i);
        }
        self.life = Some((life, args.get(i).ok_or(Error::Syntax)?));
        Ok(i + 1)
    }
}

pub(super) fn set(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (key, value) = (args.at(1), args.at(2));
    if args.len() == 3 {
        db.set_str(key, value, Expiry::Never);
        out.ok();
        return Ok(());
    }
    let options = Options::of_set(args)?;
    let expiry = match options.life {
        None => Expiry::Never,
        Some((Life::Keep, _)) => Expiry::Keep,
        Some((life, text)) => Expiry::At(life.deadline(text, db.now(), "set")?),
    };
    if options.get {
        reply_value(db, key, out)?;
    }
    let stored = store(db, key, value, options.condition, expiry);
    match (options.get, stored) {
        (true, _) => {}
        (false, true) => out.ok(),
        (false, false) => out.null(),
    }
    Ok(())
}

/// Stores if the condition holds; whether it did.
fn store(db: &mut Db<'_>, key: &[u8], value: &[u8], condition: Option<Condition>, expiry: Expiry) -> bool {
    if let Some(condition) = condition
        && db.contains(key) != (condition == Condition::Exists)
    {
        return false;
    }
    match expiry {
        // Already over: what was there is gone too.
        Expiry::At(at) if at <= db.now() => drop(db.discard(key)),
        expiry => db.set_str(key, value, expiry),
    }
    true
}

pub(super) fn setnx(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let stored = store(db, args.at(1), args.at(2), Some(Condition::Missing), Expiry::Never);
    out.flag(stored);
    Ok(())
}

pub(super) fn setex(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    set_until(db, args, Life::Ex, "setex", out)
}

pub(super) fn psetex(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    set_until(db, args, Life::Px, "psetex", out)
}

fn set_until(db: &mut Db<'_>, args: Args<'_>, life: Life, command: &str, out: &mut Reply<'_>) -> Result {
    let at = life.deadline(args.at(2), db.now(), command)?;
    db.set_str(args.at(1), args.at(3), Expiry::At(at));
    out.ok();
    Ok(())
}

pub(super) fn getex(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = args.at(1);
    let options = Options::of_getex(args)?;
    if !reply_value(db, key, out)? {
        return Ok(());
    }
    match options.life {
        None => {}
        Some((Life::Persist, _)) => persist(db, key),
        Some((life, text)) => {
            let at = life.deadline(text, db.now(), "getex")?;
            db.set_expiry(key, Some(at));
        }
    }
    Ok(())
}

fn persist(db: &mut Db<'_>, key: &[u8]) {
    if db.expires_at(key).flatten().is_some() {
        db.set_expiry(key, None);
    }
}

pub(super) fn mset(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let keys = keys(args, "mset")?;
    set_all(db, args, keys);
    out.ok();
    Ok(())
}

pub(super) fn msetnx(db: &mut Db<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let keys = keys(args, "msetnx")?;
    let free = !keys.clone().any(|i| db.contains(args.at(i)));
    if free {
        set_all(db, args, keys);
    }
    out.flag(free);
    Ok(())
}

/// Where the keys of `MSET` are; each has its value behind it.
fn keys(args: Args<'_>, command: &'static str) -> Result<StepBy<Range<usize>>> {
    if args.len().is_multiple_of(2) {
        return Err(Error::Arity(command.into()));
    }
    Ok((1..args.len()).step_by(2))
}

fn set_all(db: &mut Db<'_>, args: Args<'_>, keys: StepBy<Range<usize>>) {
    for i in keys {
        // A few keys ahead, so that their waits for memory overlap.
        if (i / 2).is_multiple_of(PREFETCH) {
            let next = (i..args.len()).step_by(2).take(PREFETCH);
            db.prefetch(next.map(|i| args.at(i)));
        }
        db.set_str(args.at(i), args.at(i + 1), Expiry::Never);
    }
}
