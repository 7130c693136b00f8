//! Servers that close connections, answer late, or are dead: nothing of it may make them look good.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shoal_loadtest::arrivals::Spacing;
use shoal_loadtest::report::figures::Figures;
use shoal_loadtest::report::runs::Runs;
use shoal_loadtest::report::{html, table};
use shoal_loadtest::run::{Outcome, Purpose, Settings, run};
use shoal_loadtest::series::Second;
use shoal_loadtest::target::{Opening, Target};
use shoal_loadtest::workload::{CommandSpec, Workload};
use shoal_testkit::Frame;

/// Settings of one connection to a server, with one command.
fn settings(server: SocketAddr) -> Settings {
    let commands = vec![CommandSpec::new("GET foo", 1)];
    Settings {
        targets: vec![Target::resolve(&server.to_string()).expect("an address with a port")],
        cluster: false,
        opening: Opening::default(),
        connections: 1,
        pipeline: 1,
        threads: 1,
        duration: Duration::MAX,
        warmup: Duration::ZERO,
        grace: Duration::from_secs(20),
        limit: 30,
        give_up: Duration::from_secs(20),
        rates: Vec::new(),
        spacing: Spacing::Even,
        workload: Workload { keys: 10, commands, ..Workload::default() },
        processes: Vec::new(),
    }
}

fn measure(settings: &Settings, purpose: Purpose) -> Outcome {
    run(settings, purpose, &Arc::new(AtomicBool::new(false)), |_, _| {})
        .expect("the server takes connections")
}

/// Reads one request, if one comes; returns its words.
fn request(from: &mut impl BufRead) -> Option<Vec<String>> {
    let words = Frame::read(from).ok()?.words()?;
    Some(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// Serves each connection on a thread of its own, until the test's process ends.
fn serve(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let address = listener.local_addr().expect("it is bound");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(socket));
        }
    });
    address
}

fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("there are free ports")
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    // The system gives a port that was free a moment ago to the next server; this one it gives to nobody.
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// How long the closing server lets a request wait before it closes its connection.
const HOLD: Duration = Duration::from_millis(30);

#[test]
fn a_server_that_closes_connections_does_not_look_fast() {
    let served = AtomicUsize::new(0);
    let server = serve(bind(), move |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        while request(&mut reader).is_some() {
            if served.fetch_add(1, Ordering::Relaxed) % 6 == 5 {
                std::thread::sleep(HOLD);
                return;
            }
            socket.write_all(b"$1\r\nx\r\n").unwrap();
        }
    });
    for rates in [Vec::new(), vec![(1000.0, Duration::MAX)]] {
        let settings = Settings { rates, ..settings(server) };
        let outcome = measure(&settings, Purpose::Measure);
        let figures = Figures::new(&settings, &[], &outcome);
        assert_eq!((figures.total.answered, figures.lost, figures.commands[0].lost), (25, 5, 5));
        for latencies in [&figures.total, &figures.commands[0]] {
            assert!(latencies.p90_us >= HOLD.as_micros() as f64 * 0.99, "{}", latencies.p90_us);
        }
        let seconds = figures.seconds.iter();
        assert_eq!(
            seconds.map(|second| (second.answered, second.lost)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
            (25, 5)
        );
        assert!(figures.warnings.iter().any(|warning| warning.starts_with("5 requests lost the connection")));
    }
}

#[test]
fn refused_connections_are_errors_wherever_errors_are_shown() {
    let listener = bind();
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        for _ in 0..10 {
            request(&mut reader).unwrap();
            socket.write_all(b"-ERR no\r\n").unwrap();
        }
        // It listens no more and keeps its port, so that nobody else answers there.
        let port = TcpStream::from(OwnedFd::from(listener));
        port.shutdown(Shutdown::Both).unwrap();
        request(&mut reader);
        drop((socket, reader));
        std::thread::park();
    });
    let settings = Settings { give_up: Duration::from_millis(400), ..settings(address) };
    let outcome = measure(&settings, Purpose::Measure);
    let figures = Figures::new(&settings, &[], &outcome);
    let listed: u64 = figures.errors.iter().map(|error| error.count).sum();
    assert_eq!((figures.total.errors, figures.lost), (10, 1));
    assert!(figures.errors.iter().any(|error| error.example.contains("refused")), "{:?}", figures.errors);
    assert!(figures.connection_errors > 1 && figures.connection_errors == figures.broken);
    assert_eq!((figures.all_errors(), figures.total.errors + figures.connection_errors), (listed, listed));
    assert_eq!(figures.seconds.iter().map(Second::all_errors).sum::<u64>(), listed);
    let table = table::run(&figures);
    let sum: Vec<&str> =
        table.lines().find(|line| line.starts_with("all ")).unwrap().split_whitespace().collect();
    assert_eq!(sum[3], listed.to_string());
}

