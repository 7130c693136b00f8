//! Real nodes with copies of their slots: one is killed under writes, and nothing that was acknowledged is lost.
//!
//! Each client is the only one that writes its keys, so it knows what a read may answer: nothing older than what it was told
//! last, nothing it never wrote.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shoal_testkit::{Client, Frame, process::Process};

const CLIENTS: usize = 3;
const KEYS: usize = 40;

/// How long a change of the cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(10);

fn node(join: Option<&Process>, flags: &[&str]) -> Process {
    let seed = join.map(|seed| seed.address().to_string());
    Process::start(env!("CARGO_BIN_EXE_shoal-node"), 3, |ports| {
        let mut args: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        for (flag, port) in ["--listen", "--gossip", "--admin"].iter().zip(ports) {
            args.extend([(*flag).to_owned(), format!("127.0.0.1:{port}")]);
        }
        args.extend(["--threads".to_owned(), "1".to_owned()]);
        if let Some(seed) = &seed {
            args.extend(["--join".to_owned(), seed.clone()]);
        }
        args
    })
    .unwrap()
}

/// A field of what `INFO replication` or `CLUSTER INFO` answers.
fn field(of: &Process, command: &str, name: &str) -> usize {
    let reply = of.client().unwrap().line(command).unwrap();
    let text = String::from_utf8(reply.text().unwrap().to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
}

/// Waits until every slot has all its copies, by the view of these nodes, which are all there are.
fn in_sync(nodes: &[&Process]) {
    let deadline = Instant::now() + PATIENCE;
    let whole = || -> Vec<usize> {
        nodes.iter().map(|node| field(node, "INFO replication", "shoal_slots_in_sync")).collect()
    };
    let members = |node: &Process| field(node, "CLUSTER INFO", "cluster_known_nodes");
    while whole().iter().sum::<usize>() != 16384 || nodes.iter().any(|n| members(n) != nodes.len()) {
        assert!(Instant::now() < deadline, "{:?}: {}", whole(), nodes[0].output());
        std::thread::sleep(PAUSE);
    }
}

/// What one client knows of a key.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// The largest value that it was told of.
    told: u64,
    /// The largest that it wrote.
    written: u64,
}

/// A client of a cluster whose nodes may be gone.
struct Writer {
    id: usize,
    nodes: Vec<SocketAddr>,
    connections: HashMap<SocketAddr, Client>,
    places: HashMap<String, SocketAddr>,
    known: Vec<Known>,
}

impl Writer {
    fn new(id: usize, nodes: &[&Process]) -> Self {
        let nodes = nodes.iter().map(|node| node.address()).collect();
        let (connections, places) = (HashMap::new(), HashMap::new());
        Self { id, nodes, connections, places, known: vec![Known::default(); KEYS] }
    }

    /// One attempt at one node; none if there is no answer but that it cannot be had there.
    fn attempt(&mut self, key: &str, command: &str, turn: usize) -> Option<Frame> {
        let at = *self.places.entry(key.to_owned()).or_insert(self.nodes[turn % self.nodes.len()]);
        let reply = match self.connections.remove(&at).or_else(|| Client::connect(at).ok()) {
            None => None,
            Some(mut client) => client.line(command).ok().map(|reply| (reply, client)),
        };
        let Some((reply, client)) = reply else {
            self.places.remove(key);
            return None;
        };
        self.connections.insert(at, client);
        let Frame::Error(text) = &reply else { return Some(reply) };
        let text = String::from_utf8_lossy(text).into_owned();
        match text.strip_prefix("MOVED ").and_then(|rest| rest.split(' ').nth(1)) {
            Some(to) => self.places.insert(key.to_owned(), to.parse().unwrap()),
            None => {
                assert!(text.starts_with("CLUSTERDOWN") || text.starts_with("TRYAGAIN"), "{command}: {text}");
                self.places.remove(key)
            }
        };
        None
    }

    /// Asks until somebody answers.
    fn call(&mut self, key: &str, command: &str) -> Frame {
        let deadline = Instant::now() + PATIENCE;
        for turn in 0.. {
            if let Some(reply) = self.attempt(key, command, turn) {
                return reply;
            }
            assert!(Instant::now() < deadline, "{command}: nobody answers");
            if turn > 2 {
                std::thread::sleep(PAUSE);
            }
        }
        unreachable!("it goes on until the deadline")
    }

    fn write(&mut self, k: usize) {
        let key = format!("{}:{k}", self.id);
        self.known[k].written += 1;
        let value = self.known[k].written;
        // Sent again, it writes the same.
        assert_eq!(self.call(&key, &format!("SET {key} {value}")), Frame::Simple(b"OK".to_vec()));
        self.known[k].told = value;
    }

    fn read(&mut self, k: usize) {
        let key = format!("{}:{k}", self.id);
        let value = match self.call(&key, &format!("GET {key}")) {
            Frame::NullBulk => 0,
            Frame::Bulk(text) => String::from_utf8(text).unwrap().parse().unwrap(),
            other => panic!("{key}: {other:?}"),
        };
        let Known { told, written } = self.known[k];
        assert!((told..=written).contains(&value), "{key}: {value}, but it was told {told}");
        self.known[k].told = value;
    }

    fn round(&mut self) {
        for k in 0..KEYS {
            self.write(k);
            self.read((k * 7 + 3) % KEYS);
        }
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn killed_nodes_take_nothing_with_them_that_was_acknowledged() {
    let flags = ["--replicas", "1"];
    let mut first = node(None, &flags);
    let (second, mut third) = (node(Some(&first), &flags), node(Some(&first), &flags));
    in_sync(&[&first, &second, &third]);
    let stop = AtomicBool::new(false);
    let rounds: Vec<AtomicU64> = (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for (id, done) in rounds.iter().enumerate() {
            let (mut writer, stop) = (Writer::new(id, &[&first, &second, &third]), &stop);
            clients.push(scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    writer.round();
                    done.fetch_add(1, Ordering::Relaxed);
                }
                // Whoever is left has everything.
                (0..KEYS).for_each(|k| writer.read(k));
            }));
        }
        let _stop = StopAtEnd(&stop);
        let goes_on = || {
            let before: Vec<u64> = rounds.iter().map(|r| r.load(Ordering::Relaxed)).collect();
            let deadline = Instant::now() + PATIENCE;
            while rounds.iter().zip(&before).any(|(r, b)| r.load(Ordering::Relaxed) < b + 2) {
                assert!(Instant::now() < deadline, "clients are stuck");
                std::thread::sleep(PAUSE);
            }
        };
        goes_on();
        in_sync(&[&first, &second, &third]);
        // The oldest, which makes the views.
        let killed = Instant::now();
        first.kill().unwrap();
        goes_on();
        println!("all keys were written and read again {:?} after the kill", killed.elapsed());
        goes_on();
        in_sync(&[&second, &third]);
        third.kill().unwrap();
        goes_on();
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    assert_eq!(field(&second, "INFO replication", "shoal_replicas"), 1);
}

#[test]
fn copies_that_nobody_waits_for_have_what_was_there_when_they_were_made() {
    let flags = ["--replicas", "1", "--replica-ack", "async"];
    let first = node(None, &flags);
    let mut writer = Writer::new(0, &[&first]);
    (0..3).for_each(|_| writer.round());
    let (second, mut third) = (node(Some(&first), &[]), node(Some(&first), &[]));
    in_sync(&[&first, &second, &third]);
    writer.nodes = vec![first.address(), second.address()];
    third.kill().unwrap();
    (0..KEYS).for_each(|k| writer.read(k));
}
