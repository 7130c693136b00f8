//! A node whose thread panics ends as a whole, and the others go on; one whose log cannot be written goes on itself.

#![cfg(target_os = "linux")]

#[path = "support/process.rs"]
mod process;

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use shoal_testkit::{
    Client,
    process::{Process, free_ports},
};

const NODE: &str = env!("CARGO_BIN_EXE_shoal-node");
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a node answers.
fn said(node: &Process, words: [&str; 2]) -> String {
    let reply = node.client().and_then(|mut client| client.call(words)).expect("an answer");
    String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned()
}

/// A line of what `CLUSTER INFO` answers.
fn field(node: &Process, name: &str) -> String {
    let text = said(node, ["CLUSTER", "INFO"]);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn a_panic_ends_the_process() {
    let mut node = process::start(&[NODE], None);
    let mut idle = TcpStream::connect(node.address()).expect("it listens");
    idle.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut client = node.client().expect("it listens");
    assert!(client.call(["DEBUG", "PANIC"]).is_err(), "nobody answers");
    assert_eq!(node.wait(PATIENCE).expect("it ends"), None, "by a signal, not in order");
    assert!(matches!(idle.read(&mut [0]), Ok(0) | Err(_)), "others' connections end with it");
    wait_for("the reason is told", || {
        node.output().contains("a panic ends this process: a client sent DEBUG PANIC")
    });
}

#[test]
fn others_take_over() {
    let first = process::start(&[NODE], None);
    let second = process::start(&[NODE], Some(&first));
    let mut third = process::start(&[NODE], Some(&first));
    let whole = |node: &Process, members: usize| {
        field(node, "cluster_known_nodes") == members.to_string() && field(node, "cluster_state") == "ok"
    };
    wait_for("all are in the cluster", || [&first, &second, &third].iter().all(|node| whole(node, 3)));
    wait_for("each has its share", || {
        let shares = said(&first, ["SHOAL", "CLUSTER"]);
        shares.matches(" in 0 out 0").count() == 3 && !shares.contains(" slots 0 ")
    });
    assert!(third.client().expect("it listens").call(["DEBUG", "PANIC"]).is_err());
    third.wait(PATIENCE).expect("it ends");
    wait_for("two serve every slot", || whole(&first, 2) && whole(&second, 2));
    wait_for("the log tells what was lost", || {
        [&first, &second].iter().all(|node| node.output().contains("begin anew here, empty"))
    });
}

/// A full disk, or a collector that has ended, must not end all nodes at their next line.
#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let mute = ["sh", "-c", "exec \"$0\" \"$@\" 2>/dev/full", NODE];
    let mut first = process::start(&mute, None);
    let mut second = process::start(&mute, Some(&first));
    wait_for("both are in the cluster", || {
        [&first, &second].iter().all(|node| field(node, "cluster_known_nodes") == "2")
    });
    for node in [&mut second, &mut first] {
        node.signal("TERM").expect("it runs");
        assert_eq!(node.wait(PATIENCE).expect("it ends"), Some(0), "it has left in order");
    }
    let status = Command::new("sh")
        .args(["-c", "exec \"$0\" \"$@\" 2>/dev/full", NODE, "--maxmemory", "much"])
        .status();
    assert_eq!(status.expect("it starts").code(), Some(1), "what cannot be used");
}

/// A collector that hangs must not take the nodes with it that it is to collect from.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (mut log, reader) = UnixStream::pair().expect("two sockets");
    log.set_nonblocking(true).expect("a socket");
    let full = loop {
        if let Err(error) = log.write(&[b'\n'; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    log.set_nonblocking(false).expect("a socket");
    let ports = free_ports(3).expect("free ports");
    let mut command = Command::new(NODE);
    for (flag, port) in ["--listen", "--gossip", "--admin"].iter().zip(&ports) {
        command.args([*flag, &format!("127.0.0.1:{port}")]);
    }
    let mut node =
        command.args(["--threads", "1"]).stderr(Stdio::from(OwnedFd::from(log))).spawn().expect("it starts");
    let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
    let answers = || Client::connect(address).and_then(|mut client| client.call(["SET", "a", "1"])).is_ok();
    let (deadline, mut is_up) = (Instant::now() + PATIENCE, false);
    while !is_up && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        is_up = answers();
    }
    let (signal, id) = (if is_up { "TERM" } else { "KILL" }, node.id().to_string());
    assert!(Command::new("kill").args(["-s", signal, &id]).status().expect("kill").success());
    assert_eq!(node.wait().expect("it ends").code(), Some(0), "it was up, and has ended in order");
    drop(reader);
}
