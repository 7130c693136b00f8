//! Replies on their way: long strings come whole and as they were, and who does not read them is closed.

mod support;

use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use shoal_node::server::Node;
use shoal_testkit::{Client, Frame};
use support::start;

fn client(node: &Node) -> Client {
    Client::connect(([127, 0, 0, 1], node.shared.port()).into()).expect("the node is up")
}

fn text(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 7) as u8 ^ seed).collect()
}

fn bulk(frame: &Frame) -> &[u8] {
    frame.text().expect("a string")
}

fn info(client: &mut Client, field: &str) -> u64 {
    let info = client.line("INFO").expect("the node is up");
    let info = String::from_utf8_lossy(bulk(&info)).into_owned();
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("a known field").parse().expect("a number")
}

#[test]
fn who_asked_before_the_end_is_answered() {
    for _ in 0..30 {
        let node = start();
        let mut sockets: Vec<TcpStream> = (0..8)
            .map(|_| {
                let mut socket =
                    TcpStream::connect(("127.0.0.1", node.shared.port())).expect("the node is up");
                socket.write_all(b"PING\r\n").expect("it reads");
                socket.read_exact(&mut [0; 7]).expect("it is served");
                socket
            })
            .collect();
        sockets.iter_mut().for_each(|socket| socket.write_all(b"PING\r\n").expect("it listens"));
        drop(node);
        for mut socket in sockets {
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).expect("it is closed in order");
            assert_eq!(answer, b"+PONG\r\n");
        }
    }
}

#[test]
fn info_tells_what_counts_against_the_limit() {
    let node = start();
    let mut one = client(&node);
    one.call([&b"SET"[..], b"k", &text(100_000, 1)]).unwrap();
    assert!(info(&mut one, "shoal_memory_held") >= info(&mut one, "used_memory"));
    assert!(info(&mut one, "used_memory") > 100_000);
    assert_eq!(info(&mut one, "shoal_memory_measured"), 0, "there is no limit");
    assert!(info(&mut one, "total_system_memory") > info(&mut one, "used_memory_rss"));
}

#[test]
fn long_strings_come_whole_from_every_command_that_shows_them() {
    let node = start();
    let mut one = client(&node);
    for len in [8_000, 16_383, 16_384, 16_385, 70_000, 200_000, 3_000_000] {
        let (a, b) = (text(len, 1), text(len, 2));
        one.call([&b"SET"[..], b"{k}a", &a]).unwrap();
        one.call([&b"MSET"[..], b"{k}b", &b, b"{k}c", b"short"]).unwrap();
        assert!(bulk(&one.call(["GET", "{k}a"]).unwrap()) == a, "{len}");
        let Frame::Array(all) = one.call(["MGET", "{k}b", "{k}c", "{k}none", "{k}a", "{k}b"]).unwrap() else {
            panic!("an array");
        };
        assert!(bulk(&all[0]) == b && bulk(&all[1]) == b"short" && all[2].text().is_none(), "{len}");
        assert!(bulk(&all[3]) == a && bulk(&all[4]) == b, "{len}");
        assert!(bulk(&one.call(["GETRANGE", "{k}a", "5", "-3"]).unwrap()) == &a[5..len - 2], "{len}");
        // What is appended to is copied first where a reply may still hold it.
        one.call([&b"APPEND"[..], b"{k}a", b"more"]).unwrap();
        let longer = [&a[..], b"more"].concat();
        assert!(bulk(&one.call([&b"SET"[..], b"{k}a", &b, b"GET"]).unwrap()) == longer, "{len}");
        assert!(bulk(&one.call([&b"GETSET"[..], b"{k}a", &a]).unwrap()) == b, "{len}");
        assert!(bulk(&one.call(["GETEX", "{k}a", "PERSIST"]).unwrap()) == a, "{len}");
        assert!(bulk(&one.call(["GETDEL", "{k}a"]).unwrap()) == a, "{len}");
        one.call(["SETRANGE", "{k}d", &(len - 1).to_string(), "x"]).unwrap();
        let zeros = one.call(["GET", "{k}d"]).unwrap();
        assert!(bulk(&zeros).len() == len && bulk(&zeros)[..len - 1].iter().all(|byte| *byte == 0));
        one.call(["DEL", "{k}d"]).unwrap();
    }
}

fn request(args: &[&[u8]]) -> Vec<u8> {
    shoal_proto::resp::request::OwnedArgs::new(args).args().raw().to_vec()
}

