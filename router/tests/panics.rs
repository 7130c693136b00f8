//! A router whose thread panics ends as a whole; one that cannot print anything goes on.

#![cfg(all(feature = "embedded", target_os = "linux"))]

use std::time::{Duration, Instant};

use shoal_testkit::process::Process;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_panic_ends_the_process() {
    let started = Process::start(env!("CARGO_BIN_EXE_shoal-router"), 2, |ports| {
        let address = |i: usize| format!("127.0.0.1:{}", ports[i]);
        let words = ["--listen", &address(0), "--admin", &address(1), "--threads", "2", "--embedded", "1"];
        words.map(str::to_owned).to_vec()
    });
    let mut router = started.expect("the router is up");
    let mut client = router.client().expect("it listens");
    assert!(client.call(["DEBUG", "PANIC"]).is_err(), "nobody answers");
    assert_eq!(router.wait(PATIENCE).expect("it ends"), None, "by a signal, not in order");
    let (deadline, reason) =
        (Instant::now() + PATIENCE, "a panic ends this process: a client sent DEBUG PANIC");
    while !router.output().contains(reason) {
        assert!(Instant::now() < deadline, "{}", router.output());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn output_that_cannot_be_written_ends_nothing() {
    let started = Process::start("sh", 2, |ports| {
        let address = |i: usize| format!("127.0.0.1:{}", ports[i]);
        let (listen, admin) = (address(0), address(1));
        let mute = ["-c", "exec \"$0\" \"$@\" >/dev/full 2>&1", env!("CARGO_BIN_EXE_shoal-router")];
        let flags = ["--listen", &listen, "--admin", &admin, "--threads", "1", "--log-level", "info"];
        mute.iter().chain(&flags).map(|word| (*word).to_owned()).collect()
    });
    let mut router = started.expect("the router is up");
    assert!(router.client().expect("it listens").call(["SET", "a", "1"]).is_ok());
    router.signal("TERM").expect("it runs");
    assert_eq!(router.wait(PATIENCE).expect("it ends"), Some(0), "in order");
}
