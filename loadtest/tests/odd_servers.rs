//! Servers that do what the protocol allows and few do: redirects in a circle, pushes and attributes of RESP3; and the
//! program's own limits beside them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use shoal_loadtest::arrivals::Spacing;
use shoal_loadtest::patience::Patience;
use shoal_loadtest::run::{Purpose, Settings, run};
use shoal_loadtest::target::{Opening, Target};
use shoal_loadtest::verify::driver;
use shoal_loadtest::workload::{CommandSpec, Workload};
use shoal_testkit::Frame;

/// Longer than any test may last.
const LONG: Duration = Duration::from_secs(600);

/// Reads one request, if one comes; returns its words.
fn request(from: &mut impl BufRead) -> Option<Vec<String>> {
    let words = Frame::read(from).ok()?.words()?;
    Some(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Answers each connection's requests on a thread of its own, until the test's process ends.
fn serve(listener: TcpListener, answer: impl Fn(&[String]) -> String + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    let serve = move |mut socket: TcpStream, answer: &dyn Fn(&[String]) -> String| {
        let mut reader = BufReader::new(socket.try_clone().expect("there are descriptors"));
        while let Some(words) = request(&mut reader) {
            if socket.write_all(answer(&words).as_bytes()).is_err() {
                return;
            }
        }
    };
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || serve(socket, &*answer));
        }
    });
}

/// Two nodes of a cluster of which none serves any key: what `refusal` makes of a node's own port and the other's.
fn circle(refusal: fn(u16, u16) -> String) -> SocketAddr {
    let nodes = [bind(), bind()];
    let [one, two] = [nodes[0].1, nodes[1].1];
    let range = |low: u16, high: u16, at: SocketAddr| {
        format!("*3\r\n:{low}\r\n:{high}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{}\r\n", at.port())
    };
    let slots = format!("*2\r\n{}{}", range(0, 8191, one), range(8192, 16383, two));
    for (listener, own) in nodes {
        let other = if own == one { two } else { one };
        let (slots, refused) = (slots.clone(), refusal(own.port(), other.port()));
        serve(listener, move |words| match words[0].as_str() {
            "CLUSTER" => slots.clone(),
            "GET" | "SET" | "DEL" | "INCR" => refused.clone(),
            _ => "+OK\r\n".into(),
        });
    }
    one
}

/// The ways to lead in a circle.
const CIRCLES: [fn(u16, u16) -> String; 4] = [
    |_, other| format!("-MOVED 5 127.0.0.1:{other}\r\n"),
    |own, _| format!("-MOVED 5 127.0.0.1:{own}\r\n"),
    |_, other| format!("-ASK 5 127.0.0.1:{other}\r\n"),
    |_, _| "-TRYAGAIN later\r\n".into(),
];

#[test]
fn redirects_in_a_circle_are_no_answers() {
    for refusal in CIRCLES {
        let node = circle(refusal);
        let settings = Settings {
            targets: vec![Target::resolve(&node.to_string()).expect("an address with a port")],
            cluster: true,
            opening: Opening::default(),
            connections: 4,
            pipeline: 1,
            threads: 1,
            duration: Duration::MAX,
            warmup: Duration::ZERO,
            grace: Duration::ZERO,
            limit: 1_000_000,
            give_up: Duration::from_millis(300),
            rates: Vec::new(),
            spacing: Spacing::Even,
            workload: Workload {
                keys: 1000,
                commands: vec![CommandSpec::new("GET {key}", 1)],
                preload: Some(CommandSpec::new("SET {key} x", 1)),
                ..Workload::default()
            },
            processes: Vec::new(),
        };
        for purpose in [Purpose::Measure, Purpose::Preload] {
            let outcome = run(&settings, purpose, &Arc::new(AtomicBool::new(false)), |_, _| {}).unwrap();
            assert!(outcome.tally.gave_up && outcome.tally.answered() == 0);
            assert!(outcome.tally.redirects > 0 && outcome.tally.longest_wait >= 300_000_000);
        }
    }
}

