//! Commands about the server itself: INFO, CONFIG, CLUSTER, SLOWLOG, LATENCY, MEMORY, DEBUG and the like.

mod cluster;
mod config;
mod debug;
mod digest;
mod info;
mod latency;
mod memory;
mod plan;
mod server;
mod shoal;
mod slowlog;

use shoal_proto::{
    error::Result,
    resp::{Args, Reply},
    session::Session,
};

use crate::server::Shared;

/// All that such a command may use.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) session: &'a mut Session,
    /// Whether the client is a router.
    pub(crate) upstream: &'a mut Option<u64>,
    /// Ms since 1970.
    pub(crate) now: u64,
}

/// A handler; arity was checked.
pub(crate) type Handler = fn(&mut Cx<'_>, Args<'_>, &mut Reply<'_>) -> Result;

/// What each file offers, by the command table's names.
type Handlers = &'static [(&'static str, Handler)];

/// The handlers, by the command table's names.
pub(crate) fn handlers() -> impl Iterator<Item = (&'static str, Handler)> {
    [
        server::HANDLERS,
        info::HANDLERS,
        config::HANDLERS,
        cluster::HANDLERS,
        slowlog::HANDLERS,
        latency::HANDLERS,
        memory::HANDLERS,
        debug::HANDLERS,
        shoal::HANDLERS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The HELP of a container, from the command table.
fn help(_: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let container =
        shoal_proto::command::table().command(args.at(0)).expect("the table led here by this name");
    shoal_proto::command::docs::help(container, out);
    Ok(())
}
