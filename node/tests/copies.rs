//! Real nodes with copies of their slots: one is killed under writes, and nothing that was acknowledged is lost.
//!
//! Each client is the only one that writes its keys, so it knows what a read may answer: nothing older than what it was told
//! last, nothing it never wrote.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/process.rs"]
mod process;

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
    process::start(&[&[env!("CARGO_BIN_EXE_shoal-node")], flags].concat(), join)
}

/// A field of what `INFO replication` or `CLUSTER INFO` answers.
fn field(of: &Process, command: &str, name: &str) -> usize {
    text_field(of, command, name).parse().unwrap()
}

/// The same as text.
fn text_field(of: &Process, command: &str, name: &str) -> String {
    let reply = of.client().unwrap().line(command).unwrap();
    let text = String::from_utf8(reply.text().unwrap().to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
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

/// Whether a node is the older one of two, whose view lists them by age.
fn is_before(one: &Process, other: &Process) -> bool {
    let reply = one.client().unwrap().line("SHOAL CLUSTER").unwrap();
    let text = String::from_utf8(reply.text().unwrap().to_vec()).unwrap();
    let place = |of: &Process| text.find(&format!(" {} ", of.address())).unwrap();
    place(one) < place(other)
}

/// Waits until nothing moves any more, by the views of all nodes, and all copies can be read. Whoever takes slots over has copies
/// at their former owners at first, and another view brings them where they belong.
fn calm(nodes: &[&Process]) {
    let deadline = Instant::now() + PATIENCE;
    let readable = |node: &&Process| field(node, "INFO replication", "shoal_slots_readable_for_others");
    let plan = |node: &&Process| {
        let reply = node.client().unwrap().line("SHOAL PLAN").unwrap();
        String::from_utf8(reply.text().unwrap().to_vec()).unwrap()
    };
    let done = |node: &&Process| plan(node) == "0 of 16384 slots move\n0 copies are being made\n";
    while !nodes.iter().all(done) || nodes.iter().map(readable).sum::<usize>() != 16384 {
        assert!(Instant::now() < deadline, "{:?}", nodes.iter().map(plan).collect::<Vec<_>>());
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
    let (second, third) = (node(Some(&first), &flags), node(Some(&first), &flags));
    in_sync(&[&first, &second, &third]);
    // Of two nodes the older one goes on alone, and which that is was drawn if both started within a second.
    let (second, mut third) = if is_before(&second, &third) { (second, third) } else { (third, second) };
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
    assert_eq!(text_field(&second, "INFO replication", "shoal_replica_ack"), "all");
}

#[test]
fn copies_that_nobody_waits_for_have_what_was_there_when_they_were_made() {
    let flags = ["--replicas", "1", "--replica-ack", "async"];
    let first = node(None, &flags);
    let mut writer = Writer::new(0, &[&first]);
    (0..3).for_each(|_| writer.round());
    let (second, mut third) = (node(Some(&first), &[]), node(Some(&first), &[]));
    in_sync(&[&first, &second, &third]);
    assert_eq!(text_field(&second, "INFO replication", "shoal_replica_ack"), "async");
    writer.nodes = vec![first.address(), second.address()];
    third.kill().unwrap();
    (0..KEYS).for_each(|k| writer.read(k));
}

/// More than may wait for a peer, but for one such write.
const LONG: usize = 66 << 20;

#[test]
fn writes_and_elements_of_any_length_are_with_the_copy_when_they_are_answered() {
    let flags = ["--replicas", "1"];
    let first = node(None, &flags);
    let long = vec![b'x'; LONG];
    let hash = [b"HSET".as_slice(), b"{a}hash", b"field", &long];
    assert_eq!(first.client().unwrap().call(hash).unwrap(), Frame::Int(1));
    let (second, third) = (node(Some(&first), &flags), node(Some(&first), &flags));
    in_sync(&[&first, &second, &third]);
    let mut nodes = vec![first, second, third];
    let set = [b"SET".as_slice(), b"{a}string", &long];
    let owner = (0..3).find(|at| answered(&nodes[*at].client().unwrap().call(set).unwrap())).unwrap();
    // At once: nothing is made good afterwards.
    nodes.remove(owner).kill().unwrap();
    let mut clients: Vec<Client> = nodes.iter().map(|node| node.client().unwrap()).collect();
    let deadline = Instant::now() + PATIENCE;
    for command in ["STRLEN {a}string", "HSTRLEN {a}hash field"] {
        let mut served =
            || clients.iter_mut().map(|client| client.line(command).unwrap()).find(|f| !f.is_error());
        let mut reply = served();
        while reply.is_none() {
            assert!(Instant::now() < deadline, "nobody serves the slot");
            std::thread::sleep(PAUSE);
            reply = served();
        }
        assert_eq!(reply, Some(Frame::Int(LONG as i64)), "{command}");
    }
}

/// Whether a node answers with a value or nothing, and does not send the client elsewhere.
fn answered(reply: &Frame) -> bool {
    match reply {
        Frame::Error(text) => {
            assert!(text.starts_with(b"MOVED"), "{}", String::from_utf8_lossy(text));
            false
        }
        _ => true,
    }
}

fn bulk(text: &str) -> Frame {
    Frame::Bulk(text.as_bytes().to_vec())
}

#[test]
fn copies_are_read_after_readonly_and_are_never_older_than_what_was_answered() {
    let flags = ["--replicas", "1"];
    let first = node(None, &flags);
    let (second, third) = (node(Some(&first), &flags), node(Some(&first), &flags));
    let nodes = [&first, &second, &third];
    in_sync(&nodes);
    calm(&nodes);
    let deadline = Instant::now() + PATIENCE;
    let mut plain: Vec<Client> = nodes.iter().map(|node| node.client().unwrap()).collect();
    let mut readers: Vec<Client> = nodes.iter().map(|node| node.client().unwrap()).collect();
    for reader in &mut readers {
        assert_eq!(reader.line("READONLY").unwrap(), Frame::Simple(b"OK".to_vec()));
    }
    for k in 0..100 {
        let key = format!("key:{k}");
        let set = |client: &mut Client| answered(&client.line(&format!("SET {key} 0")).unwrap());
        let owner = (0..3).find(|at| set(&mut plain[*at])).unwrap();
        let get = format!("GET {key}");
        let copies: Vec<usize> =
            (0..3).filter(|at| *at != owner && answered(&readers[*at].line(&get).unwrap())).collect();
        assert_eq!(copies.len(), 1, "{key} is at {owner}");
        let copy = copies[0];
        for value in 1..=20 {
            plain[owner].line(&format!("SET {key} {value}")).unwrap();
            assert_eq!(readers[copy].line(&get).unwrap(), bulk(&value.to_string()), "{key}");
        }
        let many = format!("MGET {key} {{{key}}}none");
        assert_eq!(readers[copy].line(&many).unwrap(), Frame::Array(vec![bulk("20"), Frame::NullBulk]));
        // Who did not ask for it, and whoever writes, is sent to the owner.
        assert!(!answered(&plain[copy].line(&get).unwrap()));
        assert!(!answered(&readers[copy].line(&format!("SET {key} 1")).unwrap()));
        assert!(answered(&readers[owner].line(&format!("SET {key} 21")).unwrap()));
        if k == 0 {
            readers[copy].line("READWRITE").unwrap();
            assert!(!answered(&readers[copy].line(&get).unwrap()));
            readers[copy].line("READONLY").unwrap();
            // What has expired is not there, though its owner has not removed it.
            plain[owner].line("DEBUG SET-ACTIVE-EXPIRE 0").unwrap();
            plain[owner].line(&format!("PEXPIRE {key} 100")).unwrap();
            while readers[copy].line(&get).unwrap() != Frame::NullBulk {
                assert!(Instant::now() < deadline, "{key} does not expire");
            }
            assert_eq!(plain[owner].line(&get).unwrap(), Frame::NullBulk);
        }
    }
}

/// The rows of `CLUSTER SLOTS`: first slot, last slot, ports of the owner and of the copies.
fn rows(of: &Process) -> Vec<(i64, i64, Vec<i64>)> {
    let Frame::Array(rows) = of.client().unwrap().line("CLUSTER SLOTS").unwrap() else { panic!("no rows") };
    let int = |frame: &Frame| match frame {
        Frame::Int(number) => *number,
        other => panic!("{other:?} is no number"),
    };
    let row = |row: &Frame| {
        let Frame::Array(parts) = row else { panic!("{row:?} is no row") };
        let port = |node: &Frame| match node {
            Frame::Array(parts) => int(&parts[1]),
            other => panic!("{other:?} is no node"),
        };
        (int(&parts[0]), int(&parts[1]), parts[2..].iter().map(port).collect())
    };
    rows.iter().map(row).collect()
}

#[test]
fn redis_cluster_clients_are_told_of_copies() {
    let flags = ["--replicas", "1"];
    let first = node(None, &flags);
    let second = node(Some(&first), &flags);
    in_sync(&[&first, &second]);
    let rows = rows(&second);
    let slots: i64 = rows.iter().map(|(from, to, _)| to - from + 1).sum();
    assert_eq!(slots, 16384, "{rows:?}");
    // Each is met as an owner first, with one slot whose copy is not named.
    let copied: i64 = rows.iter().filter(|(.., at)| at.len() == 2).map(|(from, to, _)| to - from + 1).sum();
    assert_eq!(copied, 16382, "{rows:?}");
    assert!(rows[..2].iter().all(|(.., at)| at.len() == 1) && rows[0].2 != rows[1].2, "{rows:?}");
    let mut client = first.client().unwrap();
    let text = |frame: Frame| String::from_utf8(frame.text().unwrap().to_vec()).unwrap();
    let id = text(client.line("CLUSTER MYID").unwrap());
    let Frame::Array(replicas) = client.line(&format!("CLUSTER REPLICAS {id}")).unwrap() else {
        panic!("no replicas")
    };
    let other = text(second.client().unwrap().line("CLUSTER MYID").unwrap());
    assert_eq!(replicas.len(), 1);
    let line = text(replicas[0].clone());
    assert!(line.starts_with(&other) && line.contains(&format!(" slave {id} ")), "{line}");
    let nodes = text(client.line("CLUSTER NODES").unwrap());
    assert_eq!(nodes.matches("master - ").count(), 2, "{nodes}");
    let plan = text(client.line("SHOAL PLAN").unwrap());
    assert_eq!(plan, "0 of 16384 slots move\n0 copies are being made\n");
    let plan = text(client.line("SHOAL PLAN JOIN").unwrap());
    let head =
        |line: usize| plan.lines().nth(line).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap();
    assert!((5461..=5463).contains(&head(0)), "{plan}");
    let made = plan.lines().position(|line| line.contains("copies would be made")).unwrap();
    // Its share, less those whose former owners keep them.
    assert!((1..=11_000).contains(&head(made)) && plan.contains("=> new-1: "), "{plan}");
    let unknown = client.line("CLUSTER REPLICAS nobody").unwrap();
    assert_eq!(unknown, Frame::Error(b"ERR Unknown node nobody".to_vec()));
}
