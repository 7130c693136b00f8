//! Makes the history: connections that write unique values, read, remove and count, and write down when.
//!
//! One blocking thread per connection: what matters here is concurrency and honest times, not speed. A request
//! whose answer does not come (the connection broke, the server took too long, or answered with an error) may
//! have taken effect or not; it is written down without an end, and the thread connects again and goes on. At the end
//! every key that was written is read once more, so that what was lost last shows as well.

use std::io::{self, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::history::{Action, NEVER, Operation};
use super::value::{difference, is_counter, key_text, parse_count, parse_value, value_text};
use super::way::Way;
use crate::answer::{self, Answer};
use crate::cluster::slot::slot;
use crate::random::Random;
use crate::target::encode;

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where; connections are dealt out in turn.
    pub addresses: Vec<SocketAddr>,
    /// They are nodes of a cluster: requests go to the owner of their key.
    pub cluster: bool,
    /// Opening commands, encoded.
    pub opening: Vec<Vec<u8>>,
    /// How many connections.
    pub clients: u32,
    /// Requests under way per connection.
    pub pipeline: usize,
    /// How many keys; every fourth is a counter.
    pub keys: u32,
    /// The least length of values in bytes.
    pub value_size: usize,
    /// How long.
    pub duration: Duration,
    /// How many operations at most.
    pub limit: u64,
    /// How long an answer may take.
    pub patience: Duration,
    /// The seed of what is done; times and answers are the server's.
    pub seed: u64,
    /// What makes this run's keys different from every other run's.
    pub run: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// All operations but reads without an answer.
    pub operations: Vec<Operation>,
    /// Error replies and broken connections.
    pub failures: u64,
    /// The first of them.
    pub first_failure: Option<String>,
    /// Requests without an answer, or with an error for one.
    pub unanswered: u64,
    /// How the first corrupt value differs from what it should be.
    pub first_corruption: Option<String>,
}

impl Recorded {
    fn add(&mut self, other: Self) {
        self.operations.extend(other.operations);
        self.failures += other.failures;
        self.unanswered += other.unanswered;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.first_corruption = self.first_corruption.take().or(other.first_corruption);
    }
}

/// What somebody else may watch while the load goes on.
#[derive(Debug, Default)]
pub struct Watch {
    /// Requests that were answered.
    pub answered: AtomicU64,
    /// Error replies and broken connections.
    pub failures: AtomicU64,
    /// Answers that are wrong by themselves; all others are judged at the end.
    pub wrong: AtomicU64,
}

/// Runs all connections to the end or until `stop` is set.
pub fn record(settings: &Settings, stop: &Arc<AtomicBool>) -> Recorded {
    record_watched(settings, stop, &Watch::default())
}

/// As [`record`]; `watch` is kept up to date.
pub fn record_watched(settings: &Settings, stop: &Arc<AtomicBool>, watch: &Watch) -> Recorded {
    let start = Instant::now();
    let issued = AtomicU64::new(0);
    let mut all = Recorded::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..settings.clients)
            .map(|number| {
                let issued = &issued;
                scope.spawn(move || Client::new(settings, number, start, watch).run(stop, issued))
            })
            .collect();
        for recorded in clients.into_iter().filter_map(|client| client.join().ok()) {
            all.add(recorded);
        }
    });
    let keys = written_keys(&all.operations);
    all.add(Client::new(settings, settings.clients, start, watch).read_back(&keys));
    all
}

