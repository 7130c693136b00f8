//! Replays a trace against a server, as a cache in front of a database would use it, and counts hits.
//!
//! One connection, accesses in their order, in batches: all look-ups of a batch are asked at once, then what was
//! missing is stored. A key that is missing twice in a batch counts as a miss once, if the server took the value: the
//! repeat would have been a hit then, and is asked again, so that the server's eviction policy sees it. If the value
//! was refused the repeat is a miss as well. A look-up that got an error is neither. Speed is the server's, the given
//! rate, or that of the recording. What is measured is the policy, so one connection is enough.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::answer::{self, Answer, Unasked, is_unasked};
use crate::line::Line;
use crate::patience::Patience;
use crate::sizes::ValueText;
use crate::target::encode;
use crate::trace::{Access, Kind};
use crate::transport::Endpoint;

/// How to replay.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where.
    pub server: Endpoint,
    /// Opening commands, encoded.
    pub opening: Vec<Vec<u8>>,
    /// Accesses per batch.
    pub batch: usize,
    /// When accesses are due.
    pub pace: Pace,
    /// Whether to empty the server first.
    pub flush: bool,
    /// The share of the accesses at the start that is not counted.
    pub warmup: f64,
}

/// When the accesses of a replay are due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as the server has answered.
    Max,
    /// So many per second.
    Rate(f64),
    /// So many times as fast as they were recorded.
    Recorded(f64),
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Look-ups counted: those that were answered by a value or by nothing.
    pub lookups: u64,
    /// Look-ups that found their key.
    pub hits: u64,
    /// Bytes of the values looked up: of those found what came, of the others what the trace says.
    pub bytes: u64,
    /// Bytes of the values found.
    pub hit_bytes: u64,
    /// Hits among these whose value has another size than the trace says.
    pub other_sizes: u64,
    /// Keys that the server held at the start; none if it did not tell.
    pub held: Option<u64>,
    /// Hits among these that repeat a miss of their batch, whose value the server took.
    pub repeats: u64,
    /// Repeats whose value was gone already when it was asked for again.
    pub dropped: u64,
    /// Values stored, counted or not.
    pub stored: u64,
    /// Values that were refused, counted or not.
    pub refused: u64,
    /// Look-ups that got an error, counted or not.
    pub failed: u64,
    /// Error replies, and replies that are none to what was asked: refused values, failed look-ups and others.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// Accesses made, counted or not.
    pub accesses: u64,
    /// How long it took, at a rate until all accesses were due.
    pub seconds: f64,
    /// How late a batch began at most, in seconds, where accesses are due at given times.
    pub late: f64,
    /// Why it broke off before the end, if it did.
    pub broken_off: Option<String>,
}

impl Counts {
    /// The share of look-ups that found their key.
    pub fn object_hit_ratio(&self) -> f64 {
        self.hits as f64 / self.lookups.max(1) as f64
    }

    /// The share of bytes looked up that were found.
    pub fn byte_hit_ratio(&self) -> f64 {
        self.hit_bytes as f64 / self.bytes.max(1) as f64
    }

    /// False if most look-ups failed, most values were refused or most hits are repeats whose value was gone: the
    /// ratios say nothing about a cache then.
    pub fn are_useful(&self) -> bool {
        self.dropped <= self.hits / 2
            && self.failed <= self.accesses / 2
            && self.refused <= self.stored
            && self.errors <= self.accesses / 2
    }
}

/// What somebody else may watch while a replay goes on.
#[derive(Debug, Default)]
pub struct Watch {
    /// Accesses made.
    pub accesses: AtomicU64,
    /// Look-ups counted.
    pub lookups: AtomicU64,
    /// Hits counted.
    pub hits: AtomicU64,
    /// Errors.
    pub errors: AtomicU64,
}

impl Watch {
    fn show(&self, counts: &Counts) {
        for (place, value) in [
            (&self.accesses, counts.accesses),
            (&self.lookups, counts.lookups),
            (&self.hits, counts.hits),
            (&self.errors, counts.errors),
        ] {
            place.store(value, Ordering::Relaxed);
        }
    }
}

/// Stores are sent in pieces of about this many bytes, so that neither side's buffers overflow.
const PIECE: usize = 1 << 20;

/// After so many accesses it is looked at whether answers are in step.
const MOST_UNSURE: usize = 4096;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Replays `accesses` to their end or until `stop` is set.
pub fn replay(settings: &Settings, accesses: &[Access], stop: &Arc<AtomicBool>) -> io::Result<Counts> {
    let (counts, outcome) = replay_watched(settings, accesses, stop, &Watch::default());
    outcome.map(|()| counts)
}

