//! Counting answers: what a reply says of its request, and rows of equal latencies recorded at once.

use crate::connection::Waiting;
use crate::reply::Reply;
use crate::requests::{About, Command, Follows};
use crate::tally::Tally;

/// What the generator must know of a command when its answer comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    looks_up: bool,
    follows: Option<Follows>,
}

impl Kind {
    pub(super) fn of(command: &Command) -> Self {
        Self { looks_up: command.looks_up, follows: command.follow_up.map(|(follows, _)| follows) }
    }
}

/// Answers in a row of one server with the same command and latency, recorded at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    endpoint: usize,
    command: u16,
    latency: u64,
    count: u64,
}

impl Row {
    /// An empty one for answers of this server.
    pub(super) fn new(endpoint: usize) -> Self {
        Self { endpoint, command: 0, latency: 0, count: 0 }
    }

    /// Adds an answer, or records the row and starts another with it.
    #[inline]
    pub(super) fn add(&mut self, tally: &mut Tally, request: Waiting, now: u64) {
        let latency = now.saturating_sub(request.since);
        if self.count > 0 && self.command == request.about.command && self.latency == latency {
            self.count += 1;
            return;
        }
        self.record(tally);
        (self.command, self.latency, self.count) = (request.about.command, latency, 1);
    }

    /// Records what is in it.
    #[inline]
    pub(super) fn record(&self, tally: &mut Tally) {
        if self.count > 0 {
            tally.commands[usize::from(self.command)].latency.saturating_record_n(self.latency, self.count);
            if let Some(endpoint) = tally.endpoints.get_mut(self.endpoint) {
                endpoint.latency.saturating_record_n(self.latency, self.count);
            }
        }
    }

    /// Counts errors, hits and misses of an answer.
    #[inline]
    pub(super) fn interpret(
        &self,
        tally: &mut Tally,
        kinds: &[Kind],
        followed: &mut Vec<About>,
        about: About,
        reply: Reply<'_>,
    ) {
        let command = usize::from(about.command);
        if let Some(text) = reply.error {
            if let Some(endpoint) = tally.endpoints.get_mut(self.endpoint) {
                endpoint.errors += 1;
            }
            return tally.count_error(command, text);
        }
        let kind = kinds[command];
        if kind.looks_up {
            let counts = &mut tally.commands[command];
            let keys = u64::from(about.keys);
            let missed = u64::from(reply.nulls).min(keys);
            counts.misses += missed;
            counts.hits += keys - missed;
        }
        match kind.follows {
            None => {}
            Some(Follows::Misses) if reply.nulls == 0 => {}
            Some(_) => followed.push(about),
        }
    }
}
