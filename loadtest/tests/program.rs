//! The program as a shell sees it: its exit status, its output and its files, whatever becomes of those.

use std::fs::File;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use shoal_testkit::Frame;

/// What a server may tell of.
enum Happened {
    Connection,
    Request(Frame),
}

/// A server that gives the same answer to everything, and tells of what is worth it.
fn serve(answer: &'static [u8], is_told: fn(Happened) -> bool) -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = listener.local_addr().expect("it is bound");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let happen = |happened| is_told(happened).then(|| tell.send(()));
                happen(Happened::Connection);
                let mut reader = BufReader::new(socket.try_clone().expect("there are descriptors"));
                while let Ok(frame) = Frame::read(&mut reader) {
                    happen(Happened::Request(frame));
                    if socket.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, told)
}

/// A server that gives the same answer to everything; it tells of each connection.
fn server(answer: &'static [u8]) -> (SocketAddr, mpsc::Receiver<()>) {
    serve(answer, |happened| matches!(happened, Happened::Connection))
}

const VALUE: &[u8] = b"$1\r\nx\r\n";

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program was built");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    finish(program(arguments))
}

fn read_and_remove(json: &PathBuf) -> serde_json::Value {
    let report = serde_json::from_slice(&std::fs::read(json).expect("it was written")).expect("it is JSON");
    std::fs::remove_file(json).expect("it can be removed");
    report
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("shoal-loadtest-program-{}-{name}", std::process::id()))
}

#[test]
fn an_output_that_takes_nothing_costs_no_file() {
    let (server, _told) = server(VALUE);
    let target = server.to_string();
    let json = temporary("output.json");
    let (closed, other) = UnixStream::pair().unwrap();
    drop(other);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for (stdout, code, complaint) in [
        (Stdio::from(OwnedFd::from(closed)), 141, ""),
        (Stdio::from(full), 2, "shoal-loadtest: standard output: No space left on device (os error 28)\n"),
    ] {
        let mut command = program(&["run", "-q", "-n", "20", "-c", "1", "--target", &target, "--json"]);
        command.arg(&json).stdout(stdout);
        let (status, _, errors) = finish(command);
        assert_eq!((status, errors.as_str()), (Some(code), complaint));
        assert!(std::fs::read_to_string(&json).unwrap().contains("\"answered\": 20"));
        std::fs::remove_file(&json).unwrap();
    }
}

#[test]
fn a_full_disk_costs_only_the_new_file() {
    let (server, _told) = server(VALUE);
    let target = server.to_string();
    for option in ["--json", "--html", "--hdr"] {
        let (code, output, errors) =
            run(&["run", "-q", "-n", "20", "-c", "1", "--target", &target, option, "/dev/full"]);
        assert_eq!(errors, "shoal-loadtest: /dev/full: No space left on device (os error 28)\n", "{option}");
        assert_eq!(code, Some(2));
        assert!(output.contains("network"), "the table is shown nevertheless: {output}");
    }
}

/// A server that answers everything with a value, and tells of each GET.
fn asked() -> (SocketAddr, mpsc::Receiver<()>) {
    serve(VALUE, |happened| match happened {
        Happened::Connection => false,
        Happened::Request(frame) => frame.words().is_some_and(|words| words[0] == b"GET"),
    })
}

