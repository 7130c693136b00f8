//! Sorted sets against a model: a `BTreeSet` of (score, member) and a map.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A score in the order of sorted sets: equal zeros, no NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score(f64);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.partial_cmp(&other.0).unwrap()
    }
}

#[derive(Debug, Default)]
struct Model {
    scores: BTreeMap<Vec<u8>, f64>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

impl Model {
    fn put(&mut self, member: &[u8], score: f64) -> Put {
        let old = self.scores.insert(member.to_vec(), score);
        match old {
            Some(old) if old == score => return Put::Unchanged,
            Some(old) => {
                self.order.remove(&(Score(old), member.to_vec()));
            }
            None => {}
        }
        self.order.insert((Score(score), member.to_vec()));
        if old.is_some() { Put::Updated } else { Put::Added }
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        match self.scores.remove(member) {
            Some(score) => self.order.remove(&(Score(score), member.to_vec())),
            None => false,
        }
    }

    fn remove_ranks(&mut self, ranks: Range<usize>) {
        let gone: Vec<_> = self.order.iter().skip(ranks.start).take(ranks.len()).cloned().collect();
        gone.iter().for_each(|(_, member)| {
            self.remove(member);
        });
    }
}

fn pairs<'a>(items: impl Iterator<Item = (Elem<'a>, f64)>) -> Vec<(Vec<u8>, f64)> {
    items.map(|(member, score)| (member.to_vec(), score)).collect()
}

fn agree(zset: &Zset, model: &Model) {
    if let Zset::Large(large) = zset {
        large.check();
    }
    assert_eq!(zset.len(), model.order.len());
    let wanted: Vec<_> = model.order.iter().map(|(score, member)| (member.clone(), score.0)).collect();
    assert_eq!(pairs(zset.all()), wanted);
    let from = wanted.len() / 3;
    assert_eq!(pairs(zset.iter_ahead(from, |_| ())), wanted[from..]);
    for (rank, (member, score)) in wanted.iter().enumerate() {
        assert_eq!(zset.score(member), Some(*score));
        assert_eq!(zset.rank(member), Some((rank, *score)));
    }
    let mut numbers = pairs((0..zset.len()).map(|i| zset.nth(i)));
    numbers.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(numbers, model.scores.clone().into_iter().collect::<Vec<_>>());
}

#[derive(Debug, Clone)]
enum Op {
    Put(Vec<u8>, f64),
    Remove(Vec<u8>),
    RemoveRanks(prop::sample::Index, prop::sample::Index),
    ByScore(f64, f64, bool, bool),
    ByLex(Vec<u8>, Vec<u8>, bool, bool),
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0u32..500).prop_map(|n| n.to_string().into_bytes()),
        (0u32..500).prop_map(|n| format!("m{n:03}").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..3),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        (0i32..20).prop_map(f64::from),
        (-1000i32..1000).prop_map(|n| f64::from(n) / 8.0),
        Just(0.0),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        any::<f64>().prop_filter("a score is a number", |score| !score.is_nan()),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (member(), score()).prop_map(|(member, score)| Op::Put(member, score)),
        5 => member().prop_map(Op::Remove),
        1 => any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(a, b)| Op::RemoveRanks(a, b)),
        2 => (score(), score(), any::<bool>(), any::<bool>()).prop_map(|(a, b, c, d)| Op::ByScore(a, b, c, d)),
        1 => (member(), member(), any::<bool>(), any::<bool>()).prop_map(|(a, b, c, d)| Op::ByLex(a, b, c, d)),
    ]
}

fn small_limits() -> Encodings {
    Encodings { zset_entries: 10, ..Encodings::default() }
}

fn end(open: bool, text: &str) -> Vec<u8> {
    if open { format!("({text}").into_bytes() } else { text.as_bytes().to_vec() }
}

