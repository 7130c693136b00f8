//! Makes the history: connections that write unique values, read, remove and count, and write down when.
//!
//! One blocking thread per connection: what matters here is concurrency and honest times, not speed. A request
//! whose answer does not come (the connection broke, the server took too long, or answered with an error) may
//! have taken effect or not; it is written down without an end, and the thread connects again and goes on. At the end
//! every key that was written is read once more ([`super::read_back`]), so that what was lost last shows as well. A
//! [`Session`] can go on after that, with the same keys: what is lost later shows, too.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::history::{Action, NEVER, Operation};
use super::read_back::read_back;
use super::steps::Steps;
use super::value::{difference, is_counter, key_text, parse_count, parse_value, value_text};
use super::way::Way;
use crate::answer::{self, Answer};
use crate::cluster::slot::slot;
use crate::error::Error;
use crate::line::Line;
use crate::patience::Patience;
use crate::random::Random;
use crate::target::encode;
use crate::transport::Endpoint;

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where; connections are dealt out in turn.
    pub servers: Vec<Endpoint>,
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
    pub patience: Patience,
    /// After so long without any answer a run of a number of operations is given up: it would never end.
    pub give_up: Duration,
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
    /// Keys that could not be read back at the end, so that nobody knows what became of them.
    pub unread: u64,
    /// Why.
    pub why_unread: Option<String>,
    /// Nobody has answered for so long that it was given up.
    pub gave_up: bool,
    /// It ended since as many operations were made as there may be.
    pub full: bool,
}

/// The most operations where nothing else is said. Each takes about 100 bytes until it is checked.
pub const MOST_OPERATIONS: u64 = 20_000_000;

impl Recorded {
    fn add(&mut self, other: Self) {
        self.operations.extend(other.operations);
        self.failures += other.failures;
        self.unanswered += other.unanswered;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.first_corruption = self.first_corruption.take().or(other.first_corruption);
        self.gave_up |= other.gave_up;
        self.full |= other.full;
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
    /// When the last reply came, in nanoseconds since the start.
    heard: AtomicU64,
}

impl Watch {
    /// An answer that seemed wrong by itself belongs to a connection that was out of step.
    pub(super) fn take_back(&self) {
        let _ = self.wrong.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |wrong| wrong.checked_sub(1));
    }
}

/// Runs all connections to the end or until `stop` is set, and reads all keys back.
pub fn record(settings: &Settings, stop: &Arc<AtomicBool>) -> Result<Recorded, Error> {
    record_watched(settings, stop, &Watch::default())
}

/// As [`record`]; `watch` is kept up to date.
pub fn record_watched(settings: &Settings, stop: &AtomicBool, watch: &Watch) -> Result<Recorded, Error> {
    let mut session = Session::new(settings.clone());
    session.load(stop, watch)?;
    session.read_back();
    Ok(session.recorded)
}

/// A check that can be looked at and goes on afterwards, on the same keys.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    start: Instant,
    issued: AtomicU64,
    chances: Vec<Chance>,
    recorded: Recorded,
}

/// What decides what a connection sends next.
#[derive(Clone, Debug)]
struct Chance {
    random: Random,
    written: u64,
}

/// Tells the other connections when one's thread panics.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Session {
    /// A check that has not begun; times count from now.
    pub fn new(settings: Settings) -> Self {
        let chance = |number| Chance { random: Random::part(settings.seed, u64::from(number)), written: 0 };
        let chances = (0..settings.clients).map(chance).collect();
        let (start, issued, recorded) = (Instant::now(), AtomicU64::new(0), Recorded::default());
        Self { settings, start, issued, chances, recorded }
    }

    /// Everything so far.
    pub fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// Goes on with these servers.
    pub fn move_to(&mut self, servers: Vec<Endpoint>) {
        self.settings.servers = servers;
    }

    /// Runs all connections to the end or until `stop` is set.
    pub fn load(&mut self, stop: &AtomicBool, watch: &Watch) -> Result<(), Error> {
        let ended = AtomicBool::new(false);
        let turn = Turn { stop, ended: &ended, issued: &self.issued };
        let (settings, start) = (&self.settings, self.start);
        let chances = std::mem::take(&mut self.chances);
        let outcomes: Result<Vec<(Chance, Recorded)>, Error> = std::thread::scope(|scope| {
            let (mut running, mut outcome) = (Vec::new(), Ok(()));
            for (number, chance) in (0..).zip(chances) {
                let turn = &turn;
                let work = move || {
                    let _alarm = Alarm(turn.ended);
                    Client::new(settings, number, start, watch, chance).run(turn)
                };
                match std::thread::Builder::new().spawn_scoped(scope, work) {
                    Ok(thread) => running.push(thread),
                    Err(source) => {
                        ended.store(true, Ordering::Relaxed);
                        outcome =
                            Err(Error::System { what: "cannot start a thread for a connection", source });
                        break;
                    }
                }
            }
            let joined: Vec<_> = running.into_iter().map(|thread| thread.join()).collect();
            outcome?;
            joined.into_iter().map(|done| done.map_err(|_| Error::Thread)).collect()
        });
        for (chance, recorded) in outcomes? {
            self.chances.push(chance);
            self.recorded.add(recorded);
        }
        Ok(())
    }

    /// Reads every key that was written once more. What could not be read is known from then on.
    pub fn read_back(&mut self) {
        let keys = written_keys(&self.recorded.operations);
        let read = read_back(&self.settings, self.start, keys);
        (self.recorded.unread, self.recorded.why_unread) = (read.unread, read.why_unread.clone());
        self.recorded.add(read);
    }
}

