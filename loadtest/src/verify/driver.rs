//! Makes the history: connections that write unique values, read, remove and count, and write down when.
//!
//! One blocking thread per connection: what matters here is concurrency and honest times, not speed. A request
//! whose answer does not come (the connection broke, the server took too long, or answered with an error) may
//! have taken effect or not; it is written down without an end, and the thread connects again and goes on.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::history::{Action, NEVER, Operation};
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
}

/// Runs all connections to the end or until `stop` is set.
pub fn record(settings: &Settings, stop: &Arc<AtomicBool>) -> Recorded {
    let start = Instant::now();
    let issued = AtomicU64::new(0);
    let mut all = Recorded::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..settings.clients)
            .map(|number| {
                let issued = &issued;
                scope.spawn(move || Client::new(settings, number, start).run(stop, issued))
            })
            .collect();
        for recorded in clients.into_iter().filter_map(|client| client.join().ok()) {
            all.operations.extend(recorded.operations);
            all.failures += recorded.failures;
            all.first_failure = all.first_failure.take().or(recorded.first_failure);
        }
    });
    all
}

/// Removes the keys of a run; a server that is gone keeps them.
pub fn remove_keys(settings: &Settings) -> io::Result<()> {
    if settings.cluster {
        let mut way = Way::new(settings, 0);
        for key in 0..settings.keys {
            let text = key_text(settings.run, key);
            way.ask(slot(text.as_bytes()), &encode(&["DEL", &text]))?;
        }
        return Ok(());
    }
    let mut line = Line::open(settings, 0)?;
    for key in 0..settings.keys {
        line.socket.write_all(&encode(&["DEL", &key_text(settings.run, key)]))?;
        answer::read(&mut line.reader)?;
    }
    Ok(())
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
    random: Random,
    written: u64,
    recorded: Recorded,
}

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(20);
/// After so long without a connection a run of a number of requests gives up: it would never end.
const GIVE_UP: Duration = Duration::from_secs(10);

impl<'a> Client<'a> {
    fn new(settings: &'a Settings, number: u32, start: Instant) -> Self {
        let random = Random::part(settings.seed, u64::from(number));
        Self { settings, number, start, random, written: 0, recorded: Recorded::default() }
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
                    self.fail(format!("connection: {error}"));
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
                    self.fail(format!("connection: {error}"));
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
                Err(error) => self.fail(format!("connection: {error}")),
            }
        }
        self.recorded
    }

    fn fail(&mut self, text: String) {
        self.recorded.failures += 1;
        self.recorded.first_failure.get_or_insert(text);
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Sends a batch of requests and takes down what is answered; those without an answer are taken down too.
    fn batch(&mut self, line: &mut Line) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut requests = Vec::with_capacity(self.settings.pipeline);
        for _ in 0..self.settings.pipeline {
            requests.push(self.request(&mut bytes));
        }
        let start = self.now();
        let mut outcome = line.socket.write_all(&bytes);
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
        if outcome.is_err() {
            operation.end = NEVER;
        }
        if !(read && operation.end == NEVER) {
            self.recorded.operations.push(operation);
        }
        outcome
    }

    /// Draws a request and appends it; the action says what kind it is, the answer completes it.
    fn request(&mut self, bytes: &mut Vec<u8>) -> (u32, Action) {
        let key = self.random.below(u64::from(self.settings.keys)) as u32;
        let text = key_text(self.settings.run, key);
        let kind = self.random.below(100);
        let (words, action) = match (is_counter(key), kind) {
            (true, ..60) => (vec!["INCR", &text], Action::Increment(0)),
            (true, _) => (vec!["GET", &text], Action::ReadCounter(0)),
            (false, ..40) => {
                self.written += 1;
                let value = (u64::from(self.number) << 40) | self.written;
                let words = value_text(self.settings, key, value);
                bytes.extend_from_slice(&encode(&["SET", &text, &words]));
                return (key, Action::Write(value));
            }
            (false, 40..45) => (vec!["DEL", &text], Action::Delete),
            (false, _) => (vec!["GET", &text], Action::ReadNothing),
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
                let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
                let foreign = || parse_value(self.settings.run, operation.key, &bytes);
                operation.action = number.map_or_else(foreign, Action::ReadCounter);
            }
            (Action::ReadNothing, Answer::Bytes(bytes)) => {
                operation.action = parse_value(self.settings.run, operation.key, &bytes);
            }
            (Action::ReadNothing | Action::ReadCounter(_), Answer::Nothing)
            | (Action::Delete, Answer::Number(0 | 1))
            | (Action::Write(_), Answer::Status(_)) => {}
            // The answer belongs to another request. That of a write is lost, so it may have happened or not.
            (Action::Write(_) | Action::Delete | Action::Increment(_), _) => {
                self.recorded.operations.push(Operation { action: Action::Mismatched, ..*operation });
                operation.end = NEVER;
            }
            (_, _) => operation.action = Action::Mismatched,
        }
    }
}

