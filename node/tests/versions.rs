//! Slots on their way between nodes of two versions, as in a rolling update: real processes, data of all types and sizes, and
//! writes meanwhile. One speaks this version, the other the next one, which has a field more everywhere.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/process.rs"]
mod process;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use shoal_net::bus::Connection;
use shoal_proto::bus::{Hello, Members, Verb};
use shoal_proto::version::{VERSION, speak};
use shoal_testkit::{Client, Frame, process::Process};

/// How long a change of the cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
const NEXT: u32 = VERSION + 1;
/// Keys of each kind, so that each kind lies at both ends.
const EACH: usize = 8;

fn node(join: Option<&Process>, version: u32) -> Process {
    process::start(&["env", &format!("SHOAL_SPEAK={version}"), env!("CARGO_BIN_EXE_shoal-node")], join)
}

/// What each node says of the versions of all that it knows.
fn spoken(of: &Process, version: u32) -> Vec<u32> {
    speak(version);
    let gossip = SocketAddr::from((Ipv4Addr::LOCALHOST, of.ports()[1]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let members: Members = runtime.block_on(async {
        let mut open = Connection::open(gossip, PATIENCE).await.unwrap();
        open.call(Verb::Members, &Hello::default(), PATIENCE).await.unwrap()
    });
    let mut versions: Vec<u32> = members.up.iter().map(|identity| identity.version).collect();
    versions.sort_unstable();
    versions
}

/// A client that goes where it is sent.
struct Follower {
    home: SocketAddr,
    connections: HashMap<SocketAddr, Client>,
    places: HashMap<Vec<u8>, SocketAddr>,
}

impl Follower {
    /// Calls a command whose key is word `key`.
    fn call<T: AsRef<[u8]>>(&mut self, words: &[T], key: usize) -> Frame {
        let name = words[key].as_ref().to_vec();
        let mut at = *self.places.get(&name).unwrap_or(&self.home);
        for _ in 0..100 {
            let client = self.connections.entry(at).or_insert_with(|| Client::connect(at).unwrap());
            let reply = client.call(words).unwrap();
            let Frame::Error(text) = &reply else {
                self.places.insert(name, at);
                return reply;
            };
            let text = String::from_utf8_lossy(text).into_owned();
            let moved = text.strip_prefix("MOVED ").and_then(|rest| rest.split(' ').nth(1));
            at = moved.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{text}"));
        }
        panic!("sent around in a circle");
    }

    /// Everything that tells two values apart: form, time, bytes. The last is asked where the others were found, because it
    /// is answered anywhere.
    fn seen(&mut self, key: &str) -> [Frame; 3] {
        [
            self.call(&["OBJECT", "ENCODING", key], 2),
            self.call(&["PEXPIRETIME", key], 1),
            self.call(&["DEBUG", "DIGEST-VALUE", key], 2),
        ]
    }

    /// One write to each of some keys, and what it must answer.
    fn write(&mut self, round: i64) {
        for k in 0..EACH {
            let text = round.to_string();
            for (words, answer) in [
                (vec!["INCR".to_owned(), format!("live:n:{k}")], round),
                (vec!["RPUSH".to_owned(), format!("live:l:{k}"), text.clone()], round),
                (vec!["HINCRBY".to_owned(), format!("live:h:{k}"), "f".to_owned(), "1".to_owned()], round),
                (vec!["SADD".to_owned(), format!("live:s:{k}"), text.clone()], 1),
                (vec!["ZADD".to_owned(), format!("live:z:{k}"), text.clone(), text.clone()], 1),
            ] {
                assert_eq!(self.call(&words, 1), Frame::Int(answer), "{words:?}");
            }
        }
    }
}

/// The words that make each kind of value: small and large ones of all types.
fn kinds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let many = |n: usize, each: fn(usize) -> Vec<String>| -> Vec<Vec<u8>> {
        (0..n).flat_map(each).map(String::into_bytes).collect()
    };
    let pair = |i: usize| vec![format!("field:{i}"), format!("{i:0100}")];
    let member = |i: usize| vec![format!("{i:0100}")];
    let number = |i: usize| vec![(i * 70_000).to_string()];
    let scored = |i: usize| vec![(i * 7919 % 1009).to_string(), format!("{i:0100}")];
    vec![
        ("SET", vec![b"text".to_vec()]),
        ("SET", vec![b"12345".to_vec()]),
        ("APPEND", vec![vec![0xe5; 300]]),
        ("SET", vec![vec![7; 700_000]]),
        ("HSET", many(3, pair)),
        ("HSET", many(9000, pair)),
        ("SADD", many(3, number)),
        ("SADD", many(400, number)),
        ("SADD", many(3, member)),
        ("SADD", many(9000, member)),
        ("ZADD", many(3, scored)),
        ("ZADD", many(9000, scored)),
        ("RPUSH", many(3, member)),
        ("RPUSH", many(9000, member)),
    ]
}

/// Waits until these are all nodes and have even shares, and writes meanwhile.
fn settle(nodes: &[&Process], follower: &mut Follower, round: &mut i64) {
    let (deadline, even) = (Instant::now() + PATIENCE, 16384 / nodes.len());
    let owned = |node: &Process| {
        let reply = node.client().unwrap().line("CLUSTER NODES").unwrap();
        let text = String::from_utf8(reply.text().unwrap().to_vec()).unwrap();
        let slots = |line: &str| -> usize {
            let ranges = line.split(' ').skip(8).map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap()
            });
            ranges.sum()
        };
        text.lines().map(slots).collect::<Vec<_>>()
    };
    while !nodes.iter().all(|node| owned(node) == vec![even; nodes.len()]) {
        assert!(Instant::now() < deadline, "{:?}", nodes.iter().map(|n| owned(n)).collect::<Vec<_>>());
        *round += 1;
        follower.write(*round);
    }
}

