//! Properties of the store that clients rely on: scans miss nothing, expired keys are gone to the millisecond,
//! and memory comes back.

use std::collections::{HashMap, HashSet};

use proptest::{collection::vec, prelude::*};
use shoal_node::{
    store::{Db, Expiry, Policy, Settings, Store, Sweep},
    value::{Hash, Str, Value},
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

/// What a command may do to one of a few keys.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, usize, Option<u64>),
    Append(usize, usize),
    HashSet(usize, u8, usize),
    HashClear(usize),
    Expire(usize, Option<u64>),
    Take(usize),
    Move(usize),
    Wait(u64),
    Sweep,
    MakeRoom,
    Swap,
    Flush,
}

fn change() -> impl Strategy<Value = Change> {
    let key = 0usize..60;
    let size =
        prop_oneof![6 => 0usize..200, 2 => 900usize..1100, 1 => 7000usize..9000, 1 => 20_000usize..40_000];
    let life = prop_oneof![Just(None), (1u64..3000).prop_map(Some)];
    prop_oneof![
        12 => (key.clone(), size.clone(), life.clone()).prop_map(|(k, n, l)| Change::Set(k, n, l)),
        4 => (key.clone(), size.clone()).prop_map(|(k, n)| Change::Append(k, n)),
        6 => (key.clone(), 0u8..40, size).prop_map(|(k, f, n)| Change::HashSet(k, f, n)),
        1 => key.clone().prop_map(Change::HashClear),
        3 => (key.clone(), life).prop_map(|(k, l)| Change::Expire(k, l)),
        3 => key.clone().prop_map(Change::Take),
        1 => key.prop_map(Change::Move),
        2 => (1u64..500).prop_map(Change::Wait),
        1 => Just(Change::Sweep),
        2 => Just(Change::MakeRoom),
        1 => Just(Change::Swap),
        1 => Just(Change::Flush),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Kept {
    Text(Vec<u8>),
    Fields(HashMap<Vec<u8>, Vec<u8>>),
}

/// The key of a number: some are longer than what fits the log.
fn key_of(n: usize) -> Vec<u8> {
    let mut key = format!("{{{}}}key{n}", n % 3).into_bytes();
    if n.is_multiple_of(7) {
        key.resize(1500, b'k');
    }
    key
}

type Model = HashMap<(u8, Vec<u8>), (Kept, Option<u64>)>;

/// The store agrees with a plain map about each key that was not evicted.
fn agree(store: &Store, model: &mut Model, now: u64) {
    for ((db, key), (kept, at)) in std::mem::take(model) {
        let mut view = store.lock_slot(db, key_slot(&key), now);
        let expected = at.is_none_or(|at| at > now);
        let found = match view.peek(&key) {
            None => None,
            Some(Value::Str(text)) => Some(Kept::Text(text.bytes().to_vec())),
            Some(Value::Hash(hash)) => {
                let mut fields = HashMap::new();
                hash.each(|f, v| drop(fields.insert(f.to_vec(), v.to_vec())));
                Some(Kept::Fields(fields))
            }
            Some(other) => panic!("{other:?} was never stored"),
        };
        if let Some(found) = found {
            assert!(expected, "an expired key is shown");
            assert!(found == kept, "the value differs");
            assert_eq!(view.expires_at(&key), Some(at));
            model.insert((db, key), (kept, at));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Strings and hashes of all sizes come, grow, move, expire and are evicted: what is there is right, and every
    /// account agrees with a full walk.
    #[test]
    fn the_store_is_a_map(steps in vec(change(), 1..400), limit in prop_oneof![Just(0u64), Just(300_000)]) {
        let store = Store::new(limited(Policy::AllkeysS3FifoSize, limit));
        let encodings = Settings::default().encodings;
        let mut model = Model::new();
        let (mut now, mut gone_may) = (NOW, false);
        for step in steps {
            match step {
                Change::Set(k, n, life) => {
                    let (key, at) = (key_of(k), life.map(|l| now + l));
                    let text = vec![k as u8; n];
                    store.lock_slot(0, key_slot(&key), now).set_str(&key, &text, at.map_or(Expiry::Never, Expiry::At));
                    model.insert((0, key), (Kept::Text(text), at));
                }
                Change::Append(k, n) => {
                    let key = key_of(k);
                    let mut db = store.lock_slot(0, key_slot(&key), now);
                    if !db.contains(&key) {
                        model.remove(&(0, key.clone()));
                    }
                    let Ok(mut text) = db.edit_or_new::<Str>(&key) else { continue };
                    text.append(&vec![n as u8; n]);
                    let whole = (Kept::Text(text.bytes().to_vec()), text.expires_at());
                    let kept = model.entry((0, key.clone())).or_insert((Kept::Text(Vec::new()), None));
                    if let Kept::Text(kept) = &mut kept.0 {
                        kept.extend(vec![n as u8; n]);
                    }
                    prop_assert!(*kept == whole, "an appended text differs");
                }
                Change::HashSet(k, field, n) => {
                    let key = key_of(k);
                    let mut db = store.lock_slot(0, key_slot(&key), now);
                    if !db.contains(&key) {
                        model.remove(&(0, key.clone()));
                    }
                    let Ok(mut hash) = db.edit_or_new::<Hash>(&key) else { continue };
                    hash.set(&[field], &vec![field; n], &encodings);
                    let kept = model.entry((0, key.clone())).or_insert((Kept::Fields(HashMap::new()), None));
                    if let Kept::Fields(fields) = &mut kept.0 {
                        fields.insert(vec![field], vec![field; n]);
                    }
                }
                Change::HashClear(k) => {
                    let key = key_of(k);
                    let mut db = store.lock_slot(0, key_slot(&key), now);
                    if let Ok(Some(mut hash)) = db.edit::<Hash>(&key) {
                        for field in 0..40u8 {
                            hash.remove(&[field]);
                        }
                        model.remove(&(0, key));
                    }
                }
                Change::Expire(k, life) => {
                    let (key, at) = (key_of(k), life.map(|l| now + l));
                    if store.lock_slot(0, key_slot(&key), now).set_expiry(&key, at) {
                        model.get_mut(&(0, key)).expect("the store has it").1 = at;
                    }
                }
                Change::Take(k) => {
                    let key = key_of(k);
                    let taken = store.lock_slot(0, key_slot(&key), now).take(&key);
                    let kept = model.remove(&(0, key));
                    prop_assert!(taken.is_none() || kept.is_some());
                }
                Change::Move(k) => {
                    let key = key_of(k);
                    let mut db = store.lock_slot(0, key_slot(&key), now);
                    if let Some((value, at)) = db.take(&key) {
                        db.select(5);
                        db.set(&key, value, if at == 0 { Expiry::Never } else { Expiry::At(at) });
                        let kept = model.remove(&(0, key.clone())).expect("the store had it");
                        model.insert((5, key), kept);
                    }
                }
                Change::Wait(ms) => now += ms,
                Change::Sweep => {
                    store.drop_left(1);
                    sweep_all(&store, now, 3);
                }
                Change::MakeRoom => {
                    gone_may |= limit > 0 && store.held_memory() > limit;
                    store.make_room(now);
                }
                Change::Swap => {
                    store.swap(0, 5).unwrap();
                    model = model.into_iter().map(|((db, key), kept)| ((5 - db, key), kept)).collect();
                }
                Change::Flush => {
                    store.reclaim().flushed(store.flush(Some(5), |_, _| {}).unwrap());
                    model.retain(|(db, _), _| *db == 0);
                }
            }
            store.audit();
        }
        let before: usize = model.values().filter(|(_, at)| at.is_none_or(|at| at > now)).count();
        agree(&store, &mut model, now);
        prop_assert!(gone_may || model.len() == before, "{} of {before} keys are there", model.len());
        prop_assert_eq!(store.len(0).0 + store.len(5).0, model.len());
        store.audit();
        drop(store.flush(None, |_, _| {}).unwrap());
        store.audit();
        prop_assert_eq!(store.used_memory(), 0);
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

/// What expires is not moved out of its segments on the way, what stays is: dead bytes do not.
#[test]
fn a_sweep_moves_only_what_stays() {
    let store = Store::new(Settings::default());
    let fill = |every: usize| {
        for n in 0..50_000 {
            let expiry = if n % every == 0 { Expiry::At(NOW + 1) } else { Expiry::Never };
            set(&store, &name("a", n), NOW, expiry);
        }
    };
    let lost = || store.held_memory() - store.used_memory();
    fill(1);
    assert_eq!(sweep_all(&store, NOW + 1, 5), 50_000);
    assert_eq!((store.stats().moved_bytes, store.used_memory()), (0, 0));
    fill(2);
    let before = (store.used_memory(), lost());
    assert_eq!(sweep_all(&store, NOW + 1, 5), 25_000);
    assert!(store.stats().moved_bytes > 0);
    assert!(lost() < before.1 + before.0 / 8, "{} bytes are lost, of {} that were used", lost(), before.0);
    store.audit();
}

#[test]
fn a_swap_exchanges_all_and_forgets_nothing() {
    let store = Store::new(Settings::default());
    (0..100).for_each(|n| set(&store, &name("a", n), NOW, Expiry::At(NOW + 10)));
    let used = store.used_memory();
    store.swap(0, 5).unwrap();
    assert_eq!((store.len(0), store.len(5)), ((0, 0), (100, 100)));
    store.swap(5, 3).unwrap();
    store.swap(7, 7).unwrap();
    assert_eq!((store.len(3), store.used_memory()), ((100, 100), used));
    assert_eq!(sweep_all(&store, NOW + 10, 64), 100);
    assert_eq!(store.used_memory(), 0);
}

#[test]
fn flushed_keys_are_dropped_in_the_background() {
    let store = Store::new(Settings::default());
    (0..1000).for_each(|n| set(&store, &name("a", n), NOW, Expiry::Never));
    let flushed = store.flush(None, |_, _| {}).unwrap();
    assert_eq!((flushed.len(), store.len(0).0, store.used_memory()), (1000, 0, 0));
    store.reclaim().flushed(flushed);
    let done = || store.reclaim().freed() == 1000 && store.reclaim().pending() == 0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "not dropped in time");
        std::thread::yield_now();
    }
}

/// A flush of one database of several takes no key's time: what it left goes later, under many holds, and whoever moves or
/// evicts items meanwhile gets along with it.
#[test]
fn what_a_flush_leaves_goes_little_by_little() {
    let store = Store::new(Settings::default());
    let fill = |db: u8, keys: std::ops::Range<usize>| {
        for n in keys {
            let key = name("a", n);
            let mut db = store.lock_slot(db, key_slot(key.as_bytes()), NOW);
            let expiry = if n % 3 == 0 { Expiry::At(NOW + 1) } else { Expiry::Never };
            db.set_str(key.as_bytes(), &[b'x'; 100], expiry);
        }
    };
    fill(0, 0..20_000);
    let one = store.used_memory();
    fill(5, 0..20_000);
    let both = store.used_memory();
    assert_eq!(store.flush(Some(5), |_, _| {}).unwrap().len(), 20_000);
    assert_eq!((store.len(5), store.len(0).0, store.used_memory()), ((0, 0), 20_000, both));
    assert_eq!(store.reclaim().pending(), 20_000);
    store.audit();
    // The same keys come anew, others go, and segments are compacted on the way.
    fill(5, 0..1000);
    for n in (0..20_000).step_by(2) {
        remove(&store, &name("a", n), NOW);
    }
    store.audit();
    assert!(store.drop_left(3) && store.used_memory() < both);
    store.audit();
    assert_eq!((store.len(5).0, store.len(0).0), (1000, 10_000));
    // They go before anything else when memory is short.
    let before = store.reclaim().pending();
    store.configure(|settings| *settings = limited(Policy::AllkeysS3FifoSize, one));
    let mut writes = 0;
    while store.held_memory() > one && writes < 1000 {
        store.make_room(NOW);
        writes += 1;
    }
    assert!(store.held_memory() <= one, "{writes} writes");
    assert!(store.reclaim().pending() < before / 2);
    store.audit();
    while store.drop_left(1) {}
    assert_eq!(store.reclaim().pending(), 0);
    store.audit();
    drop(store.flush(None, |_, _| {}).unwrap());
    assert_eq!(store.used_memory(), 0);
    store.audit();
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
            store.lock_slot(db, key_slot(key.as_bytes()), NOW).set_str(
                key.as_bytes(),
                &[b'x'; 1000],
                Expiry::Never,
            );
        }
    }
    let limit = store.held_memory() - store.used_memory() / 2;
    store.configure(|s| *s = limited(Policy::AllkeysRandom, limit));
    while store.held_memory() > limit {
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

/// Whatever may go: memory of keys that were deleted is there for others.
#[test]
fn deleted_keys_make_room_where_none_may_go() {
    for policy in [Policy::VolatileLru, Policy::VolatileTtl, Policy::NoEviction] {
        let store = Store::new(limited(policy, 8 << 20));
        let write = |key: String| {
            let room = store.make_room(NOW);
            if room {
                lock(&store, &key, NOW).set_str(key.as_bytes(), &[b'x'; 100], Expiry::Never);
            }
            room
        };
        let keys = (0..).take_while(|n| write(format!("old{n}"))).count();
        assert!(keys > 20_000);
        (0..keys).step_by(10).for_each(|n| assert!(remove(&store, &format!("old{n}"), NOW)));
        let refused = (0..keys / 20).filter(|n| !write(format!("new{n}"))).count();
        assert_eq!(refused, 0, "{policy:?}");
    }
}

/// A slot goes to another node in the middle of a scan: what was not seen yet is seen there.
#[test]
fn a_scan_goes_on_at_a_store_that_hashes_otherwise() {
    let stores = [(); 2].map(|()| Store::new(Settings::default()));
    let slot = key_slot(b"t");
    for store in &stores {
        for i in 0..1000 {
            store.lock_slot(0, slot, NOW).set_str(format!("{{t}}{i}").as_bytes(), b"v", Expiry::Never);
        }
    }
    let (mut cursor, mut seen, mut steps) = (0, HashSet::new(), 0);
    loop {
        // The slot moves to and fro, but not for ever.
        let store = &stores[usize::from(steps > 10 || steps % 4 > 1)];
        let next = store.scan((0, NOW), cursor, 50, None, |key, _| {
            seen.insert(key.to_vec());
        });
        (cursor, steps) = (next.cursor, steps + 1);
        assert!(cursor < 1 << 62 && steps < 1000, "{cursor} after {steps} steps");
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), 1000);
}