#[test]
fn a_check_in_a_circle_is_given_up() {
    for refusal in CIRCLES {
        let settings = driver::Settings {
            servers: vec![circle(refusal).into()],
            cluster: true,
            opening: Vec::new(),
            clients: 2,
            pipeline: 1,
            keys: 10,
            value_size: 64,
            duration: Duration::MAX,
            limit: u64::MAX,
            patience: Patience::of(Duration::from_millis(100)),
            give_up: Duration::from_millis(300),
            seed: 1,
            run: 7,
        };
        let recorded = driver::record(&settings, &Arc::new(AtomicBool::new(false))).unwrap();
        assert!(recorded.gave_up && recorded.unanswered > 0);
    }
}

/// A server with keys and values; before what it answers to their commands it says `before`.
fn store(before: &'static str) -> SocketAddr {
    store_for(0, before)
}

/// The same, which answers nobody before so many connections have asked.
fn store_for(connections: usize, before: &'static str) -> SocketAddr {
    let (listener, address) = bind();
    let values: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    let asked: Arc<(Mutex<usize>, Condvar)> = Arc::default();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let (values, asked) = (Arc::clone(&values), Arc::clone(&asked));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(socket.try_clone().expect("there are descriptors"));
                let mut is_new = true;
                while let Some(words) = request(&mut reader) {
                    let is_data = matches!(words[0].as_str(), "GET" | "SET" | "DEL" | "INCR");
                    if is_data && std::mem::take(&mut is_new) {
                        let (count, more) = &*asked;
                        let mut count = count.lock().expect("nobody has panicked");
                        *count += 1;
                        more.notify_all();
                        let all = more.wait_while(count, |count| *count < connections);
                        drop(all.expect("nobody has panicked"));
                    }
                    let reply = reply(&mut values.lock().expect("nobody has panicked"), &words);
                    let before = if is_data || words[0] == "ECHO" { before } else { "" };
                    if socket.write_all(format!("{before}{reply}").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn reply(values: &mut HashMap<String, String>, words: &[String]) -> String {
    let string = |text: &String| format!("${}\r\n{text}\r\n", text.len());
    match words[0].as_str() {
        "HELLO" => "%1\r\n+proto\r\n:3\r\n".into(),
        "DBSIZE" => format!(":{}\r\n", values.len()),
        "ECHO" => string(&words[1]),
        "GET" => values.get(&words[1]).map_or("_\r\n".into(), string),
        "SET" => {
            values.insert(words[1].clone(), words[2].clone());
            "+OK\r\n".into()
        }
        "DEL" => format!(":{}\r\n", usize::from(values.remove(&words[1]).is_some())),
        "INCR" => {
            let value = values.entry(words[1].clone()).or_insert_with(|| "0".into());
            *value = (value.parse::<u64>().expect("only counters are counted") + 1).to_string();
            format!(":{value}\r\n")
        }
        _ => "+OK\r\n".into(),
    }
}

fn program(arguments: &[&str]) -> (Option<i32>, String) {
    finish(Command::new(env!("CARGO_BIN_EXE_shoal-loadtest")).args(arguments))
}

/// The exit status and what was printed, errors last.
fn finish(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().expect("the program was built");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("shoal-loadtest-odd-{}-{name}", std::process::id()))
}

/// What a server that speaks RESP3 may say before a reply: of the reply, with a null, an array and an error in it, and of
/// other things.
const ASIDES: [&str; 2] = [
    "|2\r\n+ttl\r\n_\r\n+more\r\n*2\r\n$2\r\nab\r\n-ERR no\r\n",
    ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n>1\r\n_\r\n",
];

#[test]
fn what_is_aside_of_a_reply_is_none() {
    let trace = temporary("trace.csv");
    std::fs::write(&trace, "7,set,1\n".to_owned() + &"7,get,1\n".repeat(9)).unwrap();
    for before in ASIDES {
        let target = store(before).to_string();
        let common = ["-q", "-3", "--target", &target];
        let (code, output) = program(&[&["verify", "-n", "600", "-c", "2", "-k", "8"], &common[..]].concat());
        assert!(code == Some(0) && output.contains("nothing wrong found"), "{output}");
        let replay = ["replay", "-P", "1", trace.to_str().unwrap()];
        let (code, output) = program(&[&replay, &common[..]].concat());
        assert!(code == Some(0) && output.contains("100.00 % of 9 look-ups"), "{output}");
        let load = ["run", "-k", "5", "--preload", "-n", "100", "-c", "2", "--command", "GET {key}"];
        let (code, output) = program(&[&load, &common[..]].concat());
        assert!(code == Some(0) && output.contains("  100.00 %  "), "{output}");
        let load = ["run", "-k", "5", "-n", "100", "-c", "2", "--command", "GET none:{key}"];
        let (code, output) = program(&[&load, &common[..]].concat());
        assert!(code == Some(0) && output.contains("  0.00 %  "), "{output}");
    }
    std::fs::remove_file(trace).unwrap();
}

#[test]
fn a_check_has_all_its_connections_or_does_not_begin() {
    let target = store_for(50, "").to_string();
    let line = format!(
        "ulimit -n 24; exec '{}' verify -q -n 2000 -c 50 --patience 60s --target {target}",
        env!("CARGO_BIN_EXE_shoal-loadtest")
    );
    let (code, output) = finish(Command::new("sh").args(["-c", &line]));
    match code {
        // Who may raise the limit does.
        Some(0) => assert!(output.contains("by 50 connections"), "{output}"),
        _ => {
            assert_eq!(code, Some(2), "{output}");
            assert!(output.contains("50 connections need 150 open files and the limit is 24"), "{output}");
        }
    }
}

#[test]
fn a_check_keeps_no_more_operations_than_it_may() {
    let target = store("").to_string();
    let json = temporary("full.json");
    let common = ["verify", "-q", "-c", "2", "--target", &target, "--json", json.to_str().unwrap()];
    let told = ": no more than 300 operations are kept (--max-operations)\n";
    for (more, is_early) in [
        (&["-d", "1h"][..], true),
        (&["-n", "100000"], true),
        (&["-n", "300"], false),
        (&["-n", "20"], false),
    ] {
        let (code, output) = program(&[&common[..], &["--max-operations", "300"], more].concat());
        assert_eq!(code, Some(0), "{output}");
        assert_eq!(
            output.contains("the load ended early, after ") && output.contains(told),
            is_early,
            "{output}"
        );
        assert!(output.contains("nothing wrong found"), "{output}");
        let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        assert_eq!(report["ended_early"].is_string(), is_early, "{report}");
        // Keys are read back besides.
        assert!(report["operations"].as_u64().unwrap() <= 300 + 200, "{report}");
    }
    std::fs::remove_file(json).unwrap();
}

/// A process that does nothing, gone at the end.
struct Idle(Child);

impl Idle {
    fn new() -> Self {
        Self(Command::new("sleep").arg(LONG.as_secs().to_string()).spawn().expect("there is sleep"))
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn each_server_of_a_comparison_has_processes_of_its_own() {
    let (a, b) = (format!("x={}", store("")), format!("y={}", store("")));
    let idle = [Idle::new(), Idle::new()];
    let [one, two] = [idle[0].0.id(), idle[1].0.id()];
    let json = temporary("pids.json");
    let common = ["compare", "-q", "--rounds", "1", "-n", "20", "-c", "1", "--a", &a, "--b", &b];
    let compared = |pids: &[&str]| {
        let options: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", *pid]).collect();
        program(&[&common[..], &options, &["--json", json.to_str().unwrap()]].concat())
    };
    let own = std::process::id();
    let (code, output) = compared(&[&format!("x={one}"), &format!("y={two},{own}")]);
    assert_eq!(code, Some(0), "{output}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    let processes = |run: usize| report["runs"][run]["figures"]["server"]["processes"].clone();
    let mut expected = [own, two];
    expected.sort_unstable();
    assert_eq!((processes(0), processes(1)), (vec![one].into(), expected.to_vec().into()));
    let (code, output) = compared(&[&one.to_string()]);
    let told = format!(
        "--pid {one} does not say whose process that is, and would count it for each of 2 servers: write --pid x=PID \
         --pid y=PID"
    );
    assert!(code == Some(2) && output.contains(&told), "{output}");
    let (code, output) = compared(&[&format!("z={one}")]);
    assert!(code == Some(2) && output.contains("--pid z=...: there is no server z, but x, y"), "{output}");
    let (code, output) = program(&["run", "-n", "1", "--pid", "x=1", "--target", &b[2..]]);
    assert!(code == Some(2) && output.contains("--pid x=...: names are for"), "{output}");
}
