//! Where memory is short: what holds nothing goes before what clients can see, and everything that goes is told as what it was.

use shoal_node::store::{Easing, Expiry, Policy, Settings, Store, shard_of};
use shoal_proto::slot::key_slot;

const NOW: u64 = 1_700_000_000_000;
const VALUE: [u8; 100] = [b'x'; 100];

fn limited(policy: Policy, maxmemory: u64) -> Store {
    Store::new(Settings { policy, maxmemory, ..Settings::default() })
}

/// Writes a key if there is room; whether there was.
fn write(store: &Store, db: u8, key: &str, expiry: Expiry, now: u64) -> bool {
    let room = store.make_room(now);
    if room {
        store.lock_slot(db, key_slot(key.as_bytes()), now).set_str(key.as_bytes(), &VALUE, expiry);
    }
    room
}

fn remove(store: &Store, db: u8, key: &str) -> bool {
    store.lock_slot(db, key_slot(key.as_bytes()), NOW).discard(key.as_bytes())
}

/// Writes keys to these databases in turn until one is evicted; how many in each.
fn fill(store: &Store, dbs: &[u8]) -> usize {
    for n in 0.. {
        if store.stats().evicted > 0 {
            return n;
        }
        for db in dbs {
            assert!(write(store, *db, &format!("old{n}"), Expiry::Never, NOW));
        }
    }
    unreachable!("memory has a limit")
}

const ALL_KEYS: [Policy; 3] = [Policy::AllkeysS3FifoSize, Policy::AllkeysS3Fifo, Policy::AllkeysLru];

/// Of keys that were deleted half may be written anew, and no key that lives goes for it: few are dead in each segment, but
/// it is they who make room.
#[test]
fn what_is_dead_goes_before_what_lives() {
    for policy in ALL_KEYS {
        for every in [25, 10, 3] {
            let store = limited(policy, 16 << 20);
            let keys = fill(&store, &[0]);
            let deleted = (0..keys).step_by(every).filter(|n| remove(&store, 0, &format!("old{n}"))).count();
            let (before, lives) = (store.stats().evicted, store.len(0).0);
            for n in 0..deleted / 2 {
                assert!(write(&store, 0, &format!("new{n}"), Expiry::Never, NOW));
            }
            let evicted = store.stats().evicted - before;
            assert_eq!(evicted, 0, "{policy:?}, of {lives} keys while {deleted} were deleted");
            store.audit();
        }
    }
}

/// What a flush of one database left goes before the keys of another.
#[test]
fn what_a_flush_left_goes_before_what_lives() {
    for policy in [Policy::AllkeysS3FifoSize, Policy::AllkeysS3Fifo, Policy::VolatileLru, Policy::NoEviction]
    {
        let store = limited(policy, 16 << 20);
        let keys = if matches!(policy, Policy::VolatileLru | Policy::NoEviction) {
            let both = |n: &usize| {
                [0, 5].iter().all(|db| write(&store, *db, &format!("old{n}"), Expiry::Never, NOW))
            };
            (0..).take_while(both).count()
        } else {
            fill(&store, &[0, 5])
        };
        let (before, lives) = (store.stats().evicted, store.len(0).0);
        let flushed = store.flush(Some(5), |_, _| {}).expect("nothing is held").len();
        assert!(flushed > keys * 9 / 10);
        // Nobody but who writes removes anything here.
        let refused = (0..flushed * 4 / 5)
            .filter(|n| !write(&store, 5, &format!("new{n}"), Expiry::Never, NOW))
            .count();
        assert_eq!((store.stats().evicted - before, store.len(0).0, refused), (0, lives, 0), "{policy:?}");
        store.audit();
    }
}

/// New keys that nobody uses push out old ones that nobody used: they leave where they lie, and none is moved.
#[test]
fn what_goes_is_not_moved_before() {
    let store = limited(Policy::AllkeysS3Fifo, 8 << 20);
    let keys = fill(&store, &[0]);
    for n in 0..2 * keys {
        assert!(write(&store, 0, &format!("new{n:06}"), Expiry::Never, NOW));
    }
    let stats = store.stats();
    assert!(stats.evicted as usize > keys);
    assert!(
        stats.moved_bytes < stats.evicted * 13,
        "{} bytes moved for {}",
        stats.moved_bytes,
        stats.evicted
    );
    // So the first ones have gone, and the last ones are there.
    let there = |kind: &str, n: usize| {
        let key = format!("{kind}{n:06}");
        store.lock_slot(0, key_slot(key.as_bytes()), NOW).contains(key.as_bytes())
    };
    let last = (keys..2 * keys).filter(|n| there("new", *n)).count();
    assert!(last > keys * 8 / 10, "{last} of the last {keys}");
}

