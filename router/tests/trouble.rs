//! What goes wrong: redirects, lost connections, unreachable nodes, new views.

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
use shoal_router::Settings;
use support::{Act, Bench, Client, Gate, eventually, settings, thirds, view};

const LOST: &str = "-ERR The connection to a node was lost while the command was under way; it may or may not have been executed";

/// Lets `bench.nodes[from]` redirect requests for `key` to node `to`.
fn redirect(bench: &Bench, from: usize, to: usize, key: &str) {
    let (slot, addr) = (key_slot(key.as_bytes()), bench.nodes[to].addr);
    let key = key.as_bytes().to_vec();
    bench.nodes[from].script(move |_, words| {
        words.contains(&key).then(|| Act::Reply(format!("-MOVED {slot} {addr}\r\n").into_bytes()))
    });
}

#[test]
fn redirects_are_followed() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    redirect(&bench, 0, 1, &key);
    let mut client = bench.client();
    client.send(&format!("SET {key} 1"));
    client.send(&format!("GET {key}"));
    client.send(&format!("SET {key} 2"));
    client.send(&format!("GET {key}"));
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK", "\"1\"", "+OK", "\"2\""]);
    assert!(bench.refreshes.load(Ordering::Relaxed) > 0);
}

#[test]
fn redirected_parts_of_split_commands_are_split_again() {
    let bench = Bench::new(3);
    let keys: Vec<String> = (0..30).map(|i| format!("k{i}")).collect();
    let moved = bench.key_of(0, "k");
    redirect(&bench, 0, 2, &moved);
    let mut client = bench.client();
    let pairs: Vec<String> = keys.iter().map(|k| format!("{k} v-{k}")).collect();
    assert_eq!(client.ask(&format!("MSET {}", pairs.join(" "))), "+OK");
    let values: Vec<String> = keys.iter().map(|k| format!("\"v-{k}\"")).collect();
    assert_eq!(client.ask(&format!("MGET {}", keys.join(" "))), format!("[{}]", values.join(", ")));
    assert_eq!(
        bench.nodes[2].data.lock().unwrap()[&(0, moved.clone().into_bytes())],
        format!("v-{moved}").into_bytes()
    );
    // Several keys at one node are forwarded whole, and split only then.
    let other = bench.key_of(0, "o");
    assert_eq!(
        client.ask(&format!("MGET {other} {moved} {moved}")),
        format!("[nil, \"v-{moved}\", \"v-{moved}\"]")
    );
    assert_eq!(client.ask(&format!("DEL {}", keys.join(" "))), ":30");
}

#[test]
fn endless_redirects_end() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    redirect(&bench, 0, 1, &key);
    redirect(&bench, 1, 0, &key);
    let mut client = bench.client();
    assert_eq!(client.ask(&format!("GET {key}")), "-CLUSTERDOWN Hash slot is moving between nodes");
    assert_eq!(
        client.ask(&format!("MGET {key} {}", bench.key_of(1, "k"))),
        "-CLUSTERDOWN Hash slot is moving between nodes"
    );
    assert_eq!(client.ask("PING"), "+PONG");
}

#[test]
fn a_write_that_was_sent_is_not_sent_again() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    bench.nodes[0].script(|_, words| (words[0] == b"SET").then_some(Act::Close));
    let mut client = bench.client();
    assert_eq!(client.ask(&format!("SET {key} 1")), LOST);
    assert_eq!(bench.nodes[0].seen.lock().unwrap().iter().filter(|w| w[0] == b"SET").count(), 1);
    bench.nodes[0].unscript();
    assert_eq!(client.ask(&format!("SET {key} 1")), "+OK");
}

#[test]
fn a_read_is_sent_again_once() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    bench.nodes[0].put(&key, "v");
    let tries = Arc::new(AtomicUsize::new(0));
    let failing = Arc::new(AtomicUsize::new(1));
    let (count, left) = (tries.clone(), failing.clone());
    bench.nodes[0].script(move |_, words| {
        let fails = words[0] == b"GET" && {
            count.fetch_add(1, Ordering::Relaxed);
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        };
        // The reply breaks off in the middle.
        fails.then(|| Act::ReplyAndClose(b"$1\r\n".to_vec()))
    });
    let mut client = bench.client();
    assert_eq!(client.ask(&format!("GET {key}")), "\"v\"");
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    failing.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(client.ask(&format!("GET {key}")), LOST);
    assert_eq!(tries.load(Ordering::Relaxed), 4);
}

