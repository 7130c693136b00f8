//! Executing a batch of requests: table, checks, handler, counters.

use shoal_net::telemetry;
use shoal_proto::{
    Error,
    command::{Entry, Flags, absent, table},
    error::Result,
    resp::{Args, Limits, Protocol, ProtocolError, Reply, Scanner},
    session::{self, Identity, Session},
};
use smallvec::SmallVec;

use super::{
    Ownership, Shared,
    clock::now_ms,
    fence::{Fence, Times},
    lease::uptime_ms,
    lookahead::{Gathered, Lookahead, Next, Ready, UNKNOWN},
    output::Replies,
    shared::Action,
    worker_clock::Clock,
};
use crate::{
    admin,
    command::{
        Scope, Waits,
        dispatch::{Dispatch, Moment},
    },
    stats::Counters,
    store::{Held, Landed, Located, Seen},
};

/// Why execution stopped before the input's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Close when the replies are sent.
    Close,
    /// Send the replies first.
    Flush,
    /// `CLIENT PAUSE`: go on at this time, ms since 1970.
    Pause(u64),
    /// The next command waits for a gate or for the lease: go on when there are more changes than these.
    Hold(u64),
}

/// Requests of more bytes than this are timed whatever they do.
pub(super) const LONG_REQUEST: usize = 16 << 10;

/// Who looks for the end of a wait so many ms after it was there did not run meanwhile.
const PAUSED: u64 = 100;

/// How long a node that did not run may take to get its lease again, in ms: time for several rounds.
const RECOVERY: u64 = 1000;

/// Until when commands are held that were to be held until `until`, at most for `most` ms: longer if that passed while the process did
/// not run, since it has lost its lease for no other reason, and gets it again at once.
fn held_until(until: u64, now: u64, most: u64, leased: bool) -> u64 {
    if !leased && now > until.saturating_add(PAUSED) { now + most.min(RECOVERY) } else { until }
}

/// One batch of requests of one connection.
pub(super) struct Batch<'a> {
    pub(super) shared: &'a Shared,
    pub(super) counters: &'a Counters,
    pub(super) session: &'a mut Session,
    /// If the other end is a router (`SHOAL UPSTREAM`): for how many ms its requests may be held here.
    pub(super) upstream: &'a mut Option<u64>,
    pub(super) clock: &'a mut Clock,
    /// Until when commands wait for a gate, by [`uptime_ms`]; set by the first that does.
    pub(super) patience: &'a mut Option<u64>,
    pub(super) ownership: arc_swap::Guard<std::sync::Arc<Ownership>>,
    pub(super) commands: u64,
    /// Commands on keys that were executed.
    pub(super) data: u64,
    pub(super) last: u16,
    /// Whether the lease was valid when the batch began.
    pub(super) leased: bool,
    /// Whether it stopped at a command that has to wait.
    held: bool,
    /// The counter of changes, and others, before anything was executed.
    seen: u64,
    before: Times,
    /// The copies that replies have to wait for.
    waits: Waits,
    /// The bytes that are executed, if they are where a long argument can stay.
    landed: Option<&'a Landed>,
    /// Whether nothing keeps the connection's commands from being executed and answered the [short way](super::brief).
    pub(super) free: bool,
}

/// What became of one request.
pub(super) enum Outcome {
    Done,
    Paused(u64),
    Held,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        counters: &'a Counters,
        (session, upstream, patience): (&'a mut Session, &'a mut Option<u64>, &'a mut Option<u64>),
        clock: &'a mut Clock,
        landed: Option<&'a Landed>,
    ) -> Self {
        // Read before anything is decided by what they count.
        let (seen, before) = (shared.changes.seen(), Times::read(shared));
        let mut batch = Self {
            shared,
            leased: shared.lease.is_valid(),
            ownership: shared.ownership.load(),
            counters,
            session,
            upstream,
            patience,
            clock,
            commands: 0,
            data: 0,
            last: u16::MAX,
            held: false,
            seen,
            before,
            waits: Waits::default(),
            landed,
            free: false,
        };
        batch.free = batch.is_free();
        batch
    }