/// What all connections share while they run.
struct Turn<'a> {
    stop: &'a AtomicBool,
    /// One of them has failed.
    ended: &'a AtomicBool,
    issued: &'a AtomicU64,
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
pub(super) const CHUNK: usize = 1000;

/// Removes these keys of a run, until `stop` is set; returns how many were removed or asked to be. A server that is
/// gone keeps them.
pub fn remove_keys(settings: &Settings, keys: &[u32], stop: &AtomicBool) -> io::Result<usize> {
    let mut way = settings.cluster.then(|| Way::new(settings, 0));
    let mut line = if settings.cluster { None } else { Some(settings.line(0)?) };
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
            line.send(&bytes)?;
            for _ in chunk {
                line.answer()?;
            }
        }
        done += chunk.len();
    }
    Ok(done)
}

impl Settings {
    /// A connection for this client.
    fn line(&self, number: u32) -> io::Result<Line> {
        self.line_to(&self.servers[number as usize % self.servers.len()])
    }

    /// A connection to this server. Refused opening commands were reported before the run; the commands themselves
    /// will fail.
    pub(super) fn line_to(&self, server: &Endpoint) -> io::Result<Line> {
        Line::to(server, &self.opening, &self.patience)
    }
}

/// One connection's thread.
pub(super) struct Client<'a> {
    pub(super) settings: &'a Settings,
    pub(super) number: u32,
    start: Instant,
    pub(super) watch: &'a Watch,
    chance: Chance,
    pub(super) recorded: Recorded,
    pub(super) steps: Steps,
}

/// How long to wait before connecting again.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

impl<'a> Client<'a> {
    fn new(settings: &'a Settings, number: u32, start: Instant, watch: &'a Watch, chance: Chance) -> Self {
        Self {
            settings,
            number,
            start,
            watch,
            chance,
            recorded: Recorded::default(),
            steps: Steps::default(),
        }
    }

    /// The one that reads all keys back.
    pub(super) fn reader(settings: &'a Settings, start: Instant, watch: &'a Watch) -> Self {
        let chance = Chance { random: Random::part(settings.seed, u64::from(settings.clients)), written: 0 };
        Self::new(settings, settings.clients, start, watch, chance)
    }

    fn run(mut self, turn: &Turn<'_>) -> (Chance, Recorded) {
        if self.settings.cluster {
            self.run_routed(turn)
        } else {
            self.run_alone(turn)
        }
        (self.chance, self.recorded)
    }

    /// True until the end has come.
    fn goes_on(&self, turn: &Turn<'_>) -> bool {
        !turn.stop.load(Ordering::Relaxed)
            && !turn.ended.load(Ordering::Relaxed)
            && self.start.elapsed() < self.settings.duration
    }

    /// Takes so many of the operations that may be made; false if there are none left.
    fn may_issue(&mut self, turn: &Turn<'_>, count: u64) -> bool {
        let is_full = turn.issued.fetch_add(count, Ordering::Relaxed) >= self.settings.limit;
        self.recorded.full |= is_full;
        !is_full
    }

    /// Takes down a failure; true if it is time to give up.
    fn gives_up(&mut self, error: &io::Error) -> bool {
        self.broken(error);
        let silence = self.now().saturating_sub(self.watch.heard.load(Ordering::Relaxed));
        let gives_up =
            self.settings.duration == Duration::MAX && u128::from(silence) > self.settings.give_up.as_nanos();
        self.recorded.gave_up |= gives_up;
        gives_up
    }

