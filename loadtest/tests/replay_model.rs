//! Replays against a server that keeps exactly the values used last give exactly the hit ratios of a model of it.
//!
//! Real servers evict by samples, so that two replays of one trace differ by some tenths of a point. Here nothing
//! is left to chance: an object or byte counted wrongly shows.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use shoal_loadtest::random::Random;
use shoal_loadtest::replay::{Counts, Pace, Settings, replay};
use shoal_loadtest::trace::{Access, Kind};
use shoal_loadtest::zipf::Zipf;
use shoal_testkit::Frame;

/// A cache of so many bytes of values that drops what was not used for longest.
#[derive(Default)]
struct Cache {
    capacity: usize,
    /// Values are refused.
    refuses: bool,
    /// Every so many'th look-up gets an error, if any does.
    fails: usize,
    asked: usize,
    used: usize,
    clock: u64,
    /// The size of each value and when it was used last.
    values: HashMap<Vec<u8>, (usize, u64)>,
}

impl Cache {
    fn get(&mut self, key: &[u8]) -> Option<usize> {
        self.clock += 1;
        let (size, used) = self.values.get_mut(key)?;
        *used = self.clock;
        Some(*size)
    }

    fn set(&mut self, key: &[u8], size: usize) {
        self.remove(key);
        self.clock += 1;
        self.used += size;
        self.values.insert(key.to_vec(), (size, self.clock));
        while self.used > self.capacity {
            let oldest = self.values.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            self.remove(&oldest.expect("bytes are used, so there is a value"));
        }
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.values.remove(key);
        self.used -= removed.map_or(0, |(size, _)| size);
        removed.is_some()
    }
}

/// Serves one connection from a cache.
fn serve(capacity: usize) -> (std::net::SocketAddr, JoinHandle<()>) {
    serve_from(Cache { capacity, ..Cache::default() })
}

fn serve_from(mut cache: Cache) -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the replay connects");
        socket.set_nodelay(true).expect("it is connected");
        let mut reader = BufReader::new(socket.try_clone().expect("a second handle"));
        let mut replies = Vec::new();
        while let Some(words) = Frame::read(&mut reader).ok().and_then(Frame::words) {
            answer(&mut cache, &words, &mut replies);
            if reader.buffer().is_empty() {
                socket.write_all(&replies).expect("the replay waits for it");
                replies.clear();
            }
        }
    });
    (address, thread)
}

fn answer(cache: &mut Cache, words: &[Vec<u8>], replies: &mut Vec<u8>) {
    if words[0] == b"DBSIZE" {
        replies.extend_from_slice(format!(":{}\r\n", cache.values.len()).as_bytes());
        return;
    }
    if words[0] == b"ECHO" {
        let said = String::from_utf8_lossy(&words[1]);
        replies.extend_from_slice(format!("${}\r\n{said}\r\n", said.len()).as_bytes());
        return;
    }
    cache.asked += 1;
    let reply = match words[0].as_slice() {
        b"GET" if cache.fails > 0 && cache.asked.is_multiple_of(cache.fails) => "-ERR no\r\n".to_owned(),
        b"SET" if cache.refuses => "-OOM command not allowed\r\n".to_owned(),
        b"GET" => match cache.get(&words[1]) {
            Some(size) => format!("${size}\r\n{}\r\n", "x".repeat(size)),
            None => "$-1\r\n".to_owned(),
        },
        b"SET" => {
            cache.set(&words[1], words[2].len());
            "+OK\r\n".to_owned()
        }
        b"DEL" => format!(":{}\r\n", u8::from(cache.remove(&words[1]))),
        other => panic!("{}", other.escape_ascii()),
    };
    replies.extend_from_slice(reply.as_bytes());
}

/// Accesses by zipf, one in twenty a write or a removal.
fn accesses(count: usize) -> Vec<Access> {
    let (mut random, zipf) = (Random::new(5), Zipf::new(500, 0.8));
    let mut access = || {
        let key = zipf.sample(&mut random);
        let kind = match random.below(40) {
            0 => Kind::Set,
            1 => Kind::Delete,
            _ => Kind::Get,
        };
        Access { key, at: 0, size: (10 + key * 37 % 300) as u32, ttl: 0, kind }
    };
    (0..count).map(|_| access()).collect()
}

/// Look-ups, hits, bytes looked up and bytes found after the warm-up, by doing one access after the other.
fn model(accesses: &[Access], capacity: usize, uncounted: usize) -> (u64, u64, u64, u64) {
    let mut cache = Cache { capacity, ..Cache::default() };
    let mut sums = (0, 0, 0, 0);
    for (index, access) in accesses.iter().enumerate() {
        let (key, size) = (access.key.to_le_bytes(), access.size as usize);
        match access.kind {
            Kind::Set => cache.set(&key, size),
            Kind::Delete => drop(cache.remove(&key)),
            Kind::Get => {
                let hit = u64::from(cache.get(&key).is_some());
                if hit == 0 {
                    cache.set(&key, size);
                }
                let counted = u64::from(index >= uncounted);
                let bytes = u64::from(access.size) * counted;
                sums = (sums.0 + counted, sums.1 + hit * counted, sums.2 + bytes, sums.3 + hit * bytes);
            }
        }
    }
    sums
}

fn replayed(accesses: &[Access], capacity: usize, batch: usize, warmup: f64) -> (u64, u64, u64, u64) {
    let (address, thread) = serve(capacity);
    let settings = Settings {
        server: address.into(),
        opening: Vec::new(),
        batch,
        pace: Pace::Max,
        flush: false,
        warmup,
    };
    let counts = replay(&settings, accesses, &Arc::new(AtomicBool::new(false))).expect("the server answers");
    thread.join().expect("the server did not panic");
    assert_eq!((counts.errors, counts.accesses), (0, accesses.len() as u64));
    (counts.lookups, counts.hits, counts.bytes, counts.hit_bytes)
}