#[test]
fn what_comes_with_the_end_of_a_connection_is_counted() {
    const REPLY: &[u8] = b"+OK\r\n";
    let server = serve(bind(), |mut socket| {
        // The answer and the end come together.
        if request(&mut BufReader::new(socket.try_clone().unwrap())).is_some() {
            let _ = socket.write_all(REPLY);
        }
    });
    let mut settings = settings(server);
    settings.workload.commands = vec![CommandSpec::new("QUIT", 1)];
    let outcome = measure(&settings, Purpose::Measure);
    // Where the end came a little later, the next request was on its way already, and is lost.
    assert!(outcome.tally.answered() > 0 && outcome.tally.answered() + outcome.tally.lost == 30);
    assert_eq!(outcome.tally.received, outcome.tally.answered() * REPLY.len() as u64);
}

#[test]
fn a_server_process_that_ends_is_told() {
    let server = serve(bind(), |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        while request(&mut reader).is_some() && socket.write_all(b"$1\r\nx\r\n").is_ok() {}
    });
    let mut gone = std::process::Command::new("true").spawn().expect("there is such a program");
    gone.wait().expect("it ends");
    let told = |processes: Vec<u32>| {
        let settings = Settings { processes, ..settings(server) };
        let outcome = measure(&settings, Purpose::Measure);
        let figures = Figures::new(&settings, &[], &outcome);
        let page = html::page(&Runs::one(figures.clone()));
        let warnings = figures.warnings.iter().filter(|warning| warning.contains("before the run did"));
        (figures.server.is_some(), warnings.cloned().collect::<Vec<_>>(), table::run(&figures), page)
    };
    let (is_known, warnings, table, page) = told(vec![gone.id(), std::process::id()]);
    let note = "1 of the server's 2 processes ended before the run did: what it used is known up to its last reading";
    assert!(is_known && warnings.len() == 1 && warnings[0].starts_with(note), "{warnings:?}");
    assert!(table.contains("resident (1 of 2 processes ended meanwhile)"), "{table}");
    assert!(page.contains("ended meanwhile</th><td>1 process</td>"));
    let (is_known, warnings, table, _) = told(vec![gone.id()]);
    assert!(!is_known && !table.contains("\nserver "), "{table}");
    let note = "the server's process ended before the run did: what the server used cannot be told";
    assert_eq!(warnings, [note]);
}

#[test]
fn answers_that_are_no_strings_are_told() {
    let server = serve(bind(), |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        while request(&mut reader).is_some() && socket.write_all(b"+OK\r\n").is_ok() {}
    });
    let mut settings = settings(server);
    settings.workload.commands = vec![CommandSpec::new("GET {key}", 1), CommandSpec::new("SET {key} x", 1)];
    let outcome = measure(&settings, Purpose::Measure);
    let figures = Figures::new(&settings, &[], &outcome);
    let gets = &figures.commands[0];
    assert!(gets.answered > 1 && gets.neither == gets.answered, "{gets:?}");
    assert_eq!((gets.hit_ratio, figures.commands[1].neither), (None, 0));
    let note = format!("{} answers to GET were neither a string nor nil", gets.answered);
    assert!(figures.warnings.iter().any(|warning| warning.starts_with(&note)), "{:?}", figures.warnings);
    let page = html::page(&Runs::one(figures.clone()));
    assert!(table::run(&figures).contains(&note) && page.contains(&note));
}

