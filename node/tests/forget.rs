//! `CLUSTER FORGET` of a node whose process lives: it hands over what it has, ends, and stays out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/process.rs"]
mod process;

use std::time::{Duration, Instant};

use shoal_testkit::{Client, Frame, process::Process};

/// How long a change of the cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn node(join: Option<&Process>) -> Process {
    process::start(&[env!("CARGO_BIN_EXE_shoal-node")], join)
}

fn text(client: &mut Client, command: &str) -> String {
    match client.line(command).unwrap() {
        Frame::Bulk(text) => String::from_utf8(text).unwrap(),
        other => panic!("{command}: {other:?}"),
    }
}

/// Members of the view, and whether slots are on their way.
fn state(client: &mut Client) -> (usize, bool) {
    let state = text(client, "SHOAL CLUSTER");
    (state.lines().count() - 1, !state.lines().skip(1).all(|line| line.contains(" in 0 out 0")))
}

#[test]
fn who_is_forgotten_hands_over_ends_and_stays_out() {
    let first = node(None);
    let mut second = node(Some(&first));
    let mut client = first.client().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while state(&mut client) != (2, false) {
        assert!(Instant::now() < deadline, "{}", text(&mut client, "SHOAL CLUSTER"));
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut other = second.client().unwrap();
    let id = text(&mut other, "CLUSTER MYID");
    for key in 0..500 {
        let set = format!("SET {key} {key}");
        let stored = [&mut client, &mut other].map(|node| node.line(&set).unwrap());
        assert!(stored.contains(&Frame::Simple(b"OK".to_vec())), "{stored:?}");
    }
    assert_eq!(client.line(&format!("CLUSTER FORGET {id}")).unwrap(), Frame::Simple(b"OK".to_vec()));
    assert_eq!(second.wait(PATIENCE).unwrap(), Some(0), "{}", second.output());
    assert!(second.output().contains("told to leave by CLUSTER FORGET"), "{}", second.output());
    assert_eq!(state(&mut client), (1, false));
    for key in 0..500 {
        assert_eq!(client.line(&format!("GET {key}")).unwrap(), Frame::Bulk(key.to_string().into()));
    }
    assert!(matches!(client.line(&format!("CLUSTER FORGET {id}")).unwrap(), Frame::Error(_)), "it is gone");
}
