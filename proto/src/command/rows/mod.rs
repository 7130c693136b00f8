//! The rows of the table, a file per family; [`row`] explains the notation.
//!
//! The facts (arity, flags, key positions, versions, tips) are those that Valkey 8.0 and Redis 7 report;
//! what the router does and how far Shoal is are ours.

use super::Command;

mod admin;
mod bitmap;
mod cluster;
mod connection;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
mod pubsub;
mod row;
mod scripting;
mod server;
mod set;
mod shoal;
mod sorted_set;
mod stream;
mod string;
mod transactions;

/// Every family's commands.
pub(super) static GROUPS: &[&[Command]] = &[
    string::COMMANDS,
    bitmap::COMMANDS,
    generic::COMMANDS,
    hash::COMMANDS,
    list::COMMANDS,
    set::COMMANDS,
    sorted_set::COMMANDS,
    stream::COMMANDS,
    pubsub::COMMANDS,
    transactions::COMMANDS,
    scripting::COMMANDS,
    hyperloglog::COMMANDS,
    geo::COMMANDS,
    connection::COMMANDS,
    server::COMMANDS,
    admin::COMMANDS,
    cluster::COMMANDS,
    shoal::COMMANDS,
];
