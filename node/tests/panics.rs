//! A node whose thread panics ends as a whole, and the others go on.

#![cfg(target_os = "linux")]

#[path = "support/process.rs"]
mod process;

use std::{
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use shoal_testkit::process::Process;

const NODE: &str = env!("CARGO_BIN_EXE_shoal-node");
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A line of what `CLUSTER INFO` answers.
fn field(node: &Process, name: &str) -> String {
    let reply = node.client().and_then(|mut client| client.call(["CLUSTER", "INFO"])).expect("an answer");
    let text = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
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
    assert!(third.client().expect("it listens").call(["DEBUG", "PANIC"]).is_err());
    third.wait(PATIENCE).expect("it ends");
    wait_for("two serve every slot", || whole(&first, 2) && whole(&second, 2));
}
