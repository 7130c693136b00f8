//! What is told of requests without an answer: while the run goes on, and when it ends.

use super::{Generator, OwnUsage, Pace, SECOND};
use crate::connection::{ASIDE, Connection};
use crate::procfs;
use crate::tally::Tally;

/// At the end this many requests that were due and not sent are drawn one by one; of more, only the number is told.
const MOST_DRAWN: u64 = 1_000_000;

impl Generator {
    /// Notes how much was answered before the end; [`Generator::finish`] tells the rest as late.
    pub(super) fn begin_late(&mut self) {
        if !std::mem::replace(&mut self.is_late, true) {
            self.tally.commands.iter_mut().for_each(|command| command.late = command.latency.len());
            self.tally.endpoints.iter_mut().for_each(|endpoint| endpoint.late = endpoint.latency.len());
        }
    }

    /// How long the oldest request under way has waited.
    fn oldest_wait(&self, now: u64) -> u64 {
        let sent = self.connections.iter().filter_map(|connection| connection.waiting.front());
        let held = self.routed.iter().flat_map(|routed| routed.held_since());
        let oldest = sent.map(|oldest| oldest.since).chain(held).min().unwrap_or(now);
        let is_due = matches!(self.plan.pace, Pace::Open(_)) && self.may_make(self.due);
        now.saturating_sub(if is_due { oldest.min(self.due) } else { oldest })
    }

    /// Notes at the end of an interval what waits and which slots are without service.
    pub(super) fn note_waiting(&mut self, now: u64) {
        self.tally.waiting = self.oldest_wait(now);
        if let Some(outages) = &self.outages {
            self.tally.outage = self.tally.outage.max(outages.longest_open(now)).max(self.tally.waiting);
        }
    }

    /// True if no answer has come for as long as the plan has patience, though some are waited for or nobody can be
    /// asked.
    pub(super) fn is_hopeless(&self, now: u64) -> bool {
        now.saturating_sub(self.answered) > self.plan.give_up
            && (self.oldest_wait(now) > self.plan.give_up || !self.connections.iter().any(Connection::stands))
    }

    /// Tells of the last tally how many answers in it came after the end.
    fn tell_late(&mut self) {
        if self.is_late {
            self.tally
                .commands
                .iter_mut()
                .for_each(|command| command.late = command.latency.len() - command.late);
            let endpoints = self.tally.endpoints.iter_mut();
            endpoints.for_each(|endpoint| endpoint.late = endpoint.latency.len() - endpoint.late);
        }
    }

    /// Counts what got no answer and hands over the last tally.
    pub(super) fn finish(mut self, own: Option<(u64, (u64, u64))>) -> OwnUsage {
        let end = self.now();
        let (cpu, waited) = procfs::own_thread();
        self.tell_late();
        self.note_waiting(end);
        // In a closed loop some requests are always under way; what tells is how long they have waited.
        self.tally.longest_wait = self.tally.waiting;
        if let Pace::Open(arrivals) = &mut self.plan.pace {
            let sent = self.connections.iter().flat_map(|connection| &connection.waiting);
            let sent = sent.filter(|waiting| waiting.about.command() != ASIDE).map(|waiting| waiting.since);
            let held = self.routed.iter().flat_map(|routed| routed.held_since());
            let mut missed = |since: u64, count: u64| {
                self.tally.unanswered += count;
                self.tally.waits.saturating_record_n(end.saturating_sub(since), count);
            };
            sent.chain(held).for_each(|since| missed(since, 1));
            let mut drawn = 0;
            while self.due < self.plan.end && self.made < self.plan.limit && drawn < MOST_DRAWN {
                missed(self.due, 1);
                self.made += 1;
                drawn += 1;
                self.due = arrivals.next(&mut self.random);
            }
            if self.due < self.plan.end {
                for (at, count) in arrivals.expected(self.due, self.plan.end) {
                    let count = count.min(self.plan.limit - self.made);
                    missed(at, count);
                    self.made += count;
                }
            }
        }
        let counted = end.min(self.plan.end).saturating_sub(self.plan.warmup);
        self.tally.cut = counted % SECOND;
        let commands = self.kinds.len();
        let last = std::mem::replace(&mut self.tally, Box::new(Tally::new(commands)));
        let _ = self.channel.finished.send(last);
        let (from, before) = own.unwrap_or((end, (cpu, waited)));
        OwnUsage { cpu: cpu - before.0, waited: waited - before.1, wall: end - from }
    }
}
