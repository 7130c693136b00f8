//! `COMMAND`, `TIME`, `ROLE`, `LASTSAVE`, `MODULE LIST`, `LOLWUT`, `SHUTDOWN`.

use shoal_proto::{
    Error, command,
    error::Result,
    resp::{Args, Reply},
};

use super::{Cx, Handlers, help};
use crate::server::clock;

pub(super) const HANDLERS: Handlers = &[
    ("command", about_commands),
    ("command|count", about_commands),
    ("command|docs", about_commands),
    ("command|getkeys", about_commands),
    ("command|getkeysandflags", about_commands),
    ("command|info", about_commands),
    ("command|list", about_commands),
    ("command|help", help),
    ("client|help", help),
    ("object|help", help),
    ("module|help", help),
    ("module|list", modules),
    ("lastsave", last_save),
    ("time", time),
    ("role", role),
    ("lolwut", lolwut),
    ("shutdown", shutdown),
];

fn about_commands(_: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    command::info::command(args, out)
}

fn time(_: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let now = clock::now_us();
    out.array(2);
    out.bulk_int((now / 1_000_000) as i64);
    out.bulk_int((now % 1_000_000) as i64);
    Ok(())
}

fn role(_: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(3);
    out.bulk(b"master");
    out.int(0);
    out.array(0);
    Ok(())
}

fn modules(_: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(0);
    Ok(())
}

/// Nothing is ever saved; a Redis that has not saved yet tells when it was started.
fn last_save(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.int((cx.shared.started / 1000) as i64);
    Ok(())
}

fn lolwut(_: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let fish =
        "      ><>   ><>  ><>\n   ><>  ><>    ><>  ><>\n     ><>   ><>  ><>   ><>\n  ><>   ><>   ><>\n";
    out.verbatim(&format!(
        "{fish}\nShoal ver. {} (Redis ver. {})\n",
        env!("CARGO_PKG_VERSION"),
        shoal_proto::session::REDIS_VERSION
    ));
    Ok(())
}

fn shutdown(cx: &mut Cx<'_>, args: Args<'_>, _: &mut Reply<'_>) -> Result {
    let mut abort = false;
    for word in args.from(1).iter() {
        match word.to_ascii_lowercase().as_slice() {
            b"nosave" | b"save" | b"now" | b"force" => {}
            b"abort" => abort = true,
            _ => return Err(Error::Syntax),
        }
    }
    if abort {
        return Err(Error::text("ERR No shutdown in progress."));
    }
    tracing::info!(client = %cx.session.record.addr, "SHUTDOWN");
    (cx.shared.wiring.stop)();
    cx.session.closing = true;
    Ok(())
}
