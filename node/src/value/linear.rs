//! The arithmetic of linear hashing: a table that grows and shrinks by one bucket at a time.
//!
//! Used by the index of a slot and by large hashes, sets and sorted sets. With `n` buckets, a hash belongs to the
//! bucket of its low bits; while that bucket does not exist yet, to the one with the highest of those bits
//! cleared. So bucket `n` only ever takes entries from (and gives them back to) its one partner, no insertion
//! pays for a resize, and a cursor that counts residue classes needs no state in the table.

/// The bucket of `hash` among `n`, which is at least 1.
#[inline]
pub(crate) fn bucket(hash: u32, n: usize) -> usize {
    let wide = n.next_power_of_two();
    let i = hash as usize & (wide - 1);
    if i < n { i } else { i & (wide / 2 - 1) }
}

/// The bucket from which bucket `n` is split, and into which it is merged. `n` is at least 1.
pub(crate) fn partner(n: usize) -> usize {
    n & !(1 << (usize::BITS - 1 - n.leading_zeros()))
}

/// The largest power of two that is not above `n`, less one.
fn mask(n: usize) -> u32 {
    ((1usize << (usize::BITS - 1 - n.leading_zeros())) - 1) as u32
}

/// The buckets that `cursor` stands for among `n`: one, or two where the first was split already.
pub(crate) fn visited(cursor: u32, n: usize) -> (usize, Option<usize>) {
    let first = (cursor & mask(n)) as usize;
    let second = first + mask(n) as usize + 1;
    (first, (second < n).then_some(second))
}

/// The cursor after `cursor`; 0 when the round is complete. Cursors count in reversed binary, so a class that
/// was visited stays visited however the table grows and shrinks: an entry that stays in the table for a whole
/// round is visited at least once.
pub(crate) fn next_cursor(cursor: u32, n: usize) -> u32 {
    (cursor | !mask(n)).reverse_bits().wrapping_add(1).reverse_bits()
}
