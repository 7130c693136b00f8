//! Long arguments on their way in: whole and as they were however they arrive, charged with what they hold, and not paid
//! for before they come.

mod support;

use std::{io::Write, net::SocketAddr};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use shoal_node::server::Node;
use shoal_proto::resp::request::OwnedArgs;
use shoal_testkit::{Client, Frame};
use support::start;

fn address(node: &Node) -> SocketAddr {
    ([127, 0, 0, 1], node.shared.port()).into()
}

fn text(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 7) as u8 ^ (i / 5000) as u8 ^ seed).collect()
}

fn request(args: &[&[u8]]) -> Vec<u8> {
    OwnedArgs::new(args).args().raw().to_vec()
}

/// All lengths around what is pooled, mapped, or copied; options behind the value; several values in one request; what
/// comes behind in the same segment. The stream is cut at random places, each piece is on its way before the next.
#[test]
fn requests_with_long_arguments_are_executed_as_others_are() {
    let node = start();
    let mut random = StdRng::seed_from_u64(5);
    let lengths =
        [30_000, 32_760, 32_768, 65_500, 102_400, 131_072, 1 << 20, (1 << 20) + 5000, 2 << 20, 5_000_000];
    for round in 0..3u8 {
        let (mut requests, mut values) = (Vec::new(), Vec::new());
        for (i, len) in lengths.into_iter().enumerate() {
            let value = text(len, round * 16 + i as u8);
            let key = format!("{{k}}{i}");
            match (i as u8 + round) % 4 {
                0 => requests.extend(request(&[b"SET", key.as_bytes(), &value])),
                1 => requests.extend(request(&[b"SET", key.as_bytes(), &value, b"EX", b"1000", b"GET"])),
                2 => requests.extend(request(&[
                    b"MSET",
                    b"{k}short",
                    b"1",
                    key.as_bytes(),
                    &value,
                    b"{k}other",
                    &value[..40_000.min(len)],
                    b"{k}s",
                    b"2",
                ])),
                _ => {
                    requests.extend(request(&[b"DEL", key.as_bytes()]));
                    requests.extend(request(&[b"RPUSH", key.as_bytes(), b"first", &value]));
                }
            }
            requests.extend(request(&[b"ECHO", &(i.to_string().into_bytes())]));
            values.push(value);
        }
        let mut client = Client::connect(address(&node)).expect("the node is up");
        let mut writer = client.sender().expect("a second handle");
        let bytes = requests.clone();
        let mut cuts: Vec<usize> = (0..60).map(|_| random.random_range(0..bytes.len())).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let writing = std::thread::spawn(move || {
            let mut from = 0;
            for to in cuts {
                writer.write_all(&bytes[from..to]).expect("the node reads");
                from = to;
            }
        });
        let mut echoes = 0;
        while echoes < lengths.len() {
            let reply = client.receive().expect("an answer to each request");
            assert!(!matches!(reply, Frame::Error(_)), "{reply:?}");
            echoes += usize::from(reply.text() == Some(echoes.to_string().as_bytes()));
        }
        writing.join().expect("all was sent");
        for (i, value) in values.iter().enumerate() {
            let key = format!("{{k}}{i}");
            let held = match (i as u8 + round) % 4 {
                3 => client.call(["LINDEX", &key, "1"]),
                _ => client.call(["GET", &key]),
            };
            assert!(
                held.expect("an answer").text() == Some(&value[..]),
                "round {round}, {} bytes",
                value.len()
            );
            client.call(["DEL", &key]).expect("an answer");
        }
        node.shared.store.audit();
    }
    let mut client = Client::connect(address(&node)).expect("the node is up");
    client.call(["DEL", "{k}short", "{k}other", "{k}s"]).expect("an answer");
    assert_eq!(node.shared.store.used_memory(), 0);
}

