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

fn get(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let count = match args.get(2) {
        None => 10,
        Some(text) => number::parse_i64(text).ok_or(Error::NotInteger)?,
    };
    let count = match count {
        -1 => usize::MAX,
        n => {
            usize::try_from(n).map_err(|_| Error::text("ERR count should be greater than or equal to -1"))?
        }
    };
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
