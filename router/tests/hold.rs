//! Requests that no node can serve at once: held, followed, sent again only where that is safe, answered in time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use shoal_proto::slot::key_slot;
use shoal_router::{Settings, WhenDown};
use support::{Act, Bench, FakeNode, born, eventually, settings, thirds, view};

const LOST: &str = "-ERR The connection to a node was lost while the command was under way; it may or may not have been executed";

const TRYAGAIN: &[u8] = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n";

/// Lets the node refuse its next `times` requests of this command with `reply`.
fn refuse(node: &FakeNode, times: usize, command: &'static str, reply: &'static [u8]) -> Arc<AtomicUsize> {
    let left = Arc::new(AtomicUsize::new(times));
    let count = left.clone();
    node.script(move |_, words| {
        let refused = words[0] == command.as_bytes()
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        refused.then(|| Act::Reply(reply.to_vec()))
    });
    count
}

/// Makes a node unreachable: connections end and no new one is agreed on.
fn cut_off(node: &FakeNode) {
    node.script(|_, words| (words[0] == b"SHOAL").then_some(Act::Close));
    node.kill();
}

fn sets(node: &FakeNode) -> usize {
    node.seen.lock().unwrap().iter().filter(|w| w[0] == b"SET").count()
}

#[test]
fn a_key_that_is_being_copied_is_tried_again() {
    let bench = Bench::new(2);
    let (key, other) = (bench.key_of(0, "k"), bench.key_of(0, "o"));
    refuse(&bench.nodes[0], 5, "SET", TRYAGAIN);
    let mut client = bench.client();
    client.send(&format!("SET {key} 1"));
    client.send(&format!("GET {key}"));
    client.send(&format!("GET {other}"));
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "\"1\"", "nil"]);
}

#[test]
fn a_read_that_overtook_a_refused_write_is_asked_again() {
    let bench = Bench::new(1);
    refuse(&bench.nodes[0], 1, "SET", TRYAGAIN);
    let mut client = bench.client();
    let mut both = Vec::new();
    for line in ["SET k 1", "GET k"] {
        both.extend(shoal_proto::resp::request::OwnedArgs::new(line.split(' ')).args().raw());
    }
    // In one write, so that both are at the node before the first is refused.
    client.send_raw(&both);
    assert_eq!([client.reply(), client.reply()], ["+OK", "\"1\""]);
}

#[test]
fn a_node_without_a_lease_is_waited_for() {
    let patience = Duration::from_millis(400);
    let bench = Bench::with(2, Settings { patience, ..settings() });
    let key = bench.key_of(0, "k");
    refuse(&bench.nodes[0], 3, "GET", b"-CLUSTERDOWN The cluster is down\r\n");
    let mut client = bench.client();
    assert_eq!(client.ask(&format!("GET {key}")), "nil");
    // The node's own reason is what is told in the end.
    refuse(&bench.nodes[0], usize::MAX, "GET", b"-CLUSTERDOWN The cluster is down\r\n");
    let begin = Instant::now();
    assert_eq!(client.ask(&format!("GET {key}")), "-CLUSTERDOWN The cluster is down");
    assert!(begin.elapsed() >= patience);
    let down: &[u8] = b"-CLUSTERDOWN The cluster is down\r\n";
    refuse(&bench.nodes[0], 2, "DBSIZE", down);
    assert_eq!(client.ask("DBSIZE"), ":0");
}

#[test]
fn a_new_view_ends_the_wait_at_once() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let left = refuse(&bench.nodes[0], usize::MAX, "SET", b"-CLUSTERDOWN The cluster is down\r\n");
    let mut client = bench.client();
    client.send(&format!("SET {key} 1"));
    client.send(&format!("GET {key}"));
    eventually("a refusal", || left.load(Ordering::Relaxed) < usize::MAX);
    bench.views.send_replace(Arc::new(view(2, &bench.nodes, &vec![1; 16384])));
    assert_eq!([client.reply(), client.reply()], ["+OK", "\"1\""]);
    assert_eq!(sets(&bench.nodes[1]), 1);
}

