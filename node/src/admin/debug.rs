//! The parts of `DEBUG` that test suites use.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
    slot::key_slot,
};

use super::{Cx, Handlers, digest};

pub(super) const HANDLERS: Handlers = &[("debug", debug)];

/// Subcommands that only have to be accepted: they tune what does not exist here.
const ACCEPTED: &[&str] = &[
    "quicklist-packed-threshold",
    "replybuffer",
    "set-disable-deny-scripts",
    "pause-cron",
    "dict-resizing",
    "reload",
    "loadaof",
];

fn debug(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.is(1, "sleep") && args.len() == 3 {
        let seconds = number::parse_f64(args.at(2)).ok_or(Error::NotFloat)?;
        cx.session.record.must_be_local()?;
        // As in Redis, this stops the thread that serves this client; nobody needs longer than a minute.
        std::thread::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 60.0)));
        out.ok();
        return Ok(());
    }
    if args.is(1, "set-active-expire") && args.len() == 3 {
        cx.shared.sweeping.store(number::parse_i64(args.at(2)).ok_or(Error::NotInteger)? != 0, Relaxed);
        out.ok();
        return Ok(());
    }
    if args.is(1, "digest") && args.len() == 2 {
        out.simple(&digest::of_all(&cx.shared.store, cx.now));
        return Ok(());
    }
    if args.is(1, "digest-value") {
        return digest_values(cx, args, out);
    }
    if args.is(1, "object") && args.len() >= 3 {
        return object(cx, args, out);
    }
    if args.is(1, "error") && args.len() == 3 {
        return Err(Error::owned(String::from_utf8_lossy(args.at(2)).into_owned()));
    }
    if args.is(1, "change-repl-id") || ACCEPTED.iter().any(|name| args.is(1, name)) {
        out.ok();
        return Ok(());
    }
    if args.is(1, "protocol") && args.len() == 3 {
        return protocol(args, out);
    }
    if args.is(1, "panic") && args.len() == 2 {
        cx.session.record.must_be_local()?;
        panic!("a client sent DEBUG PANIC");
    }
    if args.is(1, "help") {
        out.array(8);
        out.simple("DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        out.simple("DIGEST");
        out.simple("DIGEST-VALUE <key> [<key> ...]");
        out.simple("SET-ACTIVE-EXPIRE <0|1>");
        out.simple("SLEEP <seconds>");
        out.simple("OBJECT <key>");
        out.simple("PANIC");
        out.simple("PROTOCOL <type>");
        return Ok(());
    }
    let name = String::from_utf8_lossy(args.at(1)).into_owned();
    Err(Error::owned(format!(
        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP."
    )))
}

fn object(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let key = args.at(2);
    let slot = key_slot(key);
    cx.shared.ownership.load().check(&[slot], false)?;
    let mut db = cx.shared.store.lock_slot(cx.session.db, slot, cx.now);
    db.check_gates(&[slot])?;
    let idle = db.recency(key).map_or(0, |(idle, _)| idle);
    let value = db.peek(key).ok_or(Error::NoSuchKey)?;
    // Redis's clock of accesses: seconds, 24 bits.
    let accessed = (cx.now / 1000).saturating_sub(idle) & 0xff_ffff;
    out.simple(&format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:{} lru:{accessed} lru_seconds_idle:{idle}",
        value.encoding(),
        value.memory(),
    ));
    Ok(())
}

/// The digest of each key's value, zeros for a key that does not exist.
fn digest_values(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let slots: Vec<u16> = args.from(2).iter().map(key_slot).collect();
    cx.shared.ownership.load().check(&slots, false)?;
    out.array(slots.len());
    for (key, slot) in args.from(2).iter().zip(slots) {
        let mut db = cx.shared.store.lock_slot(cx.session.db, slot, cx.now);
        db.check_gates(&[slot])?;
        let expires_at = db.expires_at(key).flatten().unwrap_or(0);
        out.simple(&digest::of_key(db.peek(key), expires_at));
    }
    Ok(())
}

/// One example of each reply type, so that clients can test their parsers.
fn protocol(args: Args<'_>, out: &mut Reply<'_>) -> Result {
    match args.at(2).to_ascii_lowercase().as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        // The number that Redis answers, which client tests compare with.
        b"double" => out.double("3.141".parse().expect("a literal")),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|i| out.int(i));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|i| out.int(i));
        }
        b"map" => {
            out.map(3);
            for i in 0..3 {
                out.int(i);
                out.boolean(i == 1);
            }
        }
        b"attrib" => {
            if out.is_resp3() {
                out.raw().extend_from_slice(b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n");
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
        }
        b"verbatim" => out.verbatim("This is a verbatim\nstring"),
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        b"bignum" => {
            let digits = b"1234567999999999999999999999999999999";
            if out.is_resp3() {
                out.raw().push(b'(');
                out.raw().extend_from_slice(digits);
                out.raw().extend_from_slice(b"\r\n");
            } else {
                out.bulk(digits);
            }
        }
        _ => {
            return Err(Error::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