/// A key that has expired was not evicted, and nothing is remembered of it.
#[test]
fn what_has_expired_is_not_evicted() {
    for policy in [Policy::AllkeysS3FifoSize, Policy::VolatileLru, Policy::VolatileTtl] {
        let store = limited(policy, 1 << 40);
        let old = |n: usize| format!("old{n}");
        for n in 0..20_000 {
            write(&store, 0, &old(n), Expiry::At(NOW + 1), NOW);
        }
        let limit = store.held_memory() / 2;
        store.configure(|settings| settings.maxmemory = limit);
        let mut writes = 0;
        while store.held_memory() > limit {
            assert!(store.make_room(NOW + 1) && writes < 10_000, "{policy:?}");
            writes += 1;
        }
        let stats = store.stats();
        assert_eq!(stats.evicted, 0, "{policy:?}");
        assert_eq!(stats.expired as usize, 20_000 - store.len(0).0, "{policy:?}");
        assert!(stats.expired > 5000, "{policy:?}: {}", stats.expired);
        store.configure(|settings| settings.maxmemory = 1 << 40);
        for n in 0..20_000 {
            write(&store, 0, &old(n), Expiry::Never, NOW + 1);
        }
        assert_eq!(store.stats().ghost_hits, 0, "{policy:?}");
    }
}

/// Flushing slots one by one costs what they hold, however many were flushed before and are still to be removed.
#[test]
fn slots_that_are_flushed_take_no_memory_of_their_own() {
    let store = limited(Policy::NoEviction, 0);
    let shard = shard_of(key_slot(b"old0"));
    let tags: Vec<String> = (0..20_000)
        .map(|n| format!("{{{n}}}"))
        .filter(|tag| shard_of(key_slot(tag.as_bytes())) == shard)
        .take(100)
        .collect();
    for tag in &tags {
        for n in 0..100 {
            write(&store, 0, &format!("{tag}{n}"), Expiry::Never, NOW);
        }
    }
    let (held, keys) = (store.held_memory(), store.len(0).0);
    for tag in &tags {
        assert!(store.flush_slot(key_slot(tag.as_bytes()), Some(0), |_| {}));
    }
    assert_eq!((store.len(0).0, store.reclaim().pending()), (0, keys as u64));
    let more = store.held_memory() - held;
    assert!(more < 200 * tags.len() as u64, "{more} bytes for {} slots", tags.len());
    store.audit();
    // Items that were flushed are found when others of their segments are moved.
    for tag in &tags {
        for n in 0..50 {
            write(&store, 0, &format!("{tag}{n}"), Expiry::Never, NOW);
        }
    }
    store.audit();
    while store.drop_left(1) {}
    assert_eq!((store.len(0).0, store.reclaim().pending()), (50 * tags.len(), 0));
    store.audit();
}

/// A node holds much more than a limit that is set then. Whoever writes does a bounded amount of work and is not refused, though
/// that does not bring memory within the limit, and what is written takes no more room than goes for it.
#[test]
fn writes_far_above_a_limit_are_accepted_and_take_away_what_they_bring() {
    for policy in ALL_KEYS {
        let store = limited(policy, 0);
        for n in 0..100_000 {
            assert!(write(&store, 0, &format!("old{n}"), Expiry::Never, NOW));
        }
        store.configure(|settings| settings.maxmemory = 2 << 20);
        let (before, keys) = (store.accounted(), store.len(0).0);
        assert!(before > 5 * (2 << 20));
        for n in 0..100 {
            assert!(write(&store, 0, &format!("new{n}"), Expiry::Never, NOW), "{policy:?} {n}");
        }
        let evicted = store.stats().evicted;
        assert!((100..100 * 1024).contains(&evicted), "{policy:?} {evicted}");
        assert_eq!(store.len(0).0, keys + 100 - evicted as usize);
        // Large values bring more than so many small keys take away.
        let large = vec![b'x'; 300 << 10];
        let mut most = store.accounted();
        for n in 0..200 {
            let key = format!("large{n}");
            assert!(store.make_room(NOW), "{policy:?} {n}");
            most = most.min(store.accounted());
            store.lock_slot(0, key_slot(key.as_bytes()), NOW).set_str(key.as_bytes(), &large, Expiry::Never);
            let limit = most.max(4 << 20) + (310 << 10);
            assert!(store.accounted() <= limit, "{policy:?} {n}: {} above {limit}", store.accounted());
        }
        store.audit();
    }
}