/// Every fourth key is a counter.
pub fn is_counter(key: u32) -> bool {
    key % 4 == 3
}

fn key_text(run: u64, key: u32) -> String {
    format!("verify:{run:x}:{key}")
}

/// A value that says where it belongs, filled up to the wanted length.
fn value_text(settings: &Settings, key: u32, value: u64) -> String {
    let mut text = format!("{:x}:{key}:{value:x}:", settings.run);
    while text.len() < settings.value_size {
        text.push('.');
    }
    text
}

/// What reading these bytes from `key` means.
fn parse_value(run: u64, key: u32, bytes: &[u8]) -> Action {
    let parts = || {
        let mut parts = std::str::from_utf8(bytes).ok()?.split(':');
        let of_run = u64::from_str_radix(parts.next()?, 16).ok()?;
        let of_key = parts.next()?.parse::<u32>().ok()?;
        let value = u64::from_str_radix(parts.next()?, 16).ok()?;
        (of_run == run).then_some((of_key, value))
    };
    match parts() {
        Some((of_key, value)) if of_key == key => Action::Read(value),
        Some((of_key, _)) => Action::ReadForeign(of_key),
        None => Action::ReadForeign(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            addresses: Vec::new(),
            cluster: false,
            opening: Vec::new(),
            clients: 1,
            pipeline: 1,
            keys: 1,
            value_size: 64,
            duration: Duration::ZERO,
            limit: 0,
            patience: Duration::ZERO,
            seed: 1,
            run: 0xabc,
        }
    }

    #[test]
    fn values_say_where_they_belong() {
        let settings = settings();
        let text = value_text(&settings, 5, 0x1234);
        assert_eq!(text.len(), 64);
        assert_eq!(parse_value(0xabc, 5, text.as_bytes()), Action::Read(0x1234));
        assert_eq!(parse_value(0xabc, 6, text.as_bytes()), Action::ReadForeign(5));
        assert_eq!(parse_value(0xabd, 5, text.as_bytes()), Action::ReadForeign(u32::MAX));
        assert_eq!(parse_value(0xabc, 5, b"12"), Action::ReadForeign(u32::MAX));
    }

    #[test]
    fn answers_of_the_wrong_kind_are_taken_down() {
        let settings = settings();
        let mut client = Client::new(&settings, 0, Instant::now());
        let mut judged = |action, answer| {
            let mut operation = Operation { key: 3, client: 0, start: 1, end: 2, action };
            client.recorded.operations.clear();
            client.judge(&mut operation, answer);
            let mismatched = client.recorded.operations.iter().chain([&operation]);
            let mismatched =
                mismatched.filter(|operation| operation.action == Action::Mismatched).count() == 1;
            (mismatched, operation.end == NEVER, operation.action)
        };
        let bytes = |text: &str| Answer::Bytes(text.into());
        assert_eq!(judged(Action::Write(1), Answer::Number(1)), (true, true, Action::Write(1)));
        assert_eq!(judged(Action::Delete, Answer::Nothing), (true, true, Action::Delete));
        assert_eq!(judged(Action::Delete, Answer::Number(2)), (true, true, Action::Delete));
        assert_eq!(judged(Action::Increment(0), Answer::Number(0)), (true, true, Action::Increment(0)));
        assert_eq!(judged(Action::Increment(0), bytes("5")), (true, true, Action::Increment(0)));
        assert!(judged(Action::ReadNothing, Answer::Status("OK".into())).0);
        assert!(judged(Action::ReadCounter(0), Answer::Number(1)).0);
        assert_eq!(judged(Action::ReadCounter(0), bytes("abc:7:1:")).2, Action::ReadForeign(7));
        assert_eq!(judged(Action::ReadCounter(0), bytes("x")).2, Action::ReadForeign(u32::MAX));
        assert_eq!(judged(Action::ReadCounter(0), bytes("17")), (false, false, Action::ReadCounter(17)));
        assert_eq!(judged(Action::Increment(0), Answer::Number(4)), (false, false, Action::Increment(4)));
        assert_eq!(judged(Action::Delete, Answer::Number(1)), (false, false, Action::Delete));
    }
}
