//! Properties of the store that clients rely on: scans miss nothing, expired keys are gone to the millisecond,
//! and memory comes back.

use std::collections::{HashMap, HashSet};

use proptest::{collection::vec, prelude::*};
use shoal_node::{
    store::{Db, Expiry, Policy, Settings, Store, Sweep},
    value::Str,
};
use shoal_proto::slot::key_slot;

const NOW: u64 = 1_700_000_000_000;

fn lock<'a>(store: &'a Store, key: &str, now: u64) -> Db<'a> {
    store.lock_slot(0, key_slot(key.as_bytes()), now)
}

fn set(store: &Store, key: &str, now: u64, expiry: Expiry) {
    lock(store, key, now).set_str(key.as_bytes(), key.as_bytes(), expiry);
}

fn remove(store: &Store, key: &str, now: u64) -> bool {
    lock(store, key, now).discard(key.as_bytes())
}

fn read(store: &Store, key: &str, now: u64) -> Option<Vec<u8>> {
    let mut db = lock(store, key, now);
    db.get::<Str>(key.as_bytes()).expect("all values here are strings").map(|s| s.bytes().to_vec())
}

/// Names: those of even numbers share one slot, so that its table grows and shrinks; the others are spread.
fn name(kind: &str, n: usize) -> String {
    if n.is_multiple_of(2) { format!("{{t}}{kind}{n}") } else { format!("{kind}{n}") }
}

fn sweep_all(store: &Store, now: u64, holds: usize) -> u64 {
    let mut sweep = Sweep::default();
    let mut total = 0;
    for _ in 0..100_000 {
        let (removed, more) = store.sweep(&mut sweep, now, holds);
        total += removed;
        if !more {
            return total;
        }
    }
    panic!("the sweep finds no end");
}