/// The keys that these operations may have made, each once.
pub fn written_keys(operations: &[Operation]) -> Vec<u32> {
    let writes = operations
        .iter()
        .filter(|operation| matches!(operation.action, Action::Write(_) | Action::Increment(_)));
    let mut keys: Vec<u32> = writes.map(|operation| operation.key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// How many requests are under way at once where keys are read or removed one after the other.
const CHUNK: usize = 1000;

/// Removes these keys of a run, until `stop` is set; returns how many were removed or asked to be. A server that is
/// gone keeps them.
pub fn remove_keys(settings: &Settings, keys: &[u32], stop: &AtomicBool) -> io::Result<usize> {
    let mut way = settings.cluster.then(|| Way::new(settings, 0));
    let mut line = if settings.cluster { None } else { Some(Line::open(settings, 0)?) };
    let mut done = 0;
    for chunk in keys.chunks(CHUNK) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let texts = chunk.iter().map(|key| key_text(settings.run, *key));
        if let Some(way) = &mut way {
            for text in texts {
                way.ask(slot(text.as_bytes()), &encode(&["DEL", &text]))?;
            }
        } else if let Some(line) = &mut line {
            let bytes: Vec<u8> = texts.flat_map(|text| encode(&["DEL", &text])).collect();
            line.socket.write_all(&bytes)?;
            for _ in chunk {
                answer::read(&mut line.reader)?;
            }
        }
        done += chunk.len();
    }
    Ok(done)
}

/// A connection with its reader.
pub(super) struct Line {
    pub(super) socket: TcpStream,
    pub(super) reader: BufReader<TcpStream>,
}

impl Line {
    fn open(settings: &Settings, number: u32) -> io::Result<Self> {
        Self::to(settings, settings.addresses[number as usize % settings.addresses.len()])
    }

    pub(super) fn to(settings: &Settings, address: SocketAddr) -> io::Result<Self> {
        let mut socket = TcpStream::connect_timeout(&address, settings.patience)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(settings.patience))?;
        socket.set_write_timeout(Some(settings.patience))?;
        let mut reader = BufReader::new(socket.try_clone()?);
        for command in &settings.opening {
            socket.write_all(command)?;
            // Refused opening commands were reported before the run; here the commands themselves will fail.
            answer::read(&mut reader)?;
        }
        Ok(Self { socket, reader })
    }
}

/// One connection's thread.
struct Client<'a> {
    settings: &'a Settings,
    number: u32,
    start: Instant,
    watch: &'a Watch,
    random: Random,
    written: u64,
    recorded: Recorded,
}

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(20);
/// After so long without a connection a run of a number of requests gives up: it would never end.
const GIVE_UP: Duration = Duration::from_secs(10);

impl<'a> Client<'a> {
    fn new(settings: &'a Settings, number: u32, start: Instant, watch: &'a Watch) -> Self {
        let random = Random::part(settings.seed, u64::from(number));
        Self { settings, number, start, watch, random, written: 0, recorded: Recorded::default() }
    }

    fn run(self, stop: &AtomicBool, issued: &AtomicU64) -> Recorded {
        if self.settings.cluster { self.run_routed(stop, issued) } else { self.run_alone(stop, issued) }
    }

    /// One request after the other, each to the node that owns its key.
    fn run_routed(mut self, stop: &AtomicBool, issued: &AtomicU64) -> Recorded {
        let mut way = Way::new(self.settings, self.number);
        let mut answered = Instant::now();
        while !stop.load(Ordering::Relaxed)
            && self.start.elapsed() < self.settings.duration
            && issued.fetch_add(1, Ordering::Relaxed) < self.settings.limit
        {
            let mut bytes = Vec::new();
            let (key, action) = self.request(&mut bytes);
            let start = self.now();
            let answer = way.ask(slot(key_text(self.settings.run, key).as_bytes()), &bytes);
            let operation = Operation { key, client: self.number, start, end: self.now(), action };
            match self.take_down(operation, answer) {
                Ok(()) => answered = Instant::now(),
                Err(error) => {
                    self.broken(&error);
                    if self.settings.duration == Duration::MAX && answered.elapsed() > GIVE_UP {
                        break;
                    }
                }
            }
        }
        self.recorded
    }