    /// Executes what was gathered of `input`, then what else is complete in it, until the input ends or there is a
    /// reason to stop. Returns how many bytes were consumed. `deep` is for the requests that were not gathered yet.
    pub(super) fn execute(
        &mut self,
        (ahead, gathered): (&Lookahead, Gathered),
        (input, scanner): (&[u8], &mut Scanner),
        limits: &mut Limits,
        deep: &mut Lookahead,
        out: &mut Replies,
    ) -> (usize, Option<Stop>) {
        let mut gathered = gathered;
        let mut stopped = self.run_gathered(ahead, &gathered, input, out);
        loop {
            if let Some((consumed, stop)) = stopped {
                // What was gathered but not executed is scanned again.
                *scanner = Scanner::new();
                return (consumed, Some(stop));
            }
            let mut at = gathered.end;
            match gathered.next {
                Next::More => {}
                Next::Incomplete => return (at, None),
                Next::Inline(end) => {
                    let args = Args::new(scanner.inline(), scanner.spans());
                    let stop = match self.one_alone(args, out) {
                        Outcome::Paused(until) => Some(Stop::Pause(until)),
                        Outcome::Held => Some(Stop::Hold(self.seen)),
                        Outcome::Done => None,
                    };
                    if stop.is_some() {
                        *scanner = Scanner::new();
                        return (at, stop);
                    }
                    at = end;
                    if self.session.closing {
                        return (input.len(), Some(Stop::Close));
                    }
                    if out.are_enough() {
                        return (end, Some(Stop::Flush));
                    }
                }
                Next::Error(ProtocolError::WebRequest) => {
                    telemetry::warn_of_web_request(&self.session.record.addr);
                    return (input.len(), Some(Stop::Close));
                }
                Next::Error(error) => {
                    let text = Error::owned(format!("ERR Protocol error: {error}"));
                    self.shared.totals.errors.note(&text);
                    out.reply(Protocol::Resp2).error(&text);
                    return (input.len(), Some(Stop::Close));
                }
            }
            limits.authenticated = self.session.authenticated();
            deep.clear();
            gathered = deep.gather((&self.shared.store, self.session.db), scanner, (input, at), limits);
            deep.ask(&self.shared.store);
            stopped = self.run_gathered(deep, &gathered, input, out);
        }
    }

    /// Executes gathered requests; where and why it stopped before the last one's end.
    #[inline]
    fn run_gathered(
        &mut self,
        ahead: &Lookahead,
        gathered: &Gathered,
        input: &[u8],
        out: &mut Replies,
    ) -> Option<(usize, Stop)> {
        let (mut at, mut held) = (0, Held::default());
        for (n, i) in gathered.range.clone().enumerate() {
            ahead.ask_elements(&self.shared.store, input, i);
            let (ready, end) = ahead.request(input, i);
            if n == 0 {
                at = end - ready.args.raw().len();
            }
            match self.one(&ready, &mut held, out) {
                Outcome::Paused(until) => return Some((at, Stop::Pause(until))),
                Outcome::Held => return Some((at, Stop::Hold(self.seen))),
                Outcome::Done if self.session.closing => return Some((input.len(), Stop::Close)),
                Outcome::Done if out.are_enough() => return Some((end, Stop::Flush)),
                Outcome::Done => at = end,
            }
        }
        None
    }

    /// Reports the batch's counts. What the replies have to wait for, if there is anything.
    pub(super) fn finish(self) -> Option<Fence> {
        if self.commands > 0 {
            self.counters.commands(self.commands);
            self.session.record.saw(self.last, self.clock.now);
        }
        if self.data == 0 {
            return None;
        }
        if !self.held {
            *self.patience = None;
        }
        Fence::needed(self.shared, self.before, self.waits.into_inner())
    }

    /// What to answer to a command that was not executed because of a gate or the lease; `None`: it has to wait.
    #[cold]
    fn barred(&mut self, error: Error) -> Option<Error> {
        self.data -= 1;
        if let Error::NotHere(slot) = error {
            let ownership = self.shared.ownership();
            if !ownership.owns(slot) {
                let elsewhere = ownership.elsewhere(slot);
                if elsewhere != Error::Held {
                    return Some(elsewhere);
                }
            }
            // The view is in force, the gate is about to open; or another view will come.
        } else if error == Error::KeyHeld && self.upstream.is_some() {
            // One key must not hold up what others ask a router for.
            return Some(error);
        }
        let now = uptime_ms();
        let most = self.shared.config.hold_timeout().min(self.upstream.unwrap_or(u64::MAX));
        let until = match *self.patience {
            Some(until) if self.data == 0 => held_until(until, now, most, self.leased),
            _ => now.saturating_add(most),
        };
        *self.patience = Some(until);
        if now >= until {
            return Some(Error::Held);
        }
        self.held = true;
        None
    }

    /// Whether a read that nobody could serve in time is answered as if its keys were not there. A router decides that itself.
    #[cold]
    fn is_miss(&self, error: &Error, args: Args<'_>, out: &mut Reply<'_>) -> bool {
        let down = matches!(error, Error::Held | Error::ClusterDown);
        down && self.upstream.is_none()
            && self.shared.config.misses_when_down()
            && table().resolve(args).is_some_and(|entry| absent::reply(entry, args, out))
    }