#[test]
fn nonsense_from_a_node_closes_its_connection() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let mut client = bench.client();
    for nonsense in [&b"hello\r\n"[..], b"+OK\r\n+OK\r\n", b"$-7\r\n"] {
        bench.nodes[0].script(|_, words| (words[0] == b"SET").then(|| Act::Reply(nonsense.to_vec())));
        let reply = client.ask(&format!("SET {key} 1"));
        assert!(reply == LOST || reply == "+OK", "{reply}");
        bench.nodes[0].unscript();
        assert_eq!(client.ask(&format!("SET {key} 2")), "+OK");
        assert_eq!(client.ask(&format!("GET {key}")), "\"2\"");
    }
}

#[test]
fn pushes_from_a_node_answer_nothing() {
    let bench = Bench::new(1);
    bench.nodes[0].script(|_, words| {
        (words[0] == b"GET")
            .then(|| Act::Reply(b">2\r\n+invalidate\r\n*0\r\n|1\r\n+a\r\n+b\r\n$1\r\nv\r\n".to_vec()))
    });
    let mut client = bench.client();
    client.ask("HELLO 3");
    client.send("GET a");
    assert_eq!(client.receive().unwrap(), b"|1\r\n+a\r\n+b\r\n$1\r\nv\r\n");
}

#[test]
fn an_unreachable_node_is_waited_for_in_bounded_time() {
    let patience = Duration::from_millis(300);
    let bench = Bench::with(2, Settings { patience, ..settings() });
    // A refused handshake is as good as no connection.
    bench.nodes[0]
        .script(|_, words| (words[0] == b"SHOAL").then(|| Act::Reply(b"-ERR no routers\r\n".to_vec())));
    let (key, other) = (bench.key_of(0, "k"), bench.key_of(1, "k"));
    let mut client = bench.client();
    let begin = Instant::now();
    client.send(&format!("SET {key} 1"));
    client.send(&format!("GET {other}"));
    assert_eq!(client.reply(), "-CLUSTERDOWN The node that serves the hash slot cannot be reached");
    assert!(begin.elapsed() >= patience);
    assert_eq!(client.reply(), "nil");
    // It comes back within a request's patience.
    client.send(&format!("SET {key} 2"));
    bench.nodes[0].unscript();
    let reply = client.reply();
    assert!(reply == "+OK" || reply.starts_with("-CLUSTERDOWN"), "{reply}");
    eventually("the node serves", || client.ask(&format!("SET {key} 3")) == "+OK");
}

#[test]
fn slots_without_an_owner() {
    let patience = Duration::from_millis(300);
    let bench = Bench::with(2, Settings { patience, ..settings() });
    let mut owners = thirds(2);
    let key = bench.key_of(1, "k");
    owners[usize::from(key_slot(key.as_bytes()))] = u16::MAX;
    bench.views.send_replace(Arc::new(view(2, &bench.nodes, &owners)));
    let mut client = bench.client();
    let down = "-CLUSTERDOWN Hash slot not served";
    eventually("the view is followed", || client.ask(&format!("GET {key}")) == down);
    assert_eq!(client.ask(&format!("MGET {key} {}", bench.key_of(0, "k"))), down);
    assert_eq!(client.ask(&format!("GET {}", bench.key_of(0, "k"))), "nil");
}

#[test]
fn a_new_view_takes_waiting_requests_elsewhere() {
    let bench = Bench::new(2);
    bench.nodes[0].script(|_, words| (words[0] == b"SHOAL").then_some(Act::Close));
    let (key, twin) = (bench.key_of(0, "k"), bench.key_of(0, "t"));
    let mut client = bench.client();
    client.send(&format!("SET {key} 1"));
    client.send(&format!("MSET {key} 2 {twin} 3"));
    client.send(&format!("GET {key}"));
    // Everything belongs to the other node now, which is the only one left.
    let others = &bench.nodes[1..];
    bench.views.send_replace(Arc::new(view(2, others, &vec![0; 16384])));
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+OK", "\"2\""]);
    assert_eq!(client.ask("DBSIZE"), ":2");
}