    fn run_alone(mut self, stop: &AtomicBool, issued: &AtomicU64) -> Recorded {
        let mut line = None;
        let mut connected = Instant::now();
        while !stop.load(Ordering::Relaxed) && self.start.elapsed() < self.settings.duration {
            let batch = self.settings.pipeline as u64;
            let open = match line.take() {
                Some(open) => Ok(open),
                None => Line::open(self.settings, self.number),
            };
            let mut open = match open {
                Ok(open) => open,
                Err(error) => {
                    self.broken(&error);
                    if self.settings.duration == Duration::MAX && connected.elapsed() > GIVE_UP {
                        break;
                    }
                    std::thread::sleep(PAUSE);
                    continue;
                }
            };
            connected = Instant::now();
            if issued.fetch_add(batch, Ordering::Relaxed) >= self.settings.limit {
                break;
            }
            match self.batch(&mut open) {
                Ok(()) => line = Some(open),
                Err(error) => self.broken(&error),
            }
        }
        self.recorded
    }

    /// Reads these keys once.
    fn read_back(mut self, keys: &[u32]) -> Recorded {
        let mut outcome = Ok(());
        if self.settings.cluster {
            let mut way = Way::new(self.settings, self.number);
            for key in keys {
                let mut bytes = Vec::new();
                let action = self.get(*key, &mut bytes);
                let start = self.now();
                let answer = way.ask(slot(key_text(self.settings.run, *key).as_bytes()), &bytes);
                let operation = Operation { key: *key, client: self.number, start, end: self.now(), action };
                outcome = self.take_down(operation, answer);
                if outcome.is_err() {
                    break;
                }
            }
        } else {
            // Any of the servers will do; one of them may be gone.
            for number in 0..self.settings.addresses.len() as u32 {
                outcome = self.read_from(number, keys);
                if outcome.is_ok() {
                    break;
                }
            }
        }
        if let Err(error) = outcome {
            self.fail(format!(
                "reading all keys at the end: {}",
                answer::told(&error, self.settings.patience)
            ));
        }
        self.recorded
    }

