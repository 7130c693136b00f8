//! A worker's loop: wait for sockets, read those that have something, execute everything that came, answer.
//!
//! A turn reads all sockets that are ready before it executes the first request, so that the waits for memory of
//! requests of different clients overlap just like those of a pipeline. There is no task and no allocation for a
//! request, and one read and one write for a client that has something to say.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{Arc, atomic::AtomicUsize},
    task::{Wake, Waker},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use shoal_proto::session::Session;
use slab::Slab;

use super::{
    Shared,
    backlog::LOOK_EVERY,
    connection::{After, Connection, Intake, Registered, Taken},
    execute::Batch,
    lease::uptime_ms,
    lookahead::{Gathered, Lookahead},
    mailbox::{Mail, Mailbox, WAKE},
    output::Replies,
    turns::Delay,
    worker_clock::Clock,
};
use crate::{handoff::Round, stats::Counters};

/// Bytes read of one socket at once; also the largest batch of small requests executed between two flushes.
const READ_SIZE: usize = 64 << 10;
/// Bytes read of all sockets before something is executed.
const ROUND_SIZE: usize = 4 * READ_SIZE;
/// Requests gathered before something is executed. What they bring into the cache must stay there until then.
const ROUND_REQUESTS: usize = 64;
/// A larger buffer for replies is given back after its batch.
const LARGEST_OUTPUT: usize = 2 << 20;
/// How long what has come is answered when the worker ends.
const LAST: Duration = Duration::from_millis(100);
/// Sockets that one wait reports.
const EVENTS: usize = 256;

/// One connection's share of a round.
struct Part {
    place: usize,
    input: Input,
    gathered: Gathered,
}

/// Where the bytes are.
enum Input {
    /// In the worker's buffer.
    Read(Range<usize>),
    /// They were taken from the connection.
    Taken(Taken),
}

impl Input {
    fn bytes<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Read(range) => &buffer[range.clone()],
            Self::Taken(taken) => taken.bytes(),
        }
    }
}

/// Has the worker look at a connection again.
struct Look {
    mailbox: Arc<Mailbox>,
    place: usize,
    id: u64,
}

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        self.mailbox.send(Mail::Look { place: self.place, id: self.id });
    }
}

