//! `PING`, `ECHO`, `HELLO`, `AUTH`, `SELECT`, `RESET`, `QUIT`, `READONLY`, `READWRITE`, `ASKING`, `MULTI`, `ACL WHOAMI`.

use super::{Cx, DATABASES, Handler, REDIS_VERSION, bars::Bars, client::valid_name, registry};
use crate::{
    Error,
    command::table,
    error::Result,
    number,
    resp::{Args, Protocol, Reply},
};

pub(super) static HANDLERS: &[(&str, Handler)] = &[
    ("ping", ping),
    ("echo", echo),
    ("hello", hello),
    ("auth", auth),
    ("select", select),
    ("reset", reset),
    ("quit", quit),
    ("readonly", readonly),
    ("readwrite", readwrite),
    ("asking", asking),
    ("multi", multi),
    ("acl|whoami", whoami),
];

fn ping(_: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    match args.get(1) {
        _ if args.len() > 2 => return Err(Error::Arity("ping".into())),
        Some(text) => out.bulk(text),
        None => out.simple("PONG"),
    }
    Ok(())
}

fn echo(_: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulk(args.at(1));
    Ok(())
}

fn select(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let index = number::parse_i64(args.at(1)).ok_or(Error::NotInteger)?;
    if i32::try_from(index).is_err() {
        return Err(Error::text("ERR value is out of range, value must between -2147483648 and 2147483647"));
    }
    let db = u8::try_from(index).ok().filter(|db| *db < DATABASES).ok_or(Error::DbOutOfRange)?;
    cx.session.db = db;
    publish(cx);
    out.ok();
    Ok(())
}

fn auth(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let (user, password) = match args.len() {
        2 => (&b"default"[..], args.at(1)),
        3 => (args.at(1), args.at(2)),
        _ => return Err(Error::Syntax),
    };
    if args.len() == 2 && !cx.access.required() {
        return Err(Error::text(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        ));
    }
    if args.len() == 3 && !cx.access.required() && user != b"default" {
        return Err(Error::text("WRONGPASS invalid username-password pair or user is disabled."));
    }
    cx.access.check(user, password)?;
    cx.session.authenticate();
    out.ok();
    Ok(())
}

fn hello(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let protocol = match args.get(1) {
        None => cx.session.protocol,
        Some(text) => match number::parse_i64(text) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(Error::text("NOPROTO unsupported protocol version")),
            None => return Err(Error::text("ERR Protocol version is not an integer or out of range")),
        },
    };
    let mut name = None;
    let mut credentials = None;
    let mut i = 2;
    while i < args.len() {
        if args.is(i, "auth") && i + 2 < args.len() {
            credentials = Some((args.at(i + 1), args.at(i + 2)));
            i += 3;
        } else if args.is(i, "setname") && i + 1 < args.len() {
            name = Some(valid_name(args.at(i + 1))?);
            i += 2;
        } else {
            let option = String::from_utf8_lossy(args.at(i)).into_owned();
            return Err(Error::owned(format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    if let Some((user, password)) = credentials {
        if !cx.access.required() && user != b"default" {
            return Err(Error::text("WRONGPASS invalid username-password pair or user is disabled."));
        }
        cx.access.check(user, password)?;
        cx.session.authenticate();
    }
    if !cx.session.authenticated() {
        return Err(Error::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
             the same time",
        ));
    }
    if let Some(name) = name {
        cx.session.record.set_name(name);
    }
    cx.session.protocol = protocol;
    out.set_protocol(protocol);
    publish(cx);
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(if protocol == Protocol::Resp3 { 3 } else { 2 });
    out.bulk(b"id");
    out.int(cx.session.record.id as i64);
    out.bulk(b"mode");
    out.bulk(cx.identity.mode.as_bytes());
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.array(0);
    Ok(())
}

fn reset(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let session = &mut *cx.session;
    session.protocol = Protocol::Resp2;
    session.db = 0;
    session.bars = Bars::new(!cx.access.required());
    session.reply_mode = super::ReplyMode::On;
    session.no_touch = false;
    session.readonly = false;
    session.record.set_name(String::new());
    session.record.flag(registry::NO_EVICT | registry::NO_TOUCH | registry::READONLY, false);
    out.set_protocol(Protocol::Resp2);
    publish(cx);
    out.simple("RESET");
    Ok(())
}

fn quit(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.session.closing = true;
    out.ok();
    Ok(())
}

fn readonly(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.session.readonly = true;
    cx.session.record.flag(registry::READONLY, true);
    out.ok();
    Ok(())
}

fn readwrite(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.session.readonly = false;
    cx.session.record.flag(registry::READONLY, false);
    out.ok();
    Ok(())
}

/// Slots are handed over in one step, so there is never anything to ask for: accepted for cluster clients.
fn asking(_: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.ok();
    Ok(())
}

/// Transactions are refused as wholes: what follows, up to EXEC, is not executed.
fn multi(cx: &mut Cx<'_>, args: Args<'_>, _: &mut Reply<'_>) -> Result {
    cx.session.refuse_transaction(cx.now);
    Err(table().find(args)?.unsupported())
}

/// There are no other users.
fn whoami(_: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.bulk(b"default");
    Ok(())
}

fn publish(cx: &Cx<'_>) {
    let resp = if cx.session.protocol == Protocol::Resp3 { 3 } else { 2 };
    cx.session.record.state(cx.session.db, resp);
}