    fn read_from(&mut self, number: u32, keys: &[u32]) -> io::Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut line = Line::open(self.settings, number)?;
        for chunk in keys.chunks(CHUNK) {
            let mut bytes = Vec::new();
            let requests = chunk.iter().map(|key| (*key, self.get(*key, &mut bytes))).collect();
            self.exchange(&mut line, &bytes, requests)?;
        }
        Ok(())
    }

    fn broken(&mut self, error: &io::Error) {
        self.fail(format!("connection: {}", answer::told(error, self.settings.patience)));
    }

    fn fail(&mut self, text: String) {
        self.watch.failures.fetch_add(1, Ordering::Relaxed);
        self.recorded.failures += 1;
        self.recorded.first_failure.get_or_insert(text);
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Sends a batch of requests.
    fn batch(&mut self, line: &mut Line) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut requests = Vec::with_capacity(self.settings.pipeline);
        for _ in 0..self.settings.pipeline {
            requests.push(self.request(&mut bytes));
        }
        self.exchange(line, &bytes, requests)
    }

    /// Sends requests and takes down what is answered; those without an answer are taken down too.
    fn exchange(&mut self, line: &mut Line, bytes: &[u8], requests: Vec<(u32, Action)>) -> io::Result<()> {
        let start = self.now();
        let mut outcome = line.socket.write_all(bytes);
        for (key, action) in requests {
            let answer = match &outcome {
                Ok(()) => answer::read(&mut line.reader),
                Err(_) => Err(io::ErrorKind::NotConnected.into()),
            };
            let operation = Operation { key, client: self.number, start, end: self.now(), action };
            if let Err(error) = self.take_down(operation, answer)
                && outcome.is_ok()
            {
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Takes down an operation with its answer; one without may have happened or not.
    fn take_down(&mut self, mut operation: Operation, answer: io::Result<Answer>) -> io::Result<()> {
        let read = matches!(operation.action, Action::ReadNothing | Action::ReadCounter(_));
        let outcome = answer.map(|answer| self.judge(&mut operation, answer));
        if let Err(error) = &outcome {
            if error.kind() == ErrorKind::InvalidData {
                self.stray(Operation { action: Action::Malformed, ..operation });
            }
            operation.end = NEVER;
        }
        if operation.is_answered() {
            self.watch.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            self.recorded.unanswered += 1;
        }
        if operation.is_stray() {
            self.stray(operation);
        } else if !(read && operation.end == NEVER) {
            self.recorded.operations.push(operation);
        }
        outcome
    }

    /// Takes down an answer that is wrong by itself.
    fn stray(&mut self, operation: Operation) {
        self.watch.wrong.fetch_add(1, Ordering::Relaxed);
        self.recorded.operations.push(operation);
    }

    /// Appends a request for the value of a key.
    fn get(&self, key: u32, bytes: &mut Vec<u8>) -> Action {
        bytes.extend_from_slice(&encode(&["GET", &key_text(self.settings.run, key)]));
        if is_counter(key) { Action::ReadCounter(0) } else { Action::ReadNothing }
    }

    /// Draws a request and appends it; the action says what kind it is, the answer completes it.
    fn request(&mut self, bytes: &mut Vec<u8>) -> (u32, Action) {
        let key = self.random.below(u64::from(self.settings.keys)) as u32;
        let text = key_text(self.settings.run, key);
        let kind = self.random.below(100);
        let (words, action) = match (is_counter(key), kind) {
            (true, 60..) | (false, 45..) => return (key, self.get(key, bytes)),
            (true, _) => (vec!["INCR", &text], Action::Increment(0)),
            (false, ..40) => {
                self.written += 1;
                let value = (u64::from(self.number) << 40) | self.written;
                let words = value_text(self.settings.run, self.settings.value_size, key, value);
                bytes.extend_from_slice(&encode(&["SET", &text, &words]));
                return (key, Action::Write(value));
            }
            (false, _) => (vec!["DEL", &text], Action::Delete),
        };
        bytes.extend_from_slice(&encode(&words));
        (key, action)
    }

    /// Completes an operation by its answer.
    fn judge(&mut self, operation: &mut Operation, answer: Answer) {
        match (operation.action, answer) {
            (_, Answer::Error(text)) => {
                // An error may hide a write that took effect on its way to a router's error.
                operation.end = NEVER;
                self.fail(text);
            }
            (Action::Increment(_), Answer::Number(value @ 1..)) => {
                operation.action = Action::Increment(value as u64);
            }
            (Action::ReadCounter(_), Answer::Bytes(bytes)) => {
                let (run, size) = (self.settings.run, self.settings.value_size);
                operation.action = parse_count(run, size, operation.key, &bytes);
            }
            (Action::ReadNothing, Answer::Bytes(bytes)) => {
                let (run, size) = (self.settings.run, self.settings.value_size);
                operation.action = parse_value(run, size, operation.key, &bytes);
                if let Action::Corrupt(value) = operation.action {
                    let told = || difference(run, size, operation.key, value, &bytes);
                    self.recorded.first_corruption.get_or_insert_with(told);
                }
            }
            (Action::Delete, Answer::Number(found @ (0 | 1))) => {
                operation.action = Action::Removed(found == 1);
            }
            (Action::Write(_), Answer::Status(text)) if text == "OK" => {}
            (Action::ReadNothing | Action::ReadCounter(_), Answer::Nothing) => {}
            // The answer belongs to another request. That of a write is lost, so it may have happened or not.
            (Action::Write(_) | Action::Delete | Action::Increment(_), _) => {
                self.stray(Operation { action: Action::Mismatched, ..*operation });
                operation.end = NEVER;
            }
            (_, _) => operation.action = Action::Mismatched,
        }
    }
}

#[cfg(test)]
mod tests;
