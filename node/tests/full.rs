//! A node that slots are to go to has no memory left for them and may not evict: whatever does not fit stays where it is, and is served
//! there; the rest moves. When there is room, it goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/process.rs"]
mod process;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use shoal_testkit::{Client, Frame, process::Process};

/// How long a change of the cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest that a request may take: far below the time after which a node answers that a slot is not served.
const PROMPT: Duration = Duration::from_millis(1500);

const KEYS: usize = 6000;
const SIZE: usize = 4096;

fn node(join: Option<&Process>, maxmemory: &str) -> Process {
    let words =
        [env!("CARGO_BIN_EXE_shoal-node"), "--maxmemory-policy", "noeviction", "--maxmemory", maxmemory];
    process::start(&words, join)
}

fn text(of: &Process, command: &str) -> String {
    match of.client().unwrap().line(command).unwrap() {
        Frame::Bulk(text) => String::from_utf8(text).unwrap(),
        other => panic!("{command}: {other:?}"),
    }
}

/// How many slots the node at `of` has, as `at` sees it.
fn slots(at: &Process, of: &Process) -> usize {
    let state = text(at, "SHOAL CLUSTER");
    let address = of.address().to_string();
    let line = state.lines().find(|line| line.contains(&address)).unwrap_or_default();
    let count = line.split(" slots ").nth(1).and_then(|rest| rest.split(' ').next());
    count.map_or(0, |count| count.parse().unwrap())
}

/// What waits for memory, as its owner says.
fn waiting(at: &Process) -> Option<String> {
    let state = text(at, "SHOAL CLUSTER");
    state.lines().find(|line| line.contains("slots stay here until")).map(str::to_owned)
}

/// Reads and writes, wherever each key is.
struct Follower {
    home: SocketAddr,
    connections: HashMap<SocketAddr, Client>,
}

impl Follower {
    fn call(&mut self, command: &str) -> Frame {
        let (begun, mut at) = (Instant::now(), self.home);
        for _ in 0..10 {
            let client = self.connections.entry(at).or_insert_with(|| Client::connect(at).unwrap());
            let reply = client.line(command).unwrap();
            let moved = match &reply {
                Frame::Error(text) => String::from_utf8_lossy(text).into_owned(),
                _ => {
                    let took = begun.elapsed();
                    assert!(took < PROMPT, "{command} took {took:?}");
                    return reply;
                }
            };
            let address = moved.strip_prefix("MOVED ").and_then(|rest| rest.split(' ').nth(1));
            at = address
                .and_then(|address| address.parse().ok())
                .unwrap_or_else(|| panic!("{command}: {moved}"));
        }
        panic!("{command}: sent around in a circle");
    }

    /// Reads a tenth of the keys, and changes those without needing memory.
    fn round(&mut self, round: usize) {
        for key in (round % 10..KEYS).step_by(10) {
            match self.call(&format!("GETRANGE key:{key} 0 9")) {
                Frame::Bulk(value) => assert_eq!(value, format!("{key:010}").as_bytes()),
                other => panic!("key:{key}: {other:?}"),
            }
            assert_eq!(self.call(&format!("EXPIRE key:{key} {}", 1000 + round)), Frame::Int(1));
        }
    }
}

#[test]
fn what_has_no_room_stays_and_is_served() {
    let mut first = node(None, "0");
    let mut client = first.client().unwrap();
    for key in 0..KEYS {
        let value = format!("{key:010}{}", "x".repeat(SIZE));
        assert_eq!(
            client.call(["SET", &format!("key:{key}"), &value]).unwrap(),
            Frame::Simple(b"OK".to_vec())
        );
    }
    let mut follower = Follower { home: first.address(), connections: HashMap::new() };
    let mut rounds = 0;
    let mut serve = |what: &str, until: &mut dyn FnMut() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !until() {
            assert!(Instant::now() < deadline, "{what}");
            rounds += 1;
            follower.round(rounds);
        }
    };
    let second = node(Some(&first), "10mb");
    serve("slots wait", &mut || waiting(&first).is_some());
    // The others come through, and for some time nothing is held.
    serve("the others move", &mut || slots(&first, &second) > 5000);
    let since = Instant::now();
    serve("it is served", &mut || since.elapsed() > Duration::from_secs(4));
    assert!(waiting(&first).is_some() && slots(&first, &first) > 8192, "{}", text(&first, "SHOAL CLUSTER"));
    assert!(first.output().contains("no memory is left for them"), "{}", first.output());
    // There is nowhere else to go for what is left, so leaving waits.
    first.signal("TERM").unwrap();
    let since = Instant::now();
    serve("it waits", &mut || since.elapsed() > Duration::from_secs(3));
    assert!(waiting(&first).is_some() && slots(&first, &first) > 1000, "{}", text(&first, "SHOAL CLUSTER"));
    second.client().unwrap().line("CONFIG SET maxmemory 100mb").unwrap();
    serve("it goes on", &mut || slots(&second, &second) == 16384);
    assert_eq!(first.wait(PATIENCE).unwrap(), Some(0), "{}", first.output());
    assert!(first.output().contains("no slot waits for memory there any more"), "{}", first.output());
}