#[test]
fn answers_after_the_end_do_not_count_for_the_rate() {
    let server = serve(bind(), |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let count = (0..20).filter_map(|_| request(&mut reader)).count();
        // The last one was due 10 ms before the end.
        std::thread::sleep(Duration::from_millis(200));
        let _ = socket.write_all(&b"$1\r\nx\r\n".repeat(count));
        let _ = reader.read_to_end(&mut Vec::new());
    });
    let duration = Duration::from_millis(200);
    let settings = Settings {
        rates: vec![(100.0, Duration::MAX)],
        pipeline: 100,
        duration,
        limit: u64::MAX,
        ..settings(server)
    };
    let outcome = measure(&settings, Purpose::Measure);
    let figures = Figures::new(&settings, &[], &outcome);
    assert_eq!((figures.total.answered, figures.unanswered), (20, 0));
    assert_eq!((figures.total.per_s, figures.elapsed_s), (0.0, 0.2));
    assert_eq!(figures.seconds.iter().map(|second| second.answered).sum::<u64>(), 0);
    // On a machine that disturbed the generator it is not called the server's.
    let told = ["the server kept up with 0 of 100 requests/s", "0 of 100 requests/s were answered"];
    let is_told = |warning: &String| told.iter().any(|text| warning.contains(text));
    assert!(figures.warnings.iter().any(is_told), "{:?}", figures.warnings);
}

#[test]
fn connections_that_limit_an_open_loop_are_told() {
    let server = serve(bind(), |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        while request(&mut reader).is_some() {
            std::thread::sleep(Duration::from_millis(10));
            let _ = socket.write_all(b"$1\r\nx\r\n");
        }
    });
    // One connection gets 100 answers in a second at most.
    let settings = Settings {
        rates: vec![(2000.0, Duration::MAX)],
        duration: Duration::from_secs(1),
        grace: Duration::ZERO,
        limit: u64::MAX,
        ..settings(server)
    };
    let outcome = measure(&settings, Purpose::Measure);
    let warnings = Figures::new(&settings, &[], &outcome).warnings;
    let note = "all of 1 connection (-c) with pipeline 1 (-P) were in use at the end";
    assert!(warnings.iter().any(|warning| warning.starts_with(note)), "{warnings:?}");
}

#[test]
fn a_number_of_requests_is_given_up_when_nobody_answers() {
    // Connections stand in its queue and are never answered.
    let silent = bind();
    // Takes one connection, and is gone.
    let leaving = || {
        let listener = bind();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || drop(listener.accept()));
        address
    };
    let open = vec![(10.0, Duration::MAX)];
    for (purpose, rates) in
        [(Purpose::Measure, open), (Purpose::Measure, Vec::new()), (Purpose::Preload, Vec::new())]
    {
        for server in [silent.local_addr().unwrap(), leaving()] {
            let mut settings = Settings { rates: rates.clone(), ..settings(server) };
            (settings.give_up, settings.limit) = (Duration::from_millis(100), 1_000_000);
            settings.workload.preload = Some(CommandSpec::new("SET {key} x", 1));
            settings.workload.keys = 1_000_000;
            let outcome = measure(&settings, purpose);
            assert!(outcome.tally.gave_up && outcome.tally.answered() == 0);
            let warnings = Figures::new(&settings, &[], &outcome).warnings;
            let told = warnings.iter().any(|warning| warning.starts_with("given up: no server has answered"));
            assert!(told, "{warnings:?}");
        }
    }
}

#[test]
fn a_silence_at_the_end_is_told() {
    let server = serve(bind(), |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        for _ in 0..20 {
            if request(&mut reader).is_some() {
                let _ = socket.write_all(b"$1\r\nx\r\n");
            }
        }
        let _ = reader.read_to_end(&mut Vec::new());
    });
    let settings = Settings { duration: Duration::from_secs(3), limit: u64::MAX, ..settings(server) };
    let outcome = measure(&settings, Purpose::Measure);
    let figures = Figures::new(&settings, &[], &outcome);
    let told = |text: &str| figures.warnings.iter().any(|warning| warning.starts_with(text));
    assert!(told("there was no answer in the last"), "{:?}", figures.warnings);
    assert!(told("when the run ended 1 of 1 connection hung: it had waited for"), "{:?}", figures.warnings);
    // Of the only command as of all of them, or the warning would contradict the table.
    assert!(figures.commands[0].max_us > 1e6 && figures.commands[0].max_us == figures.total.max_us);
    let last = figures.seconds.last().unwrap();
    assert!(last.answered > 0 || last.waiting_us > 1e6, "{last:?}");
}

