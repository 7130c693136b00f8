//! The program and servers that fall silent or go away in the middle: what was seen until then is reported, soon.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use shoal_testkit::Frame;
use shoal_testkit::process::redis_server;

/// How long the program may take to end; less than the patience that it is given here or has by itself.
const LIMIT: Duration = Duration::from_secs(40);

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The program's exit status and what it printed, errors last.
fn finish(child: Child) -> (Option<i32>, String) {
    let process = Pid::from_child(&child);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = told.recv_timeout(LIMIT) else {
        kill_process(process, Signal::KILL).expect("it is still there");
        panic!("it has not ended in time");
    };
    let Output { status, stdout, stderr } = output.expect("it was started");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// What a server does with its last GET.
#[derive(Clone, Copy)]
enum Then {
    FallsSilent,
    Closes,
}

/// A server that answers so many GETs of a connection; it tells of each one after.
fn server(gets: usize, then: Then) -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = listener.local_addr().expect("it is bound");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(socket.try_clone().expect("there are descriptors"));
                let mut left = gets;
                while let Some(command) = request(&mut reader) {
                    let answer: &[u8] = match command.as_str() {
                        "GET" if left == 0 => {
                            let _ = tell.send(());
                            match then {
                                Then::FallsSilent => continue,
                                Then::Closes => return,
                            }
                        }
                        "GET" => {
                            left -= 1;
                            b"$1\r\nx\r\n"
                        }
                        "DBSIZE" => b":5\r\n",
                        _ => b"+OK\r\n",
                    };
                    if socket.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, told)
}

/// Reads one request, if one comes; returns its first word.
fn request(from: &mut impl BufRead) -> Option<String> {
    let first = Frame::read(from).ok()?.words()?.into_iter().next()?;
    String::from_utf8(first).ok()
}

fn temporary(name: &str, content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("shoal-loadtest-mute-{}-{name}", std::process::id()));
    std::fs::write(&path, content).expect("temporary files can be made");
    path
}

#[test]
fn an_interrupted_replay_reports_though_the_server_is_mute() {
    let (server, told) = server(5, Then::FallsSilent);
    let trace = temporary("interrupted.csv", &"7,get,1\n".repeat(10));
    let arguments = ["replay", "-q", "-P", "1", "--target", &server.to_string(), trace.to_str().unwrap()];
    let child = program(&arguments).spawn().expect("the program was built");
    told.recv().expect("the server is asked");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let (code, output) = finish(child);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(": 5 accesses in") && output.contains("100.00 % of 5 look-ups"), "{output}");
    assert!(output.contains("the server held 5 keys at the start"), "{output}");
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn a_replay_that_breaks_off_tells_what_it_did() {
    let (server, _told) = server(5, Then::Closes);
    let trace = temporary("broken.csv", &"7,get,1\n".repeat(10));
    let arguments = ["replay", "-q", "-P", "1", "--target", &server.to_string(), trace.to_str().unwrap()];
    let (code, output) = finish(program(&arguments).spawn().expect("the program was built"));
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("100.00 % of 5 look-ups"), "{output}");
    assert!(output.contains("the server closed the connection (after 5 of 10 accesses)"), "{output}");
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn a_replay_reads_no_more_of_its_trace_than_it_needs() {
    let (server, _told) = server(5, Then::Closes);
    let arguments = ["replay", "-q", "-n", "3", "--target", &server.to_string(), "/dev/stdin"];
    let mut child = program(&arguments).stdin(Stdio::piped()).spawn().expect("the program was built");
    let mut trace = child.stdin.take().expect("it is a pipe");
    trace.write_all(b"key\na\nb\nc\nd\n").unwrap();
    let (code, output) = finish(child);
    // Its end has not come yet.
    drop(trace);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("/dev/stdin on ") && output.contains(": 3 accesses in"), "{output}");
    let arguments = ["replay", "-q", "-n", "5", "--target", &server.to_string(), "/dev/zero"];
    let (code, output) = finish(program(&arguments).spawn().expect("the program was built"));
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("/dev/zero: it is neither a file nor a pipe"), "{output}");
}

#[test]
fn an_interrupted_check_reports_though_the_server_is_mute() {
    let (server, told) = server(0, Then::FallsSilent);
    let arguments =
        ["verify", "-q", "-d", "1h", "--patience", "1h", "-c", "2", "--target", &server.to_string()];
    let child = program(&arguments).spawn().expect("the program was built");
    told.recv().expect("the server is asked");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let (code, output) = finish(child);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("by 2 connections on 200 keys"), "{output}");
    assert!(output.contains("interrupted while waiting for the server"), "{output}");
}

#[test]
fn a_check_of_a_server_that_died_says_what_is_not_known() {
    let Some(mut server) = redis_server() else { return };
    let address = server.address().to_string();
    let arguments = ["verify", "-q", "-d", "1h", "--patience", "500ms", "-c", "2", "--target", &address];
    let child = program(&arguments).spawn().expect("the program was built");
    let mut client = server.client().unwrap();
    while !matches!(client.call(["DBSIZE"]).unwrap(), Frame::Int(20..)) {}
    server.kill().unwrap();
    // It has connected, so it has caught signals before.
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let (code, output) = finish(child);
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains(" could not be read back at the end, so what they lost is not known"),
        "{output}"
    );
    assert!(!output.contains("nothing wrong found"), "{output}");
}