#[test]
fn the_generators_own_pause_is_not_the_servers() {
    for (number, pace) in [&["-r", "1000", "-c", "10"][..], &["-c", "1"]].into_iter().enumerate() {
        let (server, told) = asked();
        let target = server.to_string();
        let json = temporary(&format!("pause-{number}.json"));
        let command = "--command=GET {key}";
        let mut command =
            program(&["run", "-q", "-d", "2s", "--warmup", "500ms", "--target", &target, command]);
        let child = command.args(pace).arg("--json").arg(&json).spawn().expect("the program was built");
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        told.recv().expect("the run begins");
        // It stands still over the end of its warm-up.
        kill_process(pid, Signal::STOP).unwrap();
        std::thread::sleep(Duration::from_millis(800));
        kill_process(pid, Signal::CONT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(&json).unwrap();
        std::fs::remove_file(&json).unwrap();
        let figures: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(figures["elapsed_s"], 2.0, "what is counted begins at the end of the warm-up");
        let stood = figures["generator"]["stood_us"].as_f64().unwrap();
        assert!(stood >= 700_000.0, "{stood}");
        let warnings = figures["warnings"].to_string();
        assert!(warnings.contains("the generator itself"), "{warnings}");
        assert!(!warnings.contains("kept up") && !warnings.contains("are the limit"), "{warnings}");
    }
}

#[test]
fn an_interrupt_that_comes_twice_at_once_is_one() {
    let (server, told) = server(VALUE);
    let target = server.to_string();
    let json = temporary("interrupted.json");
    let path = json.to_str().unwrap();
    let arguments =
        ["run", "-q", "-d", "60s", "-c", "1", "--warmup", "0s", "--target", &target, "--json", path];
    let child = program(&arguments).spawn().expect("the program was built");
    // The first connection looks who is there, with signals caught already; the second one is the load's.
    (0..2).for_each(|_| told.recv().expect("the program connects"));
    let process = Pid::from_child(&child);
    (0..2).for_each(|_| kill_process(process, Signal::INT).unwrap());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}: {text}", output.status);
    assert!(text.contains("generator"), "it still reports: {text}");
    let told = text.lines().find(|line| line.starts_with("warning    interrupted after "));
    assert!(told.is_some_and(|line| line.ends_with(" of 60.0 s")), "{text}");
    assert_eq!(read_and_remove(&json)["interrupted"], true);
}

#[test]
fn a_replay_and_a_check_that_were_interrupted_say_so() {
    let trace = temporary("interrupted.csv");
    std::fs::write(&trace, "a,get,1\n".repeat(10_000)).unwrap();
    let replay = ["replay", trace.to_str().unwrap(), "--rate", "10", "-P", "1"];
    for subcommand in [&replay[..], &["verify", "-d", "60s", "-c", "1"]] {
        let (server, told) = server(VALUE);
        let (target, json) = (server.to_string(), temporary("interrupted-too.json"));
        let arguments = [subcommand, &["-q", "--target", &target, "--json", json.to_str().unwrap()]].concat();
        let child = program(&arguments).spawn().expect("the program was built");
        // The first connection looks who is there, the second one asks.
        (0..2).for_each(|_| told.recv().expect("the program connects"));
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let report = read_and_remove(&json);
        assert_eq!(report["interrupted"], true, "{report}");
        if subcommand[0] == "replay" {
            assert_eq!(report["trace_accesses"], 10_000);
            assert!(report["accesses"].as_u64().unwrap() < 10_000);
            let line = format!("interrupted after {} of 10,000 accesses", report["accesses"]);
            assert!(
                text.contains(&line) && report["warnings"][0].as_str().unwrap().starts_with(&line),
                "{text}"
            );
        } else {
            assert!(text.contains("\ninterrupted after "), "{text}");
        }
    }
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn a_trace_comes_through_a_pipe_in_either_format() {
    let (server, _told) = server(VALUE);
    let target = server.to_string();
    let records: Vec<u8> =
        (0..3u64).flat_map(|key| [&key.to_le_bytes()[..], &[1, 0, 0, 0, 60, 0, 0, 0]].concat()).collect();
    let lines = &b"key,size\na,1\nb,1\nc,1\n"[..];
    for (bytes, more) in [
        (records.as_slice(), &[][..]),
        (lines, &[]),
        (&records, &["--format", "rtr"]),
        (lines, &["--format", "csv"]),
    ] {
        let arguments = [&["replay", "-q", "/dev/stdin", "--target", &target][..], more].concat();
        let mut child = program(&arguments).stdin(Stdio::piped()).spawn().expect("the program was built");
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("object hit ratio  100.00 % of 3 look-ups"), "{more:?}: {text}{errors}");
    }
}

