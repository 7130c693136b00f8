//! The driver against servers that answer by a script.

use std::io::BufRead;
use std::net::TcpListener;

use super::super::check::check;
use super::super::history::Wrong;
use super::*;

fn settings() -> Settings {
    Settings {
        addresses: Vec::new(),
        cluster: false,
        opening: Vec::new(),
        clients: 1,
        pipeline: 1,
        keys: 1,
        value_size: 64,
        duration: Duration::ZERO,
        limit: 0,
        patience: Duration::ZERO,
        seed: 1,
        run: 0xabc,
    }
}

#[test]
fn answers_of_the_wrong_kind_are_taken_down() {
    let settings = settings();
    let watch = Watch::default();
    let mut client = Client::new(&settings, 0, Instant::now(), &watch);
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

fn request(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |reader: &mut dyn BufRead| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.get(1..)?.trim().parse::<usize>().ok()
    };
    let mut words = Vec::new();
    for _ in 0..number(reader)? {
        let mut word = vec![0; number(reader)? + 2];
        reader.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8(word).ok()?);
    }
    Some(words)
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
        addresses: vec![serve(reply)],
        duration: Duration::MAX,
        limit,
        patience,
        value_size: 32,
        ..settings()
    };
    record(&settings, &Arc::new(AtomicBool::new(false)))
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
        addresses: vec![serve(|_, words| {
            Some(if words[0] == "DEL" { b":1\r\n".to_vec() } else { Vec::new() })
        })],
        patience: LONG,
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
