//! One line of a slot's index: a cache line with the tags and handles of up to twelve items.

#![allow(unsafe_code, reason = "the instructions that compare many bytes at once are declared unsafe")]

use super::log::Handle;

/// Items in one line.
pub(super) const WIDTH: usize = 12;
/// The tag of an empty place.
pub(super) const EMPTY: u8 = 0;
/// The tag of the last place of a line that has another behind it.
pub(super) const LINK: u8 = 1;
/// No item expires.
pub(super) const NEVER: u32 = u32::MAX;

/// One line.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    pub(super) tags: [u8; WIDTH],
    /// In a bucket: no item of the chain expires before this second. In an overflow line: the number of the line before it.
    pub(super) due: u32,
    pub(super) handles: [Handle; WIDTH],
}

impl Bucket {
    pub(super) const fn new() -> Self {
        Self { tags: [EMPTY; WIDTH], due: NEVER, handles: [0; WIDTH] }
    }

    /// The line behind this one.
    #[inline]
    pub(super) fn next(&self) -> Option<u32> {
        (self.tags[WIDTH - 1] == LINK).then(|| self.handles[WIDTH - 1])
    }

    /// Items in this line.
    pub(super) fn len(&self) -> usize {
        self.tags.iter().take_while(|tag| **tag > LINK).count()
    }

    /// A bit for each place with this tag.
    #[inline]
    pub(super) fn matches(&self, tag: u8) -> u32 {
        let (low, high) = self.tags.split_at(8);
        let low = u64::from_le_bytes(low.try_into().expect("eight of twelve"));
        let high = u32::from_le_bytes(high.try_into().expect("four of twelve"));
        equal_tags(low, high, tag)
    }
}

/// A bit for each of twelve bytes that has this value: compared all at once.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn equal_tags(low: u64, high: u32, value: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: these take and give values, and SSE2 is part of x86_64.
    let equal = unsafe {
        let tags = _mm_set_epi64x(i64::from(high), low as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(value as i8)))
    };
    equal as u32 & 0xfff
}

/// The same with eight bytes at a time.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
fn equal_tags(low: u64, high: u32, value: u8) -> u32 {
    equal_bytes(low, value) | (equal_bytes(u64::from(high), value) & 0xf) << 8
}

/// A bit for each of eight bytes that has this value.
#[cfg(any(test, not(target_arch = "x86_64"), miri))]
#[inline]
fn equal_bytes(bytes: u64, value: u8) -> u32 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // A byte is zero if neither its high bit is set nor adding 127 to the rest sets it; nothing carries over.
    let differing = bytes ^ (u64::from(value) * 0x0101_0101_0101_0101);
    let zero = !(((differing & LOW) + LOW) | differing | LOW);
    // Brings the eight high bits together in the top byte.
    ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

/// The second in which a time in ms lies, as buckets keep it.
#[inline]
pub(super) fn due(expires_at: u64) -> u32 {
    (expires_at / 1000).min(u64::from(NEVER - 1)) as u32
}

/// The earliest time in ms that a bucket's second stands for.
#[inline]
pub(super) fn at_least(due: u32) -> u64 {
    if due == NEVER { u64::MAX } else { u64::from(due) * 1000 }
}

/// What a line keeps of a hash.
#[inline]
pub(super) fn tag(hash: u32) -> u8 {
    ((hash >> 24) as u8).max(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_a_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 256 }) })]

        #[test]
        fn tags_are_found(tags in proptest::array::uniform12(0u8..4), due: u32, wanted in 0u8..4) {
            let want = tags.iter().enumerate().map(|(i, tag)| u32::from(*tag == wanted) << i).sum::<u32>();
            prop_assert_eq!(Bucket { tags, due, ..Bucket::new() }.matches(wanted), want);
        }

        #[test]
        fn equal_bytes_are_found(bytes in proptest::array::uniform8(0u8..4), high: bool, value in 0u8..4) {
            let top = if high { 0x80 } else { 0 };
            let bytes = bytes.map(|byte| byte | top);
            let want = bytes.iter().enumerate().map(|(i, b)| u32::from(*b == value | top) << i).sum::<u32>();
            prop_assert_eq!(equal_bytes(u64::from_le_bytes(bytes), value | top), want);
        }
    }
}