#[test]
fn a_slot_without_an_owner_is_waited_for() {
    let bench = Bench::new(2);
    let key = bench.key_of(1, "k");
    let slot = usize::from(key_slot(key.as_bytes()));
    let mut owners = thirds(2);
    owners[slot] = u16::MAX;
    bench.views.send_replace(Arc::new(view(2, &bench.nodes, &owners)));
    let (mut client, mut other) = (bench.client(), bench.client());
    eventually("the view is followed", || other.ask("SHOAL VIEW").contains("nobody"));
    let here = bench.key_of(0, "k");
    client.send(&format!("MSET {key} 1 {here} 2"));
    client.send(&format!("GET {key}"));
    // Nobody else waits.
    assert_eq!(other.ask(&format!("SET {here} 3")), "+OK");
    assert!(other.ask("SHOAL UPSTREAM").contains("held=1 "), "it is shown");
    owners[slot] = 0;
    bench.views.send_replace(Arc::new(view(3, &bench.nodes, &owners)));
    assert_eq!([client.reply(), client.reply()], ["+OK", "\"1\""]);
}

#[test]
fn what_a_node_said_is_remembered_until_the_next_view() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let (slot, addr) = (key_slot(key.as_bytes()), bench.nodes[1].addr);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    bench.nodes[0].script(move |_, words| {
        (words[0] == b"GET").then(|| {
            count.fetch_add(1, Ordering::Relaxed);
            Act::Reply(format!("-MOVED {slot} {addr}\r\n").into_bytes())
        })
    });
    let mut client = bench.client();
    for _ in 0..5 {
        assert_eq!(client.ask(&format!("GET {key}")), "nil");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(client.ask(&format!("MGET {key} {}", bench.key_of(1, "k"))), "[nil, nil]");
    // A view that gives it to the first again is newer than that.
    bench.views.send_replace(Arc::new(view(2, &bench.nodes, &thirds(2))));
    eventually("the view is asked", || {
        assert_eq!(client.ask(&format!("GET {key}")), "nil");
        asked.load(Ordering::Relaxed) == 2
    });
}

/// A node that has executed a write, and whose answer was lost with its connection. Returns the client that waits.
fn in_doubt(bench: &Bench, key: &str) -> support::Client {
    let gone = Arc::new(AtomicBool::new(false));
    bench.nodes[0].script(move |_, words| match &words[0][..] {
        b"SET" => {
            gone.store(true, Ordering::Relaxed);
            Some(Act::Close)
        }
        b"SHOAL" => gone.load(Ordering::Relaxed).then_some(Act::Close),
        _ => None,
    });
    let mut client = bench.client();
    client.send(&format!("SET {key} 1"));
    client.send(&format!("GET {key}"));
    eventually("the write is there", || sets(&bench.nodes[0]) == 1);
    let mut other = bench.client();
    eventually("the write is in doubt", || other.ask("SHOAL UPSTREAM").contains("waiting="));
    client
}

#[test]
fn a_write_whose_effect_is_gone_is_sent_again() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let mut client = in_doubt(&bench, &key);
    bench.views.send_replace(Arc::new(born(2, &bench.nodes[1..], &vec![0; 16384], &[2; 16384])));
    assert_eq!([client.reply(), client.reply()], ["+OK", "\"1\""]);
    assert_eq!(sets(&bench.nodes[1]), 1);
}

#[test]
fn a_write_whose_effect_may_be_there_is_not() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let mut client = in_doubt(&bench, &key);
    // Another node has the slot with its data.
    bench.views.send_replace(Arc::new(view(2, &bench.nodes[1..], &vec![0; 16384])));
    assert_eq!([client.reply(), client.reply()], [LOST, "nil"]);
    assert_eq!(sets(&bench.nodes[1]), 0);
}

#[test]
fn a_slot_that_was_made_anew_before_the_write_proves_nothing() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let mut client = in_doubt(&bench, &key);
    // The node may have been in the view before, in which the slot was made anew.
    bench.views.send_replace(Arc::new(born(3, &bench.nodes[1..], &vec![0; 16384], &[2; 16384])));
    assert_eq!([client.reply(), client.reply()], [LOST, "nil"]);
    assert_eq!(sets(&bench.nodes[1]), 0);
}

