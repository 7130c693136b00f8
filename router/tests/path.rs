//! The ordinary path: order, splitting, sessions, limits.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    io::Write,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use shoal_router::Settings;
use support::{Act, Bench, FakeNode, Gate, PATIENCE, eventually, settings, show, thirds, view};

#[test]
fn keys_go_to_their_owners() {
    let bench = Bench::new(3);
    let mut client = bench.client();
    for i in 0..30 {
        assert_eq!(client.ask(&format!("SET key{i} {i}")), "+OK");
        assert_eq!(client.ask(&format!("GET key{i}")), format!("\"{i}\""));
    }
    assert_eq!(client.ask("GET nope"), "nil");
    for (i, node) in bench.nodes.iter().enumerate() {
        let data = node.data.lock().unwrap();
        assert!(!data.is_empty());
        assert!(data.keys().all(|(_, k)| bench.owner(std::str::from_utf8(k).unwrap()) == i));
    }
    assert!(bench.nodes[0].saw(&["SHOAL", "UPSTREAM", "1", "1000"]));
}

#[test]
fn errors_without_a_trip() {
    let bench = Bench::new(3);
    let mut client = bench.client();
    assert_eq!(client.ask("GET"), "-ERR wrong number of arguments for 'get' command");
    assert_eq!(client.ask("DPING 1"), "-ERR unknown command 'DPING', with args beginning with: '1' ");
    assert_eq!(client.ask("RENAME a b"), "-CROSSSLOT Keys in request don't hash to the same slot");
    assert_eq!(client.ask("MSET a 1 b"), "-ERR wrong number of arguments for 'mset' command");
    assert_eq!(client.ask("SELECT 16"), "-ERR DB index is out of range");
    assert!(client.ask("SAVE").starts_with("-ERR SAVE is not supported by Shoal"));
    // As a node says it that is to join a router.
    for verb in ["MEMBERS", "VIEW"] {
        assert!(client.ask(&format!("SHOAL {verb} 3 x")).starts_with("-ERR this is a router and no node"));
        assert!(client.ask(&format!("SHOAL {verb}")).contains(if verb == "VIEW" {
            "epoch 1"
        } else {
            "127.0.0.1"
        }));
    }
    assert_eq!(client.ask("PING"), "+PONG");
    assert_eq!(bench.nodes.iter().map(|n| n.requests.load(Ordering::Relaxed)).sum::<usize>(), 0);
}

#[test]
fn a_slow_node_delays_only_what_waits_for_it() {
    let bench = Bench::new(3);
    let gate = Gate::default();
    let held = gate.clone();
    bench.nodes[0].script(move |_, words| (words[0] == b"GET").then(|| Act::Wait(held.clone())));
    let (slow, fast) = (bench.key_of(0, "s"), bench.key_of(1, "f"));
    bench.nodes[0].put(&slow, "slow");
    bench.nodes[1].put(&fast, "fast");
    let mut first = bench.client();
    first.send(&format!("GET {fast}"));
    first.send(&format!("GET {slow}"));
    first.send(&format!("GET {fast}"));
    first.send("PING");
    let mut second = bench.client();
    assert_eq!(second.ask(&format!("GET {fast}")), "\"fast\"");
    assert_eq!(first.reply(), "\"fast\"");
    gate.open();
    assert_eq!([first.reply(), first.reply(), first.reply()], ["\"slow\"", "\"fast\"", "+PONG"]);
}

#[test]
fn multi_key_commands_are_split_and_merged() {
    let bench = Bench::new(3);
    let mut client = bench.client();
    let pairs: Vec<String> = (0..40).map(|i| format!("k{i} v{i}")).collect();
    assert_eq!(client.ask(&format!("MSET {}", pairs.join(" "))), "+OK");
    let keys: Vec<String> = (0..40).map(|i| format!("k{i}")).collect();
    let values: Vec<String> = (0..40).map(|i| format!("\"v{i}\"")).collect();
    assert_eq!(
        client.ask(&format!("MGET {} nope k0 k0", keys.join(" "))),
        format!("[{}, nil, \"v0\", \"v0\"]", values.join(", "))
    );
    assert_eq!(client.ask("DBSIZE"), ":40");
    assert_eq!(client.ask(&format!("DEL {} nope", keys.join(" "))), ":40");
    // All keys at one node: forwarded as it is.
    let (a, b) = (bench.key_of(2, "x"), bench.key_of(2, "y"));
    assert_eq!(client.ask(&format!("mGet {a} {b}")), "[nil, nil]");
    assert!(bench.nodes[2].saw(&["mGet", &a, &b]));
    // One part fails: the whole does.
    bench.nodes[1].script(|_, words| (words[0] == b"MGET").then(|| Act::Reply(b"-OOM no\r\n".to_vec())));
    assert_eq!(client.ask(&format!("MGET {}", keys.join(" "))), "-OOM no");
    assert_eq!(client.ask(&format!("GET {a}")), "nil");
}