fn check_by_score(zset: &Zset, model: &Model, min: f64, max: f64, open: (bool, bool)) {
    let texts = (end(open.0, &format!("{min:e}")), end(open.1, &format!("{max:e}")));
    let range = ScoreRange::parse(&texts.0, &texts.1).unwrap();
    let inside = |s: f64| (s > min || !open.0 && s == min) && (s < max || !open.1 && s == max);
    let wanted: Vec<_> =
        model.order.iter().map(|(s, m)| (m.clone(), s.0)).filter(|(_, s)| inside(*s)).collect();
    let ranks = zset.ranks_by_score(&range);
    assert_eq!(pairs(zset.iter(ranks.clone(), false)), wanted);
    assert!(pairs(zset.iter(ranks, true)).iter().rev().eq(&wanted));
}

fn check_by_lex(members: &BTreeSet<Vec<u8>>, zset: &Zset, min: &[u8], max: &[u8], open: (bool, bool)) {
    let sign = |open| if open { b"(" } else { b"[" };
    let texts = ([sign(open.0), min].concat(), [sign(open.1), max].concat());
    let range = LexRange::parse(&texts.0, &texts.1).unwrap();
    let inside = |m: &[u8]| (m > min || !open.0 && m == min) && (m < max || !open.1 && m == max);
    let wanted: Vec<_> = members.iter().filter(|m| inside(m)).cloned().collect();
    let ranks = zset.ranks_by_lex(&range);
    let found: Vec<_> = zset.iter(ranks, false).map(|(member, _)| member.to_vec()).collect();
    assert_eq!(found, wanted);
}

fn behaves_as_the_model(ops: Vec<Op>, limits: Encodings) {
    let mut model = Model::default();
    let mut zset = Zset::default();
    for op in ops {
        match op {
            Op::Put(member, score) => {
                let put = zset.put(&member, &limits, Some(score), |_| Some(score));
                assert_eq!(put, model.put(&member, score));
            }
            Op::Remove(member) => assert_eq!(zset.remove(&member), model.remove(&member)),
            Op::RemoveRanks(a, b) if !zset.is_empty() => {
                let start = a.index(zset.len());
                let ranks = start..start + 1 + b.index((zset.len() - start).min(40));
                zset.remove_ranks(ranks.clone(), |_| {});
                model.remove_ranks(ranks);
            }
            Op::RemoveRanks(..) => {}
            Op::ByScore(min, max, a, b) => check_by_score(&zset, &model, min, max, (a, b)),
            Op::ByLex(min, max, a, b) => {
                let members: BTreeSet<_> = model.scores.keys().cloned().collect();
                let same = members.iter().map(|m| (Cow::Borrowed(&**m), 0.0)).collect();
                check_by_lex(&members, &Zset::from_pairs(same, &limits), &min, &max, (a, b));
            }
        }
    }
    agree(&zset, &model);
    assert_eq!(Zset::from_pairs(zset.all().map(|(m, s)| (text(m), s)).collect(), &limits), zset);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn small_ones_behave_as_the_model(ops in prop::collection::vec(op(), 1..150)) {
        behaves_as_the_model(ops, Encodings { zset_entries: 1000, ..Encodings::default() });
    }

    #[test]
    fn large_ones_behave_as_the_model(ops in prop::collection::vec(op(), 1..3000)) {
        behaves_as_the_model(ops, small_limits());
    }

    #[test]
    fn a_scan_sees_everything(len in 0usize..400) {
        let limits = small_limits();
        let mut zset = Zset::default();
        for n in 0..len {
            zset.put(format!("m{n}").as_bytes(), &limits, Some(n as f64), |_| None);
        }
        let mut seen = BTreeMap::new();
        let mut cursor = 0;
        loop {
            let mut page = Vec::new();
            cursor = zset.scan(cursor, |member, score| page.push((member.to_vec(), score)));
            seen.extend(page);
            if cursor == 0 {
                break;
            }
        }
        prop_assert_eq!(seen.len(), len);
    }
}