/// A node of a cluster whose other half is at `other`.
fn half_a_cluster(other: SocketAddr) -> SocketAddr {
    let listener = bind();
    let own = listener.local_addr().expect("it is bound");
    let range = |low: u16, high: u16, at: SocketAddr| {
        format!("*3\r\n:{low}\r\n:{high}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{}\r\n", at.port())
    };
    let slots = format!("*2\r\n{}{}", range(0, 8191, other), range(8192, 16383, own));
    serve(listener, move |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().expect("there are descriptors"));
        while let Some(words) = request(&mut reader) {
            let reply = if words[0] == "CLUSTER" { slots.as_str() } else { "$1\r\nx\r\n" };
            let _ = socket.write_all(reply.as_bytes());
        }
    })
}

#[test]
fn a_cluster_with_a_dead_node_is_measured() {
    let dead = nobody();
    let live = half_a_cluster(dead);
    let target = |address: SocketAddr| Target::resolve(&address.to_string()).unwrap();
    for targets in [vec![target(live)], vec![target(dead), target(live)]] {
        let settings = Settings { cluster: true, connections: 4, targets, ..settings(live) };
        // `foo` is in slot 12182.
        let outcome = measure(&settings, Purpose::Measure);
        assert_eq!((outcome.tally.answered(), outcome.tally.errors()), (30, 0));
        assert_eq!(outcome.endpoints.len(), 2);
    }
}