#[test]
fn whole_cluster_commands() {
    let bench = Bench::new(3);
    let mut client = bench.client();
    assert_eq!(client.ask("RANDOMKEY"), "nil");
    assert_eq!(client.ask("SET a 1"), "+OK");
    assert_eq!(client.ask("RANDOMKEY"), "\"a\"");
    assert_eq!(client.ask("KEYS *"), "[\"a\"]");
    let info = client.ask("INFO");
    assert!(info.contains("redis_mode:standalone") && info.contains("db0:keys=3,"), "{info}");
    assert!(info.contains(&format!("tcp_port:{}", bench.router.addr().port())), "{info}");
    assert_eq!(client.ask("CONFIG SET maxmemory 1"), "+OK");
    assert!(bench.nodes.iter().all(|n| n.saw(&["CONFIG", "SET", "maxmemory", "1"])));
    assert_eq!(client.ask("FLUSHALL"), "+OK");
    assert_eq!(client.ask("DBSIZE"), ":0");
}

/// Slots may have gone to a node that the router does not know yet.
#[test]
fn whoever_a_node_knows_is_emptied_too() {
    let bench = Bench::new(2);
    let third = FakeNode::start();
    bench.nodes[0].put("a", "1");
    third.put("b", "1");
    bench.nodes[0].epoch.store(2, Ordering::Relaxed);
    let mut client = bench.client();
    client.send("FLUSHALL");
    eventually("the nodes are asked for their view", || {
        bench.nodes.iter().all(|n| n.saw(&["CLUSTER", "INFO"]))
    });
    eventually("the newer view is asked for", || bench.refreshes.load(Ordering::Relaxed) > 0);
    let all = [bench.nodes.clone(), vec![third.clone()]].concat();
    third.epoch.store(2, Ordering::Relaxed);
    bench.views.send_replace(Arc::new(view(2, &all, &thirds(3))));
    eventually("the third is asked", || third.saw(&["CLUSTER", "INFO"]));
    // The second does not know the view yet: it may go on with a copy that it does not serve now.
    assert!(!all.iter().any(|n| n.saw(&["FLUSHALL"])));
    bench.nodes[1].epoch.store(2, Ordering::Relaxed);
    assert_eq!(client.reply(), "+OK");
    assert!(all.iter().all(|n| n.saw(&["FLUSHALL"]) && n.data.lock().unwrap().is_empty()));
}

#[test]
fn an_emptying_that_no_newer_view_helps_ends_with_an_error() {
    let bench = Bench::with(1, Settings { patience: Duration::from_millis(200), ..settings() });
    bench.nodes[0].epoch.store(2, Ordering::Relaxed);
    let error = bench.client().ask("FLUSHALL");
    assert_eq!(error, "-CLUSTERDOWN The cluster changed while the command was under way");
}

#[test]
fn nothing_overtakes_a_command_of_several_rounds() {
    let bench = Bench::new(3);
    let mut client = bench.client();
    for _ in 0..20 {
        for line in ["SET a 1", "RANDOMKEY", "FLUSHALL", "DBSIZE"] {
            client.send(line);
        }
        let replies = [client.reply(), client.reply(), client.reply(), client.reply()];
        assert_eq!(replies, ["+OK", "\"a\"", "+OK", ":0"]);
    }
}

