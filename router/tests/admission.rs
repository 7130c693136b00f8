//! A router whose password the nodes do not take, as a process: it is not ready, and says why.

#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use shoal_net::{Control, HostPort, shutdown};
use shoal_node::launch::{self, NodeSettings};
use shoal_testkit::{Client, Frame, process::Process};

/// How long a change may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn page(admin: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_router_with_a_wrong_password_is_not_ready_and_says_why() {
    let control = Control::start("test-control").unwrap();
    let (trigger, ending) = shutdown::channel();
    let settings = NodeSettings::new(HostPort::new("127.0.0.1", 0));
    settings.config.set_at_start("requirepass", "right").unwrap();
    let node = launch::start(settings, &control, &ending, || {}).unwrap();
    let router = Process::start(env!("CARGO_BIN_EXE_shoal-router"), 2, |ports| {
        let [listen, admin] = [ports[0], ports[1]].map(|port| format!("127.0.0.1:{port}"));
        let join = node.resp.to_string();
        let flags = ["--listen", &listen, "--admin", &admin, "--join", &join, "--node-password", "wrong"];
        flags.map(str::to_owned).to_vec()
    });
    let router = router.unwrap();
    let admin = SocketAddr::from(([127, 0, 0, 1], router.ports()[1]));
    let why = "[-] nodes failed: the nodes do not let this router in: WRONGPASS";
    until("it is known", || page(admin, "/readyz").contains(why));
    assert!(page(admin, "/readyz").starts_with("HTTP/1.1 503"));
    until("it is logged", || router.output().contains("not ready: the nodes do not let this router in"));
    let output = router.output();
    assert!(!output.contains("ready on "), "{output}");
    assert_eq!(output.matches("does not let this router in").count(), 1, "{output}");
    let mut client = Client::connect(node.resp).unwrap();
    for (words, answer) in [("AUTH right", "OK"), ("CONFIG SET requirepass wrong", "OK")] {
        assert_eq!(client.line(words).unwrap(), Frame::Simple(answer.into()));
    }
    until("it is ready", || page(admin, "/readyz").starts_with("HTTP/1.1 200"));
    until("the log says so", || router.output().contains("ready on "));
    assert_eq!(router.client().unwrap().line("SET a 1").unwrap(), Frame::Simple("OK".into()));
    let password = router.client().unwrap().line("CONFIG GET requirepass").unwrap();
    assert_eq!(
        password.words().unwrap(),
        [b"requirepass".to_vec(), Vec::new()],
        "its own and not the nodes'"
    );
    // Somebody changes it again: that shows when the next connection is made.
    assert_eq!(client.line("CONFIG SET requirepass other").unwrap(), Frame::Simple("OK".into()));
    client.line("CLIENT KILL TYPE normal SKIPME yes").unwrap();
    let mut asked = router.client().unwrap();
    assert!(matches!(asked.line("SET a 2").unwrap(), Frame::Error(_)));
    until("it is not ready any more", || page(admin, "/readyz").contains(why));
    trigger.fire();
}