/// What is stored where it was received is charged with all the memory that it holds, a page more than its length at most.
#[test]
fn what_lands_is_charged_with_what_it_holds() {
    let node = start();
    let mut client = Client::connect(address(&node)).expect("the node is up");
    for len in [40_000, 102_400, 1 << 20, 4 << 20] {
        client.call([&b"SET"[..], b"k", &text(len, 1)]).expect("an answer");
        let used = node.shared.store.used_memory() as usize;
        assert!((len..len + 3 * 4096).contains(&used), "{len} bytes are charged with {used}");
        node.shared.store.audit();
        client.call(["DEL", "k"]).expect("an answer");
        assert_eq!(node.shared.store.used_memory(), 0);
    }
}

/// INFO counts all that was received, and each read and write, however it arrived.
#[test]
fn what_arrives_is_counted_exactly() {
    let node = start();
    let mut client = Client::connect(address(&node)).expect("the node is up");
    let mut stat = |before: &[u8], name: &str| {
        client.send_raw(before).expect("it reads");
        if !before.is_empty() {
            client.receive().expect("an answer");
        }
        let info = client.call(["INFO", "stats"]).expect("an answer");
        let text = String::from_utf8_lossy(info.text().expect("a text")).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
        line.trim_start_matches(':').parse::<usize>().expect("a number")
    };
    let info = request(&[b"INFO", b"stats"]).len();
    for len in [10, 20_000, 40_000, 3_000_000] {
        let set = request(&[b"SET", b"k", &text(len, 1)]);
        let [before, after] = [&[], &set[..]].map(|request| stat(request, "total_net_input_bytes"));
        assert_eq!(after - before, set.len() + info, "{len}");
        let [before, after] = [&[], &set[..]].map(|request| stat(request, "total_reads_processed"));
        assert!(after - before >= 2 && after - before < 2 + len.div_ceil(100), "{len}: {before} {after}");
    }
    let [before, after] = [(); 2].map(|()| stat(&[], "total_writes_processed"));
    assert_eq!(after - before, 1);

    // What a client leaves unread has not been sent.
    const UNREAD: usize = 30_000_000;
    stat(&request(&[b"SET", b"k", &text(UNREAD, 1)]), "total_net_output_bytes");
    let [before, after] = [(); 2].map(|()| stat(&[], "total_net_output_bytes"));
    let info = after - before;
    let mut slow = Client::connect(address(&node)).expect("the node is up");
    slow.send(["GET", "k"]).expect("it reads");
    slow.send(["PING"]).expect("it reads");
    let unread = loop {
        let (first, second) = (stat(&[], "total_net_output_bytes"), stat(&[], "total_net_output_bytes"));
        if first > after + 2 * info && second.abs_diff(first + info) < 20 {
            break second - after;
        }
    };
    assert!(unread < UNREAD, "{unread} bytes are said to be sent to somebody who reads nothing");
    assert_eq!(slow.receive().expect("an answer").text().map(<[u8]>::len), Some(UNREAD));
    assert_eq!(slow.receive().expect("an answer"), Frame::Simple("PONG".into()));
    let end = stat(&[], "total_net_output_bytes");
    assert!(end > after + UNREAD, "{end}");
}

/// Clients that announce much and send little cost little: half a gigabyte each would not fit this machine's tests.
#[test]
fn what_is_only_announced_is_not_reserved() {
    let node = start();
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(address(&node)).expect("the node is up");
        client
            .send_raw(b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nbegun")
            .expect("it reads");
        assert_eq!(client.receive().expect("PONG").text(), Some(&b"PONG"[..]));
        clients.push(client);
    }
    let (in_use, _) = node.shared.store.pooled_memory();
    assert!(in_use <= clients.len() * ((1 << 20) + 8192), "{in_use} bytes are taken");
    drop(clients);
    let mut client = Client::connect(address(&node)).expect("the node is up");
    client.call([&b"SET"[..], b"k", &text(100_000, 1)]).expect("an answer");
    assert_eq!(client.call(["STRLEN", "k"]).expect("an answer"), Frame::Int(100_000));
}
