//! Runs, checks and replays against a real redis-server, where one is installed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shoal_loadtest::arrivals::Spacing;
use shoal_loadtest::patience::Patience;
use shoal_loadtest::report::{figures::Figures, hlog};
use shoal_loadtest::run::{Outcome, Purpose, Settings, run};
use shoal_loadtest::target::{Opening, Target, look_at};
use shoal_loadtest::verify::{check, driver};
use shoal_loadtest::workload::{CommandSpec, Workload};
use shoal_loadtest::{procfs, replay, trace};
use shoal_testkit::Frame;
use shoal_testkit::process::{Process, redis_server};

fn settings(server: &Process) -> Settings {
    Settings {
        targets: vec![Target::resolve(&server.address().to_string()).expect("an address with a port")],
        cluster: false,
        opening: Opening::default(),
        connections: 10,
        pipeline: 4,
        threads: 2,
        duration: Duration::MAX,
        warmup: Duration::ZERO,
        grace: Duration::from_secs(10),
        limit: 5000,
        give_up: Duration::from_secs(10),
        rates: Vec::new(),
        spacing: Spacing::Even,
        workload: Workload { keys: 1000, ..Workload::default() },
        processes: procfs::listeners(server.address()),
    }
}

fn measure(settings: &Settings) -> Outcome {
    run(settings, Purpose::Measure, &Arc::new(AtomicBool::new(false)), |_, _| {})
        .expect("the server is there")
}

#[test]
fn each_request_is_answered_once_and_counted() {
    let Some(server) = redis_server() else { return };
    let settings = settings(&server);
    assert_eq!(settings.processes, [server.id()]);
    let loaded = run(&settings, Purpose::Preload, &Arc::new(AtomicBool::new(false)), |_, _| {}).unwrap();
    assert_eq!((loaded.tally.answered(), loaded.tally.errors()), (1000, 0));
    let mut client = server.client().unwrap();
    assert_eq!(client.call(["DBSIZE"]).unwrap(), Frame::Int(1000));

    let outcome = measure(&settings);
    let total = outcome.tally.total();
    assert_eq!((total.answered(), total.errors, total.misses), (5000, 0, 0));
    assert_eq!(total.hits, outcome.tally.commands[0].answered());
    assert_eq!(outcome.seconds.iter().map(|second| second.answered).sum::<u64>(), 5000);
    assert!(outcome.server.is_some());
}

