//! The driver against servers that answer by a script.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{LazyLock, Mutex};

use shoal_testkit::Frame;

use super::super::check::check;
use super::super::history::Wrong;
use super::*;

fn settings() -> Settings {
    Settings {
        servers: Vec::new(),
        cluster: false,
        opening: Vec::new(),
        clients: 1,
        pipeline: 1,
        keys: 1,
        value_size: 64,
        duration: Duration::ZERO,
        limit: 0,
        patience: Patience::of(Duration::ZERO),
        give_up: LONG,
        seed: 1,
        run: 0xabc,
    }
}

#[test]
fn answers_of_the_wrong_kind_are_taken_down() {
    let settings = settings();
    let watch = Watch::default();
    let mut client = Client::reader(&settings, Instant::now(), &watch);
    let mut judged = |action, answer| {
        let mut operation = Operation { key: 3, client: 0, start: 1, end: 2, action };
        client.recorded.operations.clear();
        client.judge(&mut operation, answer);
        let mismatched = client.recorded.operations.iter().chain([&operation]);
        let mismatched = mismatched.filter(|operation| operation.action == Action::Mismatched).count() == 1;
        (mismatched, operation.end == NEVER, operation.action)
    };
    let bytes = |text: &str| Answer::Bytes(text.into());
    assert_eq!(judged(Action::Write(1), Answer::Number(1)), (true, true, Action::Write(1)));
    assert_eq!(judged(Action::Delete, Answer::Nothing), (true, true, Action::Delete));
    assert_eq!(judged(Action::Delete, Answer::Number(2)), (true, true, Action::Delete));
    assert_eq!(judged(Action::Increment(0), Answer::Number(0)), (true, true, Action::Increment(0)));
    assert_eq!(judged(Action::Increment(0), bytes("5")), (true, true, Action::Increment(0)));
    assert!(judged(Action::ReadNothing, Answer::Status("OK".into())).0);
    assert!(judged(Action::ReadCounter(0), Answer::Number(1)).0);
    assert_eq!(judged(Action::ReadCounter(0), bytes("abc:7:1:")).2, Action::ReadForeign(7));
    assert_eq!(judged(Action::ReadCounter(0), bytes("x")).2, Action::ReadForeign(u32::MAX));
    assert_eq!(judged(Action::ReadCounter(0), bytes("17")), (false, false, Action::ReadCounter(17)));
    assert_eq!(judged(Action::Increment(0), Answer::Number(4)), (false, false, Action::Increment(4)));
    assert_eq!(judged(Action::Delete, Answer::Number(1)), (false, false, Action::Removed(true)));
    assert_eq!(judged(Action::Delete, Answer::Number(0)), (false, false, Action::Removed(false)));
    assert_eq!(judged(Action::Write(1), Answer::Status("OK".into())), (false, false, Action::Write(1)));
    assert_eq!(judged(Action::Write(1), Answer::Status("QUEUED".into())), (true, true, Action::Write(1)));
}

/// A server that answers each connection's requests by `reply` (number of the request, its words), until that says
/// nothing more.
fn serve(reply: fn(usize, &[String]) -> Option<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(socket.try_clone().unwrap());
                for number in 0.. {
                    let Some(words) = request(&mut reader) else { return };
                    match reply(number, &words) {
                        Some(bytes) if (&socket).write_all(&bytes).is_ok() => {}
                        Some(_) => return,
                        // Silent, but there: wait for the other side to hang up.
                        None => while request(&mut reader).is_some() {},
                    }
                }
            });
        }
    });
    address
}

/// The words of a request, if one comes.
fn request(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let words = Frame::read(reader).ok()?.words()?;
    words.into_iter().map(|word| String::from_utf8(word).ok()).collect()
}

/// Few requests of one connection to such a server.
fn recorded(limit: u64, patience: Duration, reply: fn(usize, &[String]) -> Option<Vec<u8>>) -> Recorded {
    seeded(1, limit, patience, reply)
}

fn seeded(
    seed: u64,
    limit: u64,
    patience: Duration,
    reply: fn(usize, &[String]) -> Option<Vec<u8>>,
) -> Recorded {
    let settings = Settings {
        seed,
        servers: vec![serve(reply).into()],
        duration: Duration::MAX,
        limit,
        patience: Patience::of(patience),
        value_size: 32,
        ..settings()
    };
    record(&settings, &Arc::new(AtomicBool::new(false))).unwrap()
}