/// As [`replay`]; `watch` is kept up to date. What was counted until it broke off is told as well.
pub fn replay_watched(
    settings: &Settings,
    accesses: &[Access],
    stop: &Arc<AtomicBool>,
    watch: &Watch,
) -> (Counts, io::Result<()>) {
    let patience = Patience::until(PATIENCE, Arc::clone(stop));
    let mut player = match Line::to(&settings.server, &settings.opening, &patience) {
        Ok(line) => Player::new(line),
        Err(error) => return (Counts::default(), Err(explained(error))),
    };
    let begun = player.begin(settings.flush);
    let start = Instant::now();
    let mut outcome = begun.and_then(|()| player.play(settings, accesses, stop, watch));
    if outcome.as_ref().is_err_and(is_unasked) {
        player.out_of_step();
        watch.show(&player.counts);
    }
    let mut counts = player.counts;
    counts.seconds = start.elapsed().as_secs_f64();
    // Who wanted an end did not want to wait for an answer.
    outcome = outcome.or_else(|error| if stop.load(Ordering::Relaxed) { Ok(()) } else { Err(error) });
    counts.broken_off = outcome.as_ref().err().map(ToString::to_string);
    (counts, outcome)
}

/// The longest time slept at once.
const NAP: Duration = Duration::from_millis(200);

impl Pace {
    /// When the access that follows `done` others and was recorded at `at` is due.
    fn due(self, done: usize, at: u64) -> Duration {
        match self {
            Self::Max => Duration::ZERO,
            Self::Rate(rate) => Duration::from_secs_f64(done as f64 / rate),
            Self::Recorded(speed) => Duration::from_secs_f64(at as f64 / 1e9 / speed),
        }
    }

    /// How many accesses to make now, at least one and at most `most`. Recorded ones are not made before their
    /// time; at a rate whole batches are made, each when its first access is due.
    fn batch(self, rest: &[Access], most: usize, now: Duration) -> usize {
        let most = most.clamp(1, rest.len());
        match self {
            Self::Max | Self::Rate(_) => most,
            Self::Recorded(_) => rest[..most].partition_point(|access| self.due(0, access.at) <= now).max(1),
        }
    }
}

/// What a request in `out` wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// A value.
    Value,
    /// To store one under this key.
    Store(u64),
    /// Something else.
    Other,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// A value of so many bytes was found.
    Found(u64),
    /// None was there.
    Missing,
    /// It was done.
    Done,
    /// An error, or an answer that is none to it.
    Failed,
}

struct Player {
    line: Line,
    /// What was counted when answers were known to be in step for the last time.
    sure: Counts,
    out: Vec<u8>,
    /// What the requests in `out` want.
    asked: Vec<Asked>,
    values: ValueText,
    counts: Counts,
}

impl Player {
    fn new(line: Line) -> Self {
        let (out, asked) = (Vec::new(), Vec::new());
        let (counts, sure) = (Counts::default(), Counts::default());
        Self { line, sure, out, asked, values: ValueText::new(1), counts }
    }

    /// Empties the server, or asks how many keys it holds.
    fn begin(&mut self, flush: bool) -> io::Result<()> {
        if flush {
            self.ask(Asked::Other, &[b"FLUSHALL"]);
            self.answers(|_, _| {})?;
            return match &self.counts.first_error {
                Some(text) => Err(io::Error::other(format!("FLUSHALL was refused: {text}"))),
                None => Ok(()),
            };
        }
        self.line.send(&encode(&["DBSIZE"])).map_err(explained)?;
        if let Answer::Number(keys) = self.line.answer().map_err(explained)? {
            self.counts.held = u64::try_from(keys).ok();
        }
        Ok(())
    }