#[test]
fn all_data_moves_between_two_versions() {
    for (old, new) in [(VERSION, NEXT), (NEXT, VERSION)] {
        let mut first = node(None, old);
        let (home, connections, places) = (first.address(), HashMap::new(), HashMap::new());
        let mut follower = Follower { home, connections, places };
        let mut before = Vec::new();
        for (n, (command, words)) in kinds().into_iter().enumerate() {
            for k in 0..EACH {
                let key = format!("{n}:{k}");
                let all =
                    [command.as_bytes(), key.as_bytes()].into_iter().chain(words.iter().map(Vec::as_slice));
                let reply = follower.call(&all.collect::<Vec<_>>(), 1);
                assert!(!reply.is_error(), "{reply:?}");
                if k % 2 == 0 {
                    let at = (4_000_000_000_000 + k).to_string();
                    assert_eq!(follower.call(&["PEXPIREAT", &key, &at], 1), Frame::Int(1));
                }
                before.push((key.clone(), follower.seen(&key)));
            }
        }
        let check = |follower: &mut Follower, what: &str| {
            for (key, then) in &before {
                assert_eq!(follower.seen(key), *then, "{key} {what}");
            }
        };
        let mut round = 0;
        let second = node(Some(&first), new);
        settle(&[&first, &second], &mut follower, &mut round);
        assert_eq!(spoken(&first, old), [VERSION, NEXT]);
        assert_eq!(spoken(&second, new), [VERSION, NEXT]);
        check(&mut follower, "after half of it has moved");
        // All of it, and from then on the other way round.
        first.signal("TERM").unwrap();
        settle(&[&second], &mut follower, &mut round);
        assert_eq!(first.wait(PATIENCE).unwrap(), Some(0), "{}", first.output());
        (follower.home, follower.places) = (second.address(), HashMap::new());
        check(&mut follower, "after all of it has moved");
        let third = node(Some(&second), old);
        settle(&[&second, &third], &mut follower, &mut round);
        check(&mut follower, "after half of it has moved back");
        follower.write(round + 1);
    }
}
