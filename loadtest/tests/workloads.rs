//! Every built-in workload against a real redis-server, where one is installed: no error, and what it is to do done.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shoal_loadtest::arrivals::Spacing;
use shoal_loadtest::run::{Outcome, Purpose, Settings, run};
use shoal_loadtest::tally::CommandTally;
use shoal_loadtest::target::{Opening, Target};
use shoal_loadtest::workload::{BUILT_IN, Workload};
use shoal_testkit::Frame;
use shoal_testkit::process::{Process, redis_server};

/// How many requests of a workload are made, follow-ups not counted.
const REQUESTS: u64 = 10_000;

fn settings(server: &Process, name: &str) -> Settings {
    let mut workload = Workload::find(name).expect("built in");
    workload.keys = workload.keys.min(if name == "large-values" { 50 } else { 2000 });
    Settings {
        targets: vec![Target::resolve(&server.address().to_string()).expect("an address with a port")],
        cluster: false,
        opening: Opening::default(),
        connections: 8,
        pipeline: 4,
        threads: 2,
        duration: Duration::MAX,
        warmup: Duration::ZERO,
        grace: Duration::from_secs(20),
        limit: if name == "large-values" { REQUESTS / 10 } else { REQUESTS },
        give_up: Duration::from_secs(10),
        rates: Vec::new(),
        spacing: Spacing::Even,
        workload,
        processes: Vec::new(),
    }
}

fn go(settings: &Settings, purpose: Purpose) -> Outcome {
    let outcome =
        run(settings, purpose, &Arc::new(AtomicBool::new(false)), |_, _| {}).expect("the server is there");
    let tally = &outcome.tally;
    let name = &settings.workload.name;
    assert_eq!((tally.errors(), tally.broken, tally.lost), (0, 0, 0), "{name}: {:?}", tally.error_kinds);
    outcome
}

/// Loads the keys and makes the requests of a workload.
fn play(server: &Process, name: &str) -> Outcome {
    let mut client = server.client().expect("the server is there");
    client.call(["FLUSHALL"]).expect("an answer");
    let settings = settings(server, name);
    if settings.workload.preload.is_some() {
        assert_eq!(go(&settings, Purpose::Preload).tally.answered(), settings.workload.keys, "{name}");
    }
    go(&settings, Purpose::Measure)
}

fn of<'a>(outcome: &'a Outcome, label: &str) -> &'a CommandTally {
    let index = outcome.labels.iter().position(|other| other == label).expect("a command of the workload");
    &outcome.tally.commands[index]
}

#[test]
fn every_built_in_workload_runs_without_an_error() {
    let Some(server) = redis_server() else { return };
    for (name, _) in BUILT_IN {
        let outcome = play(&server, name);
        let least = settings(&server, name).limit;
        assert!(outcome.tally.answered() >= least, "{name}: {}", outcome.tally.answered());
        for (label, tally) in outcome.labels.iter().zip(&outcome.tally.commands) {
            assert!(tally.answered() > 0, "{name}: {label} never came");
        }
    }
}

#[test]
fn ycsb_reads_updates_inserts_scans_and_writes_back() {
    let Some(server) = redis_server() else { return };
    let mut client = server.client().unwrap();
    let share = |outcome: &Outcome, label: &str, expected: f64| {
        let share = of(outcome, label).answered() as f64 / REQUESTS as f64;
        assert!((share - expected).abs() < 0.02, "{label}: {share}");
    };
    let a = play(&server, "ycsb-a");
    share(&a, "HGETALL", 0.5);
    share(&a, "HSET", 0.5);
    // A record is ten fields of 100 bytes, and updates change no more than that.
    assert_eq!(client.call(["DBSIZE"]).unwrap(), Frame::Int(2000));
    let record = "user0000000000000000042";
    assert_eq!(client.call(["HLEN", record]).unwrap(), Frame::Int(10));
    assert_eq!(client.call(["HSTRLEN", record, "field9"]).unwrap(), Frame::Int(100));

    let d = play(&server, "ycsb-d");
    share(&d, "HSET", 0.05);
    let inserted = of(&d, "HSET").answered() as i64;
    assert_eq!(client.call(["DBSIZE"]).unwrap(), Frame::Int(2000 + inserted));

    let e = play(&server, "ycsb-e");
    share(&e, "ZRANGE", 0.95);
    assert_eq!(client.call(["ZCARD", "table:1"]).unwrap(), Frame::Int(1000));
    // Scans read half of the most records they may, less where a set ends: 45 kB on average.
    let scanned = e.tally.received as f64 / of(&e, "ZRANGE").answered() as f64;
    assert!((40_000.0..55_000.0).contains(&scanned), "{scanned}");

    let f = play(&server, "ycsb-f");
    share(&f, "HGETALL", 0.5);
    assert_eq!(of(&f, "HGETALL #2").answered(), of(&f, "HSET").answered());
}

#[test]
fn times_to_live_reach_the_server() {
    let Some(server) = redis_server() else { return };
    let outcome = play(&server, "cache-aside");
    assert_eq!(of(&outcome, "GET").misses, of(&outcome, "SET").answered());
    let mut client = server.client().unwrap();
    let (mut minute, mut ten, mut hour, mut forever) = (0, 0, 0, 0);
    for number in 0..200 {
        let Frame::Int(ttl) = client.call(["TTL", &format!("user:{number:019}")]).unwrap() else { panic!() };
        match ttl {
            1..=60 => minute += 1,
            500..=660 => ten += 1,
            3000..=3600 => hour += 1,
            -1 => forever += 1,
            -2 => {}
            other => panic!("{other}"),
        }
    }
    assert!(minute > 20 && ten > 30 && hour > 15 && forever > 5, "{minute} {ten} {hour} {forever}");
}

#[test]
fn several_keys_are_counted_one_by_one() {
    let Some(server) = redis_server() else { return };
    let outcome = play(&server, "multi-get");
    let mget = of(&outcome, "MGET");
    let keys = (mget.hits + mget.misses) as f64 / mget.answered() as f64;
    assert!((keys - 10.5).abs() < 0.3, "{keys}");
    assert_eq!(mget.misses, 0);
}
