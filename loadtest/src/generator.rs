//! The loop of one generator thread: many connections, one poll, no task and no allocation per request.
//!
//! Closed loop: each connection sends a batch of `pipeline` requests and the next one when all are answered and
//! the thread has read what came for the others.
//! Open loop (`open`): requests are due at times fixed beforehand and go to the next connection with room; when none
//! has room they wait, and their latency counts from when they were due. The thread never sleeps while something
//! is due and never spins, so its own CPU time says what a request costs it. What it counted goes to the main
//! thread once per interval.
//!
//! In a cluster a request goes to the owner of its key instead of the next connection: `routed`.

mod count;
mod ending;
mod open;
mod outage;
mod routed;
mod under_way;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::answer::Unasked;
use crate::arrivals::Arrivals;
use crate::cluster::{Layout, Nodes};
use crate::connection::{ASIDE, Broken, Connection, READ_BUFFER, Waiting};
use crate::error::Error;
use crate::procfs;
use crate::requests::{About, Requests};
use crate::tally::Tally;
use crate::transport::Endpoint;
use count::{Alike, Kind};
use open::Lane;
use outage::Outages;
use routed::Routed;

/// How long after a failed attempt a connection is tried again, in nanoseconds.
const RETRY: u64 = 100_000_000;
/// How often the thread looks whether it shall stop, at least.
const LOOK_UP: Duration = Duration::from_millis(50);
/// More intervals than this in a row are not told of one by one.
const MOST_MISSED: u64 = 100;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// A thread that wakes up later than it had to by more than this has stood still, in nanoseconds.
const STOOD: u64 = 1_000_000;
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
    /// The servers.
    pub nodes: Arc<Nodes>,
    /// The place of its server among them, for each connection.
    pub connections: Vec<usize>,
    /// Who owns which slot, if the servers are a cluster.
    pub layout: Option<Layout>,
    /// How many requests a connection carries before it is closed and opened again; `u64::MAX` for no end.
    pub reconnect_every: u64,
    /// Requests under way per connection at most, at least 1.
    pub pipeline: usize,
    /// How requests are paced.
    pub pace: Pace,
    /// Whether to measure how long slots are without service.
    pub outages: bool,
    /// Nanoseconds that one tally covers, above zero.
    pub interval: u64,
    /// Nanoseconds at the start that are not counted.
    pub warmup: u64,
    /// Nanoseconds after the start when no more requests are made.
    pub end: u64,
    /// Requests to make at most.
    pub limit: u64,
    /// How long answers are waited for after the end, in nanoseconds.
    pub grace: u64,
    /// After so many nanoseconds without any answer the plan is given up; `u64::MAX` for never.
    pub give_up: u64,
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
    /// Wall time between the readings, in nanoseconds.
    pub wall: u64,
    /// How long was counted, from the end of the warm-up to the end of the run, in nanoseconds.
    pub counted: u64,
}

/// One thread's state.
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    requests: Requests,
    kinds: Vec<Kind>,
    endpoints: Vec<Endpoint>,
    connections: Vec<Connection>,
    routed: Option<Box<Routed>>,
    poll: Poll,
    timer: OwnedFd,
    buffer: Box<[u8]>,
    tally: Box<Tally>,
    channel: Channel,
    /// What is due in an open loop.
    lanes: Vec<Lane>,
    /// Which connections are free in their lanes.
    is_free: Vec<bool>,
    /// When to try closed connections again, in order.
    retries: VecDeque<(u64, usize)>,
    made: u64,
    /// When the last answer came.
    answered: u64,
    /// The end is past, and what comes now is late.
    is_late: bool,
    /// When it is to be woken by the timer; `u64::MAX` if it is not set.
    wake: u64,
    /// When this thread stood still for the last time, from when it had to wake up to when it did.
    stood: (u64, u64),
    followed: Vec<About>,
    alike: Alike,
    outages: Option<Box<Outages>>,
    /// Requests are encoded into this buffer and sent from it: one for all connections stays in the cache. A
    /// connection keeps it when its socket does not take everything.
    spare: Vec<u8>,
    /// Connections of a closed loop whose batches are answered, each at most once per turn.
    next: Vec<usize>,
    start: Instant,
}