#[test]
fn the_rate_of_a_replay_is_that_of_all_its_accesses() {
    let (server, _told) = server(VALUE);
    let (json, trace) = (temporary("rate.json"), temporary("rate.csv"));
    std::fs::write(&trace, "a,get,1\n".repeat(100)).unwrap();
    let (trace_path, target) = (trace.to_str().unwrap(), server.to_string());
    let common = ["replay", "-q", trace_path, "--target", &target, "--json", json.to_str().unwrap()];
    let (code, output, errors) = run(&[&common[..], &["--rate", "200", "-P", "64"]].concat());
    assert_eq!(code, Some(0), "{output}{errors}");
    // The second and last batch begins after 0.32 s.
    let report = read_and_remove(&json);
    assert!(
        report["seconds"].as_f64().unwrap() >= 0.5 && report["per_s"].as_f64().unwrap() <= 200.0,
        "{report}"
    );
    assert_eq!((&report["interrupted"], &report["trace_accesses"]), (&false.into(), &100.into()));
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn a_comparison_says_what_makes_it_doubtful() {
    const NIL: &[u8] = b"$-1\r\n";
    let (empty, _told) = server(NIL);
    let (other, _other_told) = server(VALUE);
    let (a, b) = (format!("x={empty}"), format!("y={other}"));
    let json = temporary("doubtful.json");
    let path = json.to_str().unwrap();
    let common = ["compare", "-q", "--rounds", "2", "-n", "20", "-c", "1", "--json", path];
    let arguments = [&common[..], &["-A", &a, "-B", &b, "--command", "GET {key}"]].concat();
    let (code, output, errors) = run(&arguments);
    let figures = std::fs::read_to_string(&json).unwrap();
    std::fs::remove_file(&json).unwrap();
    let note = "only 0.00 % of the looked-up keys were there: --preload writes them first";
    assert_eq!(code, Some(0), "{errors}");
    assert!(output.contains(&format!("warning    x: {note}\n")) && !output.contains(&format!("y: {note}")));
    assert!(errors.contains(&format!("x: {note}\n")), "{errors}");
    // Of each round and of all together.
    assert_eq!(figures.matches(note).count(), 3);
    // The keys cannot be written: -ERR, and nil is as good as any answer.
    let (refusing, _refusing_told) = server(b"-ERR no\r\n");
    let target = refusing.to_string();
    let (_, output, _) =
        run(&["run", "-q", "--preload", "-k", "3", "-n", "2", "-c", "1", "--target", &target]);
    assert!(
        output.contains("warning    3 errors and 0 lost requests while the keys were written"),
        "{output}"
    );
}

#[test]
fn a_comparison_with_a_server_that_falls_silent_has_failed() {
    let (good, _told) = server(VALUE);
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let silent = listener.local_addr().expect("it is bound");
    let left = Arc::new(AtomicUsize::new(100));
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let left = left.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(socket.try_clone().expect("there are descriptors"));
                while Frame::read(&mut reader).is_ok() {
                    let more = |n: usize| n.checked_sub(1);
                    let answers = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
                    if answers && socket.write_all(VALUE).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let (a, b) = (format!("x={good}"), format!("y={silent}"));
    let rounds = ["--rounds", "2", "-d", "200ms", "--warmup", "0s", "-c", "1", "-k", "10"];
    let (code, output, errors) = run(&[&["compare", "-q", "--a", &a, "--b", &b][..], &rounds].concat());
    assert_eq!(code, Some(1), "{output}{errors}");
    // The other round counts, and nothing answered is a rate.
    assert!(output.contains("p50, p99, p99.9: compared in 1 of 2 rounds, where both have it.\n"), "{output}");
    assert!(output.contains("x and y are medians of 2 rounds"), "{output}");
    let row = |name: &str| output.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(row("requests/s").ends_with("p 0.500") && row("p50").ends_with("p 1.000"), "{output}");
    assert!(output.contains("warning    y: nothing was answered in 1 of 2 rounds\n"), "{output}");
}

#[test]
fn a_check_of_a_cluster_wants_a_cluster() {
    let (server, _told) = server(b"-ERR This instance has cluster support disabled\r\n");
    let (code, output, errors) =
        run(&["verify", "-q", "--cluster", "-n", "10", "--target", &server.to_string()]);
    assert_eq!((code, output.as_str()), (Some(2), ""), "{errors}");
    assert!(errors.contains("CLUSTER SLOTS") && errors.contains("cluster support disabled"), "{errors}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (server, _told) = server(VALUE);
    let target = server.to_string();
    let (a, b) = (format!("x={target}"), format!("x={target}"));
    let twice = temporary("twice.json");
    let twice = twice.to_str().unwrap();
    for (arguments, part) in [
        (&["run", "-d", "0s"][..], "there is nothing to count in no time"),
        (&["run", "-n", "0"], "0 is not in 1.."),
        (&["run", "--target", &target, "--pid", "4294967295"], "there is no process 4294967295"),
        (&["run", "--target", &target, "--json", "-"], "'-' is no file"),
        (&["run", "--target", &target, "--json", twice, "--html", twice], "cannot hold two reports"),
        (&["run", "--target", &target, "--json", twice, "--hdr", twice], "cannot hold two reports"),
        (&["compare", "--a", &a, "--b", &b], "two servers are called 'x'"),
    ] {
        let (code, _, errors) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
    }
    assert!(!PathBuf::from(twice).exists());
}

#[test]
fn a_comparison_with_a_server_that_only_refuses_fails_loudly() {
    let (good, _told) = server(VALUE);
    let (bad, _told_too) = server(b"-ERR \x1b[31mno\r\n");
    let (good, bad) = (format!("good={good}"), format!("bad={bad}"));
    let common = ["-q", "-n", "20", "-c", "1", "--rounds", "1", "--command", "GET a"];
    let arguments = [&["compare", "--a", &good, "--b", &bad][..], &common].concat();
    let (code, output, errors) = run(&arguments);
    assert_eq!(code, Some(1), "{output}{errors}");
    assert!(
        output.contains(
            r"ERRORS     bad: NOTHING BUT ERRORS, so its figures mean nothing; 20 x ERR \u{1b}[31mno"
        ),
        "{output}"
    );
    let same = good.replace("good", "same");
    let arguments = [&["compare", "--a", &good, "--b", &same][..], &common].concat();
    let (code, output, _) = run(&arguments);
    assert_eq!(code, Some(0));
    assert!(!output.contains("ERRORS"), "{output}");
}

#[test]
fn the_largest_weights_are_shares() {
    let (server, _told) = server(VALUE);
    let target = server.to_string();
    let most = "4294967295";
    let arguments = ["run", "-q", "-n", "20", "-c", "1", "--target", &target];
    let commands = ["--command", "GET a", "--command", "GET b", "--weight", most, "--weight", most];
    let (code, output, errors) = run(&[&arguments[..], &commands].concat());
    assert_eq!(code, Some(0), "{errors}");
    assert!(output.contains("50 % GET a; 50 % GET b"), "{output}");
}

#[test]
fn a_server_of_a_cluster_asks_for_the_option() {
    let (server, _told) = server(b"-MOVED 12182 127.0.0.1:1\r\n");
    let target = server.to_string();
    let (code, output, _) =
        run(&["run", "-q", "-n", "20", "-c", "1", "--target", &target, "--command", "GET foo"]);
    assert_eq!(code, Some(1));
    assert!(output.contains("most errors are MOVED") && output.contains("use --cluster"), "{output}");
}

#[test]
fn checks_and_replays_of_a_node_of_a_cluster_tell_the_way_out() {
    let (server, _told) = server(b"-MOVED 12182 127.0.0.1:1\r\n");
    let target = server.to_string();
    let (code, output, _) =
        run(&["verify", "-q", "-n", "20", "-c", "1", "--patience", "100ms", "--target", &target]);
    assert_eq!(code, Some(1));
    assert!(output.contains("MOVED 12182 127.0.0.1:1 (a node of a cluster: use --cluster)"), "{output}");
    let trace = temporary("moved.csv");
    std::fs::write(&trace, "7\n").unwrap();
    let (code, output, _) = run(&["replay", "-q", "--target", &target, trace.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(output.contains("(a node of a cluster: replay to a router or to one server)"), "{output}");
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn an_interrupt_while_the_server_is_looked_at_is_told_in_one_sentence() {
    let trace = temporary("looked-at.csv");
    std::fs::write(&trace, "7\n").unwrap();
    let path = trace.to_str().unwrap();
    for subcommand in [&["run"][..], &["verify"], &["replay", path]] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let child = program(&[subcommand, &["-q", "--target", &target]].concat()).spawn().unwrap();
        let mut reader = BufReader::new(listener.accept().unwrap().0);
        Frame::read(&mut reader).expect("it asks who is there");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        let told =
            format!("shoal-loadtest: cannot connect to {target}: interrupted while waiting for the server\n");
        assert_eq!((status.code(), String::from_utf8(stderr).unwrap()), (Some(2), told), "{subcommand:?}");
    }
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn an_interrupt_while_connections_are_made_ends_in_a_report() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Of the load's connections one or two stand in its queue, and the next one waits.
    rustix::net::listen(&listener, 0).unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let child = program(&["run", "-q", "-d", "60s", "--target", &target]).spawn().unwrap();
    let mut socket = listener.accept().unwrap().0;
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    Frame::read(&mut reader).expect("it asks who is there");
    socket.write_all(b"$0\r\n\r\n").unwrap();
    assert!(Frame::read(&mut reader).is_err(), "it hangs up and goes on");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let (output, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!((status.code(), errors.as_ref()), (Some(1), ""), "{output}");
    assert!(output.contains("the run ended before anything was counted"), "{output}");
}

#[test]
fn a_check_is_kept_as_json_with_all_that_is_printed() {
    // Everything is answered by `x`, which is a lie to most requests.
    let (server, _told) = server(VALUE);
    let target = server.to_string();
    let json = temporary("verify.json");
    let path = json.to_str().unwrap();
    let (code, output, errors) = run(&[
        "verify", "-q", "-n", "200", "-c", "2", "-k", "8", "--show", "2", "--target", &target, "--json", path,
    ]);
    assert_eq!(code, Some(1), "{output}{errors}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    assert_eq!(
        (&report["passed"], &report["connections"], &report["keys"]),
        (&false.into(), &2.into(), &8.into())
    );
    assert_eq!(report["targets"][0], target.as_str());
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert!(
        output
            .starts_with(&format!("{} operations by 2 connections on 8 keys", number(&report["operations"])))
    );
    let kinds = report["violations"].as_array().unwrap();
    assert!(kinds.iter().any(|kind| kind[0] == "swapped reply"), "{report}");
    for kind in kinds {
        let line = format!("  {:>8} {}\n", number(&kind[1]), kind[0].as_str().unwrap());
        assert!(output.contains(&line), "{line}{output}");
    }
    let histories = report["histories"].as_array().unwrap();
    assert_eq!(histories.len(), 2);
    for operation in histories.iter().flat_map(|history| history["operations"].as_array().unwrap()) {
        assert!(output.contains(operation["text"].as_str().unwrap()), "{operation}");
    }
    for doubt in report["doubts"].as_array().unwrap() {
        assert!(output.contains(doubt.as_str().unwrap()));
    }
    // It is found out before the load whether it can be written.
    let (code, _, errors) = run(&["verify", "-q", "--target", &target, "--json", "/nowhere/at/all.json"]);
    assert_eq!(
        (code, errors.starts_with("shoal-loadtest: /nowhere/at/all.json: ")),
        (Some(2), true),
        "{errors}"
    );
}

#[test]
fn a_replay_is_kept_as_json_with_all_that_is_printed() {
    let (server, _told) = server(VALUE);
    let target = server.to_string();
    let (json, trace) = (temporary("replay.json"), temporary("replay.csv"));
    std::fs::write(&trace, "a,get,1\n".repeat(100)).unwrap();
    let (path, trace_path) = (json.to_str().unwrap(), trace.to_str().unwrap());
    let (code, output, errors) =
        run(&["replay", "-q", "--rate", "100000", trace_path, "--target", &target, "--json", path]);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    std::fs::remove_file(&trace).unwrap();
    assert_eq!(code, Some(0), "{output}{errors}");
    assert!(output.contains("object hit ratio  100.00 % of 100 look-ups"), "{output}");
    for (field, value) in [
        ("lookups", serde_json::Value::from(100)),
        ("accesses", 100.into()),
        ("object_hit_ratio", 1.0.into()),
        ("byte_hit_ratio", 1.0.into()),
        ("useful", true.into()),
        ("target", target.as_str().into()),
        ("trace", trace_path.into()),
        ("rate", 100_000.0.into()),
        ("speed", serde_json::Value::Null),
    ] {
        assert_eq!(report[field], value, "{field}: {report}");
    }
    assert!(report["per_s"].as_f64().unwrap() > 0.0 && report["late"].is_f64());
}

#[test]
fn a_replay_out_of_step_ends_and_counts_nothing_in_doubt() {
    // The third answer to a GET is one too many; what is missing is one answer behind from then on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(socket.try_clone().unwrap());
                let (mut gets, mut late) = (0, VALUE.to_vec());
                while let Some(words) = Frame::read(&mut reader).ok().and_then(Frame::words) {
                    let own = match words[0].as_slice() {
                        b"GET" => VALUE.to_vec(),
                        b"ECHO" => [b"$", words[1].len().to_string().as_bytes(), b"\r\n", &words[1], b"\r\n"]
                            .concat(),
                        _ => b":0\r\n".to_vec(),
                    };
                    gets += usize::from(words[0] == b"GET");
                    let answer = if gets < 3 { own } else { std::mem::replace(&mut late, own) };
                    if socket.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let trace = temporary("step.csv");
    std::fs::write(&trace, "a,get,1\n".repeat(100)).unwrap();
    let (code, output, errors) =
        run(&["replay", "-q", "-P", "1", trace.to_str().unwrap(), "--target", &target]);
    std::fs::remove_file(&trace).unwrap();
    assert_eq!(code, Some(2), "{output}{errors}");
    assert!(output.contains(": 0 accesses in"), "{output}");
    assert!(output.contains("errors            1, the first: a reply that nobody asked for"), "{output}");
    assert!(errors.contains("a reply that nobody asked for (after 0 of 100 accesses)"), "{errors}");
}

#[test]
fn options_without_effect_are_told_once_each() {
    let (server, _told) = server(VALUE);
    let target = server.to_string();
    let warnings = |more: &[&str]| {
        let common = ["run", "-q", "-c", "1", "--target", &target];
        let (code, output, errors) = run(&[&common[..], more].concat());
        assert_eq!(code, Some(0), "{output}{errors}");
        let lines = output.lines().filter(|line| line.contains("has no effect"));
        lines.map(|line| line.trim_start_matches("warning").trim().to_owned()).collect::<Vec<_>>()
    };
    let few = ["-n", "20"];
    assert_eq!(
        warnings(
            &[&few[..], &["--command", "PING", "--ttl", "5", "--value-size", "9", "--keys", "5"]].concat()
        ),
        [
            "--ttl has no effect: no command has {ttl} in it, as in SET {key} {value} EX {ttl}",
            "--value-size has no effect: no command has {value} in it",
            "--keys has no effect: no command has {key} in it",
        ]
    );
    assert_eq!(
        warnings(&[&few[..], &["--command", "GET a", "--preload", "-k", "5"]].concat()),
        [
            "--preload has no effect on what is measured: no command has {key} in it, so none asks for what it writes"
        ]
    );
    assert_eq!(
        warnings(&[&few[..], &["--grace", "1s", "--warmup", "1s"]].concat()),
        [
            "--grace has no effect: a closed loop waits for no late answers, give a --rate",
            "--warmup has no effect: with --requests all are counted",
        ]
    );
    assert_eq!(
        warnings(&["--rate", "100@5s,200@5s", "-d", "100ms", "--warmup", "0s"]),
        [
            "the last step of --rate has no effect: it begins after 5.00 s, and the run ends after 100 ms (--duration)"
        ]
    );
    let all = [
        "--command",
        "SET {key} {value} EX {ttl}",
        "--ttl",
        "5",
        "--value-size",
        "9",
        "-k",
        "5",
        "--key-size",
        "20",
    ];
    assert_eq!(warnings(&[&few[..], &all[..]].concat()), [""; 0]);
    assert_eq!(warnings(&["-d", "100ms", "--warmup", "10ms", "--rate", "500", "--grace", "1s"]), [""; 0]);
}

#[test]
fn keys_that_a_command_names_itself_are_no_business_of_a_preload() {
    let (server, _told) = server(b"$-1\r\n");
    let target = server.to_string();
    let told = |command: &str| {
        let (code, output, errors) =
            run(&["run", "-q", "-n", "20", "-c", "1", "--target", &target, "--command", command]);
        assert_eq!(code, Some(0), "{output}{errors}");
        output
    };
    let own = told("GET nosuchkey");
    assert!(!own.contains("--preload") && !own.contains("1,000,000 keys"), "{own}");
    assert!(own.contains("commands: 100 % GET nosuchkey; seed 1\n"), "{own}");
    let drawn = told("GET {key}");
    assert!(drawn.contains("--preload writes them first"), "{drawn}");
    assert!(drawn.contains("100 % GET {key}; 1,000,000 keys, uniform, seed 1\n"), "{drawn}");
    let set = told("SET a {value}");
    assert!(set.contains("100 % SET a {value}; values of 100 bytes, seed 1\n"), "{set}");
}

#[test]
fn a_report_on_the_standard_output_is_there_alone() {
    let (server, _told) = server(VALUE);
    let target = server.to_string();
    let trace = temporary("stdout.csv");
    std::fs::write(&trace, "a,get,1\n").unwrap();
    let few = ["-n", "20", "-c", "1"];
    let replay = ["replay", trace.to_str().unwrap()];
    for (arguments, field) in [
        (["run"].as_slice(), "total"),
        (&["verify"], "passed"),
        (&["compare", "-A", "x=", "-B", "y="], "runs"),
        (&replay, "hits"),
    ] {
        let mut words: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        if words[0] == "compare" {
            words.iter_mut().filter(|word| word.ends_with('=')).for_each(|word| word.push_str(&target));
            words.extend(["--rounds", "1"].map(str::to_owned));
        } else {
            words.extend(["--target".to_owned(), target.clone()]);
        }
        if words[0] != "replay" {
            words.extend(few.map(str::to_owned));
        }
        words.extend(["-q", "--json", "/dev/stdout"].map(str::to_owned));
        let (_, output, errors) = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let report: serde_json::Value = serde_json::from_str(&output).expect("it is JSON alone");
        assert!(report.get(field).is_some(), "{report}");
        assert!(errors.lines().count() > 1, "the table: {errors}");
    }
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn a_variable_of_no_option_is_told() {
    let (server, _told) = server(VALUE);
    let mut command = program(&["run", "-q", "-n", "20", "-c", "1", "--target", &server.to_string()]);
    command.env("SHOAL_LOADTEST_KEYSIZE", "20").env("SHOAL_LOADTEST_KEY_SIZE", "20");
    let (code, _, errors) = finish(command);
    assert_eq!(code, Some(0));
    assert_eq!(errors, "SHOAL_LOADTEST_KEYSIZE has no effect: no option has this environment variable\n");
}
