//! Which of a client's answers are known to be those of their requests.
//!
//! A reply that nobody asked for makes every later request on its connection get the answer of the one before. Where it
//! came is not known, only that all was in step when it was last looked at. So what was answered since then is not
//! judged: writes may have taken effect or not, reads tell nothing. The reply itself is a finding.

use std::io;

use super::driver::Client;
use super::history::{Action, NEVER, Operation};
use crate::answer::is_unasked;

/// After so many operations it is looked at whether answers are in step, and after every answer that is wrong by itself.
const MOST_UNSURE: usize = 256;

/// What a client knows of its answers.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// So many of the operations written down were answered in step.
    sure: usize,
    /// A corrupt value was told before that.
    corrupt: bool,
    /// Keys of reads that were dropped.
    pub(super) dropped: Vec<u32>,
    /// How often a connection was out of step.
    pub(super) lost: u32,
}

impl Client<'_> {
    /// Looks, if it is time to, whether the answers up to now are in step; `look` asks the server. Returns `outcome`, or
    /// what was found then.
    pub(super) fn look(
        &mut self,
        outcome: io::Result<()>,
        look: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let unsure = &self.recorded.operations[self.steps.sure..];
        let is_due = unsure.len() >= MOST_UNSURE || unsure.iter().any(Operation::is_stray);
        match outcome.and_then(|()| if is_due { look() } else { Ok(()) }) {
            Ok(()) => {
                if is_due {
                    self.note_sure();
                }
                Ok(())
            }
            Err(error) => {
                if is_unasked(&error) {
                    self.out_of_step();
                }
                Err(error)
            }
        }
    }

    /// Looks once more at the end. A connection that has broken meanwhile tells nothing.
    pub(super) fn look_at_last(&mut self, look: impl FnOnce() -> io::Result<()>) {
        if self.steps.sure == self.recorded.operations.len() {
            return;
        }
        match look() {
            Ok(()) => self.note_sure(),
            Err(error) if is_unasked(&error) => {
                self.out_of_step();
                self.broken(&error);
            }
            Err(_) => {}
        }
    }

    fn note_sure(&mut self) {
        self.steps.sure = self.recorded.operations.len();
        self.steps.corrupt = self.recorded.first_corruption.is_some();
    }

    /// Takes back what was concluded since the answers were last known to be in step.
    fn out_of_step(&mut self) {
        let now = self.now();
        let unsure = self.recorded.operations.split_off(self.steps.sure);
        let (key, start) =
            unsure.last().zip(unsure.first()).map_or((0, now), |(last, first)| (last.key, first.start));
        for operation in unsure {
            self.recorded.unanswered += u64::from(operation.is_answered() && !operation.is_stray());
            match unanswered(operation.action) {
                Some(action) => self.recorded.operations.push(Operation { end: NEVER, action, ..operation }),
                None if operation.is_stray() => self.watch.take_back(),
                None => self.steps.dropped.push(operation.key),
            }
        }
        if !self.steps.corrupt {
            self.recorded.first_corruption = None;
        }
        self.steps.lost += 1;
        self.stray(Operation { key, client: self.number, start, end: now, action: Action::Unasked });
        self.note_sure();
    }
}

/// What is known of an operation whose answer is not: none of one that only read.
fn unanswered(action: Action) -> Option<Action> {
    match action {
        Action::Write(value) => Some(Action::Write(value)),
        Action::Delete | Action::Removed(_) => Some(Action::Delete),
        Action::Increment(_) => Some(Action::Increment(0)),
        Action::Read(_)
        | Action::ReadNothing
        | Action::ReadCounter(_)
        | Action::ReadForeign(_)
        | Action::Corrupt(_)
        | Action::Malformed
        | Action::Mismatched
        | Action::Unasked => None,
    }
}