#[test]
fn a_scan_that_goes_on_by_itself_is_not_overtaken() {
    let bench = Bench::new(2);
    let next = (8192u64 << 34).to_string();
    bench.nodes[0].script(move |_, words| {
        let reply = format!("*2\r\n${}\r\n{next}\r\n*0\r\n", next.len()).into_bytes();
        (words[0] == b"SCAN").then_some(Act::Reply(reply))
    });
    bench.nodes[1].script(|_, words| {
        (words[0] == b"SCAN").then(|| Act::Reply(b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n".to_vec()))
    });
    let mut client = bench.client();
    client.send("SCAN 0");
    client.send("FLUSHALL");
    assert_eq!([client.reply(), client.reply()], ["[\"0\", [\"b\"]]", "+OK"]);
    let seen = bench.nodes[1].seen.lock().unwrap();
    let place = |word: &[u8]| seen.iter().position(|words| words[0] == word);
    assert!(place(b"SCAN") < place(b"FLUSHALL"), "{seen:?}");
}

#[test]
fn a_pause_of_all_holds_local_commands_too() {
    let bench = Bench::new(1);
    let (mut first, mut second) = (bench.client(), bench.client());
    assert_eq!(first.ask("CLIENT PAUSE 100000 ALL"), "+OK");
    second.send("PING");
    second.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(second.socket.peek(&mut [0]).is_err(), "PING was answered during a pause");
    second.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(first.ask("CLIENT UNPAUSE"), "+OK");
    assert_eq!(second.reply(), "+PONG");
}

#[test]
fn client_list_shows_the_command_that_asks() {
    let bench = Bench::new(1);
    let mut client = bench.client();
    let list = client.ask("CLIENT LIST");
    assert!(list.contains("cmd=client|list "), "{list}");
}

#[test]
fn scan_follows_the_cursor_from_node_to_node() {
    let bench = Bench::new(3);
    let per = 16384usize.div_ceil(3) as u64;
    for (i, node) in bench.nodes.iter().enumerate() {
        let next = if i == 2 { 0 } else { ((i as u64 + 1) * per) << 34 };
        let key = format!("key{i}");
        node.script(move |_, words| {
            (words[0] == b"SCAN").then(|| {
                let keys = if i == 1 { "*0\r\n".to_owned() } else { format!("*1\r\n$4\r\n{key}\r\n") };
                let cursor = next.to_string();
                Act::Reply(format!("*2\r\n${}\r\n{cursor}\r\n{keys}", cursor.len()).into_bytes())
            })
        });
    }
    let mut client = bench.client();
    let next = per << 34;
    assert_eq!(client.ask("SCAN 0 COUNT 5"), format!("[\"{next}\", [\"key0\"]]"));
    // The second node has nothing: the router goes on to the third by itself.
    assert_eq!(client.ask(&format!("SCAN {next} COUNT 5")), "[\"0\", [\"key2\"]]");
}

#[test]
fn sessions() {
    let bench = Bench::new(3);
    let mut client = bench.client();
    client.send("SET a zero");
    client.send("SELECT 3");
    client.send("GET a");
    client.send("SET a three");
    client.send("SELECT 0");
    client.send("GET a");
    let replies: Vec<String> = (0..6).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK", "+OK", "nil", "+OK", "+OK", "\"zero\""]);
    assert!(client.ask("HELLO 3").contains("\"proto\", :3"));
    assert_eq!(client.ask("GET nope"), "null");
    assert_eq!(client.ask("RESET"), "+RESET");
    assert_eq!(client.ask("GET nope"), "nil");
    assert_eq!(client.ask("CLIENT SETNAME bob"), "+OK");
    assert_eq!(client.ask("CLIENT GETNAME"), "\"bob\"");
    client.send("CLIENT REPLY OFF");
    client.send("SET a hidden");
    client.send("GET a");
    client.send("CLIENT REPLY ON");
    assert_eq!(client.reply(), "+OK");
    client.send("CLIENT REPLY SKIP");
    client.send("GET a");
    client.send("GET a");
    assert_eq!(client.reply(), "\"hidden\"");
    assert_eq!(client.ask("ECHO hi"), "\"hi\"");
    assert!(client.ask("COMMAND COUNT").starts_with(':'));
    assert!(client.ask("CLUSTER SLOTS").starts_with("[[:0, :16383, [\"127.0.0.1\""));
    assert_eq!(client.ask("QUIT"), "+OK");
    assert_eq!(client.receive(), None);
}

#[test]
fn clients_are_killed_across_workers() {
    let bench = Bench::with(1, Settings { threads: 2, ..settings() });
    let mut clients: Vec<_> = (0..4).map(|_| bench.client()).collect();
    let ids: Vec<String> = clients.iter_mut().map(|c| c.ask("CLIENT ID")).collect();
    let (first, rest) = clients.split_first_mut().unwrap();
    for (client, id) in rest.iter_mut().zip(&ids[1..]) {
        assert_eq!(first.ask(&format!("CLIENT KILL ID {}", &id[1..])), ":1");
        assert_eq!(client.receive(), None);
    }
    assert_eq!(first.ask(&format!("CLIENT KILL ID {} SKIPME no", &ids[0][1..])), ":1");
    assert_eq!(first.receive(), None);
}

#[test]
fn passwords() {
    let bench = Bench::with(1, Settings { password: Some(b"pw".to_vec()), ..settings() });
    let mut client = bench.client();
    assert_eq!(client.ask("GET a"), "-NOAUTH Authentication required.");
    assert!(client.ask("AUTH nope").starts_with("-WRONGPASS"));
    client.send("AUTH pw");
    client.send("GET a");
    assert_eq!(client.reply(), "+OK");
    assert_eq!(client.reply(), "nil");
    // Neither recursion nor memory grows with what a client pipelines.
    let flip = "AUTH pw\r\nRESET\r\n".repeat(20_000);
    client.send_raw(flip.as_bytes());
    for _ in 0..20_000 {
        assert_eq!(client.reply(), "+OK");
        assert_eq!(client.reply(), "+RESET");
    }
}

