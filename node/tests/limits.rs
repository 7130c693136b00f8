//! More clients than there is room for, and clients that are none.

#![cfg(target_os = "linux")]

#[path = "support/process.rs"]
mod process;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use shoal_testkit::{Client, process::Process};

const NODE: &str = env!("CARGO_BIN_EXE_shoal-node");
const PATIENCE: Duration = Duration::from_secs(60);
const REFUSED: &[u8] = b"-ERR max number of clients reached\r\n";

fn connect(to: impl Into<SocketAddr>) -> TcpStream {
    let socket = TcpStream::connect(to.into()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Whether the client that asked is served; it is refused if not.
fn served(socket: &mut TcpStream) -> bool {
    let mut answer = [0; 7];
    socket.read_exact(&mut answer).expect("an answer");
    if &answer == b"+PONG\r\n" {
        return true;
    }
    let mut rest = answer.to_vec();
    // Closed with the request unread, it may end in a reset.
    let _ = socket.read_to_end(&mut rest);
    assert!(REFUSED.starts_with(&rest), "{}", String::from_utf8_lossy(&rest));
    false
}

/// Waits until the node has logged that.
fn logs(node: &Process, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !node.output().contains(text) {
        assert!(Instant::now() < deadline, "{}", node.output());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn text(client: &mut Client, words: &[&str]) -> String {
    client.call(words).expect("an answer").to_string()
}

/// Connects that many at once; how many are served.
fn burst(node: &Process, count: usize) -> (usize, Vec<TcpStream>) {
    let mut sockets: Vec<TcpStream> = (0..count).map(|_| connect(node.address())).collect();
    for socket in &mut sockets {
        // One that was refused already may not take it.
        let _ = socket.write_all(b"PING\r\n");
    }
    (sockets.iter_mut().map(served).filter(|served| *served).count(), sockets)
}

#[test]
fn a_burst_does_not_exceed_maxclients() {
    let node = process::start(&[NODE], None);
    let mut client = node.client().expect("it listens");
    assert!(text(&mut client, &["CONFIG", "SET", "maxclients", "50"]).contains("OK"));
    // The connection of the start may not have been noticed to be gone.
    let (served, _sockets) = burst(&node, 90);
    assert!((48..=49).contains(&served), "{served}");
    assert!(text(&mut client, &["INFO", "clients"]).contains("maxclients:50"));
}

#[test]
fn clients_leave_files_for_others() {
    let low = ["sh", "-c", "ulimit -n 200; exec \"$0\" \"$@\"", NODE];
    let node = process::start(&low, None);
    let mut client = node.client().expect("it listens");
    logs(&node, "maxclients has been reduced to 100,");
    assert!(text(&mut client, &["CONFIG", "GET", "maxclients"]).contains("100"));
    let refused = text(&mut client, &["CONFIG", "SET", "maxclients", "101"]);
    let reason = "ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able to \
                  handle the specified number of clients, try with 100";
    assert!(refused.contains(reason), "{refused}");
    let (served, _sockets) = burst(&node, 150);
    assert!((98..=99).contains(&served), "{served}");
    for path in ["/livez", "/metrics"] {
        let mut probe = connect(([127, 0, 0, 1], node.ports()[2]));
        write!(probe, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it listens");
        let mut answer = String::new();
        probe.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn web_requests_are_closed_without_an_answer() {
    let node = process::start(&[NODE], None);
    for request in ["POST / HTTP/1.1\r\nPING\r\n", "host: a\r\nPING\r\n", "PING\r\nHost:\r\nPING\r\n"] {
        let mut socket = connect(node.address());
        socket.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it is closed");
        assert_eq!(answer, if request.starts_with("PING") { "+PONG\r\n" } else { "" }, "{request}");
    }
    let mut client = node.client().expect("it listens");
    assert!(text(&mut client, &["HOST", "a"]).contains("unknown command"));
    logs(&node, "Possible SECURITY ATTACK detected");
}
