//! One rule at a time: what is sent when, what is refused, what is bounded.

use proptest::prelude::*;
use shoal_node::{
    handoff::{ApplyError, MOST_AHEAD, Outbox, Record, record},
    store::{Copied, Gate, Policy, Settings},
};
use shoal_proto::slot::key_slot;

use crate::core::{Core, NOW, Random, Stream, compare};

fn pair() -> [Core; 2] {
    [Core::new(Settings::default(), Gate::Open), Core::new(Settings::default(), Gate::Away)]
}

fn slot() -> u16 {
    key_slot(b"t")
}

/// Both hold the same.
fn assert_same([source, target]: &[Core; 2]) {
    if let Err(difference) = compare(&source.slot(slot()), &target.slot(slot())) {
        panic!("{difference}");
    }
    source.store.audit();
    target.store.audit();
}

/// A list of some 600 KB, which is copied in pieces.
fn fill_large(core: &Core, key: &str) {
    let mut words = vec![b"RPUSH".to_vec(), key.into()];
    words.extend((0..6000).map(|i| format!("{i:0100}").into_bytes()));
    assert_eq!(core.run(0, NOW, &words), b":6000\r\n");
}

/// Copies until the first piece of a large key is sent.
fn copy_to_the_middle(source: &Core, stream: &Stream) {
    while source.line("RPUSH {t}large x") != BUSY {
        assert_eq!(source.store.copy_slot(slot(), &stream.outbox, 100), Copied::More);
    }
}

const BUSY: &str = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n";

#[test]
fn commands_on_keys_of_which_some_are_copied() {
    let pair = pair();
    let [source, target] = &pair;
    for i in 0..3000 {
        source.line(&format!("SADD {{t}}set{i} a{i} b{}", i % 7));
    }
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    let mut random = Random(1);
    while source.store.copy_slot(slot(), &stream.outbox, 500) == Copied::More {
        let [a, b] = [random.below(3000), random.below(3000)];
        match random.below(4) {
            0 => source.line(&format!("RENAME {{t}}set{a} {{t}}set{b}")),
            1 => source.line(&format!("SUNIONSTORE {{t}}set{a} {{t}}set{a} {{t}}set{b}")),
            2 => source.line(&format!("SMOVE {{t}}set{a} {{t}}set{b} a{a}")),
            _ => source.line(&format!("SINTERSTORE {{t}}set{a} {{t}}set{b} {{t}}set{a}")),
        };
        stream.flow(target).unwrap();
    }
    stream.flow(target).unwrap();
    assert_same(&pair);
}

#[test]
fn writers_of_a_large_key_wait_until_it_is_copied_and_readers_do_not() {
    let pair = pair();
    let [source, target] = &pair;
    fill_large(source, "{t}large");
    source.line("SET {t}small 1");
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    copy_to_the_middle(source, &stream);
    for line in
        ["DEL {t}large", "LMOVE {t}large {t}other LEFT LEFT", "RENAME {t}small {t}large", "MOVE {t}large 1"]
    {
        assert_eq!(source.line(line), BUSY, "{line}");
    }
    assert_eq!(source.line("LLEN {t}large").as_bytes()[0], b':');
    assert_eq!(source.line("APPEND {t}small 2"), ":2\r\n");
    stream.flow(target).unwrap();
    assert!(target.slot(slot()).keys().all(|(_, key)| key != b"{t}large"), "it enters in one step");
    assert!(target.store.held_memory() > target.store.used_memory() + 30_000, "what comes is held memory");
    stream.copy(source, target, slot()).unwrap();
    assert_same(&pair);
    source.line("RPUSH {t}large y");
    stream.flow(target).unwrap();
    assert_same(&pair);
}

/// Words of a command that makes an element of three megabytes in each type of value.
fn long_elements() -> Vec<Vec<Vec<u8>>> {
    let long = |byte| vec![byte; 3 << 20];
    let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect();
    vec![
        words(&[b"HSET", b"{t}hash", b"field", &long(b'a'), b"other", b"short"]),
        words(&[b"HSET", b"{t}fields", &long(b'b'), &long(b'c')]),
        words(&[b"SADD", b"{t}set", &long(b'd'), b"short"]),
        words(&[b"ZADD", b"{t}zset", b"1", &long(b'e'), b"2", b"short"]),
        words(&[b"RPUSH", b"{t}list", b"short", &long(b'f'), b"short"]),
        words(&[b"SET", b"{t}string", &long(b'g')]),
    ]
}