    fn play(
        &mut self,
        settings: &Settings,
        accesses: &[Access],
        stop: &AtomicBool,
        watch: &Watch,
    ) -> io::Result<()> {
        let start = Instant::now();
        let uncounted = (accesses.len() as f64 * settings.warmup) as u64;
        let (mut rest, mut unsure) = (accesses, 0);
        while !rest.is_empty() && !stop.load(Ordering::Relaxed) {
            let done = accesses.len() - rest.len();
            let due = settings.pace.due(done, rest[0].at);
            let now = start.elapsed();
            if let Some(ahead) = due.checked_sub(now).filter(|ahead| !ahead.is_zero()) {
                // Short naps, so that the wish to stop is heard in a recording's long silence.
                std::thread::sleep(ahead.min(NAP));
                continue;
            }
            if settings.pace != Pace::Max {
                self.counts.late = self.counts.late.max((now - due).as_secs_f64());
            }
            let (batch, others) = rest.split_at(settings.pace.batch(rest, settings.batch, now));
            self.batch(batch, uncounted)?;
            unsure += batch.len();
            if unsure >= MOST_UNSURE {
                self.line.in_step().map_err(explained)?;
                self.sure = self.counts.clone();
                unsure = 0;
            }
            watch.show(&self.counts);
            rest = others;
        }
        // The last batch is made when its first access is due. The rate is that of all.
        let end = settings.pace.due(accesses.len(), accesses.last().map_or(0, |last| last.at));
        while rest.is_empty() && !stop.load(Ordering::Relaxed) {
            let ahead = end.saturating_sub(start.elapsed());
            if ahead.is_zero() {
                break;
            }
            std::thread::sleep(ahead.min(NAP));
        }
        // All is answered: only an answer that was not the last request's is of interest.
        self.line.in_step().or_else(|error| if is_unasked(&error) { Err(error) } else { Ok(()) })
    }

    /// Takes back what was counted since answers were known to be in step: which of them were whose is not known.
    fn out_of_step(&mut self) {
        self.counts = std::mem::take(&mut self.sure);
        self.counts.errors += 1;
        self.counts.first_error.get_or_insert_with(|| Unasked.to_string());
    }

    fn batch(&mut self, batch: &[Access], uncounted: u64) -> io::Result<()> {
        // Writes keep their place: look-ups before and after one are asked apart.
        for part in batch.chunk_by(|a, b| (a.kind == Kind::Get) == (b.kind == Kind::Get)) {
            match part[0].kind {
                Kind::Get => self.look_up(part, uncounted)?,
                Kind::Set | Kind::Delete => self.write(part)?,
            }
        }
        Ok(())
    }

    fn look_up(&mut self, part: &[Access], uncounted: u64) -> io::Result<()> {
        for access in part {
            self.ask(Asked::Value, &[b"GET", &key_text(access.key)]);
        }
        let mut came = Vec::with_capacity(part.len());
        self.answers(|_, outcome| came.push(outcome))?;
        // Of each missing key the first look-up stores the value.
        let mut refused = HashSet::new();
        let mut missing = HashMap::new();
        // What those would have found that repeat it.
        let mut repeated = vec![None; part.len()];
        for (index, access) in part.iter().enumerate().filter(|(index, _)| came[*index] == Came::Missing) {
            if let Some(size) = missing.get(&access.key) {
                repeated[index] = Some(*size);
            } else {
                missing.insert(access.key, u64::from(access.size));
                self.store(access, &mut refused)?;
            }
        }
        self.stored(&mut refused)?;
        let mut again = Vec::new();
        for (index, access) in part.iter().enumerate() {
            let repeat = repeated[index].filter(|_| !refused.contains(&access.key));
            let is_counted = self.count(access, came[index], repeat, uncounted);
            if repeat.is_some() {
                again.push(is_counted);
                self.ask(Asked::Value, &[b"GET", &key_text(access.key)]);
            }
        }
        let (mut dropped, mut again) = (0, again.into_iter());
        self.answers(|_, outcome| {
            dropped += u64::from(again.next() == Some(true) && outcome == Came::Missing);
        })?;
        self.counts.dropped += dropped;
        Ok(())
    }

    /// Counts a look-up, unless it belongs to the warm-up; false then. `repeat` is the size of the value that it would
    /// have found if it had been asked alone.
    fn count(&mut self, access: &Access, came: Came, repeat: Option<u64>, uncounted: u64) -> bool {
        let is_counted = self.counts.accesses >= uncounted;
        self.counts.accesses += 1;
        if came == Came::Failed {
            self.counts.failed += 1;
        } else if is_counted {
            let size = u64::from(access.size);
            let found = if let Came::Found(size) = came { Some(size) } else { repeat };
            self.counts.lookups += 1;
            self.counts.hits += u64::from(found.is_some());
            self.counts.repeats += u64::from(repeat.is_some());
            self.counts.bytes += found.unwrap_or(size);
            self.counts.hit_bytes += found.unwrap_or(0);
            self.counts.other_sizes += u64::from(found.is_some_and(|found| found != size));
        }
        is_counted
    }

    fn write(&mut self, part: &[Access]) -> io::Result<()> {
        let mut refused = HashSet::new();
        for access in part {
            match access.kind {
                Kind::Delete => self.ask(Asked::Other, &[b"DEL", &key_text(access.key)]),
                _ => self.store(access, &mut refused)?,
            }
            self.counts.accesses += 1;
        }
        self.stored(&mut refused)
    }

