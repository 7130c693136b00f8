//! Replays a trace against a server, as a cache in front of a database would use it, and counts hits.
//!
//! One connection, accesses in their order, in batches: all look-ups of a batch are asked at once, then what was
//! missing is stored. A key that is missing twice in a batch counts as a miss once: the repeat would have been a
//! hit, and is asked again after the value was stored, so that the server's eviction policy sees it. Speed is the
//! server's, the given rate, or that of the recording. What is measured is the policy, so one connection is enough.

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::answer::{self, Answer};
use crate::sizes::ValueText;
use crate::trace::{Access, Kind};

/// How to replay.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where.
    pub address: SocketAddr,
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
    /// Look-ups counted.
    pub lookups: u64,
    /// Look-ups that found their key.
    pub hits: u64,
    /// Bytes of the values looked up.
    pub bytes: u64,
    /// Bytes of the values found.
    pub hit_bytes: u64,
    /// Values stored, counted or not.
    pub stored: u64,
    /// Error replies.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// Accesses made, counted or not.
    pub accesses: u64,
    /// How long it took.
    pub seconds: f64,
    /// How late a batch began at most, in seconds, where accesses are due at given times.
    pub late: f64,
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
}

/// Stores are sent in pieces of about this many bytes, so that neither side's buffers overflow.
const PIECE: usize = 1 << 20;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Replays `accesses` to their end or until `stop` is set.
pub fn replay(settings: &Settings, accesses: &[Access], stop: &AtomicBool) -> io::Result<Counts> {
    let mut socket = TcpStream::connect(settings.address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::with_capacity(256 << 10, socket.try_clone()?);
    for command in &settings.opening {
        socket.write_all(command)?;
        answer::read(&mut reader)?;
    }
    let mut player = Player {
        socket,
        reader,
        out: Vec::new(),
        asked: Vec::new(),
        values: ValueText::new(1),
        counts: Counts::default(),
    };
    if settings.flush {
        player.ask(&[b"FLUSHALL"]);
        player.answers()?;
    }
    let start = Instant::now();
    let uncounted = (accesses.len() as f64 * settings.warmup) as u64;
    let mut rest = accesses;
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
            player.counts.late = player.counts.late.max((now - due).as_secs_f64());
        }
        let (batch, others) = rest.split_at(settings.pace.batch(rest, settings.batch, now));
        player.batch(batch, uncounted)?;
        rest = others;
    }
    player.counts.seconds = start.elapsed().as_secs_f64();
    Ok(player.counts)
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

struct Player {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
    out: Vec<u8>,
    /// For each request in `out` whether it stores a value.
    asked: Vec<bool>,
    values: ValueText,
    counts: Counts,
}

impl Player {
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
            self.ask(&[b"GET", &key_text(access.key)]);
        }
        let answers = self.answers()?;
        let mut missing = HashMap::new();
        let mut order = Vec::new();
        let mut again = Vec::new();
        for (access, answer) in part.iter().zip(answers) {
            let found = matches!(answer, Answer::Bytes(_));
            let repeated = !found && missing.insert(access.key, ()).is_some();
            match (found, repeated) {
                (true, _) => {}
                (false, true) => again.push(access.key),
                (false, false) => order.push(*access),
            }
            if self.counts.accesses >= uncounted {
                let size = u64::from(access.size);
                let hit = u64::from(found || repeated);
                self.counts.lookups += 1;
                self.counts.hits += hit;
                self.counts.bytes += size;
                self.counts.hit_bytes += hit * size;
            }
            self.counts.accesses += 1;
        }
        for access in order {
            self.store(&access)?;
        }
        self.answers()?;
        for key in again {
            self.ask(&[b"GET", &key_text(key)]);
        }
        self.answers().map(drop)
    }

    fn write(&mut self, part: &[Access]) -> io::Result<()> {
        for access in part {
            match access.kind {
                Kind::Delete => self.ask(&[b"DEL", &key_text(access.key)]),
                _ => self.store(access)?,
            }
            self.counts.accesses += 1;
        }
        self.answers().map(drop)
    }

    fn store(&mut self, access: &Access) -> io::Result<()> {
        let mut value = Vec::with_capacity(access.size as usize);
        self.values.append(access.key, access.size as usize, &mut value);
        let key = key_text(access.key);
        if access.ttl > 0 {
            self.ask(&[b"SET", &key, &value, b"EX", access.ttl.to_string().as_bytes()]);
        } else {
            self.ask(&[b"SET", &key, &value]);
        }
        if let Some(last) = self.asked.last_mut() {
            *last = true;
        }
        if self.out.len() >= PIECE { self.answers().map(drop) } else { Ok(()) }
    }

    fn ask(&mut self, words: &[&[u8]]) {
        self.out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.out.extend_from_slice(word);
            self.out.extend_from_slice(b"\r\n");
        }
        self.asked.push(false);
    }

    /// Sends what was asked and returns the answers in order.
    fn answers(&mut self) -> io::Result<Vec<Answer>> {
        self.socket.write_all(&self.out)?;
        self.out.clear();
        let mut answers = Vec::with_capacity(self.asked.len());
        for stores in self.asked.drain(..) {
            let answer = answer::read(&mut self.reader)?;
            if let Answer::Error(text) = &answer {
                self.counts.errors += 1;
                self.counts.first_error.get_or_insert_with(|| text.clone());
            } else if stores {
                self.counts.stored += 1;
            }
            answers.push(answer);
        }
        Ok(answers)
    }
}

/// `k:` and 14 hexadecimal digits.
fn key_text(key: u64) -> Vec<u8> {
    format!("k:{:014x}", key & 0xff_ffff_ffff_ffff).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

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
