//! `SHOAL ...`: what routers and other nodes ask over the RESP port.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
};

use super::{Cx, Handlers, help, plan};

pub(super) const HANDLERS: Handlers = &[
    ("shoal|upstream", upstream),
    ("shoal|members", bus),
    ("shoal|view", bus),
    ("shoal|cluster", plan::state),
    ("shoal|plan", plan::plan),
    ("shoal|force", plan::force),
    ("shoal|help", help),
];

/// Versions of the router-to-node conventions that are understood: this one and the next, whose routers keep to this one with a
/// node that is older. There is none before.
const UPSTREAM_VERSIONS: [&[u8]; 2] = [b"1", b"2"];

/// `SHOAL UPSTREAM <version> [ms]`: the other end is a router and splits commands by node. Its requests are held here for so many ms at
/// most, since it asks again itself; without that, as anybody's.
fn upstream(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if !args.get(2).is_some_and(|version| UPSTREAM_VERSIONS.contains(&version)) {
        return Err(Error::text("ERR this node speaks version 1 of SHOAL UPSTREAM"));
    }
    let ms = |text| number::parse_i64(text).and_then(|ms| u64::try_from(ms).ok()).ok_or(Error::NotInteger);
    *cx.upstream = Some(args.get(3).map_or(Ok(u64::MAX), ms)?);
    out.ok();
    Ok(())
}

/// Requests of the cluster's bus that came to the RESP port, because a `--join` names that.
fn bus(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if args.len() == 2 {
        return Err(Error::text(
            "ERR nodes ask each other this in binary form: ask a router, or use CLUSTER NODES",
        ));
    }
    let [verb, version, message] = [1, 2, 3].map(|i| args.get(i).unwrap_or_default());
    let answer = (cx.shared.wiring.bus)(verb, version, message).map_err(Error::owned)?;
    out.bulk(&answer);
    Ok(())
}