/// What happens between two steps of a scan.
#[derive(Debug, Clone)]
enum Between {
    Nothing,
    Add(usize),
    Remove(usize),
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        1 => Just(Between::Nothing),
        3 => (1usize..400).prop_map(Between::Add),
        3 => (1usize..400).prop_map(Between::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_scan_finds_every_key_that_stays(
        stays in 0usize..300,
        guests in 0usize..600,
        count in 1usize..40,
        changes in vec(between(), 1..60),
    ) {
        let store = Store::new(Settings::default());
        (0..stays).for_each(|n| set(&store, &name("stays", n), NOW, Expiry::Never));
        (0..guests).for_each(|n| set(&store, &name("guest", n), NOW, Expiry::Never));
        let (mut first_guest, mut next_guest) = (0, guests);
        let mut seen = HashSet::new();
        let mut cursor = 0;
        let mut changes = changes.into_iter();
        for step in 0.. {
            let next = store.scan((0, NOW), cursor, count, None, |key, _| {
                seen.insert(String::from_utf8(key.to_vec()).unwrap());
            });
            cursor = next.cursor;
            if cursor == 0 {
                break;
            }
            prop_assert!(step < 100_000, "the scan finds no end");
            match changes.next() {
                Some(Between::Add(n)) => {
                    (next_guest..next_guest + n).for_each(|n| set(&store, &name("guest", n), NOW, Expiry::Never));
                    next_guest += n;
                }
                Some(Between::Remove(n)) => {
                    let end = (first_guest + n).min(next_guest);
                    (first_guest..end).for_each(|n| assert!(remove(&store, &name("guest", n), NOW)));
                    first_guest = end;
                }
                Some(Between::Nothing) | None => {}
            }
        }
        for n in 0..stays {
            prop_assert!(seen.contains(&name("stays", n)), "{} was missed", name("stays", n));
        }
        let guests: HashSet<String> = (0..next_guest).map(|n| name("guest", n)).collect();
        prop_assert!(seen.iter().all(|key| guests.contains(key) || key.contains("stays")));
    }
}

#[derive(Debug, Clone)]
enum Op {
    Set(usize, Option<u64>),
    Keep(usize),
    Expire(usize, Option<u64>),
    Remove(usize),
    Wait(u64),
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0usize..40;
    let life = prop_oneof![Just(None), (1u64..50).prop_map(Some)];
    prop_oneof![
        4 => (key.clone(), life.clone()).prop_map(|(k, l)| Op::Set(k, l)),
        1 => key.clone().prop_map(Op::Keep),
        2 => (key.clone(), life).prop_map(|(k, l)| Op::Expire(k, l)),
        1 => key.prop_map(Op::Remove),
        4 => (1u64..20).prop_map(Op::Wait),
        1 => Just(Op::Sweep),
    ]
}

proptest! {
    #[test]
    fn no_key_outlives_its_time(ops in vec(op(), 1..200)) {
        let store = Store::new(Settings::default());
        let mut model: HashMap<String, Option<u64>> = HashMap::new();
        let mut now = NOW;
        for op in ops {
            match op {
                Op::Set(k, life) => {
                    let at = life.map(|l| now + l);
                    set(&store, &name("k", k), now, at.map_or(Expiry::Never, Expiry::At));
                    model.insert(name("k", k), at);
                }
                Op::Keep(k) => {
                    set(&store, &name("k", k), now, Expiry::Keep);
                    model.entry(name("k", k)).or_insert(None);
                }
                Op::Expire(k, life) => {
                    let at = life.map(|l| now + l);
                    let there = lock(&store, &name("k", k), now).set_expiry(name("k", k).as_bytes(), at);
                    prop_assert_eq!(there, model.contains_key(&name("k", k)));
                    model.entry(name("k", k)).and_modify(|old| *old = at);
                }
                Op::Remove(k) => {
                    let there = remove(&store, &name("k", k), now);
                    prop_assert_eq!(there, model.remove(&name("k", k)).is_some());
                }
                Op::Wait(ms) => now += ms,
                Op::Sweep => {
                    sweep_all(&store, now, 1);
                    model.retain(|_, at| at.is_none_or(|at| at > now));
                    prop_assert_eq!(store.len(0).0, model.len());
                }
            }
            model.retain(|_, at| at.is_none_or(|at| at > now));
            let mut listed = HashSet::new();
            store.each_key(0, now, |key| assert!(listed.insert(String::from_utf8(key.to_vec()).unwrap())));
            prop_assert_eq!(&listed, &model.keys().cloned().collect::<HashSet<_>>());
            if let Some(drawn) = store.random_key(0, now) {
                prop_assert!(model.contains_key(std::str::from_utf8(&drawn).unwrap()));
            }
        }
        for k in 0..40 {
            let key = name("k", k);
            prop_assert_eq!(read(&store, &key, now).is_some(), model.contains_key(&key));
        }
        // The last of them has gone: nothing is charged any more.
        model.keys().for_each(|key| assert!(remove(&store, key, now)));
        sweep_all(&store, now + 1000, 8);
        prop_assert_eq!((store.len(0), store.used_memory()), ((0, 0), 0));
    }

    #[test]
    fn a_sweep_gives_all_memory_back(lives in vec(1u64..2000, 1..1500), holds in 1usize..5) {
        let store = Store::new(Settings::default());
        (0..200).for_each(|n| set(&store, &name("stays", n), NOW, Expiry::Never));
        let before = store.used_memory();
        // While keys come, sweeps are under way: tables grow under them.
        let mut sweep = Sweep::default();
        for (n, life) in lives.iter().enumerate() {
            let now = NOW + n as u64;
            set(&store, &name("guest", n), now, Expiry::At(now + life));
            store.sweep(&mut sweep, now, holds);
        }
        let end = NOW + lives.len() as u64;
        sweep_all(&store, end, holds);
        let alive = lives.iter().enumerate().filter(|(n, life)| NOW + *n as u64 + *life > end).count();
        prop_assert_eq!(store.len(0), (200 + alive, alive));
        let removed = sweep_all(&store, end + 2000, holds);
        prop_assert_eq!(removed, alive as u64);
        prop_assert_eq!((store.len(0), store.used_memory()), ((200, 0), before));
        prop_assert_eq!(store.stats().expired, lives.len() as u64);
    }
}

/// One slot with more buckets than one hold may look at: the sweep goes on where it stopped.
#[test]
fn a_large_slot_is_swept_in_parts() {
    let store = Store::new(Settings::default());
    let keys: Vec<String> = (0..5000).map(|n| format!("{{t}}{n}")).collect();
    for (n, key) in keys.iter().enumerate() {
        set(&store, key, NOW, Expiry::At(NOW + 1 + (n as u64 % 2) * 1000));
    }
    let mut sweep = Sweep::default();
    let (first, more) = store.sweep(&mut sweep, NOW + 1, 1 + shoal_node::store::shard_of(key_slot(b"t")));
    assert!(first > 0 && first < 1000 && more, "{first} keys in the first part");
    assert_eq!(first + sweep_all(&store, NOW + 1, 7), 2500);
    assert_eq!(sweep_all(&store, NOW + 1000, 7), 0);
    assert_eq!(sweep_all(&store, NOW + 1001, 7), 2500);
    assert_eq!(store.used_memory(), 0);
}

#[test]
fn a_swap_exchanges_all_and_forgets_nothing() {
    let store = Store::new(Settings::default());
    (0..100).for_each(|n| set(&store, &name("a", n), NOW, Expiry::At(NOW + 10)));
    let used = store.used_memory();
    store.swap(0, 5);
    assert_eq!((store.len(0), store.len(5)), ((0, 0), (100, 100)));
    store.swap(5, 3);
    store.swap(7, 7);
    assert_eq!((store.len(3), store.used_memory()), ((100, 100), used));
    assert_eq!(sweep_all(&store, NOW + 10, 64), 100);
    assert_eq!(store.used_memory(), 0);
}

#[test]
fn flushed_keys_are_dropped_in_the_background() {
    let store = Store::new(Settings::default());
    (0..1000).for_each(|n| set(&store, &name("a", n), NOW, Expiry::Never));
    let flushed = store.flush(None);
    assert_eq!((flushed.len(), store.len(0).0, store.used_memory()), (1000, 0, 0));
    store.reclaim().flushed(flushed);
    let done = || store.reclaim().freed() == 1000 && store.reclaim().pending() == 0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "not dropped in time");
        std::thread::yield_now();
    }
}