#[test]
fn a_log_holds_every_answer_and_the_same_percentiles() {
    let Some(server) = redis_server() else { return };
    let settings = settings(&server);
    let path = std::env::temp_dir().join(format!("shoal-loadtest-run-{}.hlog", std::process::id()));
    let mut log = hlog::Log::create(&path, &["GET".into(), "SET".into()]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let outcome = run(&settings, Purpose::Measure, &stop, |second, counted| {
        log.second(second.second, counted).unwrap();
    });
    log.finish().unwrap();
    let (measured, logged) = (Figures::new(&settings, &[], &outcome.unwrap()), hlog::read(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(logged.total.answered, 5000);
    for (measured, logged) in measured.commands.iter().zip(&logged.commands) {
        assert_eq!((&measured.command, measured.answered), (&logged.command, logged.answered));
        for (a, b) in [
            (measured.p50_us, logged.p50_us),
            (measured.p99_us, logged.p99_us),
            (measured.max_us, logged.max_us),
        ] {
            assert!((a / b - 1.0).abs() < 0.002, "{a} and {b}");
        }
    }
}

#[test]
fn misses_are_answered_by_the_follow_up() {
    let Some(server) = redis_server() else { return };
    let mut settings = settings(&server);
    settings.opening.resp3 = true;
    settings.workload.commands = vec![CommandSpec {
        line: "GET {key}".into(),
        on_miss: Some("SET {key} {value} EX 100".into()),
        ..CommandSpec::default()
    }];
    let outcome = measure(&settings);
    let [get, set] = &outcome.tally.commands[..] else { panic!() };
    assert_eq!((get.answered(), set.answered()), (5000, get.misses));
    assert!(get.misses >= 900 && get.hits > get.misses, "{} {}", get.hits, get.misses);
}

#[test]
fn errors_are_counted_by_kind() {
    let Some(server) = redis_server() else { return };
    let mut settings = settings(&server);
    settings.workload.commands = vec![CommandSpec::new("NOSUCH {key}", 1)];
    let outcome = measure(&settings);
    assert_eq!((outcome.tally.answered(), outcome.tally.errors()), (5000, 5000));
    assert_eq!(
        (outcome.tally.error_kinds[0].word.as_str(), outcome.tally.error_kinds[0].count),
        ("ERR", 5000)
    );
}

#[test]
fn a_stall_shows_at_its_true_size_in_an_open_loop() {
    let Some(server) = redis_server() else { return };
    let mut settings = settings(&server);
    settings.rates = vec![(1000.0, Duration::MAX)];
    settings.limit = u64::MAX;
    settings.duration = Duration::from_secs(2);
    let mut client = server.client().unwrap();
    let mut paused = false;
    let pause = |_: &_, _: &_| {
        if !std::mem::replace(&mut paused, true) {
            client.call(["CLIENT", "PAUSE", "600", "ALL"]).unwrap();
        }
    };
    let outcome = run(&settings, Purpose::Measure, &Arc::new(AtomicBool::new(false)), pause).unwrap();
    let latency = outcome.tally.total().latency;
    // All 600 requests that were due in the pause waited for its end, not only the one under way.
    let late = latency.len() - latency.count_between(0, 50_000_000);
    assert!(latency.max() > 500_000_000, "{} ns", latency.max());
    assert!(late > 400, "{late} of {} requests were late", latency.len());
    assert_eq!(latency.len() + outcome.tally.unanswered, 2000);
}

#[test]
fn broken_connections_come_back_and_every_request_is_accounted_for() {
    let Some(server) = redis_server() else { return };
    let mut settings = settings(&server);
    settings.rates = vec![(2000.0, Duration::MAX)];
    settings.limit = u64::MAX;
    settings.duration = Duration::from_secs(2);
    let mut client = server.client().unwrap();
    let mut killed = false;
    let kill = |_: &_, _: &_| {
        if !std::mem::replace(&mut killed, true) {
            client.call(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).unwrap();
        }
    };
    let outcome = run(&settings, Purpose::Measure, &Arc::new(AtomicBool::new(false)), kill).unwrap();
    let tally = &outcome.tally;
    assert_eq!((tally.broken, tally.errors()), (10, 0));
    assert_eq!(tally.error_kinds.iter().map(|kind| kind.count).sum::<u64>(), 10);
    assert_eq!(tally.answered() + tally.lost + tally.unanswered, 4000);
    assert!(tally.answered() > 3900, "{}", tally.answered());
}

#[test]
fn a_password_is_asked_for_and_used() {
    let Some(server) = redis_server() else { return };
    server.client().unwrap().call(["CONFIG", "SET", "requirepass", "secret"]).unwrap();
    let mut settings = settings(&server);
    let refused = look_at(&settings.targets[0], &settings.opening, &Arc::default()).unwrap_err().to_string();
    assert!(refused.contains("NOAUTH"), "{refused}");
    settings.opening.password = Some("secret".into());
    assert!(look_at(&settings.targets[0], &settings.opening, &Arc::default()).unwrap().starts_with("redis "));
    assert_eq!(measure(&settings).tally.errors(), 0);
}

#[test]
fn a_single_server_tells_the_truth() {
    let Some(server) = redis_server() else { return };
    let settings = driver::Settings {
        servers: vec![server.address().into()],
        cluster: false,
        opening: Vec::new(),
        clients: 8,
        pipeline: 4,
        keys: 20,
        value_size: 40,
        duration: Duration::MAX,
        limit: 20_000,
        patience: Patience::of(Duration::from_secs(30)),
        give_up: Duration::from_secs(30),
        seed: 1,
        run: 1,
    };
    let recorded = driver::record(&settings, &Arc::new(AtomicBool::new(false))).unwrap();
    assert_eq!((recorded.failures, recorded.first_failure.as_deref()), (0, None));
    let keys = driver::written_keys(&recorded.operations);
    // Every key is read once more at the end.
    assert_eq!((keys.len(), recorded.operations.len()), (20, 20_020));
    assert_eq!(check::check(recorded.operations), []);
    driver::remove_keys(&settings, &keys, &AtomicBool::new(false)).unwrap();
    assert_eq!(server.client().unwrap().call(["DBSIZE"]).unwrap(), Frame::Int(0));
}

#[test]
fn a_flushed_server_is_found_out() {
    let Some(server) = redis_server() else { return };
    let run = |limit| driver::Settings {
        servers: vec![server.address().into()],
        cluster: false,
        opening: Vec::new(),
        clients: 4,
        pipeline: 1,
        keys: 20,
        value_size: 40,
        duration: Duration::MAX,
        limit,
        patience: Patience::of(Duration::from_secs(30)),
        give_up: Duration::from_secs(30),
        seed: 1,
        run: 1,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut operations = driver::record(&run(2000), &stop).unwrap().operations;
    server.client().unwrap().call(["FLUSHALL"]).unwrap();
    // The same keys again, later, with values of their own.
    let later = operations.iter().map(|operation| operation.end).max().unwrap() + 1;
    let again = driver::record(&driver::Settings { seed: 2, ..run(2000) }, &stop).unwrap().operations;
    operations.extend(again.into_iter().map(|mut operation| {
        use shoal_loadtest::verify::history::Action;
        operation.start += later;
        operation.end = operation.end.saturating_add(later);
        operation.action = match operation.action {
            Action::Write(value) => Action::Write(value | 1 << 63),
            Action::Read(value) => Action::Read(value | 1 << 63),
            other => other,
        };
        operation
    }));
    let mut kinds: Vec<String> =
        check::check(operations).iter().map(|violation| violation.wrong.to_string()).collect();
    kinds.sort();
    kinds.dedup();
    assert!(
        kinds.contains(&"lost write".to_owned()) && kinds.contains(&"lost increment".to_owned()),
        "{kinds:?}"
    );
}

#[test]
fn a_replay_counts_hits_of_objects_and_bytes() {
    let Some(server) = redis_server() else { return };
    let settings = replay::Settings {
        server: server.address().into(),
        opening: Vec::new(),
        batch: 4,
        pace: replay::Pace::Max,
        flush: true,
        warmup: 0.0,
    };
    let accesses = trace::lines(
        b"1,get,100\n2,get,300,60\n1,get,100\n2,get,300\n3,set,50\n3,get,50\n1,del\n1,get,100\n",
    )
    .unwrap()
    .accesses;
    let counts = replay::replay(&settings, &accesses, &Arc::new(AtomicBool::new(false))).unwrap();
    assert_eq!((counts.lookups, counts.hits, counts.accesses, counts.errors), (6, 3, 8, 0));
    assert_eq!((counts.bytes, counts.hit_bytes, counts.stored), (950, 450, 4));
    let mut client = server.client().unwrap();
    assert_eq!(client.call(["STRLEN", "k:00000000000002"]).unwrap(), Frame::Int(300));
    let Frame::Int(lives) = client.call(["TTL", "k:00000000000002"]).unwrap() else { panic!() };
    assert!((1..=60).contains(&lives));
}

#[test]
fn a_run_that_only_gets_errors_fails() {
    let Some(server) = redis_server() else { return };
    let exit = |command: &str| {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"));
        program.args(["run", "--quiet", "-n", "100", "--target", &server.address().to_string()]);
        program.args(["--command", command]).stdout(std::process::Stdio::null()).status().unwrap().code()
    };
    assert_eq!((exit("NOSUCH {key}"), exit("PING")), (Some(1), Some(0)));
}

#[test]
fn refused_values_are_not_stored() {
    let Some(server) = redis_server() else { return };
    let settings = replay::Settings {
        server: server.address().into(),
        opening: Vec::new(),
        batch: 8,
        pace: replay::Pace::Max,
        flush: false,
        warmup: 0.0,
    };
    let access = |key| trace::Access { key, at: 0, size: 100, ttl: 0, kind: trace::Kind::Get };
    let accesses: Vec<_> = (0..100).map(access).collect();
    let mut client = server.client().unwrap();
    client.call(["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let refused = replay::replay(&settings, &accesses, &stop).unwrap();
    assert_eq!((refused.stored, refused.errors), (0, 100));
    client.call(["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    let taken = replay::replay(&settings, &accesses, &stop).unwrap();
    assert_eq!((taken.stored, taken.errors), (100, 0));
}

#[test]
fn what_is_never_answered_is_in_the_percentiles() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::resolve(&listener.local_addr().unwrap().to_string()).unwrap();
    let Some(server) = redis_server() else { return };
    for (rate, unanswered) in [(1000.0, 500), (1e9, 500_000_000)] {
        let settings = Settings {
            targets: vec![target.clone()],
            rates: vec![(rate, Duration::MAX)],
            duration: Duration::from_millis(500),
            grace: Duration::from_millis(100),
            limit: u64::MAX,
            ..settings(&server)
        };
        let outcome = measure(&settings);
        assert_eq!(outcome.tally.answered(), 0);
        assert!(
            outcome.tally.unanswered.abs_diff(unanswered) <= unanswered / 100,
            "{}",
            outcome.tally.unanswered
        );
        let figures = Figures::new(&settings, &[], &outcome);
        let total = &figures.total;
        // Due over half a second, and waited for until a tenth after it.
        assert!(total.p50_us >= 300_000.0 && total.p99_us >= 550_000.0, "{total:?}");
        assert!(
            total.p99_us <= total.max_us && figures.warnings.iter().any(|text| text.contains("no answer"))
        );
    }
}