fn kinds(recorded: &Recorded) -> Vec<Wrong> {
    let mut kinds: Vec<Wrong> =
        check(recorded.operations.clone()).iter().map(|violation| violation.wrong).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_is_no_reply_is_a_finding() {
    let recorded =
        recorded(3, LONG, |number, _| (number < 5).then(|| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    assert_eq!(kinds(&recorded), [Wrong::Malformed]);
    let told = recorded.first_failure.unwrap();
    assert_eq!(told, "connection: not RESP: 'HTTP/1.1 400 Bad Request'");
}

#[test]
fn silence_is_told_as_such() {
    let recorded = recorded(1, Duration::from_millis(100), |_, _| None);
    assert_eq!(recorded.first_failure.as_deref(), Some("connection: no answer within 0.1 s"));
    assert!(recorded.unanswered >= 1);
    assert_eq!(recorded.operations.iter().filter(|operation| operation.is_answered()).count(), 0);
}

#[test]
fn values_that_were_cut_are_found_and_shown() {
    // Each SET is answered well, each GET by what the value of key 0 would be without its end.
    let recorded = recorded(40, LONG, |_, words| {
        Some(match words[0].as_str() {
            "GET" => b"$11\r\nabc:0:1:...\r\n".to_vec(),
            "SET" => b"+OK\r\n".to_vec(),
            _ => b":1\r\n".to_vec(),
        })
    });
    assert!(kinds(&recorded).contains(&Wrong::CorruptValue));
    let told = recorded.first_corruption.unwrap();
    assert!(told.starts_with("key 0: read 11 bytes instead of 32; from byte 11 on"), "{told}");
}

#[test]
fn the_last_write_is_read_once_more() {
    // Nothing is ever stored. Nobody reads after the only write, but for the reading of all keys at the end.
    let reply: fn(usize, &[String]) -> Option<Vec<u8>> = |_, words| {
        Some(match words[0].as_str() {
            "GET" => b"$-1\r\n".to_vec(),
            "SET" => b"+OK\r\n".to_vec(),
            _ => b":0\r\n".to_vec(),
        })
    };
    let writes = |recorded: &Recorded| matches!(recorded.operations[0].action, Action::Write(_));
    let recorded = (0..100).map(|seed| seeded(seed, 1, LONG, reply)).find(writes).unwrap();
    assert_eq!(kinds(&recorded), [Wrong::LostWrite]);
}

#[test]
fn keys_are_removed_in_chunks_until_told_to_stop() {
    let settings = Settings {
        servers: vec![
            serve(|_, words| Some(if words[0] == "DEL" { b":1\r\n".to_vec() } else { Vec::new() })).into(),
        ],
        patience: Patience::of(LONG),
        ..settings()
    };
    let keys: Vec<u32> = (0..2500).collect();
    assert_eq!(remove_keys(&settings, &keys, &AtomicBool::new(false)).unwrap(), 2500);
    assert_eq!(remove_keys(&settings, &keys, &AtomicBool::new(true)).unwrap(), 0);
    let operation = |key, action| Operation { key, client: 0, start: 0, end: 1, action };
    let operations = [
        operation(7, Action::Write(1)),
        operation(2, Action::ReadNothing),
        operation(3, Action::Increment(1)),
    ];
    assert_eq!(written_keys(&operations), [3, 7]);
}

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Does something that may never end, and must.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(work()));
    told.recv_timeout(LIMIT).expect("it ends")
}

#[test]
fn keys_that_cannot_be_read_back_are_counted() {
    // Everything is answered as it should be, but nothing is ever read: for good, or by an error.
    let mute: fn(usize, &[String]) -> Option<Vec<u8>> = |_, words| match words[0].as_str() {
        "SET" => Some(b"+OK\r\n".to_vec()),
        "GET" => None,
        _ => Some(b":0\r\n".to_vec()),
    };
    let refusing: fn(usize, &[String]) -> Option<Vec<u8>> = |_, words| {
        Some(match words[0].as_str() {
            "SET" => b"+OK\r\n".to_vec(),
            "GET" => b"-CLUSTERDOWN no\r\n".to_vec(),
            _ => b":0\r\n".to_vec(),
        })
    };
    for (reply, why) in [(mute, "no answer within 0.1 s"), (refusing, "CLUSTERDOWN no")] {
        for cluster in [false, true] {
            let settings = Settings {
                servers: vec![serve(reply).into()],
                cluster,
                duration: Duration::MAX,
                limit: 20,
                patience: Patience::of(Duration::from_millis(100)),
                ..settings()
            };
            let recorded = record(&settings, &Arc::new(AtomicBool::new(false))).unwrap();
            assert_eq!((recorded.unread, recorded.why_unread.as_deref()), (1, Some(why)), "{cluster}");
            // Neither counts as an operation that failed.
            assert!(recorded.failures <= 20 && recorded.unanswered <= 20, "{recorded:?}");
        }
    }
}

#[test]
fn a_server_that_comes_back_is_waited_for_to_read_the_keys() {
    // Two of three connections are too early.
    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    let reply: fn(usize, &[String]) -> Option<Vec<u8>> = |number, words| {
        if number == 0 && !CONNECTIONS.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            return Some(b"-LOADING soon\r\n".to_vec());
        }
        Some(match words[0].as_str() {
            "SET" => b"+OK\r\n".to_vec(),
            "GET" => b"$-1\r\n".to_vec(),
            _ => b":0\r\n".to_vec(),
        })
    };
    let writes = |recorded: &Recorded| !written_keys(&recorded.operations).is_empty();
    let recorded = (0..100).map(|seed| seeded(seed, 1, LONG, reply)).find(writes).unwrap();
    assert_eq!((recorded.unread, recorded.why_unread), (0, None));
}