fn limited(policy: Policy, maxmemory: u64) -> Settings {
    Settings { policy, maxmemory, ..Settings::default() }
}

/// Few keys may go among many that may not, or among many that have gone: they are found nevertheless.
#[test]
fn eviction_finds_the_few_that_may_go() {
    let store = Store::new(limited(Policy::VolatileS3Fifo, 1 << 40));
    (0..20_000).for_each(|n| set(&store, &format!("{{t}}stays{n}"), NOW, Expiry::Never));
    (0..3).for_each(|n| set(&store, &format!("{{t}}goes{n}"), NOW, Expiry::At(NOW + 1000)));
    let held = store.held_memory();
    store.configure(|s| *s = limited(Policy::VolatileS3Fifo, held - 1));
    assert!(store.make_room(NOW));
    // Moving those that stay costs a little room as well, so more than one may go.
    let evicted = store.stats().evicted as usize;
    assert!((1..=3).contains(&evicted));
    assert_eq!(store.len(0), (20_003 - evicted, 3 - evicted));
    store.configure(|s| *s = limited(Policy::VolatileTtl, 1));
    store.make_room(NOW);
    assert_eq!(store.len(0), (20_000, 0));
    assert!(!store.make_room(NOW), "nothing may go any more");
    (1..20_000).for_each(|n| assert!(remove(&store, &format!("{{t}}stays{n}"), NOW)));
    store.configure(|s| *s = limited(Policy::AllkeysLru, 1));
    assert!(store.make_room(NOW));
    assert_eq!((store.len(0), store.used_memory()), ((0, 0), 0));
}

/// No database is spared.
#[test]
fn eviction_takes_from_every_database() {
    let store = Store::new(limited(Policy::AllkeysRandom, 1 << 40));
    for n in 0..200 {
        let key = format!("{{t}}{n}");
        for db in [0, 9] {
            store.lock_slot(db, key_slot(key.as_bytes()), NOW).set_str(key.as_bytes(), b"", Expiry::Never);
        }
    }
    store.configure(|s| *s = limited(Policy::AllkeysRandom, 1));
    while store.stats().evicted < 200 {
        assert!(store.make_room(NOW));
    }
    let left = (store.len(0).0, store.len(9).0);
    assert!(left.0 > 20 && left.1 > 20, "{left:?}");
}

/// What is used stays, what is not goes, whatever Redis's name for the policy is.
#[test]
fn used_keys_stay() {
    for policy in [Policy::AllkeysS3Fifo, Policy::AllkeysS3FifoSize, Policy::AllkeysLru, Policy::AllkeysLfu] {
        let store = Store::new(limited(policy, 4 << 20));
        let write = |key: &str| {
            assert!(store.make_room(NOW));
            lock(&store, key, NOW).set_str(key.as_bytes(), &[b'x'; 100], Expiry::Never);
        };
        (0..100).for_each(|n| write(&format!("used{n}")));
        let mut hits = 0;
        for n in 0..100_000 {
            write(&format!("once{n}"));
            hits += usize::from(read(&store, &format!("used{}", n % 100), NOW).is_some());
        }
        assert!(hits > 99_000, "{policy:?}: {hits}");
        assert!(store.held_memory() <= (4 << 20) / 100 * 101, "{}", store.held_memory());
        assert!(store.stats().evicted > 40_000);
    }
}

#[test]
fn without_a_policy_nothing_goes() {
    let store = Store::new(limited(Policy::NoEviction, 1));
    set(&store, "a", NOW, Expiry::Never);
    assert!(!store.make_room(NOW));
    assert_eq!(store.len(0).0, 1);
}
