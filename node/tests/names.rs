//! A second process of a name that is in use is refused and says why; the first is unharmed. One that is started anew, wherever, gets the
//! name of the one before it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/process.rs"]
mod process;

use std::time::{Duration, Instant};

use shoal_testkit::{Client, Frame, process::Process};

/// How long a change of the cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn words(name: &str) -> [&str; 3] {
    [env!("CARGO_BIN_EXE_shoal-node"), "--name", name]
}

fn text(client: &mut Client, command: &str) -> String {
    match client.line(command).unwrap() {
        Frame::Bulk(text) => String::from_utf8(text).unwrap(),
        other => panic!("{command}: {other:?}"),
    }
}

/// Waits until there are so many members, and no slot is on its way.
fn settle(client: &mut Client, members: usize) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = text(client, "SHOAL CLUSTER");
        let mut lines = state.lines().skip(1);
        if state.lines().count() == 1 + members && lines.all(|line| line.contains(" in 0 out 0")) {
            return state;
        }
        assert!(Instant::now() < deadline, "{state}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a process that is to be refused.
fn refused(name: &str, seed: &Process) {
    let join = seed.address().to_string();
    let started = Process::start(words(name)[0], 3, |ports| {
        let mut args = ["--name", name, "--join", &join].map(str::to_owned).to_vec();
        for (flag, port) in ["--listen", "--gossip", "--admin"].iter().zip(ports) {
            args.extend([(*flag).to_owned(), format!("127.0.0.1:{port}")]);
        }
        args
    });
    let expected = format!("shoal-node: another process of the name '{name}' is in the cluster");
    match started {
        // It was refused before it was ready.
        Err(error) => assert!(error.to_string().contains(&expected), "{error}"),
        Ok(mut twin) => {
            assert_eq!(twin.wait(PATIENCE).unwrap(), Some(1), "{}", twin.output());
            let deadline = Instant::now() + PATIENCE;
            while !twin.output().contains(&expected) {
                assert!(Instant::now() < deadline, "{}", twin.output());
            }
        }
    }
}

#[test]
fn a_name_belongs_to_one_process() {
    let first = process::start(&words("a"), None);
    let mut second = process::start(&words("b"), Some(&first));
    let mut clients = [&first, &second].map(|node| node.client().unwrap());
    settle(&mut clients[0], 2);
    let before = clients.each_mut().map(|client| text(client, "CLUSTER MYID"));
    for key in 0..300 {
        let stored = clients.each_mut().map(|client| client.line(&format!("SET {key} {key}")).unwrap());
        assert!(stored.contains(&Frame::Simple(b"OK".to_vec())), "{stored:?}");
    }
    for (name, seed) in [("b", &first), ("a", &first), ("b", &second)] {
        refused(name, seed);
    }
    // Who is slow to answer is suspected until it does.
    let deadline = Instant::now() + PATIENCE;
    for node in [&first, &second] {
        let up = format!(" {} up slots 8192", node.address());
        while !settle(&mut clients[0], 2).contains(&up) {
            assert!(Instant::now() < deadline, "{}", text(&mut clients[0], "SHOAL CLUSTER"));
        }
    }
    assert_eq!(
        clients.each_mut().map(|client| text(client, "CLUSTER MYID")),
        before,
        "both are who they were"
    );
    for key in 0..300 {
        let got = clients.each_mut().map(|client| client.line(&format!("GET {key}")).unwrap());
        assert!(got.contains(&Frame::Bulk(key.to_string().into())), "{key}: {got:?}");
    }
    second.kill().unwrap();
    let again = process::start(&words("b"), Some(&first));
    let deadline = Instant::now() + PATIENCE;
    while !settle(&mut clients[0], 2).contains(&format!("b {} up", again.address())) {
        assert!(Instant::now() < deadline, "{}", text(&mut clients[0], "SHOAL CLUSTER"));
    }
    assert_ne!(text(&mut again.client().unwrap(), "CLUSTER MYID"), before[1]);
}
