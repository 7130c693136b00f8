//! Runs against a vector, their form, and the room they keep.

use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (-5000i64..5000).prop_map(|n| n.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(any::<u8>(), 4090..4200),
        Just(vec![b'x'; 20_000]),
    ]
}

/// An element is the same bytes whichever way it came: at the end, before the others with room for it, or in another's place.
#[test]
fn an_element_has_one_form() {
    for len in (0..300).chain([4095, 4096, 16_380, 16_390]) {
        let text = vec![b'x'; len];
        let [mut replaced, mut pushed, mut before] = [(); 3].map(|()| Packed::new());
        replaced.push(b"other");
        replaced.replace(0, &text);
        pushed.push(&text);
        before.make_room(true, 2 * len + 64, 1 << 20);
        assert!(before.room as usize > len);
        before.insert(0, &text);
        assert_eq!([pushed.bytes(), before.bytes()], [replaced.bytes(); 2], "{len}");
        let mut visited = 0;
        assert_eq!(pushed.iter().visit(2, |elem| visited += elem.to_vec().len()), 1);
        assert_eq!(visited, len);
    }
}

/// What goes at the beginning does not move the rest each time, nor does what comes into its place.
#[test]
fn what_goes_at_the_beginning_leaves_room() {
    let mut packed = Packed::new();
    let text = |n: u32| format!("{n:0100}x").into_bytes();
    let mut moved = 0;
    let mut change = |packed: &mut Packed, f: &dyn Fn(&mut Packed)| {
        let end = packed.buffer.as_ptr_range().end.addr();
        f(packed);
        moved += usize::from(packed.buffer.as_ptr_range().end.addr() != end);
    };
    (0..80).for_each(|n| packed.insert(0, &text(n)));
    assert!(packed.iter().map(Elem::to_vec).eq((0..80).rev().map(text)));
    let room = packed.room;
    (0..10).for_each(|_| change(&mut packed, &|packed| packed.remove(0, 1)));
    (70..80).for_each(|n| change(&mut packed, &|packed| packed.insert(0, &text(n))));
    assert_eq!(packed.room, room);
    (0..79).for_each(|_| change(&mut packed, &|packed| packed.remove(0, 1)));
    assert!(packed.iter().map(Elem::to_vec).eq([text(0)]));
    assert!(moved < 20, "moved {moved} times");
    packed.remove(0, 1);
    assert_eq!((packed.len(), packed.byte_len(), packed == Packed::new()), (0, 0, true));
}

/// A queue stays about as large as its elements, whichever way they go, and what is added moves few of the others.
#[test]
fn a_queue_keeps_little_room() {
    for (depth, len, at_front) in [50, 80]
        .into_iter()
        .flat_map(|depth| [(depth, 100, false), (depth, 100, true), (4 * depth, 10, false)])
    {
        let text = vec![b'x'; len];
        let mut packed = Packed::new();
        let (mut moved, mut most) = (0, 0);
        for n in 0..depth + 5000 {
            let place = |packed: &Packed| {
                let at = packed.bytes().as_ptr_range();
                if at_front { at.end.addr() } else { at.start.addr() }
            };
            let before = place(&packed);
            packed.insert(if at_front { 0 } else { packed.end() }, &text);
            if n >= depth {
                moved += usize::from(place(&packed) != before);
                packed.remove(if at_front { packed.position(-1).unwrap() } else { 0 }, 1);
                most = most.max(packed.memory());
            }
        }
        let bytes = packed.byte_len();
        assert!(most <= bytes * 7 / 5, "{depth} of {len} at the front {at_front}: {bytes} in {most}");
        let often = 5000 * (len + 3) / (bytes / FAIR / 2);
        assert!(moved <= often, "{depth} of {len} at the front {at_front}: moved {moved} times");
    }
}

proptest! {
    #[test]
    fn behaves_as_a_vector(ops in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..4, text()), 1..40)) {
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut packed = Packed::new();
        for (index, op, value) in ops {
            let i = index.index(model.len() + 1);
            let at = if i == model.len() { packed.end() } else { packed.position(i as i64).unwrap() };
            match op {
                0 => { model.insert(i, value.clone()); packed.insert(at, &value); }
                1 if i % 2 == 0 => { model.insert(0, value.clone()); packed.insert(0, &value); }
                1 if !model.is_empty() => { model.remove(0); packed.remove(0, 1); }
                2 if i < model.len() => { model[i] = value.clone(); packed.replace(at, &value); }
                3 if i < model.len() => { model.remove(i); packed.remove(at, 1); }
                _ => {}
            }
            let forward: Vec<_> = packed.iter().map(Elem::to_vec).collect();
            let mut backward: Vec<_> = packed.iter().rev().map(Elem::to_vec).collect();
            backward.reverse();
            prop_assert_eq!(&forward, &model);
            prop_assert_eq!(&backward, &model);
            prop_assert_eq!(packed.len(), model.len());
        }
    }
}