impl Generator {
    /// Connects everything. The clock starts with [`Generator::run`].
    pub fn new(plan: Plan, mut requests: Requests, channel: Channel) -> Result<Self, Error> {
        if plan.outages {
            requests.mark_slots();
        }
        let system = |what| move |source: io::Error| Error::System { what, source };
        let poll = Poll::new().map_err(system("cannot create a poller"))?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|error| Error::System { what: "cannot create a timer", source: error.into() })?;
        let registered =
            poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE);
        registered.map_err(system("cannot watch the timer"))?;
        let endpoints = plan.nodes.all();
        let (connections, down) = open_all(&plan, &endpoints, poll.registry(), &channel.stop)?;
        let routed =
            plan.layout.clone().map(|layout| Box::new(Routed::new(layout, &plan, endpoints.len(), &down)));
        let mut tally = Box::new(Tally::new(requests.commands().len()));
        if routed.is_some() || endpoints.len() > 1 {
            tally.want_endpoints(endpoints.len());
        }
        Ok(Self {
            kinds: requests.commands().iter().map(Kind::of).collect(),
            endpoints,
            routed,
            tally,
            lanes: Lane::all(&plan),
            is_free: vec![true; connections.len()],
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            retries: down.into_iter().map(|index| (0, index)).collect(),
            followed: Vec::new(),
            alike: Alike::new(requests.commands().len()),
            outages: plan.outages.then(|| Box::new(Outages::new())),
            spare: Vec::new(),
            next: Vec::new(),
            made: 0,
            answered: 0,
            is_late: false,
            wake: u64::MAX,
            stood: (0, 0),
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
        // What the first requests cost counts as well, unless there is a warm-up.
        let mut own = (self.plan.warmup == 0).then(|| (self.now(), procfs::own_thread()));
        self.turn_interval(0);
        let begun = self.now();
        self.begin();
        let mut now = self.now();
        self.note_turn(begun, now);
        loop {
            if own.is_none() && now >= self.plan.warmup {
                own = Some((now, procfs::own_thread()));
            }
            if self.is_over(now) {
                break;
            }
            self.reconnect(now);
            self.wake = u64::MAX;
            let wait = if self.routed.is_some() { self.send_routed(now)? } else { self.send_due(now)? };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(source) if source.kind() != io::ErrorKind::Interrupted => {
                    return Err(Error::System { what: "cannot wait for events", source });
                }
                _ => {}
            }
            let woken = self.now();
            // Before the answers are counted: they belong to the interval in which they came.
            self.turn_interval(woken);
            let latest = now.saturating_add(wait.as_nanos() as u64).min(self.wake);
            let stood = self.note_standing(latest, woken);
            let mut last = 0;
            for event in events.iter() {
                if event.token() != TIMER {
                    let readable = event.is_readable() || event.is_error();
                    last = self.on_event(event.token().0, readable, event.is_read_closed()).max(last);
                }
            }
            self.answered = self.answered.max(last);
            if last > 0 && matches!(self.plan.pace, Pace::Closed) {
                self.tally.lag.saturating_record(last.saturating_sub(woken) + stood);
            }
            now = self.send_next();
            self.note_turn(woken, now);
        }
        Ok(self.finish(own))
    }

    /// A turn that takes longer than a sleep was interrupted, or has more to do than is good.
    #[inline]
    fn note_turn(&mut self, begun: u64, now: u64) {
        let due = begun + LOOK_UP.as_nanos() as u64;
        if now > due {
            // What it held up is counted from now on.
            self.turn_interval(now);
            self.note_standing(due, now);
        }
    }

    /// Notes for how long the thread did not go on although it had to at `due` at the latest: it was stopped, or others
    /// had its CPU. What came or was due meanwhile waited for it and not for a server.
    #[inline]
    fn note_standing(&mut self, due: u64, now: u64) -> u64 {
        let stood = now.saturating_sub(due);
        if stood <= STOOD {
            return 0;
        }
        self.tally.stood = self.tally.stood.max(stood);
        self.stood = (due, now);
        stood
    }

    #[inline]
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Sends the first requests.
    fn begin(&mut self) {
        match self.plan.pace {
            Pace::Open(_) => self.lanes.iter_mut().for_each(Lane::advance),
            Pace::Closed if self.routed.is_some() => {}
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
        // What comes after the end belongs to the last interval.
        let last = now.min(self.plan.end.saturating_sub(1));
        let interval = last.checked_sub(self.plan.warmup).map(|counted| counted / self.plan.interval);
        if interval != self.tally.interval {
            self.note_waiting(now);
            self.ship_missed(interval);
            self.ship();
            self.tally.interval = interval;
        }
        if now >= self.plan.end {
            self.begin_late();
        }
    }

    /// Hands over a tally for each interval that went by between the last one and this one while the thread had
    /// no CPU, so that others can tell that it is past.
    fn ship_missed(&mut self, interval: Option<u64>) {
        while let (Some(last), Some(now)) = (self.tally.interval, interval) {
            if last + 1 >= now || now - last > MOST_MISSED {
                return;
            }
            self.ship();
            self.tally.interval = Some(last + 1);
        }
    }

    fn ship(&mut self) {
        let commands = self.kinds.len();
        let mut empty = self.channel.empty.try_recv().unwrap_or_else(|_| Box::new(Tally::new(commands)));
        empty.want_endpoints(self.tally.endpoints.len());
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
        if self.is_hopeless(now) {
            self.tally.gave_up = true;
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
        let all_sent = !self.lanes.iter().any(|lane| self.may_make(lane.due));
        let held = self.routed.as_ref().map_or(0, |routed| routed.held());
        all_sent && held == 0 && self.connections.iter().all(|connection| connection.waiting.is_empty())
    }

    /// Tries closed connections again whose time has come.
    fn reconnect(&mut self, now: u64) {
        while let Some((at, index)) = self.retries.front().copied().filter(|(at, _)| *at <= now) {
            debug_assert!(at <= now);
            self.retries.pop_front();
            self.connect(index, now);
        }
    }

    /// Starts to connect; requests follow when the connection stands.
    fn connect(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        let endpoint = &self.endpoints[connection.endpoint];
        match connection.start(endpoint, self.poll.registry(), Token(index), now) {
            Err(error) => {
                connection.failed = true;
                self.retries.push_back((now + RETRY, index));
                self.tally.count_break(connection.endpoint, &format!("connection: {error}"));
                self.on_node_lost(index, 0);
            }
            Ok(()) => connection.begin(&self.plan.opening, self.plan.reconnect_every),
        }
    }

    /// Closes a connection that has carried its requests, all of them answered, and opens it again.
    #[cold]
    fn recycle(&mut self, index: usize) {
        self.connections[index].close();
        let now = self.now();
        self.connect(index, now);
    }

    /// Sends what may be sent on a connection that has come to stand.
    #[cold]
    fn on_connected(&mut self, index: usize, started: u64) {
        let now = self.now();
        self.tally.connect.saturating_record(now - started);
        match self.plan.pace {
            _ if self.routed.is_some() => self.set_usable(index),
            Pace::Closed => self.send_batch(index, now),
            Pace::Open(_) => self.set_free(index),
        }
    }

    /// Sets the timer, if that time is nearer than the next look-up; the poller's own clock is too coarse.
    fn wake_at(&mut self, time: u64, now: u64) -> Result<(), Error> {
        let wait = Duration::from_nanos(time.saturating_sub(now));
        if wait < LOOK_UP {
            self.wake = time.max(now);
            let it_value = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().max(1).into() };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
                .map_err(|error| Error::System { what: "cannot set the timer", source: error.into() })?;
        }
        Ok(())
    }

    /// True if a request that is due then is part of the plan.
    fn may_make(&self, due: u64) -> bool {
        due < self.plan.end && self.made < self.plan.limit
    }

    /// Sends the next batches of a closed loop, when all answers of a turn are read: as redis-benchmark does it.
    /// A server that has one batch while others are still read makes smaller turns, and shares them unevenly. The
    /// time of each begins when it is sent, not when others are. Returns the time.
    fn send_next(&mut self) -> u64 {
        let mut now = self.now();
        let mut next = std::mem::take(&mut self.next);
        for index in next.drain(..) {
            self.send_batch(index, now);
            now = self.now();
        }
        self.next = next;
        now
    }

    /// Sends a whole batch on a connection of a closed loop.
    #[inline]
    fn send_batch(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        if !connection.is_open() || now >= self.plan.end {
            return;
        }
        let room = self.plan.pipeline.saturating_sub(connection.waiting.len()) as u64;
        let count = room.min(self.plan.limit - self.made).min(connection.left);
        self.requests.at(now);
        connection.lend(&mut self.spare);
        for _ in 0..count {
            let about = self.requests.next(&mut connection.out);
            connection.waiting.push_back(Waiting { since: now, about });
        }
        connection.left -= count;
        self.made += count;
        self.flush(index);
    }

    #[inline]
    fn flush(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        match connection.flush() {
            Ok(count) => self.tally.sent += count,
            Err(broken) => return self.on_broken(index, broken),
        }
        connection.give_back(&mut self.spare);
    }

    /// Reads answers of a connection, counts them and sends what follows, but for the next batch; returns when answers
    /// came, 0 if none did.
    #[inline]
    fn on_event(&mut self, index: usize, readable: bool, closing: bool) -> u64 {
        if self.routed.is_some() {
            return self.on_routed_event(index, readable, closing);
        }
        let connection = &mut self.connections[index];
        let mut last = 0;
        let mut served = false;
        if readable {
            let (tally, kinds, followed, start) =
                (&mut self.tally, &self.kinds, &mut self.followed, self.start);
            let (alike, outages) = (&mut self.alike, &mut self.outages);
            alike.begin(connection.endpoint);
            let clock = || start.elapsed().as_nanos() as u64;
            let mut bytes = 0;
            let ended =
                connection.receive(&mut self.buffer, closing, &mut bytes, clock, |request, reply, now, _| {
                    last = now;
                    served |= reply.error.is_none();
                    alike.add(tally, request, now);
                    if let Some(outages) = outages {
                        outages.on_answer(tally, request, reply, now);
                    }
                    alike.interpret(tally, kinds, followed, request.about, reply);
                });
            alike.record(&mut self.tally);
            connection.asked |= last > 0;
            if served {
                self.tally.note_served(last);
                connection.served = true;
            }
            self.tally.received += bytes;
            if let Err(broken) = ended {
                self.on_broken(index, broken);
                return last;
            }
        }
        if !self.followed.is_empty() {
            self.follow_up(index, last);
        }
        let connection = &mut self.connections[index];
        if let Some(started) = connection.take_connected() {
            self.on_connected(index, started);
        }
        let connection = &self.connections[index];
        match self.plan.pace {
            _ if connection.is_open() && connection.left == 0 && connection.waiting.is_empty() => {
                self.recycle(index)
            }
            Pace::Closed if last > 0 && connection.waiting.is_empty() => self.next.push(index),
            Pace::Open(_) if connection.stands() && connection.has_room(self.plan.pipeline) => {
                self.set_free(index);
                self.flush(index);
            }
            _ if connection.is_flushed() => {}
            _ => self.flush(index),
        }
        last
    }

    /// Sends the commands that follow answers, on the connections where these came.
    fn follow_up(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        connection.lend(&mut self.spare);
        for about in self.followed.drain(..) {
            if let Some(about) = self.requests.follow_up(about, &mut connection.out) {
                connection.waiting.push_back(Waiting { since: now, about });
                connection.left = connection.left.saturating_sub(1);
            }
        }
        self.flush(index);
    }

    #[cold]
    fn on_broken(&mut self, index: usize, broken: Broken) {
        self.followed.clear();
        if let Some(outages) = &mut self.outages {
            let waiting = self.connections[index].waiting.iter();
            waiting.for_each(|waiting| outages.on_failure(waiting.about, waiting.since));
        }
        let now = self.now();
        let connection = &mut self.connections[index];
        for waiting in connection.waiting.iter().filter(|waiting| waiting.about.command() != ASIDE) {
            let waited = now.saturating_sub(waiting.since);
            self.tally.count_lost(usize::from(waiting.about.command()), connection.endpoint, waited);
        }
        let endpoint = connection.endpoint;
        connection.asked |= !connection.waiting.is_empty();
        // One that was only idle was not refused, nor was one that is closed here.
        connection.failed |= match &broken {
            Broken::Io(_) => connection.asked || !connection.stands(),
            Broken::Opening(_) => true,
            Broken::Protocol(_) | Broken::Unasked => false,
        };
        let lost = connection.close();
        self.on_node_lost(index, lost);
        let text = match broken {
            Broken::Io(error) => format!("connection: {error}"),
            Broken::Protocol(message) => format!("protocol: {message}"),
            Broken::Opening(text) => text,
            Broken::Unasked => Unasked.to_string(),
        };
        self.tally.count_break(endpoint, &text);
        self.retries.push_back((self.now() + RETRY, index));
    }
}

