//! Reads every key once more, and says how many could not be read.
//!
//! What fails is tried again until nothing could be read for as long as an answer may take: a server that starts just
//! then is waited for, and one that is gone for good is not waited for long.

use std::collections::HashSet;
use std::io;
use std::time::{Duration, Instant};

use super::driver::{CHUNK, Client, PAUSE, Recorded, Settings, Watch};
use super::way::Way;
use crate::answer;
use crate::transport::Endpoint;

/// With hurry no more is read after so long.
const HURRIED: Duration = Duration::from_secs(2);
/// Connections that get replies which nobody asked for are given up after so many.
const MOST_LOST: u32 = 3;
/// The part of the patience that one key of a cluster may take: others may have another owner.
const SHARE: u32 = 4;

/// Reads these keys. Failures are no operations, so they are not counted as such: they are in `unread`.
pub(super) fn read_back(settings: &Settings, start: Instant, keys: Vec<u32>) -> Recorded {
    let watch = Watch::default();
    let now = Instant::now();
    let client = Client::reader(settings, start, &watch);
    let mut reader = Reader { client, left: keys, began: now, last: now };
    let mut outcome = Ok(());
    while !reader.left.is_empty() {
        outcome = if settings.cluster { reader.ask_owners() } else { reader.ask_any() };
        if reader.left.is_empty() || reader.is_over() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let Recorded { operations, first_failure, first_corruption, .. } = reader.client.recorded;
    let unread = reader.left.len() as u64;
    let told = outcome.err().map(|error| answer::told(&error, settings.patience.most));
    let why_unread = told.or(first_failure).filter(|_| unread > 0);
    Recorded { operations, first_corruption, unread, why_unread, ..Recorded::default() }
}

struct Reader<'a> {
    client: Client<'a>,
    left: Vec<u32>,
    began: Instant,
    /// When a key was read for the last time.
    last: Instant,
}

impl Reader<'_> {
    fn is_over(&self) -> bool {
        let patience = &self.client.settings.patience;
        self.client.steps.lost >= MOST_LOST
            || self.last.elapsed() >= patience.now()
            || patience.is_hurried() && self.began.elapsed() >= HURRIED
    }

    /// Any of the servers will do; one of them may be gone.
    fn ask_any(&mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        for server in &self.client.settings.servers {
            outcome = self.ask_one(server);
            if self.left.is_empty() {
                break;
            }
        }
        outcome
    }

    fn ask_one(&mut self, server: &Endpoint) -> io::Result<()> {
        let mut line = self.client.settings.line_to(server)?;
        let mut outcome = Ok(());
        for keys in std::mem::take(&mut self.left).chunks(CHUNK) {
            let before = self.client.recorded.operations.len();
            if outcome.is_ok() && !(self.client.settings.patience.is_hurried() && self.is_over()) {
                let mut bytes = Vec::new();
                let requests = keys.iter().map(|key| (*key, self.client.get(*key, &mut bytes))).collect();
                outcome = self.client.exchange(&mut line, &bytes, requests);
            }
            self.keep(keys, before);
        }
        if outcome.is_ok() {
            self.client.look_at_last(|| line.in_step());
            self.keep(&[], usize::MAX);
        }
        outcome
    }

    fn ask_owners(&mut self) -> io::Result<()> {
        let settings = self.client.settings;
        let patience = settings.patience.clone().with(settings.patience.most / SHARE);
        let settings = Settings { patience, ..settings.clone() };
        let mut way = Way::new(&settings, settings.clients);
        let mut failing = Duration::ZERO;
        let mut outcome = Ok(());
        for key in std::mem::take(&mut self.left) {
            let (before, began) = (self.client.recorded.operations.len(), Instant::now());
            if failing < self.client.settings.patience.now() {
                let mut bytes = Vec::new();
                let action = self.client.get(key, &mut bytes);
                if let Err(error) = self.client.ask(&mut way, key, action, &bytes) {
                    outcome = Err(error);
                    failing += began.elapsed();
                }
            }
            self.keep(&[key], before);
        }
        self.client.look_at_last(|| way.in_step());
        self.keep(&[], usize::MAX);
        // Or those that failed would be the first again, and the others would never be tried.
        self.left.reverse();
        outcome
    }

    /// Of these keys those are left that no operation since then has read, and those whose answers are in doubt.
    fn keep(&mut self, keys: &[u32], before: usize) {
        let operations = &self.client.recorded.operations;
        let since = &operations[before.min(operations.len())..];
        let read: HashSet<u32> =
            since.iter().filter(|operation| !operation.is_unasked()).map(|operation| operation.key).collect();
        if !read.is_empty() {
            self.last = Instant::now();
        }
        // What was read on a connection that turned out to be out of step has to be read again.
        let dropped = std::mem::take(&mut self.client.steps.dropped);
        self.left.extend(dropped.iter().filter(|key| !keys.contains(key)));
        self.left.extend(keys.iter().filter(|key| !read.contains(key)));
    }
}