#[test]
fn elements_longer_than_what_may_wait_are_copied() {
    let pair = pair();
    let [source, target] = &pair;
    long_elements().iter().for_each(|words| drop(source.run(0, NOW, words)));
    let mut stream = Stream::new(1 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    while source.store.copy_slot(slot(), &stream.outbox, 64 << 10) != Copied::All {
        assert!(!stream.outbox.is_broken() && stream.outbox.queued() < 512 << 10);
        stream.flow(target).unwrap();
    }
    stream.flow(target).unwrap();
    assert_same(&pair);
}

#[test]
fn writes_longer_than_what_may_wait_reach_a_copy() {
    let pair = pair();
    let [source, target] = &pair;
    let mut stream = Stream::new(1 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    stream.copy(source, target, slot()).unwrap();
    source.store.guard_tap(slot(), &stream.outbox, true).unwrap();
    for words in long_elements() {
        assert!(!source.run(0, NOW, &words).starts_with(b"-"));
        assert!(!stream.outbox.is_broken() && stream.outbox.queued() > 3 << 20);
        assert!(source.line("SET {t}next 1").starts_with('-'), "whoever writes next waits until it is sent");
        stream.flow(target).unwrap();
        assert_eq!(source.line("SET {t}next 1"), "+OK\r\n");
    }
    // A key's name can be as long as a value.
    let name = [b"{t}".to_vec(), vec![b'k'; 3 << 20]].concat();
    for words in [vec![b"SET".to_vec(), name.clone(), b"1".to_vec()], vec![b"DEL".to_vec(), name]] {
        assert!(!source.run(0, NOW, &words).starts_with(b"-"));
        stream.flow(target).unwrap();
        assert_same(&pair);
    }
}

#[test]
fn a_large_key_may_go_while_it_is_copied() {
    for how in ["FLUSHDB", "SWAPDB 0 1", "expiry", "eviction"] {
        let pair = pair();
        let [source, target] = &pair;
        fill_large(source, "{t}large");
        source.line("SET {t}small 1");
        source.line("PEXPIRE {t}large 100");
        let mut stream = Stream::new(64 << 20);
        source.store.tap(slot(), &stream.outbox, false);
        copy_to_the_middle(source, &stream);
        stream.flow(target).unwrap();
        match how {
            "expiry" => {
                assert_eq!(source.run(0, NOW + 100, &[b"LLEN".to_vec(), b"{t}large".to_vec()]), b":0\r\n")
            }
            "eviction" => {
                source.store.configure(|s| (s.maxmemory, s.policy) = (200_000, Policy::AllkeysS3Fifo));
                while source.store.used_memory() > 200_000 {
                    source.store.make_room(NOW);
                }
                source.store.configure(|s| s.maxmemory = 0);
            }
            line => assert_eq!(source.line(line), "+OK\r\n"),
        }
        stream.copy(source, target, slot()).unwrap();
        assert_same(&pair);
        let more = target.store.held_memory() as i64 - source.store.held_memory() as i64;
        assert!(more.abs() < 10_000, "what came of it is not kept ({how}): {more}");
    }
}

#[test]
fn what_becomes_large_later_is_copied_again() {
    let pair = pair();
    let [source, target] = &pair;
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    stream.copy(source, target, slot()).unwrap();
    fill_large(source, "{t}large");
    // By state, and too large for that.
    assert_eq!(source.line("COPY {t}large {t}copy"), ":1\r\n");
    assert_eq!(source.line("COPY {t}large {t}there DB 3"), ":1\r\n");
    assert_eq!(source.store.copy_slot(slot(), &stream.outbox, 10_000), Copied::More);
    stream.copy(source, target, slot()).unwrap();
    assert_same(&pair);
}

#[test]
fn a_copy_that_is_relied_upon_has_it_at_once() {
    let pair = pair();
    let [source, target] = &pair;
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, true);
    stream.copy(source, target, slot()).unwrap();
    fill_large(source, "{t}large");
    source.line("COPY {t}large {t}copy");
    source.line("SWAPDB 0 2");
    stream.flow(target).unwrap();
    assert_same(&pair);
    assert_eq!(source.store.copy_slot(slot(), &stream.outbox, 10_000), Copied::All);
}

#[test]
fn whole_databases_follow() {
    let pair = pair();
    let [source, target] = &pair;
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    stream.copy(source, target, slot()).unwrap();
    for line in [
        "SET {t}a 1 EX 100",
        "COPY {t}a {t}b DB 1",
        "SET elsewhere 1",
        "SWAPDB 0 1",
        "SET {t}c 3",
        "SWAPDB 1 5",
    ] {
        source.line(line);
        stream.flow(target).unwrap();
        assert_same(&pair);
    }
    assert_eq!(target.store.len(0), (0, 0), "commands do not see it");
    source.line("FLUSHDB");
    stream.flow(target).unwrap();
    assert_same(&pair);
    assert!(!target.slot(slot()).is_empty());
    source.line("FLUSHALL");
    stream.flow(target).unwrap();
    assert!(target.slot(slot()).is_empty());
}

/// An exchange of databases there leaves what comes in alone, and so do flushes and the sweep.
#[test]
fn what_comes_in_is_not_the_targets_yet() {
    let pair = pair();
    let [source, target] = &pair;
    source.line("SET {t}a 1 PX 50");
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    stream.copy(source, target, slot()).unwrap();
    assert_eq!((target.line("SWAPDB 0 1"), target.line("FLUSHALL")), ("+OK\r\n".into(), "+OK\r\n".into()));
    let mut sweep = shoal_node::store::Sweep::default();
    assert_eq!(target.store.sweep(&mut sweep, NOW + 1000, 1000), (0, false));
    assert_same(&pair);
    assert_eq!(target.line("GET {t}a"), "-CLUSTERDOWN Hash slot not served\r\n");
    assert_eq!(target.line("RANDOMKEY"), "$-1\r\n");
    target.store.set_gate(slot(), Gate::Open);
    assert_eq!(target.store.sweep(&mut sweep, NOW + 1000, 1000).0, 1, "it was due");
}

#[test]
fn nothing_is_evicted_of_what_comes_in_or_is_held() {
    for gate in [Gate::Away, Gate::Held] {
        for policy in [Policy::AllkeysS3FifoSize, Policy::VolatileTtl, Policy::VolatileS3Fifo] {
            let core = Core::new(Settings { maxmemory: 2 << 20, policy, ..Settings::default() }, Gate::Open);
            for i in 0..500 {
                core.line(&format!("SETEX {{t}}{i} 1000 {}", "x".repeat(1000)));
            }
            core.store.set_gate(slot(), gate);
            for i in 0..5000 {
                core.line(&format!("SETEX other{i} 1000 {}", "x".repeat(1000)));
            }
            assert!(core.store.stats().evicted > 1000);
            assert_eq!(core.store.slot_stats(slot()).keys, 500, "{gate:?} {policy:?}");
            core.store.audit();
        }
    }
}

#[test]
fn a_key_is_as_warm_as_before() {
    let pair = pair();
    let [source, target] = &pair;
    source.line("SET {t}a 1");
    source.run(0, NOW - 70_000, &[b"GET".to_vec(), b"{t}a".to_vec()]);
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    stream.copy(source, target, slot()).unwrap();
    target.store.set_gate(slot(), Gate::Open);
    assert_eq!(target.line("OBJECT IDLETIME {t}a"), ":70\r\n");
}

#[test]
fn time_does_not_run_back_with_a_slot() {
    let pair = pair();
    let [source, target] = &pair;
    source.line("SET {t}a 1 PX 3000");
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    stream.copy(source, target, slot()).unwrap();
    // The source's clock is five seconds ahead.
    source.run(0, NOW + 5000, &[b"SET".to_vec(), b"{t}b".to_vec(), b"1".to_vec()]);
    stream.flow(target).unwrap();
    assert_eq!(target.store.clock_floor(), NOW + 5000);
    target.store.set_gate(slot(), Gate::Open);
    assert_eq!(target.line("GET {t}a"), "$-1\r\n");
}

/// Time would stand still at the target until its own clock has come that far.
#[test]
fn a_clock_that_is_far_ahead_is_not_followed() {
    let pair = pair();
    let [source, target] = &pair;
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    stream.copy(source, target, slot()).unwrap();
    assert_eq!(stream.applier.keep_time(NOW), 0);
    for ahead in [500, 3_600_000] {
        source.run(0, NOW + ahead, &[b"SET".to_vec(), b"{t}a".to_vec(), b"1".to_vec()]);
        stream.flow(target).unwrap();
        assert_eq!(target.store.clock_floor(), NOW + ahead.min(MOST_AHEAD));
    }
    assert_eq!(stream.applier.keep_time(NOW), 3_600_000 - MOST_AHEAD, "so far was it ahead");
    assert_eq!(stream.applier.keep_time(NOW), 0, "that was told");
}

#[test]
fn only_what_is_asked_for_is_taken_in() {
    let pair = pair();
    let [source, target] = &pair;
    source.line("SET {t}a 1");
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    source.store.copy_slot(slot(), &stream.outbox, 10_000);
    let bytes = stream.taken();
    let mut applier = shoal_node::handoff::Applier::new();
    let mut none = |bytes: &[u8]| {
        applier.apply(&target.store, &target.dispatch, |_| false, bytes).map(|applied| applied.consumed)
    };
    assert_eq!(none(&bytes), Err(ApplyError::Unasked(slot())));
    target.store.set_gate(slot(), Gate::Open);
    assert_eq!(stream.apply(target, &bytes), Err(ApplyError::Served(slot())));
    target.store.set_gate(slot(), Gate::Away);
    // A key of another slot, and a command that is none of these.
    let mut wrong = Vec::new();
    Record::Gone(0, b"elsewhere").write(slot(), &mut wrong);
    assert!(matches!(stream.apply(target, &wrong), Err(ApplyError::Malformed(_))));
    for line in ["GET {t}a", "SET elsewhere 1", "FLUSHALL", "NOSUCH {t}a", "MSET {t}a 1 b 2"] {
        let wrong = command(line);
        assert!(stream.apply(target, &wrong).is_err(), "{line}");
    }
    assert_eq!(stream.apply(target, &command("SET {t}a 1")), Ok(()));
    assert_eq!(target.slot(slot()).len(), 1);
}

fn command(line: &str) -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&NOW.to_le_bytes());
    for word in line.split(' ') {
        body.extend_from_slice(&(word.len() as u32).to_le_bytes());
        body.extend_from_slice(word.as_bytes());
    }
    let mut bytes = ((body.len() + 3) as u32).to_le_bytes().to_vec();
    bytes.push(6);
    bytes.extend_from_slice(&slot().to_le_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn a_target_without_room_says_so() {
    let source = Core::new(Settings::default(), Gate::Open);
    let settings = Settings { maxmemory: 1 << 20, policy: Policy::AllkeysS3Fifo, ..Settings::default() };
    let target = Core::new(settings, Gate::Open);
    target.store.set_gate(slot(), Gate::Away);
    for i in 0..2000 {
        target.line(&format!("SET own{i} {}", "x".repeat(300)));
    }
    for i in 0..1500 {
        source.line(&format!("SET {{t}}{i} {}", "x".repeat(300)));
    }
    let mut stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    stream.copy(&source, &target, slot()).unwrap();
    assert!(target.store.stats().evicted > 100, "its own keys made room");
    for i in 1500..9000 {
        source.line(&format!("SET {{t}}{i} {}", "x".repeat(300)));
    }
    assert_eq!(stream.flow(&target), Err(ApplyError::NoRoom(slot())));
}

#[test]
fn a_peer_that_does_not_keep_up_ends_the_stream() {
    let [source, _] = pair();
    let stream = Stream::new(10_000);
    source.store.tap(slot(), &stream.outbox, false);
    for i in 0..1000 {
        assert_eq!(source.line(&format!("SET {{t}}{i} value")), "+OK\r\n");
        assert_eq!(
            source.store.copy_slot(slot(), &stream.outbox, 1000) == Copied::Nothing,
            stream.outbox.is_broken()
        );
    }
    assert!(stream.outbox.is_broken() && stream.outbox.queued() == 0);
    assert!(!source.store.untap(slot(), &stream.outbox), "nothing is left of it");
}

#[test]
fn a_snapshot_leaves_room_for_effects() {
    let [source, _] = pair();
    for i in 0..1000 {
        source.line(&format!("SET {{t}}{i} value"));
    }
    let stream = Stream::new(10_000);
    source.store.tap(slot(), &stream.outbox, false);
    while source.store.copy_slot(slot(), &stream.outbox, 100_000) == Copied::More {}
    assert_eq!(source.store.copy_slot(slot(), &stream.outbox, 100_000), Copied::NoRoom);
    assert!(!stream.outbox.is_broken() && stream.outbox.queued() < 6000);
}

#[test]
fn writes_wait_for_a_copy_that_is_relied_upon() {
    let [source, target] = &pair();
    let mut stream = Stream::new(10_000);
    source.store.tap(slot(), &stream.outbox, true);
    stream.copy(source, target, slot()).unwrap();
    let executed = (0..1000).take_while(|i| source.line(&format!("SET {{t}}{i} value")) == "+OK\r\n").count();
    assert!((50..500).contains(&executed));
    assert_eq!(source.line("SET {t}x 1"), "-CLUSTERDOWN The cluster is down\r\n");
    assert_eq!(
        (source.line("GET {t}0"), source.line("SET other 1")),
        ("$5\r\nvalue\r\n".into(), "+OK\r\n".into())
    );
    stream.flow(target).unwrap();
    assert_eq!(source.line("SET {t}x 1"), "+OK\r\n");
}

/// The word that an offered slot was emptied may get lost. Then what is left here is not what whoever took it has.
#[test]
fn who_emptied_an_offered_slot_knows_whether_it_did_alone() {
    let [source, target] = &pair();
    let mut stream = Stream::new(1 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    stream.copy(source, target, slot()).unwrap();
    let empty = || assert!(source.store.flush_slot(slot(), None, |_| {}));
    let alone = |stream: &Stream| source.store.is_emptied_alone(slot(), &stream.outbox);
    empty();
    assert!(!alone(&stream), "whoever gets the slot gets that before");
    source.store.set_gate(slot(), Gate::Held);
    assert!(!alone(&stream), "it was emptied before it was held");
    empty();
    assert!(alone(&stream));
    stream.flow(target).unwrap();
    assert!(!alone(&stream), "both are empty");
    empty();
    stream.outbox.break_off();
    assert!(alone(&stream));
    assert!(
        !source.store.is_emptied_alone(slot(), &Stream::new(1).outbox),
        "others have nothing to do with it"
    );
}

/// Whoever keeps a copy up to date without being waited for gets one long write besides what may wait. The next one waits, as it would break
/// the stream and cost the whole copy.
#[test]
fn a_second_long_write_waits_for_the_first() {
    let [source, target] = &pair();
    let mut stream = Stream::new(1 << 20);
    source.store.follow(slot(), &stream.outbox, false);
    let set = |key: &[u8]| source.run(0, NOW, &[b"SET".to_vec(), key.to_vec(), vec![b'x'; 2 << 20]]);
    let down = b"-CLUSTERDOWN The cluster is down\r\n";
    assert_eq!(set(b"{t}a"), b"+OK\r\n");
    assert_eq!((set(b"{t}b"), source.line("SET {t}c 1")), (down.to_vec(), "+OK\r\n".into()));
    assert_eq!(source.line("COPY {t}a {t}d").as_bytes(), down, "it is sent what became of its keys");
    assert_eq!(source.line("APPEND {t}a y"), ":2097153\r\n", "that is sent as it is");
    stream.flow(target).unwrap();
    assert_eq!(source.line("COPY {t}a {t}d"), ":1\r\n");
    assert_eq!(set(b"{t}b"), down);
    stream.flow(target).unwrap();
    assert_eq!(set(b"{t}b"), b"+OK\r\n");
    stream.flow(target).unwrap();
    assert!(!stream.outbox.is_broken());
    assert_eq!(source.slot(slot()), target.slot(slot()));
}

/// The control thread empties slots: it must not be held up by large ones.
#[test]
fn what_was_handed_over_is_dropped_little_by_little() {
    let pair = pair();
    let [source, target] = &pair;
    for i in 0..5000 {
        source.line(&format!("SET {{t}}{i} value{i}"));
        source.run(7, NOW, &[b"SET".to_vec(), format!("{{t}}{i}").into_bytes(), vec![b'x'; 100]]);
    }
    source.line("SET keep 1");
    source.store.drop_slot(slot(), None);
    assert_eq!(source.store.slot_stats(slot()).keys, 10_000, "it is served");
    source.store.set_gate(slot(), Gate::Away);
    let used = source.store.used_memory();
    source.store.drop_slot(slot(), Some(7));
    assert_eq!(source.store.slot_stats(slot()).keys, 5000);
    source.store.drop_slot(slot(), None);
    assert_eq!(source.store.slot_stats(slot()).keys, 0);
    let waiting = || source.store.reclaim().pending();
    assert_eq!((waiting(), source.store.used_memory()), (10_000, used), "no key was looked at");
    source.store.audit();
    // So many and the rest of a bucket under one hold of the lock.
    while waiting() > 3000 {
        let before = waiting();
        assert!(source.store.drop_left(1) && before - waiting() < 300);
    }
    source.store.audit();
    // It comes back before all is gone: what comes is kept, what was there is not.
    target.store.set_gate(slot(), Gate::Open);
    target.line("SET {t}new 1");
    let mut stream = Stream::new(64 << 20);
    target.store.tap(slot(), &stream.outbox, false);
    stream.copy(target, source, slot()).unwrap();
    while source.store.drop_left(1) {}
    assert_eq!((source.slot(slot()).len(), waiting()), (1, 0));
    source.store.audit();
    assert_eq!(source.line("GET keep"), "$1\r\n1\r\n");
}

#[test]
fn a_slot_is_weighed() {
    let [source, _] = pair();
    assert_eq!(source.store.slot_stats(slot()), Default::default());
    for i in 0..4000 {
        source.line(&format!("SET {{t}}{i:05} {}", "x".repeat(100)));
        source.run(7, NOW, &[b"SET".to_vec(), format!("{{t}}{i:05}").into_bytes(), vec![b'x'; 100]]);
    }
    let stats = source.store.slot_stats(slot());
    assert_eq!(stats.keys, 8000);
    assert!((8000 * 110..8000 * 150).contains(&stats.bytes), "{stats:?}");
}

/// A stream with one of everything.
fn stream_of_everything() -> Vec<u8> {
    let [source, _] = pair();
    for line in [
        "SET {t}s value",
        "SET {t}e 1 PX 100",
        "RPUSH {t}l a b c",
        "HSET {t}h f v",
        "SADD {t}i 1 2 3",
        "SADD {t}t a b",
        "ZADD {t}z 1 a 2 b",
    ] {
        source.line(line);
    }
    fill_large(&source, "{t}large");
    let stream = Stream::new(64 << 20);
    source.store.tap(slot(), &stream.outbox, false);
    while source.store.copy_slot(slot(), &stream.outbox, 1000) == Copied::More {}
    for line in ["APPEND {t}s x", "COPY {t}z {t}zz DB 2", "SPOP {t}t", "DEL {t}l", "SWAPDB 0 2", "FLUSHDB"] {
        source.line(line);
    }
    stream.outbox.send(b"a message");
    stream.taken()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever comes over the wire, the store stays whole.
    #[test]
    fn a_damaged_stream_does_no_harm(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut bytes = stream_of_everything();
        // Mostly where small records are.
        let len = bytes.len();
        for (at, byte) in changes {
            let at = at.index(4000);
            bytes[if at < 2000 { at } else { len - 1 - at % 500 }] = byte;
        }
        let target = Core::new(Settings::default(), Gate::Away);
        let _ = Stream::new(0).apply(&target, &bytes);
        target.store.audit();
    }
}

#[test]
fn everything_was_in_that_stream() {
    let bytes = stream_of_everything();
    let (mut at, mut kinds) = (0, std::collections::BTreeSet::new());
    while let Some((_, _, len)) = record::read(&bytes[at..]).unwrap() {
        kinds.insert(bytes[at + 4]);
        at += len;
    }
    assert_eq!((at, kinds), (bytes.len(), (0..11).collect()));
}

#[test]
fn an_outbox_without_peer_bothers_nobody() {
    let [source, _] = pair();
    let outbox: std::sync::Arc<Outbox> = Stream::new(100).outbox;
    outbox.break_off();
    source.store.tap(slot(), &outbox, true);
    assert_eq!(source.line("SET {t}a 1"), "+OK\r\n");
    assert_eq!(source.store.copy_slot(slot(), &outbox, 1000), Copied::Nothing);
}