#[test]
fn a_process_that_is_still_there_may_have_executed_a_write() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let mut client = in_doubt(&bench, &key);
    bench.nodes[0].unscript();
    assert_eq!([client.reply(), client.reply()], [LOST, "nil"]);
}

#[test]
fn another_process_at_the_same_address_has_not() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let mut client = in_doubt(&bench, &key);
    bench.nodes[0].boot.store(2, Ordering::Relaxed);
    bench.nodes[0].unscript();
    let mut other = bench.client();
    // It is a member once more, and the slot is its own again, empty.
    assert_eq!(other.ask(&format!("GET {key}")), "nil");
    let nodes = [bench.nodes[1].clone(), bench.nodes[0].clone()];
    bench.views.send_replace(Arc::new(born(2, &nodes, &vec![1; 16384], &[2; 16384])));
    assert_eq!([client.reply(), client.reply()], ["+OK", "\"1\""]);
    assert_eq!(sets(&bench.nodes[0]), 2);
}

#[test]
fn doubts_end_in_bounded_time() {
    let patience = Duration::from_millis(400);
    let bench = Bench::with(2, Settings { patience, ..settings() });
    let key = bench.key_of(0, "k");
    let mut client = in_doubt(&bench, &key);
    assert_eq!(client.reply(), LOST);
    assert!(client.reply().starts_with("-CLUSTERDOWN"));
}

#[test]
fn a_frozen_node_that_was_replaced_is_not_waited_for() {
    let bench = Bench::with(2, Settings { farewell: Duration::from_secs(600), ..settings() });
    let key = bench.key_of(0, "k");
    let gate = support::Gate::default();
    let held = gate.clone();
    let waiting = Arc::new(AtomicUsize::new(0));
    let here = waiting.clone();
    bench.nodes[0].script(move |_, words| {
        (words[0] == b"SET").then(|| {
            here.fetch_add(1, Ordering::Relaxed);
            Act::Wait(held.clone())
        })
    });
    let mut client = bench.client();
    client.send(&format!("SET {key} 1"));
    client.send(&format!("GET {key}"));
    eventually("the node has it", || waiting.load(Ordering::Relaxed) == 1);
    bench.views.send_replace(Arc::new(born(2, &bench.nodes[1..], &vec![0; 16384], &[2; 16384])));
    assert_eq!([client.reply(), client.reply()], ["+OK", "\"1\""]);
    gate.open();
}

#[test]
fn what_is_held_is_bounded() {
    let bench = Bench::with(2, Settings { max_held: 4, ..settings() });
    let (key, other) = (bench.key_of(0, "k"), bench.key_of(1, "k"));
    cut_off(&bench.nodes[0]);
    let mut clients: Vec<_> = (0..4).map(|_| bench.client()).collect();
    for client in &mut clients {
        client.send(&format!("SET {key} 1"));
    }
    let mut late = bench.client();
    eventually("all are held", || late.ask("SHOAL UPSTREAM").contains("held=4 "));
    let down = "-CLUSTERDOWN The cluster is down: too many requests wait for nodes that cannot serve them";
    assert_eq!(late.ask(&format!("GET {key}")), down);
    assert_eq!(late.ask(&format!("MGET {key} {other}")), down);
    assert_eq!(late.ask(&format!("GET {other}")), "nil");
    bench.nodes[0].unscript();
    for client in &mut clients {
        assert_eq!(client.reply(), "+OK");
    }
}

