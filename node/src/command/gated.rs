//! Executing where a slot is not simply open: its gate is shut, or its changes are sent elsewhere.
//!
//! Called by the dispatch, under the locks of the command's slots; the usual case never comes here.

use shoal_proto::{
    error::Result,
    resp::{Args, Reply},
};

use super::Data;
use crate::store::Db;

/// Executes a command if the gates of all its slots allow it.
///
/// # Errors
/// What the handler answers; `Held` or `NotHere` if nothing was executed.
#[cold]
pub(super) fn run(
    handler: Data,
    db: &mut Db<'_>,
    slots: &[u16],
    args: Args<'_>,
    out: &mut Reply<'_>,
) -> Result {
    db.check_gates(slots)?;
    handler(db, args, out)
}