#[test]
fn a_later_request_does_not_overtake_an_earlier_one_to_the_new_owner() {
    let bench = Bench::new(2);
    let key = bench.key_of(0, "k");
    let gate = Gate::default();
    let (held, slot, addr) = (gate.clone(), key_slot(key.as_bytes()), bench.nodes[1].addr);
    let waiting = Arc::new(AtomicBool::new(false));
    let here = waiting.clone();
    bench.nodes[0].script(move |_, words| {
        (words[0] == b"SET").then(|| {
            here.store(true, Ordering::Relaxed);
            held.wait();
            Act::Reply(format!("-MOVED {slot} {addr}\r\n").into_bytes())
        })
    });
    let mut client = bench.client();
    client.send(&format!("SET {key} 1"));
    eventually("the old owner has the write", || waiting.load(Ordering::Relaxed));
    let mut owners = thirds(2);
    owners[usize::from(slot)] = 1;
    bench.views.send_replace(Arc::new(view(2, &bench.nodes, &owners)));
    let mut other = bench.client();
    let gets = || bench.nodes[1].seen.lock().unwrap().iter().filter(|w| w[0] == b"GET").count();
    eventually("the view is followed", || other.ask(&format!("GET {key}")) == "nil" && gets() > 0);
    client.send(&format!("GET {key}"));
    assert_eq!(other.ask("PING"), "+PONG");
    gate.open();
    assert_eq!([client.reply(), client.reply()], ["+OK", "\"1\""]);
}

#[test]
fn a_node_that_left_is_given_up() {
    let patience = Duration::from_millis(300);
    let bench = Bench::with(2, Settings { patience, ..settings() });
    let key = bench.key_of(0, "k");
    let gate = Gate::default();
    let (held, waiting) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let here = waiting.clone();
    bench.nodes[0].script(move |_, words| {
        matches!(&words[0][..], b"SET" | b"GET").then(|| {
            here.fetch_add(1, Ordering::Relaxed);
            Act::Wait(held.clone())
        })
    });
    let mut client = bench.client();
    client.send(&format!("SET {key} 1"));
    client.send(&format!("GET {key}"));
    eventually("the node has the requests", || waiting.load(Ordering::Relaxed) > 0);
    bench.views.send_replace(Arc::new(view(2, &bench.nodes[1..], &vec![0; 16384])));
    // The write may have been executed; the read is asked of the new owner.
    assert_eq!([client.reply(), client.reply()], [LOST.to_owned(), "nil".to_owned()]);
    gate.open();
}

/// Connections to nodes and clients die at random while clients check that each reply is the one to their request.
#[test]
fn random_kills_never_swap_replies() {
    const KILLS: usize = 10_000;
    let bench = Bench::with(3, Settings { threads: 2, ..settings() });
    let keys = 60;
    for i in 0..keys {
        let key = format!("k{i}");
        bench.nodes[bench.owner(&key)].put(&key, &format!("value-of-k{i}"));
    }
    let done = AtomicBool::new(false);
    let good = AtomicUsize::new(0);
    let addr = bench.router.addr();
    std::thread::scope(|scope| {
        for seed in 0..4u64 {
            let (done, good) = (&done, &good);
            scope.spawn(move || {
                let mut random = seed * 7919 + 1;
                while !done.load(Ordering::Relaxed) {
                    check(&mut Client::connect(addr), &mut random, keys, good);
                }
            });
        }
        let mut kills = 0;
        let mut turn = 0;
        while kills < KILLS {
            turn += 1;
            kills += bench.nodes[turn % 3].kill();
            // Some replies pass between kills.
            let mark = good.load(Ordering::Relaxed);
            eventually("a good reply", || good.load(Ordering::Relaxed) > mark);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(good.load(Ordering::Relaxed) > KILLS);
}

/// One client's life: pipelines of reads, own writes and split commands.
fn check(client: &mut Client, random: &mut u64, keys: u64, good: &AtomicUsize) {
    let mut next = |n: u64| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *random % n
    };
    for _ in 0..20 {
        let mut expected = Vec::new();
        for _ in 0..1 + next(20) {
            let (a, b) = (next(keys), next(keys));
            match next(4) {
                0 => {
                    client.send(&format!("MGET k{a} k{b}"));
                    expected.push(format!("[\"value-of-k{a}\", \"value-of-k{b}\"]"));
                }
                1 => {
                    client.send(&format!("SET k{a} value-of-k{a}"));
                    expected.push("+OK".to_owned());
                }
                2 => {
                    client.send(&format!("ECHO {a}-{b}"));
                    expected.push(format!("\"{a}-{b}\""));
                }
                _ => {
                    client.send(&format!("GET k{a}"));
                    expected.push(format!("\"value-of-k{a}\""));
                }
            }
        }
        // Now and then a client leaves without waiting.
        if next(40) == 0 {
            return;
        }
        for expected in expected {
            let reply = client.reply();
            if reply == expected {
                good.fetch_add(1, Ordering::Relaxed);
            } else {
                assert_eq!(reply, LOST, "instead of {expected}");
            }
        }
    }
}
