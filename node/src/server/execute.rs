//! Executing a batch of requests: table, checks, handler, counters.

use shoal_proto::{
    Error,
    command::{Entry, Flags, table},
    error::Result,
    resp::{Args, Limits, Protocol, Reply, Scanner},
    session::{self, Identity},
};
use smallvec::SmallVec;

use super::{
    Ownership, Shared,
    connection::{Connection, FLUSH_AT},
    fence::{Fence, Times},
    lease::uptime_ms,
    lookahead::{LOOKAHEAD, Lookahead, Next},
    shared::Action,
};
use crate::{
    admin,
    command::{Scope, Waits, dispatch::Dispatch},
    stats::Counters,
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

/// One batch of requests of one connection.
pub(super) struct Batch<'a> {
    shared: &'a Shared,
    ownership: arc_swap::Guard<std::sync::Arc<Ownership>>,
    counters: &'a Counters,
    connection: &'a mut Connection,
    now: u64,
    /// Commands since the clock was read.
    since_clock: u32,
    commands: u64,
    /// Commands on keys that were executed.
    data: u64,
    last: u16,
    /// Whether the lease was valid when the batch began.
    leased: bool,
    /// Whether it stopped at a command that has to wait.
    held: bool,
    /// The counter of changes, and others, before anything was executed.
    seen: u64,
    before: Times,
    /// The copies that replies have to wait for.
    waits: Waits,
}

/// Fast commands executed on one reading of the clock.
const COMMANDS_PER_CLOCK: u32 = 32;

/// What became of one request.
enum Outcome {
    Done,
    Paused(u64),
    Held,
}

impl<'a> Batch<'a> {
    pub(super) fn new(shared: &'a Shared, counters: &'a Counters, connection: &'a mut Connection) -> Self {
        // Read before anything is decided by what they count.
        let (seen, before) = (shared.changes.seen(), Times::read(shared));
        Self {
            shared,
            leased: shared.lease.is_valid(),
            ownership: shared.ownership.load(),
            counters,
            connection,
            now: shared.now_ms(),
            since_clock: 0,
            commands: 0,
            data: 0,
            last: u16::MAX,
            held: false,
            seen,
            before,
            waits: Waits::default(),
        }
    }

    /// Executes requests until the input ends or there is a reason to stop. Returns how many bytes were
    /// consumed.
    pub(super) fn execute(
        &mut self,
        scanner: &mut Scanner,
        input: &[u8],
        mut limits: Limits,
        ahead: &mut Lookahead,
        out: &mut Vec<u8>,
    ) -> (usize, Option<Stop>) {
        let mut at = 0;
        loop {
            limits.authenticated = self.connection.session.authenticated;
            let next = ahead.gather(scanner, input, at, &limits);
            self.prefetch(input, ahead);
            for i in 0..ahead.len() {
                let (args, end) = ahead.request(input, i);
                let stop = match self.one(args, out) {
                    Outcome::Paused(until) => Some((at, Stop::Pause(until))),
                    Outcome::Held => Some((at, Stop::Hold(self.seen))),
                    Outcome::Done if self.connection.session.closing => Some((input.len(), Stop::Close)),
                    Outcome::Done if out.len() >= FLUSH_AT => Some((end, Stop::Flush)),
                    Outcome::Done => None,
                };
                if let Some((consumed, stop)) = stop {
                    // What was gathered but not executed is scanned again.
                    *scanner = Scanner::new();
                    return (consumed, Some(stop));
                }
                at = end;
            }
            match next {
                Next::More => {}
                Next::Incomplete => return (ahead.end(), None),
                Next::Inline(end) => {
                    let stop = match self.one(Args::new(scanner.inline(), scanner.spans()), out) {
                        Outcome::Paused(until) => Some(Stop::Pause(until)),
                        Outcome::Held => Some(Stop::Hold(self.seen)),
                        Outcome::Done => None,
                    };
                    if stop.is_some() {
                        *scanner = Scanner::new();
                        return (at, stop);
                    }
                    at = end;
                    if self.connection.session.closing {
                        return (input.len(), Some(Stop::Close));
                    }
                }
                Next::Error(error) => {
                    let text = Error::owned(format!("ERR Protocol error: {error}"));
                    self.shared.totals.errors.note(&text);
                    Reply::new(out, Protocol::Resp2).error(&text);
                    return (input.len(), Some(Stop::Close));
                }
            }
        }
    }

    /// Overlaps the waits for memory of the requests that are about to be executed. The first argument is nearly
    /// always a key; if it is not, the hint is wasted.
    fn prefetch(&self, input: &[u8], ahead: &Lookahead) {
        if ahead.len() < 2 {
            return;
        }
        let keys: SmallVec<[&[u8]; LOOKAHEAD]> =
            (0..ahead.len()).filter_map(|i| ahead.request(input, i).0.get(1)).collect();
        self.shared.store.prefetch(self.connection.session.db, &keys);
    }

