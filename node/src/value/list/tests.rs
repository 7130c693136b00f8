//! Lists against a plain vector, and the sizes at which their form changes.

use proptest::prelude::*;

use super::*;

fn texts(list: &List) -> Vec<Vec<u8>> {
    list.iter().map(Elem::to_vec).collect()
}

fn shape(list: &List) -> Vec<usize> {
    match &list.0 {
        Form::Packed(packed) => vec![packed.len()],
        Form::Quick(quick) => quick.shape(),
    }
}

fn push(list: &mut List, end: End, value: &[u8], fill: Fill) {
    list.push(end, std::iter::once(value), fill);
}

fn numbers(n: usize, fill: Fill) -> List {
    let mut list = List::default();
    for i in 0..n {
        push(&mut list, End::Back, i.to_string().as_bytes(), fill);
    }
    list
}

#[derive(Debug, Clone)]
enum Op {
    Push(End, Vec<u8>),
    Cut(End, usize),
    Set(usize, Vec<u8>),
    Insert(usize, bool, Vec<u8>),
    Remove(usize, usize, bool),
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u8..20).prop_map(|n| n.to_string().into_bytes()),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        2 => (55usize..135).prop_map(|n| vec![b'y'; n]),
        1 => (4000usize..9000).prop_map(|n| vec![b'x'; n]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let end = || prop_oneof![Just(End::Front), Just(End::Back)];
    prop_oneof![
        6 => (end(), value()).prop_map(|(end, v)| Op::Push(end, v)),
        1 => (end(), 0usize..12).prop_map(|(end, n)| Op::Cut(end, n)),
        2 => (0usize..60, value()).prop_map(|(i, v)| Op::Set(i, v)),
        4 => (0usize..60, any::<bool>(), value()).prop_map(|(i, after, v)| Op::Insert(i, after, v)),
        1 => (0usize..60, 1usize..4, any::<bool>()).prop_map(|(i, n, back)| Op::Remove(i, n, back)),
    ]
}

/// Does the same to a vector.
fn apply(model: &mut Vec<Vec<u8>>, op: &Op) {
    match op {
        Op::Push(End::Front, v) => model.insert(0, v.clone()),
        Op::Push(End::Back, v) => model.push(v.clone()),
        Op::Cut(End::Front, n) => drop(model.drain(..(*n).min(model.len()))),
        Op::Cut(End::Back, n) => model.truncate(model.len().saturating_sub(*n)),
        Op::Set(i, v) => {
            if let Some(old) = model.get_mut(*i) {
                old.clone_from(v);
            }
        }
        Op::Insert(i, after, v) => {
            if let Some(pivot) = model.get(*i).cloned() {
                let at = model.iter().position(|e| *e == pivot).unwrap();
                model.insert(at + usize::from(*after), v.clone());
            }
        }
        Op::Remove(i, n, backwards) => {
            let Some(wanted) = model.get(*i).cloned() else { return };
            for _ in 0..*n {
                let mut places = model.iter().enumerate().filter(|(_, e)| **e == wanted).map(|(at, _)| at);
                let Some(at) = (if *backwards { places.next_back() } else { places.next() }) else { break };
                model.remove(at);
            }
        }
    }
}

fn run(list: &mut List, op: &Op, fill: Fill) {
    match op {
        Op::Push(end, v) => push(list, *end, v, fill),
        Op::Cut(end, n) => list.cut(*end, *n, fill),
        Op::Set(i, v) => drop(list.set(*i as i64, v, fill)),
        Op::Insert(i, after, v) => {
            if let Some(pivot) = list.get(*i).map(Elem::to_vec) {
                assert!(list.insert(&pivot, *after, v, fill));
            }
        }
        Op::Remove(i, n, backwards) => {
            if let Some(wanted) = list.get(*i).map(Elem::to_vec) {
                assert!(list.remove(&wanted, *n, *backwards, fill) > 0);
            }
        }
    }
}

proptest! {
    #[test]
    fn behaves_as_a_vector(
        setting in prop_oneof![Just(-5i64), Just(-1), 0i64..6, Just(128)],
        ops in proptest::collection::vec(op(), 1..80),
    ) {
        let fill = Fill::new(setting);
        let (mut list, mut model) = (List::default(), Vec::new());
        for op in &ops {
            apply(&mut model, op);
            run(&mut list, op, fill);
            prop_assert_eq!(&texts(&list), &model, "{:?}", op);
            prop_assert_eq!(list.len(), model.len());
            if let Form::Quick(quick) = &list.0 {
                quick.check();
            }
        }
        for i in 0..model.len() {
            prop_assert_eq!(list.get(i).map(Elem::to_vec), Some(model[i].clone()));
            let back: Vec<_> = list.iter_from(i, true).map(Elem::to_vec).collect();
            let expected: Vec<_> = model[..=i].iter().rev().cloned().collect();
            prop_assert_eq!(&back, &expected);
            let mut visited = Vec::new();
            list.iter_from(i, true).visit(i / 2 + 1, |elem| visited.push(elem.to_vec()));
            prop_assert_eq!(&visited[..], &expected[..i / 2 + 1]);
            visited.clear();
            list.iter_from(i, false).visit(2 * i + 1, |elem| visited.push(elem.to_vec()));
            prop_assert_eq!(&visited[..], &model[i..model.len().min(3 * i + 1)]);
        }
        prop_assert!(list.get(model.len()).is_none());
        prop_assert_eq!(list.peek(End::Front).map(Elem::to_vec), model.first().cloned());
        prop_assert_eq!(list.peek(End::Back).map(Elem::to_vec), model.last().cloned());
        prop_assert_eq!(texts(&List::build(model.iter().map(Vec::as_slice), fill)), model);
    }
}