#[test]
fn inline_commands_and_protocol_errors() {
    let bench = Bench::new(2);
    let mut client = bench.client();
    client.send_raw(b"SET \"a b\" 'x y'\r\nGET \"a b\"\r\n\r\nPING\r\n");
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "\"x y\"", "+PONG"]);
    for (bytes, text) in [
        (&b"*1\r\nfoo\r\n"[..], "-ERR Protocol error: expected '$', got 'f'"),
        (b"*x\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"\"a\r\n", "-ERR Protocol error: unbalanced quotes in request"),
    ] {
        let mut client = bench.client();
        client.send("GET a");
        client.send_raw(bytes);
        assert_eq!(client.reply(), "nil");
        assert_eq!(client.reply(), text);
        assert_eq!(client.receive(), None);
    }
}

#[test]
fn half_closed_clients_get_their_replies() {
    let bench = Bench::new(3);
    let mut client = bench.client();
    client.send("SET a 1");
    client.send("GET a");
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!([client.reply(), client.reply()], ["+OK", "\"1\""]);
    assert_eq!(client.receive(), None);
}

#[test]
fn deep_pipelines_keep_their_order() {
    let bench = Bench::new(3);
    let mut client = bench.client();
    let mut requests = Vec::new();
    for i in 0..10_000 {
        write!(requests, "SET key{i} {i}\r\nGET key{i}\r\n").unwrap();
    }
    let mut writer = client.socket.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&requests).unwrap());
    for i in 0..10_000 {
        assert_eq!(client.reply(), "+OK");
        assert_eq!(client.reply(), format!("\"{i}\""));
    }
    sender.join().unwrap();
}

#[test]
fn large_values_pass() {
    let bench = Bench::new(2);
    let mut client = bench.client();
    let value = vec![b'x'; 64 << 20];
    client.send_raw(format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n", value.len()).as_bytes());
    client.send_raw(&value);
    client.send_raw(b"\r\n");
    assert_eq!(client.reply(), "+OK");
    client.send("GET a");
    client.send("PING");
    let reply = client.receive().unwrap();
    assert_eq!(reply.len(), value.len() + 13);
    assert!(reply[11..11 + value.len()].iter().all(|b| *b == b'x'));
    assert_eq!(client.reply(), "+PONG");
}

#[test]
fn too_many_clients_are_told_so() {
    let bench = Bench::with(1, Settings { max_clients: 2, ..settings() });
    let mut clients = [bench.client(), bench.client()];
    clients.iter_mut().for_each(|c| assert_eq!(c.ask("PING"), "+PONG"));
    let mut third = bench.client();
    assert_eq!(third.reply(), "-ERR max number of clients reached");
    assert_eq!(third.receive(), None);
    drop(clients);
    eventually("a place for a new client", || {
        let mut client = bench.client();
        client.send_raw(b"PING\r\n");
        client.receive().is_some_and(|r| show(&r) == "+PONG")
    });
}

#[test]
fn web_requests_are_closed_without_an_answer() {
    let bench = Bench::new(1);
    for request in ["POST / HTTP/1.1\r\nPING\r\n", "host: a\r\nPING\r\n"] {
        let mut client = bench.client();
        client.send_raw(request.as_bytes());
        assert_eq!(client.receive(), None, "{request}");
    }
}

#[test]
fn a_client_that_does_not_read_is_not_read() {
    let bench = Bench::with(1, Settings { max_outstanding: 64, client_output_soft: 64 << 10, ..settings() });
    bench.nodes[0].put("a", &"x".repeat(10_000));
    let client = bench.client();
    let mut socket = client.socket.try_clone().unwrap();
    socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let request = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".repeat(1000);
    let mut sent = 0;
    // The router's buffers are bounded, so writing must come to a halt; the system's buffers take some megabytes.
    while socket.write_all(&request).is_ok() {
        sent += 1000;
        assert!(sent < 10_000_000, "the router takes requests without end");
    }
    let before = bench.nodes[0].requests.load(Ordering::Relaxed);
    assert!(before < 4000, "{before} requests went to the node though nobody reads their replies");
    assert_eq!(bench.client().ask("PING"), "+PONG");
}

#[test]
fn a_client_that_owes_too_much_is_closed() {
    let limits = Settings { client_output_soft: 1 << 20, client_output_hard: 4 << 20, ..settings() };
    let bench = Bench::with(1, limits);
    bench.nodes[0].put("a", &"x".repeat(1 << 20));
    let mut client = bench.client();
    client.send_raw(&b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".repeat(200));
    let mut whole = 0;
    // Nobody reads until the router has given up on it; what was in the system's buffers still comes.
    let mut other = bench.client();
    eventually("the client is gone", || other.ask("CLIENT LIST").matches("laddr=").count() == 1);
    while client.receive().is_some() {
        whole += 1;
    }
    assert!(whole < 200);
}
