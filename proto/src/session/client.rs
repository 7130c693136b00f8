//! `CLIENT ...`.

use super::{
    Cx, Handler, ReplyMode,
    filter::{self, Filter},
    registry,
};
use crate::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

pub(super) static HANDLERS: &[(&str, Handler)] = &[
    ("client|id", id),
    ("client|info", info),
    ("client|list", list),
    ("client|kill", kill),
    ("client|setname", setname),
    ("client|getname", getname),
    ("client|setinfo", setinfo),
    ("client|reply", reply),
    ("client|no-evict", no_evict),
    ("client|no-touch", no_touch),
    ("client|pause", pause),
    ("client|unpause", unpause),
];

fn id(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.int(cx.session.record.id as i64);
    Ok(())
}

fn info(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.verbatim(&format!("{}\n", cx.session.record.line(cx.now)));
    Ok(())
}

fn list(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let mut wanted = Filter::default();
    if args.len() == 4 && args.is(2, "type") {
        wanted.kind = Some(filter::kind(args.at(3))?);
    } else if args.len() > 3 && args.is(2, "id") {
        wanted.ids = Some(args.from(3).iter().map(list_id).collect::<Result<_>>()?);
    } else if args.len() != 2 {
        return Err(Error::Syntax);
    }
    let mut text = String::new();
    for client in cx.registry.all().iter().filter(|c| wanted.matches(c, cx.now)) {
        text.push_str(&client.line(cx.now));
        text.push('\n');
    }
    out.verbatim(&text);
    Ok(())
}

fn list_id(text: &[u8]) -> Result<u64> {
    number::parse_i64(text).and_then(|id| u64::try_from(id).ok()).ok_or(Error::text("ERR Invalid client ID"))
}

fn kill(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let old_style = args.len() == 3;
    let wanted = if old_style {
        Filter { addr: Some(String::from_utf8_lossy(args.at(2)).into_owned()), ..Filter::default() }
    } else {
        Filter::parse(args, 2)?
    };
    let mut killed = 0;
    for client in cx.registry.all().iter().filter(|c| wanted.matches(c, cx.now)) {
        if client.id == cx.session.record.id {
            if wanted.skip_me {
                continue;
            }
            // Its own reply is sent first.
            cx.session.closing = true;
        } else {
            client.kill();
        }
        killed += 1;
    }
    match (old_style, killed) {
        (true, 0) => return Err(Error::text("ERR No such client")),
        (true, _) => out.ok(),
        (false, n) => out.int(n),
    }
    Ok(())
}

/// A client or library name: printable, no spaces, as `CLIENT LIST` is split at them.
fn printable(text: &[u8], what: &str) -> Result<String> {
    match std::str::from_utf8(text) {
        Ok(name) if text.iter().all(|c| (b'!'..=b'~').contains(c)) => Ok(name.to_owned()),
        _ => Err(Error::owned(format!("ERR {what} cannot contain spaces, newlines or special characters."))),
    }
}

pub(super) fn valid_name(text: &[u8]) -> Result<String> {
    printable(text, "Client names")
}

fn setname(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.session.record.set_name(valid_name(args.at(2))?);
    out.ok();
    Ok(())
}

fn getname(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let name = cx.session.record.name();
    out.bulk_or_null((!name.is_empty()).then_some(name.as_bytes()));
    Ok(())
}

fn setinfo(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.is(2, "lib-name") {
        cx.session.record.set_library(Some(printable(args.at(3), "lib-name")?), None);
    } else if args.is(2, "lib-ver") {
        cx.session.record.set_library(None, Some(printable(args.at(3), "lib-ver")?));
    } else {
        let option = String::from_utf8_lossy(args.at(2)).into_owned();
        return Err(Error::owned(format!("ERR Unrecognized option '{option}'")));
    }
    out.ok();
    Ok(())
}

fn reply(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let session = &mut *cx.session;
    if args.is(2, "on") {
        session.reply_mode = ReplyMode::On;
        out.ok();
    } else if args.is(2, "off") {
        session.reply_mode = ReplyMode::Off;
    } else if args.is(2, "skip") {
        if session.reply_mode != ReplyMode::Off {
            session.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(Error::Syntax);
    }
    Ok(())
}

fn on_off(args: Args<'_>) -> Result<bool> {
    match (args.is(2, "on"), args.is(2, "off")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(Error::Syntax),
    }
}

fn no_evict(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.session.record.flag(registry::NO_EVICT, on_off(args)?);
    out.ok();
    Ok(())
}

fn no_touch(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.session.no_touch = on_off(args)?;
    cx.session.record.flag(registry::NO_TOUCH, cx.session.no_touch);
    out.ok();
    Ok(())
}

fn pause(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let all = match args.get(3) {
        None => true,
        Some(_) if args.len() > 4 => return Err(Error::Syntax),
        Some(_) if args.is(3, "all") => true,
        Some(_) if args.is(3, "write") => false,
        Some(_) => return Err(Error::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout =
        number::parse_i64(args.at(2)).ok_or(Error::text("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| Error::text("ERR timeout is negative"))?;
    cx.registry.pause(cx.now.saturating_add(timeout), all, cx.now);
    out.ok();
    Ok(())
}

fn unpause(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.registry.unpause();
    out.ok();
    Ok(())
}