    /// Reports the batch's counts. What the replies have to wait for, if there is anything.
    pub(super) fn finish(self) -> Option<Fence> {
        if self.commands > 0 {
            self.counters.commands(self.commands);
            self.connection.session.record.saw(self.last, self.now);
        }
        if self.data == 0 {
            return None;
        }
        if !self.held {
            self.connection.patience = None;
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
                return Some(ownership.elsewhere(slot));
            }
            // The view is in force, the gate is about to open.
        } else if error == Error::KeyHeld && self.connection.upstream {
            // One key must not hold up what others ask a router for.
            return Some(error);
        }
        let now = uptime_ms();
        let until = match self.connection.patience {
            Some(until) if self.data == 0 => until,
            _ => now + self.shared.config.hold_timeout(),
        };
        self.connection.patience = Some(until);
        if now >= until {
            return Some(Error::Held);
        }
        self.held = true;
        None
    }

    #[inline]
    fn one(&mut self, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
        let mark = out.len();
        let mut reply = Reply::new(out, self.connection.session.protocol);
        let result = match table().find(args) {
            Ok(entry) => {
                if let Some(until) = self.shared.registry.paused(entry.writes(), self.now)
                    && !entry.ignores_pause()
                {
                    return Outcome::Paused(until);
                }
                self.checked(entry, args, &mut reply)
            }
            Err(error) => {
                if let Some(entry) = table().resolve(args) {
                    self.counters.rejected(entry.id);
                }
                Err(error)
            }
        };
        self.commands += 1;
        if let Err(mut error) = result {
            reply.truncate(mark);
            if error.is_barred() {
                match self.barred(error) {
                    Some(answer) => error = answer,
                    None => {
                        self.commands -= 1;
                        return Outcome::Held;
                    }
                }
                self.counters.rejected(self.last);
            }
            reply.error(&error);
            self.shared.totals.errors.note(&error);
        }
        if !self.connection.session.replies() {
            out.truncate(mark);
        }
        Outcome::Done
    }

    #[inline]
    fn checked(&mut self, entry: &'static Entry, args: Args<'_>, out: &mut Reply<'_>) -> Result {
        let flags = entry.command.flags;
        if !self.connection.session.authenticated && !flags.contains(Flags::NO_AUTH) {
            self.counters.rejected(entry.id);
            return Err(Error::NoAuth);
        }
        self.last = entry.id;
        let timed = !flags.contains(Flags::FAST) || self.shared.slow.times_everything();
        let action = self.shared.actions[usize::from(entry.id)];
        if !timed {
            self.since_clock += 1;
            if self.since_clock >= COMMANDS_PER_CLOCK {
                self.tick();
            }
            let result = self.run(action, entry, args, out);
            self.count(entry, 0, &result);
            return result;
        }
        let begun = std::time::Instant::now();
        let result = self.run(action, entry, args, out);
        let took = begun.elapsed();
        self.count(entry, took.as_micros() as u64, &result);
        if !flags.contains(Flags::SKIP_SLOWLOG) {
            self.shared.slow.note(args, took, &self.connection.session.record, self.now);
            self.shared.latency.note("command", took, self.now);
        }
        self.tick();
        result
    }

    #[inline]
    fn count(&self, entry: &Entry, micros: u64, result: &Result) {
        match result {
            // It may still be executed.
            Err(error) if error.is_barred() => {}
            Err(error) if error.before_execution() => self.counters.rejected(entry.id),
            result => self.counters.called(entry.id, micros, result.is_err()),
        }
    }

    fn tick(&mut self) {
        self.since_clock = 0;
        self.now = self.shared.now_ms();
    }

    #[inline]
    fn run(&mut self, action: Action, entry: &'static Entry, args: Args<'_>, out: &mut Reply<'_>) -> Result {
        match action {
            Action::Data => {
                self.data += 1;
                if !self.leased {
                    return Err(Error::Held);
                }
                let slots = Dispatch::slots(entry, args);
                let scattered = self.connection.upstream && entry.splits();
                self.ownership.check(&slots, scattered)?;
                let scope = Scope {
                    db: self.connection.session.db,
                    now: self.now,
                    touch: !self.connection.session.no_touch,
                    within: self.connection.upstream.then(|| self.ownership.slots()),
                    alone: self.ownership.alone(),
                    waits: Some(&self.waits),
                };
                self.shared.dispatch.run(&self.shared.store, entry, scope, &slots, args, out)
            }
            Action::Session(handler) => {
                // CLIENT LIST shows the command that asks.
                self.connection.session.record.saw(entry.id, self.now);
                let identity = Identity { mode: "cluster" };
                let mut cx = session::Cx {
                    session: &mut self.connection.session,
                    registry: &self.shared.registry,
                    access: &self.shared.access,
                    identity,
                    now: self.now,
                };
                handler(&mut cx, args, out)
            }
            Action::Server(handler) => {
                let mut cx = admin::Cx {
                    shared: self.shared,
                    session: &mut self.connection.session,
                    upstream: &mut self.connection.upstream,
                    now: self.now,
                };
                handler(&mut cx, args, out)
            }
        }
    }
}
