//! What is told of requests without an answer: while the run goes on, and when it ends.

use std::time::Duration;

use mio::Events;

use super::{Generator, OwnUsage, Pace, SECOND};
use crate::answer::Unasked;
use crate::connection::{ASIDE, Broken, Connection};
use crate::procfs;
use crate::tally::Tally;

/// At the end this many requests that were due at a server and not sent are drawn one by one; more are estimated from
/// these.
const MOST_DRAWN: usize = 100_000;

/// How long a run waits at its end for answers that do not count any more: behind them may be some that nobody asked
/// for.
const LAST_ANSWERS: Duration = Duration::from_millis(120);
/// How long after the last answer: a server that leaves Nagle's algorithm on sends the next one when this side has
/// acknowledged the one before, which it does after 40 ms at the latest.
const AFTERTHOUGHT: Duration = Duration::from_millis(60);

impl Generator {
    /// Notes how much was answered before the end; [`Generator::finish`] tells the rest as late.
    pub(super) fn begin_late(&mut self) {
        if !std::mem::replace(&mut self.is_late, true) {
            self.tally.full = self.lanes.iter().any(|lane| lane.is_blocked);
            self.tally.commands.iter_mut().for_each(|command| command.late = command.latency.len());
            self.tally.endpoints.iter_mut().for_each(|endpoint| endpoint.late = endpoint.latency.len());
        }
    }

    /// How long the oldest request under way has waited.
    fn oldest_wait(&self, now: u64) -> u64 {
        let sent = self.connections.iter().filter_map(Connection::oldest);
        let held = self.routed.iter().flat_map(|routed| routed.held_since()).map(|(since, _)| since);
        let due = self.lanes.iter().map(|lane| lane.due).filter(|due| self.may_make(*due));
        let oldest = sent.chain(held).chain(due).min().unwrap_or(now);
        now.saturating_sub(oldest)
    }

    /// Notes at the end of an interval what waits and which slots are without service.
    pub(super) fn note_waiting(&mut self, now: u64) {
        self.tally.waiting = self.oldest_wait(now);
        if let Some(outages) = &self.outages {
            self.tally.outage = self.tally.outage.max(outages.longest_open(now)).max(self.tally.waiting);
            self.note_under_way(now);
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
        self.count_unanswered(end);
        self.read_last_answers();
        if matches!(self.plan.pace, Pace::Closed) {
            let oldest = self.connections.iter().filter_map(Connection::oldest);
            oldest.for_each(|oldest| self.tally.hanging.record(end.saturating_sub(oldest), 1));
        }
        self.tally.connections = self.connections.len() as u64;
        let useless = self.connections.iter().filter(|connection| connection.failed && !connection.served);
        self.tally.useless = useless.count() as u64;
        let counted = end.min(self.plan.end).saturating_sub(self.plan.warmup);
        self.tally.cut = counted % SECOND;
        let commands = self.kinds.len();
        let last = std::mem::replace(&mut self.tally, Box::new(Tally::new(commands)));
        let _ = self.channel.finished.send(last);
        let (from, before) = own.unwrap_or((end, (cpu, waited)));
        OwnUsage { cpu: cpu - before.0, waited: waited - before.1, wall: end - from, counted }
    }

    /// Reads what is still on its way, without counting it. A server that has answered something twice has shifted all
    /// answers after it, each of which was taken for the next request's: one is left over when none is awaited.
    fn read_last_answers(&mut self) {
        let deadline = self.now() + LAST_ANSWERS.as_nanos() as u64;
        let mut events = Events::with_capacity(1024);
        loop {
            let is_awaited = self.connections.iter().any(|one| one.is_open() && !one.waiting.is_empty());
            let wait = if is_awaited { LAST_ANSWERS } else { AFTERTHOUGHT };
            let wait = wait.min(Duration::from_nanos(deadline.saturating_sub(self.now())));
            let is_over =
                self.poll.poll(&mut events, Some(wait)).is_err() || events.is_empty() || wait.is_zero();
            for index in 0..self.connections.len() {
                let connection = &mut self.connections[index];
                let read = connection.receive(&mut self.buffer, true, &mut 0, || 0, |_, _, _, _| {});
                let endpoint = connection.endpoint;
                match read {
                    Ok(()) => {}
                    Err(Broken::Unasked) => {
                        connection.close();
                        self.tally.count_break(endpoint, &Unasked.to_string());
                    }
                    Err(_) => drop(connection.close()),
                }
            }
            if is_over {
                return;
            }
        }
    }

    /// Counts what an open loop leaves behind: what was sent, what a cluster's requests wait for, and what was due and
    /// never sent.
    fn count_unanswered(&mut self, end: u64) {
        if matches!(self.plan.pace, Pace::Closed) {
            return;
        }
        let tally = &mut self.tally;
        for connection in &self.connections {
            for waiting in connection.waiting.iter().filter(|waiting| waiting.about.command() != ASIDE) {
                let waited = end.saturating_sub(waiting.since);
                let command = usize::from(waiting.about.command());
                tally.count_unanswered(command, Some(connection.endpoint), waited, 1);
            }
        }
        for (since, about) in self.routed.iter().flat_map(|routed| routed.held_since()) {
            tally.count_unanswered(usize::from(about.command()), None, end.saturating_sub(since), 1);
        }
        for place in 0..self.lanes.len() {
            self.count_unsent(place, end);
        }
    }

    /// Counts what was due at a server and never sent. Which commands these would have been is drawn for the first
    /// ones; the rest is of the same commands in turn.
    fn count_unsent(&mut self, place: usize, end: u64) {
        let mut drawn = Vec::new();
        let mut scratch = Vec::new();
        let endpoint = self.routed.is_none().then(|| self.lanes[place].endpoint);
        while self.may_make(self.lanes[place].due) && drawn.len() < MOST_DRAWN {
            scratch.clear();
            let lane = &mut self.lanes[place];
            self.requests.at(lane.due);
            let command = usize::from(self.requests.next(&mut scratch).command());
            self.tally.count_unanswered(command, endpoint, end.saturating_sub(lane.due), 1);
            drawn.push(command);
            self.made += 1;
            lane.advance();
        }
        let lane = &self.lanes[place];
        if !self.may_make(lane.due) {
            return;
        }
        let mut commands = drawn.iter().cycle();
        for (at, count) in lane.arrivals.expected(lane.due, self.plan.end) {
            let count = count.min(self.plan.limit - self.made);
            let (each, more) = (count / drawn.len() as u64, count % drawn.len() as u64);
            let mut counts = vec![0; self.kinds.len()];
            drawn.iter().for_each(|command| counts[*command] += each);
            commands.by_ref().take(more as usize).for_each(|command| counts[*command] += 1);
            for (command, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                self.tally.count_unanswered(command, endpoint, end.saturating_sub(at), count);
            }
            self.made += count;
        }
    }
}
