use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

type Model = BTreeSet<Vec<u8>>;

fn limits() -> Encodings {
    Encodings { set_intset_entries: 6, set_entries: 8, set_value: 10, ..Encodings::default() }
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (-10i64..10).prop_map(|n| n.to_string().into_bytes()),
        3 => (0u8..10).prop_map(|n| vec![b'x', n]),
        1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..14),
    ]
}

fn contents(set: &Set) -> Model {
    let mut all = Model::new();
    set.each(|member| assert!(all.insert(member.to_vec())));
    all
}

fn of(members: &[Vec<u8>]) -> Set {
    let mut set = Set::default();
    members.iter().for_each(|member| {
        set.add(member, &limits());
    });
    set
}

proptest! {
    #[test]
    fn behaves_as_a_set(ops in proptest::collection::vec((0u8..4, member()), 1..150)) {
        let (mut model, mut set) = (Model::new(), Set::default());
        for (op, member) in ops {
            match op {
                0 | 1 => prop_assert_eq!(set.add(&member, &limits()), model.insert(member.clone())),
                2 => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                _ if !set.is_empty() => {
                    let i = member.len() % set.len();
                    prop_assert!(model.remove(&set.at(i).to_vec()));
                    set.remove_at(i);
                }
                _ => {}
            }
            prop_assert_eq!(set.contains(&member), model.contains(&member));
            prop_assert_eq!(set.len(), model.len());
        }
        prop_assert_eq!(&contents(&set), &model);
        let mut picked = Model::new();
        set.pick(0..set.len(), |member| { picked.insert(member.to_vec()); Ok::<(), ()>(()) }).unwrap();
        prop_assert_eq!(&picked, &model);
        let mut scanned = Model::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, |member| { scanned.insert(member.to_vec()); });
            if cursor == 0 { break; }
        }
        prop_assert_eq!(&scanned, &model);
    }

    #[test]
    fn algebra_as_of_sorted_sets(
        members in proptest::collection::vec(proptest::collection::vec(member(), 0..12), 1..5),
        table in any::<bool>(),
    ) {
        let sets: Vec<Set> = members.iter().map(|m| of(m)).collect();
        let models: Vec<Model> = sets.iter().map(contents).collect();
        let refs: Vec<&Set> = sets.iter().collect();
        let start = || if table { Set::table() } else { Set::default() };

        let all = union(&refs, start(), &limits());
        let model: Model = models.iter().flatten().cloned().collect();
        prop_assert_eq!(contents(&all), model);

        let rest = difference(refs[0], &refs[1..], start(), &limits());
        let model: Model = models[0].iter().filter(|m| !models[1..].iter().any(|o| o.contains(*m))).cloned().collect();
        prop_assert_eq!(contents(&rest), model);

        let mut common = Model::new();
        intersect(&refs, |member| common.insert(member.to_vec()));
        let model: Model = models[0].iter().filter(|m| models.iter().all(|o| o.contains(*m))).cloned().collect();
        prop_assert_eq!(common, model);
    }
}

#[test]
fn a_set_minus_itself_is_empty() {
    let set = of(&[b"a".to_vec(), b"b".to_vec()]);
    assert!(difference(&set, &[&set], Set::default(), &limits()).is_empty());
    let mut seen = 0;
    intersect(&[&set, &set, &set], |_| {
        seen += 1;
        true
    });
    assert_eq!(seen, 2);
}

#[test]
fn forms_change_as_in_redis() {
    let limits = limits();
    // Too many integers: straight to a table.
    let mut set = Set::default();
    (0..6).for_each(|n| assert!(set.add(n.to_string().as_bytes(), &limits)));
    assert_eq!(set.encoding(), "intset");
    set.add(b"6", &limits);
    assert_eq!(set.encoding(), "hashtable");

    // A text among few integers: packed; too many members or too long a one: a table.
    let mut set = of(&[b"1".to_vec(), b"a".to_vec()]);
    assert_eq!(set.encoding(), "listpack");
    (0..6).for_each(|n| assert!(set.add(&[b'm', n], &limits)));
    assert_eq!(set.encoding(), "listpack");
    assert!(!set.add(b"a", &limits));
    assert_eq!(set.encoding(), "listpack");
    set.add(b"more", &limits);
    assert_eq!(set.encoding(), "hashtable");
    assert_eq!(of(&[b"a".to_vec(), b"eleven byte".to_vec()]).encoding(), "hashtable");
    assert_eq!(of(&[b"1".to_vec(), b"eleven byte".to_vec()]).encoding(), "hashtable");
    // An integer too long for a packed member forces a table as soon as a text comes.
    assert_eq!(of(&[b"12345678901".to_vec(), b"a".to_vec()]).encoding(), "hashtable");

    // What is announced decides the first form.
    assert_eq!(Set::fitting(b"1", 6, &limits).encoding(), "intset");
    assert_eq!(Set::fitting(b"1", 7, &limits).encoding(), "listpack");
    assert_eq!(Set::fitting(b"a", 8, &limits).encoding(), "listpack");
    assert_eq!(Set::fitting(b"a", 9, &limits).encoding(), "hashtable");
    let mut set = of(&[b"1".to_vec()]);
    set.prepare(6, &limits);
    assert_eq!(set.encoding(), "intset");
    set.prepare(7, &limits);
    assert_eq!(set.encoding(), "hashtable");
    set.become_intset(&limits);
    assert_eq!(set.encoding(), "intset");
}
