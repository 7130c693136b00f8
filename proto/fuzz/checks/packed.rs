//! What must hold for packed runs: they behave as a vector, read from either end.

use shoal_node::value::packed::{Elem, Packed};

/// The input is a list of operations: a byte for the kind, one for the place, and a value.
pub(crate) fn check(data: &[u8]) {
    let mut input = data.iter().copied();
    let (mut packed, mut model) = (Packed::new(), Vec::<Vec<u8>>::new());
    while let (Some(kind), Some(place)) = (input.next(), input.next()) {
        let i = usize::from(place) % (model.len() + 1);
        let at = packed.position(i as i64).unwrap_or(packed.end());
        match kind % 6 {
            0 | 1 => {
                let value = value(&mut input);
                packed.insert(at, &value);
                model.insert(i, value);
            }
            2 if i < model.len() => {
                let value = value(&mut input);
                packed.replace(at, &value);
                model[i] = value;
            }
            3 if i < model.len() => {
                let n = usize::from(kind / 6).clamp(1, model.len() - i);
                packed.remove(at, n);
                model.drain(i..i + n);
            }
            4 => {
                let tail = packed.split_off(at, model.len() - i);
                packed.append(&tail);
            }
            5 => packed.shrink(),
            _ => {}
        }
        compare(&packed, &model);
    }
}

/// A number, or a string whose length is near one at which its header changes.
fn value(input: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    const LENGTHS: [usize; 8] = [0, 1, 20, 63, 64, 126, 4095, 4096];
    let Some(kind) = input.next() else { return Vec::new() };
    match kind % 4 {
        0 => (i64::from(input.next().unwrap_or(0)) - 128).to_string().into_bytes(),
        1 => {
            let bytes: Vec<u8> = input.by_ref().take(8).collect();
            let n = bytes.iter().fold(0i64, |n, byte| n << 8 | i64::from(*byte));
            (n >> (kind / 4 % 64)).to_string().into_bytes()
        }
        2 => vec![kind; LENGTHS[usize::from(kind / 4) % LENGTHS.len()]],
        _ => input.by_ref().take(usize::from(kind / 4)).collect(),
    }
}

fn compare(packed: &Packed, model: &[Vec<u8>]) {
    assert_eq!(packed.len(), model.len());
    assert!(packed.iter().map(Elem::to_vec).eq(model.iter().cloned()), "forwards");
    assert!(packed.iter().rev().map(Elem::to_vec).eq(model.iter().rev().cloned()), "backwards");
    if let Some(last) = model.last() {
        let first = model.iter().position(|value| value == last);
        assert_eq!(packed.find(last, 0, 1), first.and_then(|i| packed.position(i as i64)));
    }
}
