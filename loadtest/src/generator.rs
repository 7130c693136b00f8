//! The loop of one generator thread: many connections, one poll, no task and no allocation per request.
//!
//! Closed loop: each connection sends a batch of `pipeline` requests and the next one when all are answered.
//! Open loop: requests are due at times fixed beforehand and go to the next connection with room; when none has
//! room they wait, and their latency counts from when they were due. The thread never sleeps while something
//! is due and never spins, so its own CPU time says what a request costs it. What it counted goes to the main
//! thread once per interval.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::arrivals::Arrivals;
use crate::connection::{Broken, Connection, READ_BUFFER, Waiting};
use crate::error::Error;
use crate::procfs;
use crate::random::Random;
use crate::reply::Reply;
use crate::requests::{About, Follows, Requests};
use crate::tally::Tally;

/// How long one tally covers.
pub const INTERVAL: u64 = 1_000_000_000;
/// How long after a failed attempt a connection is tried again, in nanoseconds.
const RETRY: u64 = 100_000_000;
/// How often the thread looks whether it shall stop, at least.
const LOOK_UP: Duration = Duration::from_millis(50);
/// The token of the timer; connections have smaller ones.
const TIMER: Token = Token(usize::MAX - 1);

/// How requests are paced.
#[derive(Clone, Debug)]
pub enum Pace {
    /// The next batch when the last one is answered.
    Closed,
    /// At these times.
    Open(Arrivals),
}

/// What one thread is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to connect to, once per connection.
    pub addresses: Vec<SocketAddr>,
    /// Requests under way per connection at most, at least 1.
    pub pipeline: usize,
    /// How requests are paced.
    pub pace: Pace,
    /// Nanoseconds at the start that are not counted.
    pub warmup: u64,
    /// Nanoseconds after the start when no more requests are made.
    pub end: u64,
    /// Requests to make at most.
    pub limit: u64,
    /// How long answers are waited for after the end, in nanoseconds.
    pub grace: u64,
    /// Opening commands of every connection, encoded.
    pub opening: Vec<Vec<u8>>,
    /// The seed of arrival times.
    pub seed: u64,
}

/// The thread's way to the main thread.
#[derive(Debug)]
pub struct Channel {
    /// Finished tallies go out here.
    pub finished: Sender<Box<Tally>>,
    /// Empty ones come back here.
    pub empty: Receiver<Box<Tally>>,
    /// Set when the user wants to end early.
    pub stop: Arc<AtomicBool>,
}

/// What the thread itself used while it counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnUsage {
    /// CPU time in nanoseconds.
    pub cpu: u64,
    /// Time it was ready to run and had no CPU, in nanoseconds.
    pub waited: u64,
    /// Wall time counted, in nanoseconds.
    pub wall: u64,
}

/// What the generator must know of a command when its answer comes.
#[derive(Clone, Copy, Debug)]
struct Kind {
    looks_up: bool,
    follows: Option<Follows>,
}

/// Answers in a row with the same command and latency, recorded at once.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    command: u16,
    latency: u64,
    count: u64,
}

/// One thread's state.
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    requests: Requests,
    kinds: Vec<Kind>,
    connections: Vec<Connection>,
    poll: Poll,
    timer: OwnedFd,
    buffer: Box<[u8]>,
    tally: Box<Tally>,
    channel: Channel,
    random: Random,
    /// The next due time of an open loop.
    due: u64,
    /// An open loop had something due and no connection with room.
    is_blocked: bool,
    /// When that was last over.
    blocked: u64,
    /// Connections with room for another request (open loop), each at most once.
    free: VecDeque<usize>,
    is_free: Vec<bool>,
    /// When to try closed connections again, in order.
    retries: VecDeque<(u64, usize)>,
    made: u64,
    followed: Vec<About>,
    start: Instant,
}

