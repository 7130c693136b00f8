//! What is resident at any moment while one kind of values gives way to another.

#![cfg(target_os = "linux")]

#[path = "support/process.rs"]
mod process;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use shoal_proto::resp::request::OwnedArgs;
use shoal_testkit::process::Process;

const MB: usize = 1 << 20;
const LIMIT: usize = 48 * MB;

/// A field of the system's account of a process, in bytes.
fn account(node: &Process, field: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/{}/status", node.id())).expect("it is there");
    let line =
        text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("a known field");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Writes so many bytes of requests as fast as they are taken.
fn write(node: &Process, bytes: usize, mut request: impl FnMut(usize) -> OwnedArgs) {
    let mut socket = TcpStream::connect(node.address()).expect("the node is up");
    let mut replies = BufReader::new(socket.try_clone().expect("a socket"));
    let (mut written, mut n) = (0, 0);
    while written < bytes {
        let (mut batch, mut count) = (Vec::new(), 0);
        while batch.len() < MB {
            batch.extend_from_slice(request(n).args().raw());
            (n, count) = (n + 1, count + 1);
        }
        socket.write_all(&batch).expect("it reads");
        written += batch.len();
        for _ in 0..count {
            let mut reply = String::new();
            replies.read_line(&mut reply).expect("it answers");
            assert!(!reply.starts_with('-'), "{reply}");
        }
    }
}

/// What small elements held goes back to the system as fast as strings and long elements take its place.
#[test]
fn memory_stays_near_the_limit_while_kinds_of_values_change() {
    let node = process::start(&[env!("CARGO_BIN_EXE_shoal-node"), "--maxmemory", "48mb"], None);
    let base = account(&node, "VmRSS");
    let (element, string) = (vec![b'e'; 100], vec![b's'; 300_000]);
    for round in 0..4 {
        write(&node, 2 * LIMIT, |n| {
            let key = format!("list:{round}:{n}").into_bytes();
            let mut words: Vec<&[u8]> = vec![b"RPUSH", &key];
            words.extend((0..20 + n * 37 % 180).map(|_| &element[..]));
            OwnedArgs::new(&words)
        });
        // The system forgets the peak so far.
        fs::write(format!("/proc/{}/clear_refs", node.id()), "5").expect("one's own process");
        write(&node, 2 * LIMIT, |n| {
            let key = format!("string:{round}:{n}").into_bytes();
            if round < 2 {
                return OwnedArgs::new([&b"SET"[..], &key, &string[..100_000 + n * 7919 % 200_000]]);
            }
            // What the allocator holds, as the lists before.
            let mut words: Vec<&[u8]> = vec![b"RPUSH", &key];
            words.extend((0..1 + n % 3).map(|_| &string[..20_000]));
            OwnedArgs::new(&words)
        });
        let peak = account(&node, "VmHWM") - base;
        assert!(peak < LIMIT + LIMIT / 4 + 4 * MB, "{} MB of {}", peak / MB, LIMIT / MB);
    }
}
