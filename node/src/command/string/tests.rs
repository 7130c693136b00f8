use std::collections::BTreeMap;

use proptest::prelude::*;
use shoal_proto::slot::key_slot;

use super::super::testing::Core;

/// What the store knows of `key`: its encoding, when it expires in ms from now (0: never), its memory.
fn look(core: &Core, key: &str) -> Option<(&'static str, u64, usize)> {
    let mut db = core.store.lock_slot(0, key_slot(key.as_bytes()), core.now);
    let encoding = db.peek(key.as_bytes())?.encoding();
    let left = db.expires_at(key.as_bytes())?.map_or(0, |at| at - core.now);
    Some((encoding, left, db.memory(key.as_bytes())?))
}

#[test]
fn encodings_tell_how_a_string_was_made() {
    let mut core = Core::new();
    for (line, expected) in [
        ("SET k 12", "int"),
        ("SETRANGE k 0 ''", "int"),
        ("APPEND k 3", "raw"),
        ("INCR k", "int"),
        ("INCRBYFLOAT k 2", "embstr"),
        ("SETRANGE k 0 1", "raw"),
        ("GETSET k 01", "embstr"),
        ("SETBIT k 7 1", "raw"),
        ("SET k 12345678901234567890123456789012345678901234", "embstr"),
        ("SET k 123456789012345678901234567890123456789012345", "raw"),
        ("SETEX k 10 -5", "int"),
        ("BITOP OR k k", "raw"),
        ("MSET k 7", "int"),
        ("BITFIELD k GET u8 0", "int"),
        ("BITFIELD k SET u8 0 55", "raw"),
        ("INCRBYFLOAT k 1e50", "raw"),
    ] {
        core.run(line);
        assert_eq!(look(&core, "k").map(|l| l.0), Some(expected), "{line}");
    }
}

#[test]
fn lifetimes() {
    let mut core = Core::new();
    let now = core.now;
    for (line, expected) in [
        ("SET k 1", 0),
        ("SET k 1 EX 100", 100_000),
        ("SET k 2 KEEPTTL", 100_000),
        ("APPEND k 3", 100_000),
        ("INCR k", 100_000),
        ("INCRBYFLOAT k 1.5", 100_000),
        ("SETBIT k 1 1", 100_000),
        ("SETRANGE k 0 9", 100_000),
        ("SET k 5 NX EX 1", 100_000),
        ("GETEX k", 100_000),
        ("GETEX k PX 7", 7),
        ("GETEX k EX 0", 7),
        ("GETEX k PERSIST", 0),
        ("GETEX k EX 3", 3_000),
        ("GETSET k 1", 0),
        ("PSETEX k 12 1", 12),
        ("SET k 1 XX PX 13", 13),
        ("SET k 1 GET", 0),
        ("SETEX k 14 1", 14_000),
        ("BITOP NOT k k", 0),
    ] {
        core.run(line);
        assert_eq!(look(&core, "k").map(|l| l.1), Some(expected), "{line}");
    }
    core.run(&format!("SET k 1 PXAT {}", now + 5));
    assert_eq!(look(&core, "k").map(|l| l.1), Some(5));
    core.now += 5;
    assert_eq!(core.run("GET k"), "$-1\r\n");
}

#[test]
fn a_time_that_has_passed_removes_the_key() {
    let mut core = Core::new();
    core.run("SET k 1");
    assert_eq!(core.run("SET k 2 PXAT 1"), "+OK\r\n");
    assert_eq!(core.store.len(0), (0, 0));
    assert_eq!(core.run("SET k 2 NX EXAT 1"), "+OK\r\n");
    core.run("SET k 3");
    assert_eq!(core.run("GETEX k PXAT 1"), "$1\r\n3\r\n");
    assert_eq!((core.store.len(0), core.store.used_memory()), ((0, 0), 0));
}

#[test]
fn failures_leave_no_trace() {
    let mut core = Core::new();
    core.run("SET k abc EX 100");
    let (before, dirty) = (look(&core, "k"), core.store.stats().dirty);
    for line in [
        "INCR k",
        "INCRBYFLOAT k 1",
        "SET k 1 EX 0",
        "SET k 1 NX",
        "SETRANGE k 536870912 x",
        "SETBIT k 4294967296 1",
        "BITFIELD k SET u8 0 x",
        "MSETNX k 1 k 2",
        "MSET k 1 k",
        "GETEX k EX x",
        "LCS k k foo",
        "BITOP NOT k k k",
    ] {
        core.run(line);
        assert_eq!((look(&core, "k"), core.store.stats().dirty), (before, dirty), "{line}");
        assert_eq!(core.run("GET k"), "$3\r\nabc\r\n", "{line}");
    }
}

#[test]
fn only_changes_count_as_changes() {
    let mut core = Core::new();
    for (line, changes) in [
        ("SETBIT a 0 0", 1),
        ("SETBIT a 0 0", 0),
        ("SETBIT a 0 1", 1),
        ("SETBIT a 90 0", 1),
        ("BITFIELD b SET i5 0 0", 1),
        ("BITFIELD b SET i5 0 0", 0),
        ("BITFIELD b INCRBY i5 0 1", 1),
        ("BITFIELD b SET i5 90 0", 1),
        ("BITFIELD b GET i5 0", 0),
        ("SET c 1", 1),
        ("SET c 1", 1),
        ("SET c 1 NX", 0),
        ("APPEND c 2", 1),
        ("SETRANGE c 0 ''", 0),
        ("GETEX c PERSIST", 0),
        ("GETEX c EX 10", 1),
        ("GETEX c PERSIST", 1),
        ("INCR c", 1),
        ("INCR fresh", 1),
        ("GETDEL fresh", 1),
        ("GETDEL fresh", 0),
        ("MSET a 1 b 2", 2),
    ] {
        let before = core.store.stats().dirty;
        core.run(line);
        assert_eq!(core.store.stats().dirty - before, changes, "{line}");
    }
}

