//! Strings seen as bits. Bit 0 is the highest bit of the first byte, as in Redis.
//!
//! Long strings are worked on in words; only the edges byte by byte. Pure functions of bytes; the commands
//! give them offsets that they have checked.

/// What `BITOP` does with each pair of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the operations' usual names")]
pub enum Operation {
    And,
    Or,
    Xor,
    Not,
}

/// Bits that are set.
pub fn count(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let whole: u64 = words.iter().map(|w| u64::from(u64::from_ne_bytes(*w).count_ones())).sum();
    whole + rest.iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
}

/// Bits that are set from bit `first` to bit `last`, both within the string.
pub fn count_range(bytes: &[u8], first: u64, last: u64) -> u64 {
    let (start, end) = ((first / 8) as usize, (last / 8) as usize);
    let before = bytes[start] & !(0xff >> (first % 8));
    let after = bytes[end] & (0x7f >> (last % 8));
    count(&bytes[start..=end]) - u64::from(before.count_ones()) - u64::from(after.count_ones())
}

/// The first bit that is `bit` from bit `first` to bit `last`, both within the string.
pub fn find(bytes: &[u8], bit: bool, first: u64, last: u64) -> Option<u64> {
    let (start, end) = ((first / 8) as usize, (last / 8) as usize);
    // A byte without the wanted bit; in `byte ^ dull` the wanted bits are ones.
    let dull = if bit { 0x00 } else { 0xff };
    let head = (bytes[start] ^ dull) & (0xff >> (first % 8));
    let (at, byte) = if head != 0 {
        (start, head)
    } else {
        let at = start + 1 + first_other(&bytes[start + 1..=end], dull)?;
        (at, bytes[at] ^ dull)
    };
    Some(at as u64 * 8 + u64::from(byte.leading_zeros())).filter(|found| *found <= last)
}

/// The first byte that is not `dull`.
fn first_other(bytes: &[u8], dull: u8) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let skip = words.iter().take_while(|w| **w == [dull; 8]).count() * 8;
    bytes[skip..].iter().position(|b| *b != dull).map(|at| skip + at)
}

/// Whether bit `offset` is set; beyond the end none is.
pub fn get(bytes: &[u8], offset: u64) -> bool {
    bytes.get((offset / 8) as usize).is_some_and(|byte| byte & (0x80 >> (offset % 8)) != 0)
}

/// Sets bit `offset`, which must be within the string.
pub fn set(bytes: &mut [u8], offset: u64, on: bool) {
    let mask = 0x80 >> (offset % 8);
    let byte = &mut bytes[(offset / 8) as usize];
    *byte = if on { *byte | mask } else { *byte & !mask };
}

/// The number of `width` bits (1 to 64) at bit `offset`; zeros beyond the end.
pub fn read(bytes: &[u8], offset: u64, width: u32) -> u64 {
    let window = window(bytes, offset);
    let shifted = window >> (128 - (offset % 8) as u32 - width);
    (shifted & mask(width)) as u64
}

/// Writes the low `width` bits of `value` at bit `offset`; all of them must be within the string.
pub fn write(bytes: &mut [u8], offset: u64, width: u32, value: u64) {
    let end = (offset % 8) as u32 + width;
    let shift = 128 - end;
    let cleared = window(bytes, offset) & !(mask(width) << shift);
    let window = cleared | (u128::from(value) & mask(width)) << shift;
    let (start, len) = ((offset / 8) as usize, end.div_ceil(8) as usize);
    bytes[start..start + len].copy_from_slice(&window.to_be_bytes()[..len]);
}

/// Up to nine bytes from the byte of bit `offset` on, at the top of a word.
fn window(bytes: &[u8], offset: u64) -> u128 {
    let rest = usize::try_from(offset / 8).ok().and_then(|start| bytes.get(start..)).unwrap_or(&[]);
    let mut window = [0; 16];
    let len = rest.len().min(9);
    window[..len].copy_from_slice(&rest[..len]);
    u128::from_be_bytes(window)
}

fn mask(width: u32) -> u128 {
    (1 << width) - 1
}

