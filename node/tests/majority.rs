//! Real nodes that do not hear from the others: what they say of themselves, and what clients are told that ask them directly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/process.rs"]
mod process;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use shoal_testkit::{Client, Frame, process::Process};

/// How long a change of the cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn node(join: Option<&Process>) -> Process {
    process::start(&[env!("CARGO_BIN_EXE_shoal-node")], join)
}

fn text(client: &mut Client, words: &[&str]) -> String {
    match client.call(words).unwrap() {
        Frame::Error(text) | Frame::Simple(text) | Frame::Bulk(text) => String::from_utf8(text).unwrap(),
        Frame::Verbatim(_, text) => String::from_utf8(text).unwrap(),
        other => format!("{other:?}"),
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Three nodes with their shares.
fn three() -> [Process; 3] {
    let first = node(None);
    let nodes = [node(Some(&first)), node(Some(&first)), first];
    for of in &nodes {
        until("three nodes with slots", || {
            let plan = text(&mut of.client().unwrap(), &["SHOAL", "PLAN"]);
            let nodes = text(&mut of.client().unwrap(), &["CLUSTER", "NODES"]);
            plan.starts_with("0 of") && nodes.lines().filter(|line| line.split(' ').count() > 8).count() == 3
        });
    }
    nodes
}

/// A key that `at` serves.
fn own_key(at: &mut Client) -> String {
    let served = |key: &String| text(at, &["SET", key, "1"]) == "OK";
    (0..1000).map(|k| k.to_string()).find(served).unwrap()
}

fn page(node: &Process, path: &str) -> String {
    let admin = SocketAddr::from(([127, 0, 0, 1], node.ports()[2]));
    let mut stream = TcpStream::connect(admin).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_minority_says_that_it_does_not_serve_and_holds_requests_for_no_longer_than_it_may() {
    let [second, third, first] = three();
    let mut client = first.client().unwrap();
    let key = own_key(&mut client);
    let info = |client: &mut Client| text(client, &["CLUSTER", "INFO"]);
    assert!(info(&mut client).starts_with("cluster_state:ok"));
    let copies = text(&mut client, &["INFO", "replication"]);
    assert!(copies.contains("shoal_replicas:0\r\nshoal_replica_ack:none\r\n"), "{copies}");
    assert!(page(&first, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(text(&mut client, &["SHOAL", "FORCE"]).starts_with("ERR a majority of the nodes is up"));
    for node in [&second, &third] {
        node.signal("STOP").unwrap();
    }
    until("the state is known", || info(&mut client).starts_with("cluster_state:fail"));
    let ready = page(&first, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("[-] serving failed: no lease"), "{ready}");
    assert!(page(&first, "/livez").starts_with("HTTP/1.1 200"));
    let view = text(&mut client, &["CLUSTER", "NODES"]);
    for id in view.lines().filter_map(|line| line.split(' ').next()) {
        let forget = text(&mut client, &["CLUSTER", "FORGET", id]);
        assert!(forget.starts_with("CLUSTERDOWN this node does not hear from a majority"), "{forget}");
    }
    until("the lease is measured", || {
        page(&first, "/metrics").lines().any(|l| l.starts_with("shoal_lease_held") && l.ends_with(" 0"))
    });
    // A router asks again itself, and says for how long it wants to be kept waiting.
    let mut routers = first.client().unwrap();
    let mut told = |words: &[&str]| {
        if let Some(words) = words.first() {
            assert_eq!(text(&mut routers, &words.split(' ').collect::<Vec<_>>()), "OK");
        }
        let asked = Instant::now();
        assert_eq!(text(&mut routers, &["GET", &key]), "CLUSTERDOWN The cluster is down");
        asked.elapsed()
    };
    let short = told(&["SHOAL UPSTREAM 1 100"]);
    let long = told(&["SHOAL UPSTREAM 1"]);
    // Its clock counts whole milliseconds.
    assert!((99..1500).contains(&short.as_millis()), "{short:?}");
    assert!(long >= Duration::from_millis(2500), "{long:?}");
    assert!(text(&mut routers, &["SHOAL", "UPSTREAM", "1", "-1"]).starts_with("ERR "));
    for node in [&second, &third] {
        node.signal("CONT").unwrap();
    }
    until("it serves again", || info(&mut client).starts_with("cluster_state:ok"));
    until("it is ready again", || page(&first, "/readyz").starts_with("HTTP/1.1 200"));
    let words = ["ready on ", "not ready any more: no lease", "ready on "];
    until("the log says when it was ready", || {
        let output = first.output();
        let told: Vec<&str> =
            output.lines().filter(|l| l.contains("ready on ") || l.contains("not ready")).collect();
        told.len() == words.len() && told.iter().zip(words).all(|(line, words)| line.contains(words))
    });
}

#[test]
fn who_is_alone_has_nothing_to_force() {
    let node = process::start(&[env!("CARGO_BIN_EXE_shoal-node")], None);
    let mut client = node.client().unwrap();
    until("it serves", || text(&mut client, &["CLUSTER", "INFO"]).starts_with("cluster_state:ok"));
    assert!(text(&mut client, &["SHOAL", "FORCE"]).starts_with("ERR a majority of the nodes is up"));
}

#[test]
fn who_was_excluded_sends_clients_to_the_owners() {
    let [second, third, first] = three();
    let mut client = third.client().unwrap();
    let key = own_key(&mut client);
    let mut at_first = first.client().unwrap();
    third.signal("STOP").unwrap();
    until("it is excluded", || text(&mut at_first, &["CLUSTER", "NODES"]).lines().count() == 2);
    third.signal("CONT").unwrap();
    let home = third.address().to_string();
    until("it is back", || {
        let reply = text(&mut client, &["GET", &key]);
        assert!(!reply.starts_with("CLUSTERDOWN"), "{reply}");
        assert!(!reply.starts_with("MOVED") || !reply.ends_with(&home), "{reply}");
        text(&mut at_first, &["CLUSTER", "NODES"]).lines().count() == 3
    });
    drop(second);
}

#[test]
fn who_waits_for_others_does_not_say_that_it_is_ready() {
    // Nobody listens there.
    let node = process::start(&[env!("CARGO_BIN_EXE_shoal-node"), "--join", "127.0.0.1:1"], None);
    // One task waits for the seeds and another listens: either may say so first.
    let said = ["waiting for seeds", "listening on "];
    until("it listens and waits", || said.iter().all(|words| node.output().contains(words)));
    let output = node.output();
    assert!(!output.contains("ready on "), "{output}");
}

/// Voters are processes: those that are started instead of a majority that crashed change nothing.
#[test]
fn who_waits_to_be_taken_in_has_no_lease() {
    let [mut second, mut third, first] = three();
    second.kill().unwrap();
    third.kill().unwrap();
    let waits = node(Some(&first));
    let mut client = waits.client().unwrap();
    let mut told = String::new();
    until("it knows the view", || {
        told = text(&mut client, &["SHOAL", "CLUSTER"]);
        told.lines().count() > 3
    });
    assert!(told.contains(" lease ended "), "{told}");
    assert!(page(&waits, "/readyz").contains("waiting to be taken into the view"));
}