/// Opens the connections of a plan. Those that cannot be made stay closed if their server has taken others, is one of a
/// cluster's or `stop` is set, and their numbers are told: they are tried again during the run.
fn open_all(
    plan: &Plan,
    endpoints: &[Endpoint],
    registry: &Registry,
    stop: &AtomicBool,
) -> Result<(Vec<Connection>, Vec<usize>), Error> {
    let mut connections = Vec::with_capacity(plan.connections.len());
    let (mut down, mut dead) = (Vec::new(), vec![false; endpoints.len()]);
    let mut reached = dead.clone();
    for (index, place) in plan.connections.iter().enumerate() {
        let endpoint = &endpoints[*place];
        let mut connection = Connection::new(*place, plan.layout.is_some());
        // One attempt tells for all: it may take as long as the network's patience.
        let opened = if dead[*place] {
            Err(io::ErrorKind::NotConnected.into())
        } else {
            connection.open(endpoint, registry, Token(index), stop)
        };
        let is_stopped = stop.load(Ordering::Relaxed);
        match opened {
            Ok(()) => {
                reached[*place] = true;
                connection.begin(&plan.opening, first_life(plan, index));
            }
            Err(_) if plan.layout.is_some() || reached[*place] || is_stopped => {
                dead[*place] = true;
                connection.close();
                connection.failed = !is_stopped;
                down.push(index);
            }
            Err(source) => return Err(Error::Connect { address: endpoint.name.to_string(), source }),
        }
        connections.push(connection);
    }
    Ok((connections, down))
}

/// How many requests a connection carries before it is opened again for the first time: fewer than later, so that
/// connections do not all come to their ends at once.
fn first_life(plan: &Plan, index: usize) -> u64 {
    match plan.reconnect_every {
        u64::MAX => u64::MAX,
        every => 1 + (u128::from(every - 1) * (index as u128 + 1) / plan.connections.len() as u128) as u64,
    }
}