/// Three levels of nodes, in ascending, descending and scattered order, grown and emptied again.
#[test]
fn deep_trees_grow_and_shrink() {
    let limits = small_limits();
    const LEN: u64 = 20_000;
    for place in [|n: u64| n, |n: u64| LEN - n, |n: u64| n * 7919 % LEN] {
        let mut zset = Zset::default();
        for n in 0..LEN {
            let score = (place(n) / 3) as f64;
            zset.put(format!("m{n}").as_bytes(), &limits, Some(score), |_| None);
        }
        let Zset::Large(large) = &zset else { panic!("20000 members are many") };
        large.check();
        let full = zset.memory();
        for n in 0..LEN {
            assert!(zset.remove(format!("m{}", n * 4001 % LEN).as_bytes()));
            if n % 1999 == 0 {
                let Zset::Large(large) = &zset else { panic!("never small again") };
                large.check();
            }
        }
        assert!(zset.is_empty());
        assert!(zset.memory() < full / 500, "{} of {full}", zset.memory());
    }
}

#[test]
fn ordered_runs_fill_their_leaves() {
    let limits = small_limits();
    let mut memory = Vec::new();
    for ascending in [true, false] {
        let mut zset = Zset::default();
        for n in 0..50_000i32 {
            let score = f64::from(if ascending { n } else { -n });
            zset.put(&n.to_be_bytes(), &limits, Some(score), |_| None);
        }
        let Zset::Large(large) = &zset else { panic!("50000 members are many") };
        memory.push(large.order_memory());
    }
    // 12 bytes for an item, and little else.
    assert!(memory.iter().all(|bytes| *bytes < 50_000 * 14), "{memory:?}");
}

#[test]
fn limits_decide_the_form() {
    let limits = Encodings { zset_entries: 2, zset_value: 5, ..Encodings::default() };
    let mut zset = Zset::default();
    zset.put(b"a", &limits, Some(1.0), |_| None);
    zset.put(b"b", &limits, Some(1.0), |_| None);
    assert_eq!(zset.encoding(), "listpack");
    zset.put(b"b", &limits, Some(2.0), |_| Some(2.0));
    assert_eq!(zset.encoding(), "listpack");
    zset.put(b"c", &limits, Some(1.0), |_| None);
    assert_eq!(zset.encoding(), "skiplist");
    zset.remove(b"c");
    assert_eq!(zset.encoding(), "skiplist");

    let mut zset = Zset::default();
    zset.put(b"123456", &limits, None, |_| None);
    assert_eq!(zset.encoding(), "listpack");
    zset.put(b"123456", &limits, Some(1.0), |_| None);
    assert_eq!(zset.encoding(), "skiplist");
    assert_eq!(Zset::sized_for(3, 0, &limits).encoding(), "skiplist");
    assert_eq!(Zset::sized_for(2, 6, &limits).encoding(), "skiplist");
    assert_eq!(Zset::from_pairs(vec![(Cow::Borrowed(b"a"), 1.0)], &limits).encoding(), "listpack");
}

#[test]
fn negative_zero_survives_only_in_the_large_form() {
    let limits = small_limits();
    let mut zset = Zset::default();
    zset.put(b"a", &limits, Some(-0.0), |_| None);
    assert!(zset.score(b"a").unwrap().is_sign_positive());
    zset.reserve(11, &limits);
    zset.put(b"b", &limits, Some(-0.0), |_| None);
    assert!(zset.score(b"b").unwrap().is_sign_negative());
    assert_eq!(zset.put(b"b", &limits, None, |_| Some(0.0)), Put::Unchanged);
}

proptest! {
    /// In order as from an encoder, or in any order with members that come twice: nothing is believed of a stream.
    #[test]
    fn what_is_loaded_is_as_if_it_had_been_put(
        mut all in prop::collection::vec((member(), score()), 1..400),
        sorted in any::<bool>(),
        group in 1usize..80,
    ) {
        if sorted {
            all.sort_by(|a, b| (Score(a.1), &a.0).cmp(&(Score(b.1), &b.0)));
        }
        let (mut zset, mut model) = (Zset::default(), Model::default());
        for group in all.chunks(group) {
            let group: Vec<_> = group.iter().map(|(member, score)| (&member[..], *score)).collect();
            group.iter().for_each(|(member, score)| {
                model.put(member, *score);
            });
            zset.load(&group, |_| {});
        }
        prop_assert_eq!(zset.encoding(), "skiplist");
        agree(&zset, &model);
    }
}