#[test]
fn appends_to_a_long_string_are_cheap_and_accounted() {
    let mut core = Core::new();
    core.run("SETBIT k 80000000 1");
    let mut moves = 0;
    for _ in 0..20_000 {
        let before = core.store.used_memory();
        core.run("APPEND k 0123456789");
        moves += usize::from(core.store.used_memory() != before);
    }
    assert!(moves <= 2, "10 MB were copied {moves} times for 200 kB");
    assert_eq!(core.run("STRLEN k"), ":10200001\r\n");
    assert_eq!(core.store.used_memory(), look(&core, "k").map_or(0, |l| l.2) as u64);
}

/// A command of these families and what it does to a plain map of strings.
#[derive(Debug, Clone)]
enum Op {
    Set(u8, String),
    Append(u8, String),
    SetRange(u8, usize, String),
    SetBit(u8, usize, bool),
    Incr(u8, i64),
    GetDel(u8),
    Or(u8, u8, u8),
}

impl Op {
    fn any() -> impl Strategy<Value = Self> {
        let key = || 0u8..3;
        let text = || "[0-9]{0,6}|[a-z]{0,100}";
        prop_oneof![
            (key(), text()).prop_map(|(k, v)| Self::Set(k, v)),
            (key(), text()).prop_map(|(k, v)| Self::Append(k, v)),
            (key(), 0usize..3000, text()).prop_map(|(k, at, v)| Self::SetRange(k, at, v)),
            (key(), 0usize..9000, any::<bool>()).prop_map(|(k, at, on)| Self::SetBit(k, at, on)),
            (key(), any::<i64>()).prop_map(|(k, n)| Self::Incr(k, n)),
            key().prop_map(Self::GetDel),
            (key(), key(), key()).prop_map(|(d, a, b)| Self::Or(d, a, b)),
        ]
    }

    fn line(&self) -> String {
        match self {
            Self::Set(k, v) => format!("SET {{t}}{k} '{v}'"),
            Self::Append(k, v) => format!("APPEND {{t}}{k} '{v}'"),
            Self::SetRange(k, at, v) => format!("SETRANGE {{t}}{k} {at} '{v}'"),
            Self::SetBit(k, at, on) => format!("SETBIT {{t}}{k} {at} {}", u8::from(*on)),
            Self::Incr(k, n) => format!("INCRBY {{t}}{k} {n}"),
            Self::GetDel(k) => format!("GETDEL {{t}}{k}"),
            Self::Or(d, a, b) => format!("BITOP OR {{t}}{d} {{t}}{a} {{t}}{b}"),
        }
    }

    fn apply(&self, model: &mut BTreeMap<u8, Vec<u8>>) {
        match self {
            Self::Set(k, v) => drop(model.insert(*k, v.clone().into())),
            Self::Append(k, v) => model.entry(*k).or_default().extend(v.bytes()),
            Self::SetRange(_, _, v) if v.is_empty() => {}
            Self::SetRange(k, at, v) => {
                let old = model.entry(*k).or_default();
                old.resize(old.len().max(at + v.len()), 0);
                old[*at..at + v.len()].copy_from_slice(v.as_bytes());
            }
            Self::SetBit(k, at, on) => {
                let old = model.entry(*k).or_default();
                old.resize(old.len().max(at / 8 + 1), 0);
                let mask = 0x80 >> (at % 8);
                old[at / 8] = if *on { old[at / 8] | mask } else { old[at / 8] & !mask };
            }
            Self::Incr(k, n) => {
                let old = model.get(k).map_or(Some(0), |v| shoal_proto::number::parse_i64(v));
                if let Some(sum) = old.and_then(|old| old.checked_add(*n)) {
                    model.insert(*k, sum.to_string().into());
                }
            }
            Self::GetDel(k) => drop(model.remove(k)),
            Self::Or(d, a, b) => {
                let (a, b) =
                    (model.get(a).cloned().unwrap_or_default(), model.get(b).cloned().unwrap_or_default());
                let at = |v: &[u8], i: usize| v.get(i).copied().unwrap_or(0);
                let or: Vec<u8> = (0..a.len().max(b.len())).map(|i| at(&a, i) | at(&b, i)).collect();
                if or.is_empty() { drop(model.remove(d)) } else { drop(model.insert(*d, or)) }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn strings_agree_with_plain_bytes_and_memory_is_true(ops in prop::collection::vec(Op::any(), 1..60)) {
        let mut core = Core::new();
        let mut model = BTreeMap::new();
        for op in ops {
            core.run(&op.line());
            op.apply(&mut model);
            for k in 0..3u8 {
                let key = format!("{{t}}{k}");
                let mut db = core.store.lock_slot(0, key_slot(key.as_bytes()), core.now);
                let got = db.get::<crate::value::Str>(key.as_bytes()).unwrap().map(|s| s.bytes().to_vec());
                prop_assert_eq!(got.as_ref(), model.get(&k), "key {} after {:?}", k, op);
            }
            let charged: usize = (0..3).filter_map(|k| look(&core, &format!("{{t}}{k}"))).map(|l| l.2).sum();
            prop_assert_eq!(core.store.used_memory(), charged as u64);
        }
        for k in 0..3 {
            core.run(&format!("GETDEL {{t}}{k}"));
        }
        prop_assert_eq!(core.store.used_memory(), 0);
    }
}