/// What is above a limit goes in the background, while nobody writes, a little at a time.
#[test]
fn what_is_above_a_lowered_limit_goes_by_itself() {
    for policy in ALL_KEYS {
        let store = limited(policy, 0);
        for n in 0..60_000 {
            assert!(write(&store, 0, &format!("old{n}"), Expiry::Never, NOW));
        }
        let mut easing = Easing::default();
        assert!(!store.ease(&mut easing, NOW), "there is no limit");
        store.configure(|settings| settings.maxmemory = 3 << 20);
        let mut steps = 0;
        loop {
            let (before, more) = (store.len(0).0, store.ease(&mut easing, NOW));
            assert!(before - store.len(0).0 <= 256, "{policy:?}");
            if !more {
                break;
            }
            steps += 1;
        }
        assert!(store.held_memory() <= 3 << 20, "{policy:?} {}", store.held_memory());
        // Nothing of its structures is left as large as it was: it holds about as much as a store that never had more.
        let fresh = limited(policy, 3 << 20);
        fill(&fresh, &[0]);
        let (used, most) = (store.used_memory(), fresh.used_memory());
        assert!(used >= most - most / 10, "{policy:?} {used} of {most}");
        assert!((60..2000).contains(&steps), "{policy:?} {steps}");
        let keys = store.len(0).0;
        assert!(!store.ease(&mut easing, NOW) && store.len(0).0 == keys);
        store.audit();
    }
}

/// Items that were written when segments were larger than a low limit allows are moved, and written anew with an expiry.
#[test]
fn items_longer_than_new_segments_stay_whole() {
    for policy in [Policy::NoEviction, Policy::AllkeysS3FifoSize] {
        let store = limited(policy, 0);
        let key = |n: usize| format!("long{n}").into_bytes();
        let value = |n: usize| vec![n as u8; 3_000 + n * 5];
        for n in 0..1_000 {
            store.lock_slot(0, key_slot(&key(n)), NOW).set_str(&key(n), &value(n), Expiry::Never);
        }
        for limit in [7 << 20, 1 << 20] {
            store.configure(|settings| settings.maxmemory = limit);
            for n in 0..1_000 {
                let mut db = store.lock_slot(0, key_slot(&key(n)), NOW);
                if n % 3 == 0 {
                    db.discard(&key(n));
                } else {
                    db.set_expiry(&key(n), (n % 2 == 0).then_some(NOW + 1_000 + limit));
                }
                drop(db);
                write(&store, 0, &format!("short{n}"), Expiry::Never, NOW);
            }
            store.audit();
        }
        for n in 0..1_000 {
            let mut db = store.lock_slot(0, key_slot(&key(n)), NOW);
            let found = db.read_str(&key(n)).expect("it is a string");
            assert!(found.is_none_or(|found| found == value(n)), "{policy:?} {n}");
        }
    }
}

/// Where nothing may go, the background rests and writes are refused.
#[test]
fn where_nothing_may_go_there_is_an_end() {
    for policy in [Policy::NoEviction, Policy::VolatileLru, Policy::VolatileTtl] {
        let store = limited(policy, 0);
        for n in 0..60_000 {
            let expiry = if n < 10 { Expiry::At(NOW + 1000) } else { Expiry::Never };
            assert!(write(&store, 0, &format!("old{n}"), expiry, NOW));
        }
        store.configure(|settings| settings.maxmemory = 3 << 20);
        let mut easing = Easing::default();
        let steps = (0..).take_while(|_| store.ease(&mut easing, NOW)).count();
        assert!(steps < 10_000, "{policy:?} {steps}");
        let left = if policy == Policy::NoEviction { 60_000 } else { 59_990 };
        assert_eq!(store.len(0).0, left, "{policy:?}");
        assert!(!write(&store, 0, "new", Expiry::Never, NOW), "{policy:?}");
        // It begins again when the limit allows it.
        store.configure(|settings| settings.policy = Policy::AllkeysLru);
        let steps = (0..2000).filter(|_| store.ease(&mut easing, NOW)).count();
        assert!(steps > 10 && store.held_memory() <= 3 << 20, "{policy:?} {steps}");
    }
}