    /// Executes a request of which nothing is known yet.
    #[cold]
    fn one_alone(&mut self, args: Args<'_>, out: &mut Replies) -> Outcome {
        let ready =
            Ready { args, entry: UNKNOWN, key: None, seen: Seen::default(), again: false, keep: false };
        self.one(&ready, &mut Held::default(), out)
    }

    #[inline(always)]
    fn one(&mut self, ready: &Ready<'_>, held: &mut Held<'a>, out: &mut Replies) -> Outcome {
        match self.brief(ready, held, out) {
            Some(outcome) => outcome,
            None => {
                let outcome = self.at_length(ready, held, out);
                self.free = self.is_free();
                outcome
            }
        }
    }

    /// Executes a request of any kind.
    #[inline(never)]
    fn at_length(&mut self, ready: &Ready<'_>, held: &mut Held<'a>, out: &mut Replies) -> Outcome {
        let (args, mark) = (ready.args, out.bytes.len());
        let mut reply = out.reply(self.session.protocol);
        let entry = if ready.entry == UNKNOWN { table().find(args) } else { Ok(table().entry(ready.entry)) };
        let result = match entry {
            Ok(entry) => {
                if self.shared.registry.may_be_paused()
                    && let Some(until) = self.shared.registry.paused(entry.writes(), self.clock.now)
                    && !entry.ignores_pause()
                {
                    return Outcome::Paused(until);
                }
                self.checked(entry, ready, held, &mut reply)
            }
            Err(error) => {
                if let Some(entry) = table().resolve(args) {
                    self.counters.rejected(entry.id);
                }
                Err(error)
            }
        };
        self.commands += 1;
        if let Err(error) = result {
            return self.failed(error, ready, mark, out);
        }
        if !self.session.replies() {
            out.truncate(mark);
        }
        Outcome::Done
    }

    /// Answers a command that was not executed, unless it has to wait. `mark`: where its reply began.
    #[cold]
    pub(super) fn failed(
        &mut self,
        mut error: Error,
        ready: &Ready<'_>,
        mark: usize,
        out: &mut Replies,
    ) -> Outcome {
        let mut reply = out.reply(self.session.protocol);
        reply.truncate(mark);
        let mut missed = false;
        if error.is_barred() {
            match self.barred(error) {
                Some(answer) => error = answer,
                None => {
                    self.commands -= 1;
                    return Outcome::Held;
                }
            }
            self.counters.rejected(self.last);
            missed = self.is_miss(&error, ready.args, &mut reply);
        }
        if !missed {
            reply.error(&error);
            self.shared.totals.errors.note(&error);
        }
        if !self.session.replies() {
            out.truncate(mark);
        }
        Outcome::Done
    }

    #[inline]
    fn checked(
        &mut self,
        entry: &'static Entry,
        ready: &Ready<'_>,
        held: &mut Held<'a>,
        out: &mut Reply<'_>,
    ) -> Result {
        if !self.session.is_free()
            && let Some(answer) = self.session.bar(entry, now_ms())
        {
            return self.not_executed(entry, answer, out);
        }
        self.last = entry.id;
        let action = self.shared.actions[usize::from(entry.id)];
        let quick = entry.quick
            && ready.args.raw().len() <= LONG_REQUEST
            && matches!(action, Action::Data)
            && !self.shared.slow.times_everything();
        if !quick {
            held.release();
            return self.timed(action, entry, ready, out);
        }
        if self.clock.pass() {
            return self.looked_at(action, entry, ready, held, out);
        }
        let result = self.run(action, entry, ready, held, out);
        self.count(entry.id, &result);
        result
    }

    /// Answers a command that the session bars.
    #[cold]
    fn not_executed(&self, entry: &Entry, answer: Result, out: &mut Reply<'_>) -> Result {
        self.counters.rejected(entry.id);
        answer.map(|()| out.ok())
    }

    /// Executes a quick command, and reads the clock. Of some, chosen by chance, the time is taken.
    #[cold]
    #[inline(never)]
    fn looked_at(
        &mut self,
        action: Action,
        entry: &'static Entry,
        ready: &Ready<'_>,
        held: &mut Held<'a>,
        out: &mut Reply<'_>,
    ) -> Result {
        let sample = self.clock.look(self.shared) || !self.counters.is_timed(entry.id);
        let begun = sample.then(std::time::Instant::now);
        let result = self.run(action, entry, ready, held, out);
        let took = begun.map(|begun| begun.elapsed());
        if self.count(entry.id, &result)
            && let Some(took) = took
        {
            self.counters.sampled(entry.id, took);
        }
        result
    }