    fn store(&mut self, access: &Access, refused: &mut HashSet<u64>) -> io::Result<()> {
        let mut value = Vec::with_capacity(access.size as usize);
        self.values.append(access.key, access.size as usize, &mut value);
        let (asked, key) = (Asked::Store(access.key), key_text(access.key));
        if access.ttl > 0 {
            self.ask(asked, &[b"SET", &key, &value, b"EX", access.ttl.to_string().as_bytes()]);
        } else {
            self.ask(asked, &[b"SET", &key, &value]);
        }
        if self.out.len() >= PIECE { self.stored(refused) } else { Ok(()) }
    }

    /// Sends the writes gathered so far and takes down which values the server did not take.
    fn stored(&mut self, refused: &mut HashSet<u64>) -> io::Result<()> {
        self.answers(|asked, came| {
            if let (Asked::Store(key), Came::Failed) = (asked, came) {
                refused.insert(key);
            }
        })
    }

    fn ask(&mut self, asked: Asked, words: &[&[u8]]) {
        self.out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.out.extend_from_slice(word);
            self.out.extend_from_slice(b"\r\n");
        }
        self.asked.push(asked);
    }

    /// Sends what was asked and calls `each` with what came of it, in order.
    fn answers(&mut self, mut each: impl FnMut(Asked, Came)) -> io::Result<()> {
        self.line.send(&self.out).map_err(explained)?;
        self.out.clear();
        for asked in std::mem::take(&mut self.asked) {
            let answer = self.line.answer().map_err(explained)?;
            let came = self.judge(asked, answer);
            each(asked, came);
        }
        Ok(())
    }

    /// What an answer means for what was asked.
    fn judge(&mut self, asked: Asked, answer: Answer) -> Came {
        let wrong = match (asked, answer) {
            (Asked::Value, Answer::Bytes(bytes)) => return Came::Found(bytes.len() as u64),
            (Asked::Value, Answer::Nothing) => return Came::Missing,
            (Asked::Store(_), Answer::Status(text)) if text == "OK" => {
                self.counts.stored += 1;
                return Came::Done;
            }
            (_, Answer::Error(text)) => text,
            (Asked::Other, _) => return Came::Done,
            (Asked::Value, answer) => format!("GET was answered by {answer}"),
            (Asked::Store(_), answer) => format!("SET was answered by {answer}"),
        };
        self.counts.refused += u64::from(matches!(asked, Asked::Store(_)));
        self.counts.errors += 1;
        self.counts.first_error.get_or_insert(wrong);
        Came::Failed
    }
}

fn explained(error: io::Error) -> io::Error {
    if is_unasked(&error) {
        return error;
    }
    io::Error::new(error.kind(), answer::told(&error, PATIENCE))
}

/// `k:` and at least 14 hexadecimal digits, more for keys from 2^56 on.
fn key_text(key: u64) -> Vec<u8> {
    format!("k:{key:014x}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_all_their_bits() {
        assert_eq!(key_text(0xab), b"k:000000000000ab");
        assert_eq!(key_text(0x1ff_ffff_ffff_ffff), b"k:1ffffffffffffff");
        assert_eq!(key_text(u64::MAX), b"k:ffffffffffffffff");
    }

    #[test]
    fn counts_of_failures_say_nothing() {
        let counts = |accesses, failed, stored, refused| Counts {
            accesses,
            failed,
            stored,
            refused,
            errors: failed + refused,
            ..Counts::default()
        };
        assert!(counts(0, 0, 0, 0).are_useful() && counts(100, 0, 2, 2).are_useful());
        assert!(!counts(128, 0, 0, 2).are_useful());
        assert!(counts(100, 50, 1, 0).are_useful() && !counts(100, 51, 1, 0).are_useful());
    }

    #[test]
    fn accesses_are_due_when_their_pace_says() {
        let access = |at| Access { key: 1, at, size: 1, ttl: 0, kind: Kind::Get };
        let accesses: Vec<Access> = [0, 1_000_000_000, 1_000_000_000, 4_000_000_000].map(access).to_vec();
        let now = Duration::from_millis(500);
        assert_eq!(Pace::Max.batch(&accesses, 64, now), 4);
        assert_eq!(Pace::Rate(10.0).due(5, 0), Duration::from_millis(500));
        assert_eq!(Pace::Recorded(2.0).due(3, 4_000_000_000), Duration::from_secs(2));
        assert_eq!(Pace::Recorded(2.0).batch(&accesses, 64, now), 3);
        assert_eq!(Pace::Recorded(1.0).batch(&accesses, 64, now), 1);
        assert_eq!(Pace::Recorded(2.0).batch(&accesses, 2, Duration::MAX), 2);
    }
}