#[test]
fn the_program_starts_on_a_cluster_with_a_dead_node() {
    let dead = nobody();
    let live = half_a_cluster(dead);
    let targets = format!("{dead},{live}");
    let arguments =
        ["run", "-q", "--cluster", "-c", "4", "-n", "30", "--command", "GET foo", "--target", &targets];
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_shoal-loadtest")).args(arguments).output();
    let output = output.expect("the program was built");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(errors.contains(&format!("cannot connect to {dead}")), "{errors}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("        30  "));
}

#[test]
fn one_silent_server_of_two_gets_its_requests_and_no_other() {
    let lively = serve(bind(), |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        while request(&mut reader).is_some() && socket.write_all(b"$1\r\nx\r\n").is_ok() {}
    });
    let silent = serve(bind(), |mut socket| {
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let target = |address: SocketAddr| Target::resolve(&address.to_string()).unwrap();
    let settings = Settings {
        targets: vec![target(lively), target(silent)],
        connections: 4,
        rates: vec![(400.0, Duration::MAX)],
        duration: Duration::from_secs(1),
        grace: Duration::from_millis(500),
        limit: u64::MAX,
        ..settings(lively)
    };
    let outcome = measure(&settings, Purpose::Measure);
    let tally = &outcome.tally;
    // Half of the 400 are due at each, whatever the other does; nothing is sent anew.
    assert_eq!(tally.answered() + tally.unanswered, 400);
    assert_eq!((tally.endpoints[1].latency.len(), tally.endpoints[1].unanswered.count()), (0, 200));
    assert_eq!(tally.commands[0].unanswered.count(), tally.unanswered);
    // They were due over one second and waited for half a second longer.
    let waits = tally.endpoints[1].latencies();
    assert!(waits.value_at_quantile(0.5) >= 900_000_000, "{}", waits.value_at_quantile(0.5));
    let figures = Figures::new(&settings, &[], &outcome);
    assert!(figures.commands[0].p99_us >= 1e6 && figures.total.p99_us == figures.commands[0].p99_us);
}

/// The warning about connections that were of no use.
fn useless(settings: &Settings) -> String {
    let outcome = measure(settings, Purpose::Measure);
    let warnings = Figures::new(settings, &[], &outcome).warnings;
    let useless = warnings.iter().filter(|warning| warning.contains("any use"));
    useless.map(String::as_str).collect::<Vec<_>>().join("; ")
}

#[test]
fn connections_that_a_full_server_refuses_are_told() {
    let full = |most: usize| {
        let taken = AtomicUsize::new(0);
        serve(bind(), move |mut socket| {
            let refuses = taken.fetch_add(1, Ordering::Relaxed) >= most;
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            while let Some(words) = request(&mut reader) {
                let answer = if words[0] == "HELLO" { "%0\r\n" } else { "$1\r\nx\r\n" };
                let answer = if refuses { "-ERR max number of clients reached\r\n" } else { answer };
                if socket.write_all(answer.as_bytes()).is_err() || refuses {
                    return;
                }
            }
        })
    };
    let of = |server, rates| {
        let opening = Opening { resp3: true, ..Opening::default() };
        Settings { connections: 5, opening, rates, limit: 200, ..settings(server) }
    };
    for rates in [Vec::new(), vec![(1000.0, Duration::MAX)]] {
        assert_eq!(
            useless(&of(full(3), rates.clone())),
            "2 of 5 connections were never of any use: the server refused them or closed them at once (ERR max \
             number of clients reached), so that the load is that of the others"
        );
        assert_eq!(useless(&of(full(5), rates)), "");
    }
}

#[test]
fn connections_that_cannot_be_made_behind_others_are_told() {
    let listener = bind();
    let server = listener.local_addr().expect("it is bound");
    // No more than two of them stand in its queue.
    rustix::net::listen(&listener, 0).expect("it listens already");
    std::thread::spawn(move || drop(listener.accept()));
    let give_up = Duration::from_millis(100);
    let told = useless(&Settings { connections: 10, give_up, ..settings(server) });
    assert!(told.starts_with("none of the 10 connections was of any use"), "{told}");
}

#[test]
fn connections_that_are_closed_while_idle_are_not_called_useless() {
    // Two connections and one request: whichever brings it, the other one is closed before the answer.
    let all: Mutex<Vec<TcpStream>> = Mutex::default();
    let server = serve(bind(), move |mut socket| {
        all.lock().unwrap().push(socket.try_clone().unwrap());
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        if request(&mut reader).is_none() {
            return;
        }
        let here = socket.peer_addr().unwrap();
        while all.lock().unwrap().len() < 2 {
            std::thread::yield_now();
        }
        let others = std::mem::take(&mut *all.lock().unwrap());
        let others = others.iter().filter(|other| other.peer_addr().is_ok_and(|peer| peer != here));
        others.for_each(|other| other.shutdown(Shutdown::Both).unwrap());
        socket.write_all(b"$1\r\nx\r\n").unwrap();
    });
    let rates = vec![(1000.0, Duration::MAX)];
    let told = useless(&Settings { connections: 2, rates, limit: 1, ..settings(server) });
    assert_eq!(told, "");
}

#[test]
fn connections_that_hang_are_counted() {
    // Three of five connections are answered five times and then no more.
    let taken = AtomicUsize::new(0);
    let server = serve(bind(), move |mut socket| {
        let mut left = if taken.fetch_add(1, Ordering::Relaxed) < 3 { 5 } else { usize::MAX };
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        while request(&mut reader).is_some() {
            if left > 0 && socket.write_all(b"$1\r\nx\r\n").is_err() {
                return;
            }
            left = left.saturating_sub(1);
        }
    });
    let duration = Duration::from_secs(3);
    let settings = Settings { duration, limit: u64::MAX, connections: 5, threads: 2, ..settings(server) };
    let figures = Figures::new(&settings, &[], &measure(&settings, Purpose::Measure));
    assert_eq!(figures.hanging, 3, "{:?}", figures.warnings);
    assert!(figures.hanging_longest_us > 1e6 && figures.hanging_longest_us <= figures.total.max_us);
    let told = figures.warnings.iter().find(|warning| warning.contains(" hung: ")).unwrap();
    assert!(told.starts_with(
        "when the run ended 3 of 5 connections hung: they waited for an answer, the longest for "
    ));
    assert!(told.ends_with(", shown as the maximum, not in the percentiles"), "{told}");
}

#[test]
fn a_refused_connection_is_one_error() {
    // Whether its refusal comes before its first request is sent, or as the answer to that, makes no difference.
    let taken = AtomicUsize::new(0);
    let server = serve(bind(), move |mut socket| {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        if number > 0 {
            if number.is_multiple_of(2) {
                request(&mut reader);
            }
            let _ = socket.write_all(b"-ERR max number of clients reached\r\n");
            return;
        }
        let mut left = 40;
        while request(&mut reader).is_some() && socket.write_all(b"$1\r\nx\r\n").is_ok() && left > 1 {
            left -= 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = reader.read_to_end(&mut Vec::new());
    });
    for rates in [Vec::new(), vec![(1000.0, Duration::MAX)]] {
        let give_up = Duration::from_millis(500);
        let settings = Settings { connections: 4, limit: 1_000_000, give_up, rates, ..settings(server) };
        let figures = Figures::new(&settings, &[], &measure(&settings, Purpose::Measure));
        assert!(figures.broken >= 3 && figures.connection_errors == figures.broken, "{:?}", figures.errors);
        assert_eq!(figures.total.errors, 0, "no request was answered by an error: {:?}", figures.errors);
        let kinds: Vec<&str> = figures.errors.iter().map(|error| error.example.as_str()).collect();
        assert_eq!(kinds, ["ERR max number of clients reached"]);
        assert_eq!(figures.all_errors(), figures.broken);
    }
}

#[test]
fn a_reply_that_nobody_asked_for_costs_its_connection_and_is_one_error() {
    for more in [&b"+OK\r\n"[..], b"$500\r\nhalf of it", b"$1"] {
        // The tenth request of a connection gets more than its reply.
        let server = serve(bind(), move |mut socket| {
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            for number in 1.. {
                if request(&mut reader).is_none() {
                    return;
                }
                let more = if number == 10 { more } else { b"" };
                if socket.write_all(&[b"$1\r\nx\r\n", more].concat()).is_err() {
                    return;
                }
            }
        });
        let settings = settings(server);
        let figures = Figures::new(&settings, &[], &measure(&settings, Purpose::Measure));
        assert_eq!((figures.total.answered, figures.total.errors, figures.lost), (30, 0, 0));
        let kinds: Vec<(&str, u64)> =
            figures.errors.iter().map(|error| (error.example.as_str(), error.count)).collect();
        assert_eq!(kinds, [("a reply that nobody asked for", 3)], "{}", more.escape_ascii());
    }
}

#[test]
fn a_second_answer_is_noticed_when_all_others_have_come() {
    // From the fifth request on each answer is taken for the next request's, and nothing looks wrong any more. The last
    // one is left over.
    let server = serve(bind(), |mut socket| {
        socket.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        for _ in 0..30 {
            if request(&mut reader).is_none() || socket.write_all(b"$1\r\nx\r\n").is_err() {
                return;
            }
        }
        let _ = socket.write_all(b"$1\r\nx\r\n");
        let _ = reader.read_to_end(&mut Vec::new());
    });
    for rates in [Vec::new(), vec![(1000.0, Duration::MAX)]] {
        let settings = Settings { rates, ..settings(server) };
        let figures = Figures::new(&settings, &[], &measure(&settings, Purpose::Measure));
        assert_eq!((figures.total.answered, figures.lost), (30, 0));
        let [error] = figures.errors.as_slice() else { panic!("{:?}", figures.errors) };
        assert_eq!((error.example.as_str(), error.count), ("a reply that nobody asked for", 1));
    }
}

#[test]
fn writes_that_were_not_done_are_told() {
    for (command, answer, odd) in [
        ("SET {key} v", &b"$-1\r\n"[..], 30),
        ("SET {key} v", b":1\r\n", 30),
        ("SET {key} v", b"$1\r\nx\r\n", 30),
        ("SET {key} v", b"+QUEUED\r\n", 30),
        ("SET {key} v", b"+OK\r\n", 0),
        ("SET {key} v NX", b"$-1\r\n", 0),
        ("INCR {key}", b"+OK\r\n", 30),
        ("INCR {key}", b":7\r\n", 0),
        ("PING", b"+PONG\r\n", 0),
    ] {
        let server = serve(bind(), move |mut socket| {
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            while request(&mut reader).is_some() {
                let _ = socket.write_all(answer);
            }
        });
        let mut settings = settings(server);
        settings.workload.commands = vec![CommandSpec::new(command, 1)];
        let outcome = measure(&settings, Purpose::Measure);
        let figures = Figures::new(&settings, &[], &outcome);
        assert_eq!(figures.commands[0].odd, odd, "{command}: {}", answer.escape_ascii());
        let told =
            figures.warnings.iter().any(|warning| warning.contains("nor an error: the server has not done"));
        assert_eq!(told, odd > 0, "{:?}", figures.warnings);
    }
}

#[test]
fn what_redis_pushes_is_no_reply() {
    // Pushes of RESP3 answer nothing and cost nothing, also where they come in parts.
    let server = serve(bind(), |mut socket| {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        while request(&mut reader).is_some() {
            let parts = [&b"$1\r\nx\r\n>2\r\n+invali"[..], b"date\r\n*1\r\n$3\r\nfoo\r\n"];
            if parts.iter().any(|part| socket.write_all(part).is_err()) {
                return;
            }
        }
    });
    let settings = settings(server);
    let figures = Figures::new(&settings, &[], &measure(&settings, Purpose::Measure));
    assert_eq!(
        (figures.total.answered, figures.all_errors(), figures.lost),
        (30, 0, 0),
        "{:?}",
        figures.errors
    );
}