#[test]
fn one_by_one_a_replay_is_its_model() {
    let accesses = accesses(5000);
    for capacity in [3_000, 12_000, 1_000_000] {
        assert_eq!(replayed(&accesses, capacity, 1, 0.0), model(&accesses, capacity, 0), "{capacity} bytes");
    }
    assert_eq!(replayed(&accesses, 12_000, 1, 0.25), model(&accesses, 12_000, 1250));
}

#[test]
fn batches_change_nothing_where_all_fits_and_little_where_not() {
    let accesses = accesses(5000);
    for batch in [2, 16, 64] {
        assert_eq!(replayed(&accesses, 1_000_000, batch, 0.0), model(&accesses, 1_000_000, 0), "by {batch}");
        let (lookups, hits, _, _) = replayed(&accesses, 40_000, batch, 0.0);
        let (_, expected, _, _) = model(&accesses, 40_000, 0);
        assert!(hits.abs_diff(expected) * 50 < lookups, "by {batch}: {hits} hits instead of {expected}");
    }
}

#[test]
fn a_recording_takes_the_time_it_took() {
    let mut accesses = accesses(4);
    for (index, access) in accesses.iter_mut().enumerate() {
        access.at = index as u64 * 200_000_000;
    }
    let (address, thread) = serve(1000);
    let settings = Settings {
        server: address.into(),
        opening: Vec::new(),
        batch: 64,
        pace: Pace::Recorded(2.0),
        flush: false,
        warmup: 0.0,
    };
    let counts = replay(&settings, &accesses, &Arc::new(AtomicBool::new(false))).expect("the server answers");
    thread.join().expect("the server did not panic");
    assert!(counts.seconds >= 0.3, "{}", counts.seconds);
    assert!(counts.seconds - counts.late < 1.0, "{} {}", counts.seconds, counts.late);
}

fn get(key: u64) -> Access {
    Access { key, at: 0, size: 10, ttl: 0, kind: Kind::Get }
}

fn counted(cache: Cache, accesses: &[Access]) -> Counts {
    let (address, thread) = serve_from(cache);
    let settings = Settings {
        server: address.into(),
        opening: Vec::new(),
        batch: 64,
        pace: Pace::Max,
        flush: false,
        warmup: 0.0,
    };
    let counts = replay(&settings, accesses, &Arc::new(AtomicBool::new(false))).expect("the server answers");
    thread.join().expect("the server did not panic");
    counts
}

#[test]
fn a_server_that_stores_nothing_has_no_hits() {
    // In each batch the same key 64 times: with stores taken all but two would be hits.
    let accesses: Vec<Access> = (0..128).map(|index| get(index / 64)).collect();
    let taken = counted(Cache { capacity: 1000, ..Cache::default() }, &accesses);
    assert_eq!((taken.hits, taken.repeats, taken.dropped, taken.refused), (126, 126, 0, 0));
    let refused = counted(Cache { refuses: true, ..Cache::default() }, &accesses);
    assert_eq!((refused.lookups, refused.hits, refused.hit_bytes), (128, 0, 0));
    assert_eq!((refused.refused, refused.stored, refused.errors), (2, 0, 2));
    assert!(taken.are_useful() && !refused.are_useful());
    // A server that takes what it does not keep is told apart by what it answers to the repeats.
    let dropped = counted(Cache::default(), &accesses);
    assert_eq!((dropped.stored, dropped.dropped), (2, 126));
    assert!(!dropped.are_useful());
}

#[test]
fn failed_look_ups_are_neither_hits_nor_misses() {
    let accesses: Vec<Access> = (0..100).map(|_| get(7)).collect();
    let counts = counted(Cache { capacity: 1000, fails: 1, ..Cache::default() }, &accesses);
    assert_eq!((counts.lookups, counts.failed, counts.errors, counts.stored), (0, 100, 100, 0));
    assert!(!counts.are_useful());
    let counts = counted(Cache { capacity: 1000, fails: 10, ..Cache::default() }, &accesses);
    assert_eq!((counts.accesses, counts.lookups + counts.failed), (100, 100));
    assert!(counts.failed >= 5 && counts.hits == counts.lookups - 1, "{counts:?}");
    assert!(counts.are_useful());
}

#[test]
fn keys_that_differ_in_their_highest_bits_are_different() {
    let accesses = [get(1), get(1 | 1 << 56), get(1 | 1 << 63), get(1)];
    let counts = counted(Cache { capacity: 1000, ..Cache::default() }, &accesses);
    assert_eq!((counts.stored, counts.hits), (3, 1));
}

#[test]
fn what_was_there_before_is_told_and_counted_as_it_is() {
    let mut cache = Cache { capacity: 1000, ..Cache::default() };
    cache.set(b"k:00000000000007", 30);
    let counts = counted(cache, &[get(7), get(7), get(8), get(8)]);
    assert_eq!((counts.held, counts.lookups, counts.hits), (Some(1), 4, 3));
    // The trace says 10 bytes of each.
    assert_eq!((counts.bytes, counts.hit_bytes, counts.other_sizes), (80, 70, 2));
    let counts = counted(Cache { capacity: 1000, ..Cache::default() }, &[get(7), get(7)]);
    assert_eq!((counts.held, counts.other_sizes), (Some(0), 0));
}