    #[inline(never)]
    fn timed(
        &mut self,
        action: Action,
        entry: &'static Entry,
        ready: &Ready<'_>,
        out: &mut Reply<'_>,
    ) -> Result {
        let begun = std::time::Instant::now();
        let ready = Ready { keep: false, ..*ready };
        let result = self.run(action, entry, &ready, &mut Held::default(), out);
        let took = begun.elapsed();
        if self.count(entry.id, &result) {
            self.counters.timed(entry.id, took);
        }
        if !entry.command.flags.contains(Flags::SKIP_SLOWLOG) {
            self.shared.slow.note(ready.args, took, &self.session.record, self.clock.now);
            self.shared.latency.note("command", took, self.clock.now);
        }
        self.clock.read(self.shared);
        result
    }

    /// Counts what became of a command; whether it was executed.
    #[inline]
    pub(super) fn count(&self, id: u16, result: &Result) -> bool {
        match result {
            // It may still be executed.
            Err(error) if error.is_barred() => return false,
            Err(error) if error.before_execution() => {
                self.counters.rejected(id);
                return false;
            }
            result => self.counters.called(id, result.is_err()),
        }
        true
    }

    /// Executes a command on a slot that is another's if the client is content with a copy and one may be read here; else
    /// answers the error that says where the slot is.
    #[cold]
    fn at_copy(
        &self,
        entry: &'static Entry,
        scope: Scope<'_>,
        keys: &[Located<'_>],
        (error, args): (Error, Args<'_>),
        out: &mut Reply<'_>,
    ) -> Result {
        let reads = self.session.readonly && entry.command.flags.contains(Flags::READONLY);
        match keys {
            [first, others @ ..]
                if reads
                    && others.iter().all(|key| key.slot == first.slot)
                    && self.shared.readable.has(first.slot) =>
            {
                let leave = |slot| self.shared.readable.check(slot, &self.shared.lease);
                let (dispatch, store) = (&self.shared.dispatch, &self.shared.store);
                dispatch.run_at_copy(store, entry, scope, (first.slot, keys), leave, args, out)
            }
            _ => Err(error),
        }
    }

    fn run(
        &mut self,
        action: Action,
        entry: &'static Entry,
        ready: &Ready<'_>,
        held: &mut Held<'a>,
        out: &mut Reply<'_>,
    ) -> Result {
        let args = ready.args;
        match action {
            Action::Data => {
                self.data += 1;
                if !self.leased {
                    return Err(Error::Held);
                }
                let (db, now, touch) = (self.session.db, self.clock.now, !self.session.no_touch);
                let scope = || Scope {
                    db,
                    now,
                    touch,
                    within: self.upstream.map(|_| self.ownership.slots()),
                    alone: self.ownership.alone(),
                    waits: Some(&self.waits),
                    landed: self.landed,
                };
                let (dispatch, store) = (&self.shared.dispatch, &self.shared.store);
                if let Some(key) = &ready.key {
                    if let Err(error) = self.ownership.check_one(key.slot) {
                        held.release();
                        return self.at_copy(entry, scope(), &[*key], (error, args), out);
                    }
                    let under = (held, ready.again, ready.seen, ready.keep);
                    let moment = Moment { db, now, touch };
                    return dispatch.run_held(store, entry, (moment, scope), key, (args, out), under);
                }
                held.release();
                let keys = Dispatch::keys(store, entry, args);
                let slots: SmallVec<[u16; 16]> = keys.iter().map(|key| key.slot).collect();
                if let Err(error) = self.ownership.check(&slots, self.upstream.is_some() && entry.splits()) {
                    return self.at_copy(entry, scope(), &keys, (error, args), out);
                }
                dispatch.run(store, entry, scope(), &keys, args, out)
            }
            Action::Session(handler) => {
                held.release();
                // CLIENT LIST shows the command that asks.
                self.session.record.saw(entry.id, self.clock.now);
                let identity = Identity { mode: "cluster" };
                let mut cx = session::Cx {
                    session: self.session,
                    registry: &self.shared.registry,
                    access: &self.shared.access,
                    identity,
                    now: self.clock.now,
                };
                handler(&mut cx, args, out)
            }
            Action::Server(handler) => {
                held.release();
                let mut cx = admin::Cx {
                    shared: self.shared,
                    session: self.session,
                    upstream: self.upstream,
                    now: self.clock.now,
                };
                handler(&mut cx, args, out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_ended_while_the_process_did_not_run_goes_on() {
        assert_eq!(held_until(5000, 4000, 2500, false), 5000);
        assert_eq!(held_until(5000, 5003, 2500, false), 5000, "it is over");
        assert_eq!(held_until(5000, 9000, 2500, false), 9000 + RECOVERY);
        assert_eq!(held_until(5000, 9000, 250, false), 9250, "no longer than at first");
        assert_eq!(held_until(5000, 9000, 2500, true), 5000, "it is the slot that is not there");
    }
}