/// What a reply holds is neither changed nor lost by what comes after it.
#[test]
fn a_pipeline_shows_every_value_as_it_was() {
    let node = start();
    let values: Vec<Vec<u8>> = (0..40).map(|i| text(100_000 + i, i as u8)).collect();
    let mut requests = Vec::new();
    for value in &values {
        for args in [&[&b"SET"[..], b"k", value][..], &[b"GET", b"k"], &[b"APPEND", b"k", b"!"]] {
            requests.extend(request(args));
        }
    }
    let socket = TcpStream::connect(("127.0.0.1", node.shared.port())).expect("the node is up");
    let mut sending = socket.try_clone().expect("a socket can be cloned");
    let sender = std::thread::spawn(move || sending.write_all(&requests));
    let mut replies = BufReader::new(socket);
    for value in &values {
        Frame::read(&mut replies).expect("+OK");
        assert!(bulk(&Frame::read(&mut replies).expect("the value")) == value);
        let len = Frame::read(&mut replies).expect("a length");
        assert!(matches!(len, Frame::Int(n) if n == value.len() as i64 + 1));
    }
    sender.join().expect("it does not panic").expect("the node reads");
}

/// A client that asks for 100 MB, by 2000 times this request, and reads nothing of it.
fn lazy(node: &Node, get: &[u8]) -> TcpStream {
    let mut one = client(node);
    one.call([&b"SET"[..], b"k", &text(50_000, 0)]).expect("the node is up");
    let mut socket = TcpStream::connect(("127.0.0.1", node.shared.port())).expect("the node is up");
    // Once it is answered it is in the list.
    socket.write_all(&request(&[b"PING"])).expect("the node is up");
    let mut pong = [0; 7];
    socket.read_exact(&mut pong).expect("an answer");
    socket.write_all(&get.repeat(2000)).expect("so little is always taken");
    socket
}

/// The line of `CLIENT LIST` about this client.
fn line_of(one: &mut Client, socket: &TcpStream) -> Option<String> {
    let address = format!(" addr={} ", socket.local_addr().expect("it is connected"));
    let list = one.line("CLIENT LIST").expect("the node is up");
    String::from_utf8_lossy(bulk(&list)).lines().find(|line| line.contains(&address)).map(str::to_owned)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn who_never_reads_is_closed_at_either_limit() {
    for limit in ["normal 100000 0 0", "normal 0 60000 1"] {
        let node = start();
        let mut one = client(&node);
        one.call(["CONFIG", "SET", "client-output-buffer-limit", limit]).unwrap();
        let mut socket = lazy(&node, &request(&[b"GET", b"k"]));
        wait_for("it is closed", || line_of(&mut one, &socket).is_none());
        assert_eq!(info(&mut one, "client_output_buffer_limit_disconnections"), 1, "{limit}");
        // What had been sent can still be read, then it ends.
        let mut rest = Vec::new();
        let _reset_or_end = socket.read_to_end(&mut rest);
        assert!(rest.len() < 100_000_000, "{limit}");
    }
}

#[test]
fn without_a_limit_little_is_held_for_who_never_reads() {
    little_is_held(&request(&[b"GET", b"k"]));
}

#[test]
fn inline_commands_are_held_back_as_well() {
    little_is_held(b"GET k\r\n");
}

/// Without a limit, of who sends many of these and reads nothing.
fn little_is_held(get: &[u8]) {
    let node = start();
    let mut one = client(&node);
    one.call(["CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0"]).expect("the node is up");
    let mut socket = lazy(&node, get);
    let held = |one: &mut Client| -> usize {
        let line = line_of(one, &socket).expect("it is not closed");
        let omem = line.split(' ').find_map(|field| field.strip_prefix("omem=")).expect("a field");
        omem.parse().expect("a number")
    };
    wait_for("the system takes no more", || held(&mut one) >= 1 << 20);
    let most = (1 << 21) + 51_000;
    assert!(held(&mut one) <= most);
    // It has lost nothing: whoever begins to read gets everything, and there is never more than that.
    let mut left = 2000 * (50_000 + "$50000\r\n\r\n".len());
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let n = socket.read(&mut buffer).expect("the rest comes");
        assert!(n > 0, "{left} bytes are lost");
        left -= n;
    }
    assert_eq!(info(&mut one, "client_output_buffer_limit_disconnections"), 0);
}

#[test]
fn one_reply_is_bounded_too() {
    let node = start();
    let mut one = client(&node);
    one.call(["CONFIG", "SET", "client-output-buffer-limit", "normal 1000000 0 0"]).unwrap();
    for (len, count) in [(5000, 1000), (50_000, 100)] {
        one.call([&b"SET"[..], b"k", &text(len, 0)]).unwrap();
        let mut greedy = client(&node);
        let mut args = vec!["MGET"];
        args.resize(count, "k");
        greedy.call(args).expect_err("5 MB are too much");
    }
    assert_eq!(info(&mut one, "client_output_buffer_limit_disconnections"), 2);
    one.call(["CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0"]).unwrap();
    let mut args = vec!["MGET"];
    args.resize(101, "k");
    let Frame::Array(all) = one.call(args).expect("no limit") else { panic!("an array") };
    assert!(all.len() == 100 && all.iter().all(|one| bulk(one) == text(50_000, 0)));
}