#[test]
fn one_element_too_many_makes_a_quicklist() {
    let fill = Fill::new(128);
    let mut list = numbers(128, fill);
    assert_eq!(list.encoding(), "listpack");
    push(&mut list, End::Back, b"x", fill);
    assert_eq!((list.encoding(), shape(&list)), ("quicklist", vec![128, 1]));
}

#[test]
fn a_shrinking_list_is_packed_again_at_half_the_limit() {
    let fill = Fill::new(128);
    let mut list = numbers(129, fill);
    list.cut(End::Back, 64, fill);
    assert_eq!((list.encoding(), list.len()), ("quicklist", 65));
    list.cut(End::Back, 1, fill);
    assert_eq!((list.encoding(), list.len()), ("listpack", 64));
    // Two nodes keep it a quicklist, however few elements they hold.
    let mut list = numbers(129, fill);
    list.cut(End::Front, 127, fill);
    assert_eq!((list.encoding(), shape(&list)), ("quicklist", vec![1, 1]));
    list.cut(End::Front, 1, fill);
    assert_eq!(list.encoding(), "listpack");
}

#[test]
fn limits_in_bytes() {
    let fill = Fill::new(-1);
    let mut list = List::default();
    push(&mut list, End::Back, &[b'a'; 4089], fill);
    assert_eq!(list.encoding(), "listpack", "the limit counts what is there, plus the bare element");
    push(&mut list, End::Back, b"b", fill);
    assert_eq!((list.encoding(), shape(&list)), ("quicklist", vec![1, 1]));
    list.cut(End::Front, 1, fill);
    assert_eq!(list.encoding(), "listpack");
}

#[test]
fn large_elements_live_alone() {
    let fill = Fill::new(128);
    let mut list = numbers(3, fill);
    list.insert(b"1", true, &[b'x'; 8193], fill);
    assert_eq!((list.encoding(), shape(&list)), ("quicklist", vec![2, 1, 1]));
    list.set(2, b"small", fill);
    assert_eq!(shape(&list), [2, 2], "it joins the node behind");
    list.set(0, &[b'y'; 9000], fill);
    assert_eq!(shape(&list), [1, 3], "the rest of a split node joins its neighbour");
    list.cut(End::Back, 3, fill);
    assert_eq!((list.encoding(), shape(&list)), ("quicklist", vec![1]));
}

#[test]
fn an_insertion_into_a_full_node_splits_it() {
    let fill = Fill::new(4);
    let mut list = numbers(12, fill);
    assert_eq!(shape(&list), [4, 4, 4]);
    list.insert(b"5", true, b"x", fill);
    assert_eq!(shape(&list), [4, 2, 3, 4]);
    list.insert(b"3", true, b"y", fill);
    assert_eq!(shape(&list), [4, 3, 3, 4], "behind the last of a full node: the next one has room");
    list.insert(b"8", false, b"z", fill);
    assert_eq!(shape(&list), [4, 3, 4, 4], "before the first of a node with room: there");
}

#[test]
fn building_at_once_takes_the_smallest_form() {
    let fill = Fill::new(128);
    let values = vec![b"v".as_slice(); 128];
    assert_eq!(List::build(values.iter().copied(), fill).encoding(), "listpack");
    let values = vec![b"v".as_slice(); 129];
    assert_eq!(List::build(values.iter().copied(), fill).encoding(), "quicklist");
}

/// Nodes that are limited by their number of elements have room for what these take, not for the longest run.
#[test]
fn few_elements_have_little_room() {
    for (setting, count, len) in [(1, 9, 10), (5, 60, 3), (5, 60, 10), (128, 1300, 3), (3, 30, 40)] {
        for ends in [[End::Back; 2], [End::Front; 2], [End::Back, End::Front]] {
            let mut list = List::default();
            for n in 0..count {
                push(&mut list, ends[n % 2], &vec![b'x'; len], Fill::new(setting));
            }
            let Form::Quick(quick) = &list.0 else { panic!("{setting}: one run") };
            quick.check();
            let (bytes, memory) = (count * (len + 2), quick.run_memory());
            let most = bytes + bytes / 7 + 128;
            assert!(memory <= most, "{setting}, {count} of {len} at {ends:?}: {bytes} in {memory}");
        }
    }
}

/// A list that lost most of its elements and goes on as a queue gives their memory back.
#[test]
fn a_queue_that_became_short_is_small() {
    for (into, from) in [(End::Back, End::Front), (End::Front, End::Back)] {
        let (fill, text) = (Fill::new(-2), [b'x'; 100]);
        let mut list = List::default();
        (0..75).for_each(|_| push(&mut list, into, &text, fill));
        list.cut(from, 45, fill);
        for _ in 0..500 {
            push(&mut list, into, &text, fill);
            list.cut(from, 1, fill);
        }
        assert!(list.memory() <= 30 * 103 * 7 / 5, "{into:?}: {}", list.memory());
    }
}
