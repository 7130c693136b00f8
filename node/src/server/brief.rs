//! The short way of most requests: quick commands on one key, with nothing in the way.
//!
//! What is asked for each of them is here and nowhere else on that way; whatever is unusual goes the
//! [long way](Batch::at_length), which asks everything.

use shoal_proto::session::ReplyMode;

use super::{
    execute::{Batch, LONG_REQUEST, Outcome},
    lookahead::Ready,
    output::Replies,
};
use crate::{
    command::dispatch::{Dispatch, Moment},
    store::{Held, LEAST_PREPARED},
};

impl<'a> Batch<'a> {
    /// Whether the connection's commands may go the short way. Only its own commands change that, and what other threads change
    /// is looked at for each batch.
    pub(super) fn is_free(&self) -> bool {
        self.leased
            && self.session.is_free()
            && self.session.reply_mode == ReplyMode::On
            && !self.shared.slow.times_everything()
    }

    /// Executes a request, if it can go the short way.
    // All is one function up to the handler: what is known of a request stays where it was put together.
    #[inline(always)]
    pub(super) fn brief(
        &mut self,
        ready: &Ready<'_>,
        held: &mut Held<'a>,
        out: &mut Replies,
    ) -> Option<Outcome> {
        let shared = self.shared;
        let (brief, key) = (shared.dispatch.brief(ready.entry)?, ready.key.as_ref()?);
        const SHORT: usize = if LONG_REQUEST < LEAST_PREPARED { LONG_REQUEST } else { LEAST_PREPARED };
        if !self.free
            || shared.registry.may_be_paused()
            || ready.args.raw().len() > SHORT
            || !self.ownership.owns(key.slot)
            || (brief.grows && shared.store.is_short())
            || self.clock.pass()
        {
            return None;
        }
        let mark = out.bytes.len();
        let moment = Moment { db: self.session.db, now: self.clock.now, touch: !self.session.no_touch };
        let mut reply = out.reply(self.session.protocol);
        let under = (held, ready.again, ready.seen, ready.keep);
        let result = Dispatch::run_brief(&shared.store, brief, moment, key, (ready.args, &mut reply), under)?;
        self.last = ready.entry;
        self.data += 1;
        self.commands += 1;
        self.count(ready.entry, &result);
        match result {
            Ok(()) => Some(Outcome::Done),
            Err(error) => Some(self.failed(error, ready, mark, out)),
        }
    }
}
