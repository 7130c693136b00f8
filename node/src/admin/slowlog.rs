//! `SLOWLOG GET`, `LEN`, `RESET`.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{Cx, Handlers, help};

pub(super) const HANDLERS: Handlers =
    &[("slowlog|get", get), ("slowlog|len", len), ("slowlog|reset", reset), ("slowlog|help", help)];

const BAD_COUNT: Error = Error::text("ERR count should be greater than or equal to -1");

fn get(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let count = match args.get(2) {
        None => 10,
        // One text for all that is not a count.
        Some(text) => number::parse_i64(text).filter(|n| *n >= -1).ok_or(BAD_COUNT)?,
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let entries = cx.shared.slow.newest(count);
    out.array(entries.len());
    for entry in entries {
        out.array(6);
        out.int(entry.id as i64);
        out.int(entry.seconds as i64);
        out.int(entry.micros as i64);
        out.array(entry.args.len());
        entry.args.iter().for_each(|arg| out.bulk(arg));
        out.bulk(entry.client.as_bytes());
        out.bulk(entry.name.as_bytes());
    }
    Ok(())
}

fn len(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.int(cx.shared.slow.len() as i64);
    Ok(())
}

fn reset(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.shared.slow.reset();
    out.ok();
    Ok(())
}
