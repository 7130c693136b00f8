//! Real nodes come and go while clients write to them directly: nothing is lost, nothing fails, nothing is old.
//!
//! Each client has keys of its own, of several types, so that it knows exactly what every answer must be.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/process.rs"]
mod process;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shoal_testkit::{Client, Frame, process::Process};

const CLIENTS: usize = 3;
const KEYS: usize = 60;

/// How long a change of the cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn node(join: Option<&Process>, replicas: u8) -> Process {
    process::start(&[env!("CARGO_BIN_EXE_shoal-node"), "--replicas", &replicas.to_string()], join)
}

/// Slots by address, as a node sees them.
fn shares(of: &Process) -> HashMap<String, usize> {
    let reply = of.client().unwrap().call(["CLUSTER", "NODES"]).unwrap();
    let text = String::from_utf8(reply.text().unwrap().to_vec()).unwrap();
    let share = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let slots = words[8..].iter().map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap()
        });
        (words[1].split('@').next().unwrap().to_owned(), slots.sum())
    };
    text.lines().map(share).collect()
}

/// Waits until all nodes see all of them with their even shares.
fn settle(nodes: &[&Process]) {
    let (deadline, even) = (Instant::now() + PATIENCE, 16384 / nodes.len());
    let settled = |shares: &HashMap<String, usize>| {
        shares.len() == nodes.len() && shares.values().all(|n| (even..=even + 1).contains(n))
    };
    while !nodes.iter().all(|node| settled(&shares(node))) {
        assert!(Instant::now() < deadline, "{:?}", nodes.iter().map(|n| shares(n)).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that goes where it is sent.
struct Follower {
    home: SocketAddr,
    connections: HashMap<SocketAddr, Client>,
    /// Where each key was last.
    places: HashMap<String, SocketAddr>,
}

impl Follower {
    fn call(&mut self, key: &str, command: &str) -> Frame {
        let mut at = *self.places.get(key).unwrap_or(&self.home);
        for _ in 0..100 {
            let client = self.connections.entry(at).or_insert_with(|| Client::connect(at).unwrap());
            let reply = client.line(command).unwrap_or_else(|error| panic!("{command} at {at}: {error}"));
            let Frame::Error(text) = &reply else {
                self.places.insert(key.to_owned(), at);
                return reply;
            };
            let text = String::from_utf8_lossy(text).into_owned();
            let moved = text.strip_prefix("MOVED ").and_then(|rest| rest.split(' ').nth(1));
            at =
                moved.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{command}: {text}"));
        }
        panic!("{command}: sent around in a circle");
    }

    /// One round over all keys; every answer must be what it was before, and one more.
    fn round(&mut self, id: usize, round: u64) {
        for k in 0..KEYS {
            let key = format!("{id}:{k}");
            let (reply, expected) = match k % 4 {
                0 => (self.call(&key, &format!("INCR {key}")), Frame::Int(round as i64)),
                1 => (self.call(&key, &format!("RPUSH {key} {round}")), Frame::Int(round as i64)),
                // The same field every seventh time.
                2 => {
                    let reply = self.call(&key, &format!("HINCRBY {key} {} 1", round % 7));
                    (reply, Frame::Int(round.div_ceil(7) as i64))
                }
                _ => {
                    let before = self.call(&key, &format!("GET {key}"));
                    let old = if round == 1 {
                        Frame::NullBulk
                    } else {
                        Frame::Bulk((round - 1).to_string().into())
                    };
                    assert_eq!(before, old, "{key} in round {round}");
                    (self.call(&key, &format!("SET {key} {round} EX 1000")), Frame::Simple(b"OK".to_vec()))
                }
            };
            assert_eq!(reply, expected, "{key} in round {round}");
        }
    }
}

#[test]
fn nodes_come_and_go_and_clients_notice_nothing() {
    come_and_go(0);
}

#[test]
fn with_copies_too() {
    come_and_go(1);
}

#[test]
fn everything_is_emptied_while_slots_move() {
    all_is_emptied(0);
}

#[test]
fn with_copies_too_everything_is_emptied() {
    all_is_emptied(1);
}

/// Slots go from the first node to the second only. So whatever left the first before that was emptied is emptied at the second.
fn all_is_emptied(replicas: u8) {
    let first = node(None, replicas);
    let mut follower =
        Follower { home: first.address(), connections: HashMap::new(), places: HashMap::new() };
    let second = node(Some(&first), replicas);
    let mut clients = [&first, &second].map(|node| node.client().unwrap());
    let share = || shares(&first)[&first.address().to_string()];
    let (deadline, mut under_way) = (Instant::now() + PATIENCE, 0);
    while shares(&second).len() < 2 {
        assert!(Instant::now() < deadline, "the second node is not taken in");
    }
    loop {
        assert!(Instant::now() < deadline, "{} slots are left", share());
        for k in 0..30 {
            assert_eq!(follower.call(&format!("{k}"), &format!("SET {k} 1")), Frame::Simple(b"OK".to_vec()));
        }
        let left = share();
        for client in &mut clients {
            let reply = client.line("FLUSHALL").unwrap_or_else(|error| {
                panic!("{left} slots are left: {error}\n{}\n{}", first.output(), second.output())
            });
            assert_eq!(reply, Frame::Simple(b"OK".to_vec()), "{left} slots are left");
        }
        under_way += usize::from(left > share());
        for k in 0..30 {
            assert_eq!(
                follower.call(&format!("{k}"), &format!("GET {k}")),
                Frame::NullBulk,
                "{k}, {left} left"
            );
        }
        if left == 8192 {
            break;
        }
    }
    assert!(under_way > 0, "no slot moved meanwhile");
}

fn come_and_go(replicas: u8) {
    let node = |join: Option<&Process>| node(join, replicas);
    let first = node(None);
    let stop = AtomicBool::new(false);
    // Outlives the clients.
    let mut last = None;
    let rounds: Vec<AtomicU64> = (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for (id, done) in rounds.iter().enumerate() {
            let (home, stop) = (first.address(), &stop);
            scope.spawn(move || {
                let mut follower = Follower { home, connections: HashMap::new(), places: HashMap::new() };
                while !stop.load(Ordering::Relaxed) {
                    let round = done.load(Ordering::Relaxed) + 1;
                    follower.round(id, round);
                    done.store(round, Ordering::Relaxed);
                }
            });
        }
        // Ends the clients also if something here fails.
        let _stop = StopAtEnd(&stop);
        let goes_on = || {
            let before: Vec<u64> = rounds.iter().map(|r| r.load(Ordering::Relaxed)).collect();
            let deadline = Instant::now() + PATIENCE;
            while rounds.iter().zip(&before).any(|(r, b)| r.load(Ordering::Relaxed) < b + 2) {
                assert!(Instant::now() < deadline, "clients are stuck");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        goes_on();
        let (second, third) = (node(Some(&first)), node(Some(&first)));
        settle(&[&first, &second, &third]);
        for node in [&first, &second, &third] {
            assert!(
                swap(node.address()).starts_with("-ERR SWAPDB is not allowed"),
                "its slots move apart from others'"
            );
        }
        goes_on();
        let leave = |mut gone: Process| {
            gone.signal("TERM").unwrap();
            assert_eq!(gone.wait(PATIENCE).unwrap(), Some(0), "{}", gone.output());
        };
        leave(first);
        settle(&[&second, &third]);
        goes_on();
        let fourth = node(Some(&third));
        settle(&[&second, &third, &fourth]);
        leave(second);
        leave(third);
        settle(&[last.insert(fourth)]);
        goes_on();
    });
    let last = last.as_ref().expect("one is left");
    assert_eq!(swap(last.address()), "+OK", "it is alone");
}

/// Who is to leave and is not heard of meanwhile has not handed over what it had: it says so, and how much of it is lost.
#[test]
fn who_is_excluded_while_it_leaves_says_what_was_not_handed_over() {
    let first = node(None, 0);
    let (second, mut third) = (node(Some(&first), 0), node(Some(&first), 0));
    settle(&[&first, &second, &third]);
    let mut client = third.client().unwrap();
    let value = "x".repeat(16 << 10);
    let mut keys = 0;
    for k in 0..3000 {
        keys += usize::from(
            client.call(["SET", &format!("{k}"), &value]).unwrap() == Frame::Simple(b"OK".to_vec()),
        );
    }
    assert!(keys > 500, "only {keys} keys are there");
    // 8 MB and more at this rate take longer than all else.
    for (name, value) in [("cluster-handoff-max-rate", "65536"), ("cluster-handoff-min-rate", "65536")] {
        assert_eq!(client.call(["CONFIG", "SET", name, value]).unwrap(), Frame::Simple(b"OK".to_vec()));
    }
    third.signal("TERM").unwrap();
    let mut at_first = first.client().unwrap();
    let mut wait = |what: &dyn Fn(&str) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = at_first.call(["SHOAL", "CLUSTER"]).unwrap();
            let text = String::from_utf8(reply.text().unwrap().to_vec()).unwrap();
            if what(&text) {
                return;
            }
            assert!(Instant::now() < deadline, "{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait(&|text| text.contains(" leaving"));
    third.signal("STOP").unwrap();
    wait(&|text| text.lines().count() == 3);
    third.signal("CONT").unwrap();
    assert_eq!(third.wait(PATIENCE).unwrap(), Some(3), "{}", third.output());
    let output = third.output();
    let last = output.lines().last().unwrap_or_default();
    let words: Vec<&str> = last.split(' ').collect();
    let number = |word: &str| {
        words[words.iter().position(|w| w.starts_with(word)).unwrap() - 1].parse::<u32>().unwrap()
    };
    assert!(last.starts_with("shoal-node: the cluster went on without this node: "), "{output}");
    let slots = number("slots");
    assert!((1..=5462).contains(&slots) && last.contains(&format!("{slots} of them had no copy")), "{last}");
    settle(&[&first, &second]);
}

/// Exchanges two databases; the answer.
fn swap(at: SocketAddr) -> String {
    match Client::connect(at).unwrap().line("SWAPDB 0 1").unwrap() {
        Frame::Error(text) => format!("-{}", String::from_utf8_lossy(&text)),
        Frame::Simple(text) => format!("+{}", String::from_utf8_lossy(&text)),
        other => panic!("{other:?}"),
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