/// One worker.
pub(super) struct Worker {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    poll: Poll,
    mailbox: Arc<Mailbox>,
    connections: Slab<Connection>,
    /// How many they are, for the accept loop.
    clients: Arc<AtomicUsize>,
    /// Connections that have something to do, in order.
    ready: VecDeque<usize>,
    /// Connections that wait for a time (ms since 1970).
    waiting: Vec<(u64, usize)>,
    /// Connections that have left something unread, and when (by [`uptime_ms`]) they are looked at.
    laggards: Vec<usize>,
    look_at: u64,
    input: Vec<u8>,
    output: Replies,
    round: Vec<Part>,
    ahead: Lookahead,
    deep: Lookahead,
    delay: Delay,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        poll: Poll,
        mailbox: Arc<Mailbox>,
        clients: Arc<AtomicUsize>,
    ) -> Self {
        let counters = shared.totals.worker();
        Self {
            shared,
            counters,
            poll,
            mailbox,
            connections: Slab::new(),
            clients,
            ready: VecDeque::new(),
            waiting: Vec::new(),
            laggards: Vec::new(),
            look_at: 0,
            input: vec![0; ROUND_SIZE],
            output: Replies::with_capacity(READ_SIZE),
            round: Vec::new(),
            ahead: Lookahead::default(),
            deep: Lookahead::default(),
            delay: Delay::default(),
        }
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut clock = Clock::new(&self.shared);
        loop {
            if let Err(error) = self.poll.poll(&mut events, self.patience())
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "a worker thread cannot wait for its sockets");
                return;
            }
            clock.turn(&self.shared);
            let begun = self.begin_turn(clock.now);
            let mut woken = false;
            for event in &events {
                match event.token() {
                    WAKE => woken = true,
                    Token(place) => self.note(place, event),
                }
            }
            if woken && !self.open_mail(clock.now) {
                return self.end(&mut clock);
            }
            self.wake_waiting(clock.now);
            self.close_laggards();
            // Those that come again during this turn wait for the next one: other sockets come first.
            let mut left = self.ready.len();
            while left > 0 {
                left -= self.round(left, &mut clock);
            }
            if let Some(begun) = begun {
                let limit = self.shared.config.handoff_latency();
                self.shared.turns.end(&self.counters.turns, begun, limit);
                self.delay.ended(Some(Instant::now()));
            }
        }
    }

    /// Answers what has come before the connections are closed: a client that asked in time is to hear nothing of the end.
    fn end(&mut self, clock: &mut Clock) {
        let places: Vec<usize> = self
            .connections
            .iter_mut()
            .map(|(place, connection)| {
                connection.readable = true;
                place
            })
            .collect();
        places.into_iter().for_each(|place| self.enqueue(place));
        let begun = Instant::now();
        while !self.ready.is_empty() && begun.elapsed() < LAST {
            self.round(self.ready.len(), clock);
        }
    }

    /// Measures the turn that begins, if that is wanted: how long it was waited for, and since when it goes on.
    fn begin_turn(&mut self, now: u64) -> Option<(Duration, Instant)> {
        let begun = self.shared.turns.begin(now);
        if begun.is_none() {
            self.delay.ended(None);
        }
        begun.map(|begun| (self.delay.before(begun, self.shared.config.handoff_latency()), begun))
    }

    /// How long to wait for sockets.
    fn patience(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let first = self.waiting.iter().map(|(until, _)| *until).min();
        let waiting = first.map(|first| first.saturating_sub(self.shared.now_ms()));
        let looking = (!self.laggards.is_empty()).then(|| self.look_at.saturating_sub(uptime_ms()));
        waiting.into_iter().chain(looking).min().map(Duration::from_millis)
    }

    /// What the system says of a socket.
    fn note(&mut self, place: usize, event: &mio::event::Event) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        // An error shows when the socket is read.
        connection.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        connection.read_closed |= event.is_read_closed() || event.is_error();
        connection.writable |= event.is_writable();
        self.enqueue(place);
    }

    fn enqueue(&mut self, place: usize) {
        if let Some(connection) = self.connections.get_mut(place)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.ready.push_back(place);
        }
    }

    /// Does what other threads ask for; whether to go on.
    fn open_mail(&mut self, now: u64) -> bool {
        for mail in self.mailbox.take() {
            match mail {
                Mail::Stop => return false,
                Mail::Socket(socket) => {
                    if let Err(error) = self.welcome(socket, now) {
                        tracing::warn!(%error, "cannot serve a connection");
                    }
                }
                Mail::Look { place, id } => {
                    if self.connections.get(place).is_some_and(|c| c.session.record.id == id) {
                        self.enqueue(place);
                    }
                }
                Mail::Kill { place, id } => {
                    if self.connections.get(place).is_some_and(|c| c.session.record.id == id) {
                        self.close(place);
                    }
                }
            }
        }
        true
    }

    /// Begins to serve a client.
    fn welcome(&mut self, socket: std::net::TcpStream, now: u64) -> io::Result<()> {
        let addr = socket.peer_addr().map(|a| a.to_string()).unwrap_or_default();
        let laddr = socket.local_addr().map(|a| a.to_string()).unwrap_or_default();
        // Replies are written whole; Nagle's algorithm would only delay them. A socket that refuses works without.
        let _ = socket.set_nodelay(true);
        let record = self.shared.registry.add(addr, laddr, now);
        let id = record.id;
        // From here on it is taken out again whatever happens.
        let registered = Registered { shared: self.shared.clone(), clients: self.clients.clone(), id };
        let mut socket = TcpStream::from_std(socket);
        let entry = self.connections.vacant_entry();
        let place = entry.key();
        self.poll.registry().register(&mut socket, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        let mailbox = self.mailbox.clone();
        record.on_kill(move || mailbox.send(Mail::Kill { place, id }));
        let session = Session::new(record, &self.shared.access);
        entry.insert(Connection::new(socket, session, registered));
        Ok(())
    }

    fn close(&mut self, place: usize) {
        if let Some(mut connection) = self.connections.try_remove(place) {
            // Closing the descriptor would do; a copy of it in another process would not close it.
            let _ = self.poll.registry().deregister(&mut connection.socket);
        }
    }

    fn wake_waiting(&mut self, now: u64) {
        if self.waiting.is_empty() {
            return;
        }
        let mut due = Vec::new();
        self.waiting.retain(|(until, place)| {
            if *until <= now {
                due.push(*place);
            }
            *until > now
        });
        due.into_iter().for_each(|place| self.enqueue(place));
    }

    /// Closes those that have left too much unread for too long.
    fn close_laggards(&mut self) {
        if self.laggards.is_empty() || uptime_ms() < self.look_at {
            return;
        }
        self.look_at = uptime_ms() + LOOK_EVERY;
        for place in std::mem::take(&mut self.laggards) {
            // Another connection may have its place; it is no laggard unless it says so.
            let Some(connection) = self.connections.get_mut(place).filter(|c| c.lags) else { continue };
            if !connection.has_output() {
                connection.lags = false;
            } else if connection.exceeds_output_limit() {
                self.close(place);
            } else {
                self.laggards.push(place);
            }
        }
    }

    /// Reads the next connections of the queue, at most `most`, then executes what they sent. How many they were.
    fn round(&mut self, most: usize, clock: &mut Clock) -> usize {
        self.ahead.clear();
        let (mut used, mut taken) = (0, 0);
        while taken < most && used + READ_SIZE <= ROUND_SIZE && self.ahead.len() < ROUND_REQUESTS {
            let Some(place) = self.ready.pop_front() else { break };
            taken += 1;
            let Some(connection) = self.connections.get_mut(place) else { continue };
            if !std::mem::take(&mut connection.queued) {
                continue;
            }
            let buffer = &mut self.input[used..used + READ_SIZE];
            let id = connection.session.record.id;
            let waker = || Waker::from(Arc::new(Look { mailbox: self.mailbox.clone(), place, id }));
            let intake = connection.intake(buffer, &self.counters, clock.now, waker);
            connection.count_sent(&self.counters);
            let input = match intake {
                Intake::Nothing => continue,
                Intake::Closed => {
                    self.close(place);
                    continue;
                }
                Intake::Read(n) => {
                    used += n;
                    Input::Read(used - n..used)
                }
                Intake::Taken(taken) => Input::Taken(taken),
                Intake::More => {
                    self.enqueue(place);
                    continue;
                }
            };
            let bytes = input.bytes(&self.input);
            let gathered = connection.gather(&self.shared, bytes, &mut self.ahead);
            let input = match input {
                Input::Taken(Taken::Landing(landing)) if gathered.is_nothing_yet() => {
                    match connection.put_landing_back(landing) {
                        Intake::More => self.enqueue(place),
                        Intake::Closed => self.close(place),
                        _ => {}
                    }
                    continue;
                }
                Input::Taken(Taken::Landing(landing)) => Input::Taken(Taken::Landed(landing.land())),
                input => input,
            };
            self.round.push(Part { place, input, gathered });
        }
        self.ahead.ask(&self.shared.store);
        let mut round = std::mem::take(&mut self.round);
        // Streams to other nodes are told once of all that this changes.
        let changes = Round::begin();
        for part in round.drain(..) {
            let place = part.place;
            match self.execute(part, clock) {
                After::Wait => {}
                After::Again => self.enqueue(place),
                After::Until(until) => self.waiting.push((until, place)),
                After::Close => self.close(place),
            }
        }
        drop(changes);
        self.shared.store.watch_growth(clock.now);
        self.round = round;
        taken
    }

    /// Executes a connection's share and answers it.
    fn execute(&mut self, part: Part, clock: &mut Clock) -> After {
        let Some(connection) = self.connections.get_mut(part.place) else { return After::Wait };
        let input = part.input.bytes(&self.input);
        let landed = if let Input::Taken(Taken::Landed(landed)) = &part.input { Some(landed) } else { None };
        self.output.begin(self.shared.config.output_limit().hard);
        let mut limits = connection.limits(&self.shared);
        let mut scanner = std::mem::take(&mut connection.scanner);
        let mut batch = Batch::new(
            &self.shared,
            &self.counters,
            (&mut connection.session, &mut connection.upstream, &mut connection.patience),
            clock,
            landed,
        );
        let (consumed, stop) = batch.execute(
            (&self.ahead, part.gathered),
            (input, &mut scanner),
            &mut limits,
            &mut self.deep,
            &mut self.output,
        );
        let fence = batch.finish();
        connection.scanner = scanner;
        match part.input {
            Input::Taken(taken) => connection.put_back(taken, consumed, &self.shared.store),
            Input::Read(range) if consumed < range.len() => {
                connection.keep(&self.input[range.start + consumed..range.end], &self.shared.store);
            }
            Input::Read(_) => {}
        }
        let after = connection.answer(&mut self.output, fence, stop, &self.shared);
        connection.count_sent(&self.counters);
        if connection.has_output() && !std::mem::replace(&mut connection.lags, true) {
            if self.laggards.is_empty() {
                self.look_at = uptime_ms() + LOOK_EVERY;
            }
            self.laggards.push(part.place);
        }
        if self.output.bytes.capacity() > LARGEST_OUTPUT {
            self.output = Replies::with_capacity(READ_SIZE);
        }
        match after {
            After::Until(until) => After::Until(connection.pause(until, clock.now)),
            after => after,
        }
    }
}