/// With `--when-down miss`: whether it was held too long for a connection, refused too long, or came when too many were held.
#[test]
fn reads_that_nobody_serves_may_count_as_misses() {
    let settings = Settings { when_down: WhenDown::Miss, patience: Duration::from_millis(50), ..settings() };
    let bench = Bench::with(2, Settings { max_held: 1, ..settings });
    let (key, other) = (bench.key_of(0, "k"), bench.key_of(1, "k"));
    let mut client = bench.client();
    assert_eq!(client.ask(&format!("MSET {key} 1 {other} 2")), "+OK");
    refuse(&bench.nodes[0], usize::MAX, "GET", TRYAGAIN);
    assert_eq!(client.ask(&format!("GET {key}")), "nil");
    cut_off(&bench.nodes[0]);
    assert_eq!(client.ask(&format!("GET {key}")), "nil");
    assert_eq!(client.ask(&format!("MGET {key} {other} {key}")), "[nil, \"2\", nil]");
    assert_eq!(
        client.ask(&format!("SET {key} 3")),
        "-CLUSTERDOWN The node that serves the hash slot cannot be reached"
    );
    // A command that a router cannot know the answer to is an error, too.
    assert!(client.ask(&format!("LCS {key} {key}")).starts_with("-CLUSTERDOWN"));
    assert!(client.ask(&format!("DEL {key} {other}")).starts_with("-CLUSTERDOWN"));
    bench.nodes[0].unscript();
    eventually("the node serves again", || client.ask(&format!("GET {key}")) == "\"1\"");
}

#[test]
fn questions_to_all_nodes_wait_for_the_view_without_the_dead() {
    let bench = Bench::new(3);
    for (i, node) in bench.nodes.iter().enumerate() {
        node.put(&bench.key_of(i, "k"), "v");
    }
    cut_off(&bench.nodes[0]);
    let mut clients: Vec<_> = (0..4).map(|_| bench.client()).collect();
    for (client, line) in clients.iter_mut().zip(["DBSIZE", "KEYS *", "RANDOMKEY", "FLUSHALL"]) {
        client.send(line);
        eventually("it is held", || bench.client().ask("SHOAL UPSTREAM").contains("unanswered="));
    }
    eventually("all are held", || {
        let text = bench.client().ask("SHOAL UPSTREAM");
        text.contains("held=4 ")
    });
    bench.nodes[1..].iter().for_each(|node| node.epoch.store(2, Ordering::Relaxed));
    bench.views.send_replace(Arc::new(born(2, &bench.nodes[1..], &thirds(2), &[2; 16384])));
    // The last may have been first at the nodes.
    assert!(matches!(&*clients[0].reply(), ":2" | ":1" | ":0"));
    assert!(clients[1].reply().starts_with('['));
    let random = clients[2].reply();
    assert!(random.starts_with('"') || random == "nil", "{random}");
    assert_eq!(clients[3].reply(), "+OK");
    assert_eq!(bench.client().ask("DBSIZE"), ":0");
}

#[test]
fn a_question_before_the_first_view_is_held() {
    let bench = Bench::new(1);
    bench.views.send_replace(Arc::new(shoal_proto::view::View::empty()));
    let mut client = bench.client();
    eventually("the view is followed", || client.ask("SHOAL VIEW").contains("epoch 0"));
    client.send("DBSIZE");
    client.send("SET a 1");
    bench.views.send_replace(Arc::new(view(2, &bench.nodes, &vec![0; 16384])));
    assert_eq!([client.reply(), client.reply()], [":0", "+OK"]);
}

#[test]
fn a_node_with_an_older_view_sends_nobody_to_a_node_that_is_gone() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let (slot, gone) = (key_slot(key.as_bytes()), bench.nodes[0].addr);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    // It learns only after some time that the slot is its own now.
    bench.nodes[1].script(move |_, words| {
        (words[0] == b"SET" && count.fetch_add(1, Ordering::Relaxed) < 3)
            .then(|| Act::Reply(format!("-MOVED {slot} {gone}\r\n").into_bytes()))
    });
    bench.views.send_replace(Arc::new(born(2, &bench.nodes[1..], &vec![0; 16384], &[2; 16384])));
    let mut client = bench.client();
    let before = || bench.nodes[0].requests.load(Ordering::Relaxed);
    eventually("the view is followed", || {
        let before = before();
        client.ask("DBSIZE") == ":0" && bench.nodes[0].requests.load(Ordering::Relaxed) == before
    });
    let before = before();
    client.send(&format!("SET {key} 1"));
    client.send(&format!("GET {key}"));
    assert_eq!([client.reply(), client.reply()], ["+OK", "\"1\""]);
    assert!(asked.load(Ordering::Relaxed) > 3);
    assert_eq!(bench.nodes[0].requests.load(Ordering::Relaxed), before, "the node that is gone was asked");
}