/// Combines `all` with `other` bit by bit; the shorter one counts as continued with zeros. Plain loops over
/// bytes: the compiler turns them into loops over vectors.
pub fn combine(operation: Operation, all: &mut Vec<u8>, other: &[u8]) {
    if all.len() < other.len() {
        all.reserve_exact(other.len() - all.len());
        all.resize(other.len(), 0);
    }
    let (both, beyond) = all.split_at_mut(other.len());
    let pairs = both.iter_mut().zip(other);
    match operation {
        Operation::And => {
            pairs.for_each(|(a, b)| *a &= b);
            beyond.fill(0);
        }
        Operation::Or => pairs.for_each(|(a, b)| *a |= b),
        Operation::Xor => pairs.for_each(|(a, b)| *a ^= b),
        Operation::Not => pairs.for_each(|(a, b)| *a = !b),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|b| (0..8).map(move |i| b & (0x80 >> i) != 0)).collect()
    }

    /// Bytes with long dull stretches, as bitmaps have them.
    fn bitmap() -> impl Strategy<Value = Vec<u8>> {
        let stretch = (prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1usize..30);
        prop::collection::vec(stretch, 1..6)
            .prop_map(|s| s.into_iter().flat_map(|(byte, n)| std::iter::repeat_n(byte, n)).collect())
    }

    proptest! {
        #[test]
        fn ranges_agree_with_single_bits(bytes in bitmap(), a in any::<u64>(), b in any::<u64>(), bit: bool) {
            let bits = naive(&bytes);
            let (a, b) = (a % bits.len() as u64, b % bits.len() as u64);
            let (first, last) = (a.min(b), a.max(b));
            let range = &bits[first as usize..=last as usize];
            prop_assert_eq!(count_range(&bytes, first, last), range.iter().filter(|b| **b).count() as u64);
            let found = range.iter().position(|x| *x == bit).map(|at| first + at as u64);
            prop_assert_eq!(find(&bytes, bit, first, last), found);
            prop_assert_eq!(count(&bytes), bits.iter().filter(|b| **b).count() as u64);
            prop_assert_eq!(get(&bytes, a), bits[a as usize]);
        }

        #[test]
        fn fields_agree_with_single_bits(bytes in bitmap(), offset in 0u64..1600, width in 1u32..=64, value: u64) {
            let mut bits = naive(&bytes);
            bits.resize(2000, false);
            let at = offset as usize..offset as usize + width as usize;
            let expected = bits[at.clone()].iter().fold(0, |n, b| n << 1 | u64::from(*b));
            prop_assert_eq!(read(&bytes, offset, width), expected);

            let mut bytes = bytes;
            bytes.resize(250, 0);
            write(&mut bytes, offset, width, value);
            for (k, bit) in bits[at].iter_mut().rev().enumerate() {
                *bit = value >> k & 1 == 1;
            }
            prop_assert_eq!(naive(&bytes), bits);
        }

        #[test]
        fn combining_agrees_with_bytes(a in bitmap(), b in bitmap()) {
            let len = a.len().max(b.len());
            let at = |bytes: &[u8], i: usize| bytes.get(i).copied().unwrap_or(0);
            type Naive = fn(u8, u8) -> u8;
            let operations: [(Operation, Naive); 3] =
                [(Operation::And, |a, b| a & b), (Operation::Or, |a, b| a | b), (Operation::Xor, |a, b| a ^ b)];
            for (operation, f) in operations {
                let mut all = a.clone();
                combine(operation, &mut all, &b);
                let expected: Vec<u8> = (0..len).map(|i| f(at(&a, i), at(&b, i))).collect();
                prop_assert_eq!(all, expected);
            }
        }
    }

    #[test]
    fn setting_a_bit_changes_no_other() {
        let mut bytes = [0b1010_0000, 0];
        set(&mut bytes, 1, true);
        set(&mut bytes, 0, false);
        set(&mut bytes, 15, true);
        assert_eq!(bytes, [0b0110_0000, 1]);
        assert!(!get(&bytes, 16));
    }
}