impl Generator {
    /// Connects everything. The clock starts with [`Generator::run`].
    pub fn new(plan: Plan, requests: Requests, channel: Channel) -> Result<Self, Error> {
        let system = |what| move |source: io::Error| Error::System { what, source };
        let poll = Poll::new().map_err(system("cannot create a poller"))?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|error| Error::System { what: "cannot create a timer", source: error.into() })?;
        let registered =
            poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE);
        registered.map_err(system("cannot watch the timer"))?;
        let mut connections = Vec::with_capacity(plan.addresses.len());
        for (index, address) in plan.addresses.iter().enumerate() {
            let failed = |source| Error::Connect { address: address.to_string(), source };
            let mut connection = Connection::open(*address).map_err(failed)?;
            connection.register(poll.registry(), Token(index)).map_err(failed)?;
            connection.begin(&plan.opening);
            connections.push(connection);
        }
        let kinds = requests.commands().iter().map(|command| Kind {
            looks_up: command.looks_up,
            follows: command.follow_up.map(|(follows, _)| follows),
        });
        Ok(Self {
            kinds: kinds.collect(),
            tally: Box::new(Tally::new(requests.commands().len())),
            random: Random::part(plan.seed, 0xa221),
            free: (0..connections.len()).collect(),
            is_free: vec![true; connections.len()],
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            retries: VecDeque::new(),
            followed: Vec::new(),
            due: 0,
            is_blocked: false,
            blocked: 0,
            made: 0,
            start: Instant::now(),
            plan,
            requests,
            connections,
            poll,
            timer,
            channel,
        })
    }

    /// Runs to the end of the plan, counting time from `start`.
    pub fn run(mut self, start: Instant) -> Result<OwnUsage, Error> {
        self.start = start;
        let mut events = Events::with_capacity(1024);
        let mut own = None;
        self.begin();
        loop {
            let now = self.now();
            if own.is_none() && now >= self.plan.warmup {
                own = Some((now, procfs::own_thread()));
            }
            self.turn_interval(now);
            if self.is_over(now) {
                break;
            }
            self.reconnect(now);
            let wait = self.send_due(now)?;
            match self.poll.poll(&mut events, Some(wait)) {
                Err(source) if source.kind() != io::ErrorKind::Interrupted => {
                    return Err(Error::System { what: "cannot wait for events", source });
                }
                _ => {}
            }
            let woken = self.now();
            for event in events.iter() {
                if event.token() != TIMER {
                    self.on_event(event.token().0, event.is_readable(), event.is_read_closed());
                }
            }
            if matches!(self.plan.pace, Pace::Closed) && !events.is_empty() {
                let lag = self.now() - woken;
                self.tally.lag.saturating_record(lag);
            }
        }
        Ok(self.finish(own))
    }

    #[inline]
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Sends the first requests.
    fn begin(&mut self) {
        match &mut self.plan.pace {
            Pace::Open(arrivals) => self.due = arrivals.next(&mut self.random),
            Pace::Closed => {
                for index in 0..self.connections.len() {
                    let now = self.now();
                    self.send_batch(index, now);
                }
            }
        }
    }

    /// Hands the tally over when its interval is past.
    fn turn_interval(&mut self, now: u64) {
        let interval = now.checked_sub(self.plan.warmup).map(|counted| counted / INTERVAL);
        if interval == self.tally.interval || now >= self.plan.end {
            return;
        }
        self.ship();
        self.tally.interval = interval;
    }

    fn ship(&mut self) {
        let commands = self.kinds.len();
        let empty = self.channel.empty.try_recv().unwrap_or_else(|_| Box::new(Tally::new(commands)));
        let full = std::mem::replace(&mut self.tally, empty);
        // The main thread outlives this one; if it does not, nobody wants the figures.
        let _ = self.channel.finished.send(full);
    }

    /// True when nothing is to be sent any more and no answer is worth waiting for.
    fn is_over(&mut self, now: u64) -> bool {
        if self.channel.stop.load(Ordering::Relaxed) {
            self.plan.end = self.plan.end.min(now);
            self.plan.grace = 0;
        }
        let ended = now >= self.plan.end;
        if !ended && self.made < self.plan.limit {
            return false;
        }
        if ended && (matches!(self.plan.pace, Pace::Closed) || now >= self.plan.end + self.plan.grace) {
            return true;
        }
        let all_sent = self.made >= self.plan.limit || self.due >= self.plan.end;
        all_sent && self.connections.iter().all(|connection| connection.waiting.is_empty())
    }

    /// Tries closed connections again whose time has come.
    fn reconnect(&mut self, now: u64) {
        while let Some((at, index)) = self.retries.front().copied().filter(|(at, _)| *at <= now) {
            debug_assert!(at <= now);
            self.retries.pop_front();
            match self.connections[index].reopen(self.poll.registry(), Token(index)) {
                Err(_) => self.retries.push_back((now + RETRY, index)),
                Ok(()) => {
                    self.connections[index].begin(&self.plan.opening);
                    match self.plan.pace {
                        Pace::Closed => self.send_batch(index, now),
                        Pace::Open(_) => self.set_free(index),
                    }
                }
            }
        }
    }

    /// Sends what is due in an open loop and returns how long nothing will be.
    fn send_due(&mut self, now: u64) -> Result<Duration, Error> {
        if matches!(self.plan.pace, Pace::Closed) {
            return Ok(LOOK_UP);
        }
        let mut now = now;
        while self.due <= now && self.may_make(self.due) {
            let Some(index) = self.free.pop_front() else {
                self.is_blocked = true;
                return Ok(LOOK_UP);
            };
            self.is_free[index] = false;
            if self.connections[index].is_open() {
                self.fill(index, now);
                self.flush(index);
                now = self.now();
            }
        }
        if !self.may_make(self.due) {
            return Ok(Duration::from_millis(1));
        }
        let wait = Duration::from_nanos(self.due - now);
        if wait < LOOK_UP {
            let it_value = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().max(1).into() };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
                .map_err(|error| Error::System { what: "cannot set the timer", source: error.into() })?;
        }
        Ok(LOOK_UP)
    }

    /// True if a request that is due then is part of the plan.
    fn may_make(&self, due: u64) -> bool {
        due < self.plan.end && self.made < self.plan.limit
    }

    /// Gives a connection the requests that are due, as many as it has room for.
    fn fill(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        self.requests.at(self.due);
        while self.due <= now
            && self.due < self.plan.end
            && self.made < self.plan.limit
            && connection.waiting.len() < self.plan.pipeline
        {
            let about = self.requests.next(&mut connection.out);
            connection.waiting.push_back(Waiting { since: self.due, about });
            self.made += 1;
            // A request that was due while no connection had room waited for the server, not for us.
            if self.due > self.blocked {
                self.tally.lag.saturating_record(now - self.due);
            }
            if let Pace::Open(arrivals) = &mut self.plan.pace {
                self.due = arrivals.next(&mut self.random);
            }
        }
        if connection.waiting.len() < self.plan.pipeline {
            self.set_free(index);
        }
    }

    /// Sends a whole batch on a connection of a closed loop.
    #[inline]
    fn send_batch(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        if !connection.is_open() || now >= self.plan.end {
            return;
        }
        let room = self.plan.pipeline.saturating_sub(connection.waiting.len()) as u64;
        let count = room.min(self.plan.limit - self.made);
        self.requests.at(now);
        for _ in 0..count {
            let about = self.requests.next(&mut connection.out);
            connection.waiting.push_back(Waiting { since: now, about });
        }
        self.made += count;
        self.flush(index);
    }

    #[inline]
    fn flush(&mut self, index: usize) {
        match self.connections[index].flush() {
            Ok(count) => self.tally.sent += count,
            Err(broken) => self.on_broken(index, broken),
        }
    }

    /// Reads answers of a connection, counts them and sends what follows.
    #[inline]
    fn on_event(&mut self, index: usize, readable: bool, closing: bool) {
        let connection = &mut self.connections[index];
        let mut last = 0;
        if readable {
            let (tally, kinds, followed, start) =
                (&mut self.tally, &self.kinds, &mut self.followed, self.start);
            let mut row = Row::default();
            let clock = || start.elapsed().as_nanos() as u64;
            let received = connection.receive(&mut self.buffer, closing, clock, |request, reply, now| {
                last = now;
                count(tally, &mut row, request, now);
                interpret(tally, kinds, followed, request.about, reply);
            });
            record(&mut self.tally, &row);
            match received {
                Ok(bytes) => self.tally.received += bytes,
                Err(broken) => return self.on_broken(index, broken),
            }
        }
        if !self.followed.is_empty() {
            self.follow_up(index, last);
        }
        let connection = &self.connections[index];
        match self.plan.pace {
            Pace::Closed if last > 0 && connection.waiting.is_empty() => self.send_batch(index, last),
            Pace::Open(_) if connection.waiting.len() < self.plan.pipeline => {
                self.set_free(index);
                self.flush(index);
            }
            _ if connection.out.is_empty() => {}
            _ => self.flush(index),
        }
    }

    /// Sends the commands that follow answers, on the connections where these came.
    fn follow_up(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        for about in self.followed.drain(..) {
            if let Some(about) = self.requests.follow_up(about, &mut connection.out) {
                connection.waiting.push_back(Waiting { since: now, about });
            }
        }
        self.flush(index);
    }

    fn set_free(&mut self, index: usize) {
        if self.is_blocked {
            self.is_blocked = false;
            self.blocked = self.now();
        }
        if !self.is_free[index] {
            self.is_free[index] = true;
            self.free.push_back(index);
        }
    }

    #[cold]
    fn on_broken(&mut self, index: usize, broken: Broken) {
        self.followed.clear();
        self.tally.lost += self.connections[index].close();
        let text = match broken {
            Broken::Io(error) => format!("connection: {error}"),
            Broken::Protocol(message) => format!("protocol: {message}"),
            Broken::Opening(text) => text,
        };
        self.tally.count_break(&text);
        self.retries.push_back((self.now() + RETRY, index));
    }

    /// Counts what got no answer and hands over the last tally.
    fn finish(mut self, own: Option<(u64, (u64, u64))>) -> OwnUsage {
        let end = self.now();
        if let Pace::Open(arrivals) = &mut self.plan.pace {
            self.tally.unanswered =
                self.connections.iter().map(|connection| connection.waiting.len() as u64).sum();
            while self.due < self.plan.end && self.made < self.plan.limit {
                self.tally.unanswered += 1;
                self.made += 1;
                self.due = arrivals.next(&mut self.random);
            }
        }
        let (cpu, waited) = procfs::own_thread();
        let commands = self.kinds.len();
        let last = std::mem::replace(&mut self.tally, Box::new(Tally::new(commands)));
        let _ = self.channel.finished.send(last);
        let (from, before) = own.unwrap_or((end, (cpu, waited)));
        OwnUsage { cpu: cpu - before.0, waited: waited - before.1, wall: end - from }
    }
}

/// Adds an answer to the row under way, or records the row and starts another.
#[inline]
fn count(tally: &mut Tally, row: &mut Row, request: Waiting, now: u64) {
    let latency = now.saturating_sub(request.since);
    if row.count > 0 && row.command == request.about.command && row.latency == latency {
        row.count += 1;
        return;
    }
    record(tally, row);
    *row = Row { command: request.about.command, latency, count: 1 };
}

#[inline]
fn record(tally: &mut Tally, row: &Row) {
    if row.count > 0 {
        tally.commands[usize::from(row.command)].latency.saturating_record_n(row.latency, row.count);
    }
}

/// Counts errors, hits and misses of an answer.
#[inline]
fn interpret(tally: &mut Tally, kinds: &[Kind], followed: &mut Vec<About>, about: About, reply: Reply<'_>) {
    let command = usize::from(about.command);
    if let Some(text) = reply.error {
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