#[test]
fn a_number_of_operations_is_given_up_when_nobody_answers() {
    for cluster in [false, true] {
        let settings = Settings {
            servers: vec![serve(|_, _| None).into()],
            cluster,
            clients: 2,
            duration: Duration::MAX,
            limit: 1_000_000_000,
            patience: Patience::of(Duration::from_millis(20)),
            give_up: Duration::from_millis(100),
            ..settings()
        };
        let recorded = in_time(move || record(&settings, &Arc::new(AtomicBool::new(false)))).unwrap();
        assert!(recorded.gave_up && recorded.unanswered >= 1);
    }
}

#[test]
fn a_time_ends_a_number_of_operations() {
    let settings = Settings {
        servers: vec![serve(|_, _| Some(b"-ERR no\r\n".to_vec())).into()],
        duration: Duration::from_millis(50),
        limit: u64::MAX - 1000,
        patience: Patience::of(Duration::from_millis(10)),
        ..settings()
    };
    in_time(move || record(&settings, &Arc::new(AtomicBool::new(false)))).unwrap();
}

#[test]
fn hurry_ends_the_wait_for_a_mute_server() {
    for cluster in [false, true] {
        let patience = Patience::of(10 * LIMIT);
        let stop = Arc::clone(&patience.hurry);
        let settings = Settings {
            servers: vec![
                serve(|number, words| {
                    (number < 100).then(|| if words[0] == "SET" { "+OK\r\n" } else { ":0\r\n" }.into())
                })
                .into(),
            ],
            cluster,
            duration: Duration::MAX,
            limit: u64::MAX,
            patience,
            ..settings()
        };
        let recorded = in_time(move || {
            let watch = Watch::default();
            std::thread::scope(|scope| {
                let running = scope.spawn(|| record_watched(&settings, &stop, &watch));
                while watch.answered.load(Ordering::Relaxed) < 90 {
                    std::thread::yield_now();
                }
                stop.store(true, Ordering::Relaxed);
                running.join().unwrap().unwrap()
            })
        });
        assert!(recorded.operations.len() >= 50, "what was seen is kept");
    }
}

#[test]
fn a_client_that_panics_is_an_error() {
    // Without any server there is nothing to divide the connections by.
    let settings = Settings { clients: 2, duration: Duration::MAX, limit: u64::MAX, ..settings() };
    let failed = in_time(move || record(&settings, &Arc::new(AtomicBool::new(false)))).unwrap_err();
    assert!(matches!(failed, Error::Thread), "{failed}");
}

#[test]
fn what_is_lost_after_a_look_is_found_by_the_next_one() {
    // Values are kept until they were read for the first time.
    static READ: AtomicBool = AtomicBool::new(false);
    let reply: fn(usize, &[String]) -> Option<Vec<u8>> = |_, words| {
        Some(match words[0].as_str() {
            "GET" if READ.load(Ordering::Relaxed) => b"$-1\r\n".to_vec(),
            "GET" => {
                let value = value_text(0xabc, 64, 0, 1);
                format!("${}\r\n{value}\r\n", value.len()).into_bytes()
            }
            _ => b"+OK\r\n".to_vec(),
        })
    };
    let begun = |seed| {
        let settings = Settings {
            seed,
            servers: vec![serve(reply).into()],
            duration: Duration::MAX,
            limit: 1,
            patience: Patience::of(LONG),
            ..settings()
        };
        let mut session = Session::new(settings);
        session.load(&AtomicBool::new(false), &Watch::default()).unwrap();
        session
    };
    let writes = |session: &Session| matches!(session.recorded().operations[0].action, Action::Write(_));
    let mut session = (0..100).map(begun).find(writes).unwrap();
    session.read_back();
    assert_eq!(kinds(session.recorded()), []);
    READ.store(true, Ordering::Relaxed);
    // Nothing is sent any more, but the key is still watched.
    session.load(&AtomicBool::new(false), &Watch::default()).unwrap();
    session.read_back();
    assert_eq!(kinds(session.recorded()), [Wrong::LostWrite]);
}