    /// One request after the other, each to the node that owns its key.
    fn run_routed(&mut self, turn: &Turn<'_>) {
        let mut way = Way::new(self.settings, self.number);
        while self.goes_on(turn) && self.may_issue(turn, 1) {
            let mut bytes = Vec::new();
            let (key, action) = self.request(&mut bytes);
            if let Err(error) = self.ask(&mut way, key, action, &bytes)
                && self.gives_up(&error)
            {
                break;
            }
        }
        self.look_at_last(|| way.in_step());
    }

    /// Sends a request to the node that owns its key and takes down what is answered.
    pub(super) fn ask(
        &mut self,
        way: &mut Way<'_>,
        key: u32,
        action: Action,
        bytes: &[u8],
    ) -> io::Result<()> {
        let start = self.now();
        let answer = way.ask(slot(key_text(self.settings.run, key).as_bytes()), bytes);
        let operation = Operation { key, client: self.number, start, end: self.now(), action };
        let outcome = self.take_down(operation, answer);
        self.look(outcome, || way.in_step())
    }

    fn run_alone(&mut self, turn: &Turn<'_>) {
        let batch = self.settings.pipeline as u64;
        let mut line = None;
        while self.goes_on(turn) {
            let open = match line.take() {
                Some(open) => Ok(open),
                None => self.settings.line(self.number),
            };
            let mut open = match open {
                Ok(open) => open,
                Err(error) if self.gives_up(&error) => break,
                Err(_) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
            };
            if !self.may_issue(turn, batch) {
                break;
            }
            match self.batch(&mut open) {
                Ok(()) => line = Some(open),
                Err(error) if self.gives_up(&error) => break,
                // A server that closes every connection is not to be drowned in them.
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
        if let Some(mut line) = line {
            self.look_at_last(|| line.in_step());
        }
    }

    pub(super) fn broken(&mut self, error: &io::Error) {
        self.fail(format!("connection: {}", answer::told(error, self.settings.patience.most)));
    }

    fn fail(&mut self, text: String) {
        self.watch.failures.fetch_add(1, Ordering::Relaxed);
        self.recorded.failures += 1;
        self.recorded.first_failure.get_or_insert(text);
    }

    pub(super) fn now(&self) -> u64 {
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
    pub(super) fn exchange(
        &mut self,
        line: &mut Line,
        bytes: &[u8],
        requests: Vec<(u32, Action)>,
    ) -> io::Result<()> {
        let start = self.now();
        let mut outcome = line.send(bytes);
        for (key, action) in requests {
            let answer = match &outcome {
                Ok(()) => line.answer(),
                Err(_) => Err(io::ErrorKind::NotConnected.into()),
            };
            let operation = Operation { key, client: self.number, start, end: self.now(), action };
            if let Err(error) = self.take_down(operation, answer)
                && outcome.is_ok()
            {
                outcome = Err(error);
            }
        }
        self.look(outcome, || line.in_step())
    }

    /// Takes down an operation with its answer; one without may have happened or not.
    fn take_down(&mut self, mut operation: Operation, answer: io::Result<Answer>) -> io::Result<()> {
        let read = matches!(operation.action, Action::ReadNothing | Action::ReadCounter(_));
        if answer.is_ok() {
            self.watch.heard.fetch_max(operation.end, Ordering::Relaxed);
        }
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
    pub(super) fn stray(&mut self, operation: Operation) {
        self.watch.wrong.fetch_add(1, Ordering::Relaxed);
        self.recorded.operations.push(operation);
    }

    /// Appends a request for the value of a key.
    pub(super) fn get(&self, key: u32, bytes: &mut Vec<u8>) -> Action {
        bytes.extend_from_slice(&encode(&["GET", &key_text(self.settings.run, key)]));
        if is_counter(key) { Action::ReadCounter(0) } else { Action::ReadNothing }
    }

    /// Draws a request and appends it; the action says what kind it is, the answer completes it.
    fn request(&mut self, bytes: &mut Vec<u8>) -> (u32, Action) {
        let key = self.chance.random.below(u64::from(self.settings.keys)) as u32;
        let text = key_text(self.settings.run, key);
        let kind = self.chance.random.below(100);
        let (words, action) = match (is_counter(key), kind) {
            (true, 60..) | (false, 45..) => return (key, self.get(key, bytes)),
            (true, _) => (vec!["INCR", &text], Action::Increment(0)),
            (false, ..40) => {
                self.chance.written += 1;
                let value = (u64::from(self.number) << 40) | self.chance.written;
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