#[test]
fn a_session_goes_on_with_values_of_its_own() {
    let settings = Settings {
        servers: vec![
            serve(|_, words| {
                Some(match words[0].as_str() {
                    "SET" => b"+OK\r\n".to_vec(),
                    "GET" => b"$-1\r\n".to_vec(),
                    _ => b":0\r\n".to_vec(),
                })
            })
            .into(),
        ],
        duration: Duration::MAX,
        limit: u64::MAX,
        patience: Patience::of(LONG),
        ..settings()
    };
    let mut session = Session::new(settings);
    for round in 1..=3 {
        let (stop, watch) = (AtomicBool::new(false), Watch::default());
        std::thread::scope(|scope| {
            scope.spawn(|| session.load(&stop, &watch).unwrap());
            while watch.answered.load(Ordering::Relaxed) < 50 {
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let written = session.recorded().operations.iter().filter_map(|operation| match operation.action {
            Action::Write(value) => Some(value),
            _ => None,
        });
        let mut values: Vec<u64> = written.collect();
        let count = values.len();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), count);
        assert!(count >= round * 5, "{count}");
    }
}

/// An honest server of one key space for all, shared by the tests that call it with a name of their own.
fn honest(store: &Mutex<HashMap<String, String>>, words: &[String]) -> Vec<u8> {
    let mut store = store.lock().unwrap();
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let reply = match words[0].as_str() {
        "ECHO" => bulk(&words[1]),
        "GET" => store.get(&words[1]).map_or("$-1\r\n".to_owned(), |value| bulk(value)),
        "SET" => {
            store.insert(words[1].clone(), words[2].clone());
            "+OK\r\n".to_owned()
        }
        "DEL" => format!(":{}\r\n", u8::from(store.remove(&words[1]).is_some())),
        "INCR" => {
            let count = store.get(&words[1]).map_or(0, |count| count.parse::<u64>().unwrap()) + 1;
            store.insert(words[1].clone(), count.to_string());
            format!(":{count}\r\n")
        }
        other => panic!("{other}"),
    };
    reply.into_bytes()
}

/// 600 operations of two clients on few keys, so that much would be wrong if answers were taken for those of others.
fn checked(reply: fn(usize, &[String]) -> Option<Vec<u8>>, pipeline: usize, cluster: bool) -> Recorded {
    let settings = Settings {
        servers: vec![serve(reply).into()],
        duration: Duration::MAX,
        limit: 600,
        clients: 2,
        pipeline,
        cluster,
        keys: 4,
        // Counters begin at 0.
        run: pipeline as u64 * 2 + u64::from(cluster),
        patience: Patience::of(LONG),
        ..settings()
    };
    in_time(move || record(&settings, &Arc::new(AtomicBool::new(false)))).unwrap()
}

#[test]
fn a_reply_that_nobody_asked_for_is_one_fault_and_no_others() {
    static STORE: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);
    // Every fiftieth request of a connection gets two replies.
    let reply: fn(usize, &[String]) -> Option<Vec<u8>> = |number, words| {
        let own = honest(&STORE, words);
        Some(if number % 50 == 49 { [b"$1\r\n7\r\n", &own[..]].concat() } else { own })
    };
    for (pipeline, cluster) in [(1, false), (7, false), (1, true)] {
        let recorded = checked(reply, pipeline, cluster);
        assert_eq!(kinds(&recorded), [Wrong::Unasked], "pipeline {pipeline}");
        let found = recorded.operations.iter().filter(|operation| operation.is_unasked()).count() as u64;
        assert!(found >= 2 && recorded.failures <= found && recorded.failures + 3 >= found, "{found}");
        assert_eq!(recorded.first_failure.as_deref(), Some("connection: a reply that nobody asked for"));
    }
}

#[test]
fn answers_of_the_requests_before_are_out_of_step() {
    static STORE: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);
    thread_local! { static LATE: RefCell<Vec<u8>> = RefCell::new(b"$-1\r\n".to_vec()) }
    // From its fortieth request on a connection has one answer too many, and never two at a time.
    let reply: fn(usize, &[String]) -> Option<Vec<u8>> = |number, words| {
        let own = honest(&STORE, words);
        Some(if number < 40 { own } else { LATE.replace(own) })
    };
    for cluster in [false, true] {
        let recorded = checked(reply, 1, cluster);
        assert_eq!(kinds(&recorded), [Wrong::Unasked]);
        assert!(recorded.failures > 0 && recorded.unanswered > 0);
    }
}

#[test]
fn a_server_in_step_is_judged_by_all_its_answers() {
    static STORE: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);
    let recorded = checked(|_, words| Some(honest(&STORE, words)), 3, false);
    assert_eq!(
        (kinds(&recorded).len(), recorded.failures, recorded.unanswered, recorded.unread),
        (0, 0, 0, 0)
    );
    assert!(recorded.operations.len() >= 600);
}
