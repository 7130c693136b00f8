//! `list-max-listpack-size`: how much one run of elements may hold.

/// Bytes of a run limited by its number of elements, and of an element that may share a run.
const SAFE_BYTES: usize = 8192;
/// Bytes that Redis's listpack has around its elements; the limits count them.
const AROUND: usize = 7;
/// Bytes that Redis reckons for the header of an element yet to be added.
const PER_ELEMENT: usize = 8;

/// The bounds of one run, as the setting describes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    bytes: usize,
    count: usize,
    /// Half of these are the bounds below which a shrinking list becomes one run again.
    single_bytes: usize,
}

impl Fill {
    /// From the setting: a number of elements, or -1..-5 for 4 to 64 KB.
    pub fn new(setting: i64) -> Self {
        if setting >= 0 {
            let count = usize::try_from(setting.max(1)).unwrap_or(usize::MAX);
            return Self { bytes: SAFE_BYTES, count, single_bytes: usize::MAX };
        }
        let bytes = 2048usize << setting.unsigned_abs().min(5);
        Self { bytes, count: usize::MAX, single_bytes: bytes }
    }

    /// Whether a run of `count` elements and `bytes` bytes is too much.
    pub(super) fn exceeded(self, bytes: usize, count: usize) -> bool {
        bytes + AROUND > self.bytes || count > self.count
    }

    /// Whether a run may have `count` elements of together `bytes` bytes.
    pub(crate) fn allows(self, bytes: usize, count: usize) -> bool {
        !self.exceeded(bytes, count)
    }

    /// How many bytes a run may yet take, beyond its `bytes`, if its elements are as `count` of together `sample` bytes are and
    /// it has `len` of them.
    pub(super) fn left(self, bytes: usize, len: usize, (sample, count): (usize, usize)) -> usize {
        let elements = self.count.saturating_sub(len);
        elements.saturating_mul(sample.div_ceil(count.max(1))).min(self.bytes.saturating_sub(bytes))
    }

    /// Whether a run can take one more element of `len` bytes.
    pub(super) fn admits(self, bytes: usize, count: usize, len: usize) -> bool {
        !self.is_large(len) && !self.exceeded(bytes + len + PER_ELEMENT, count + 1)
    }

    /// Whether an element of `len` bytes gets a node of its own.
    pub(super) fn is_large(self, len: usize) -> bool {
        len > self.bytes
    }

    /// Whether a list in one run of nodes may become a single packed run: when it was just built.
    pub(super) fn fits_packed(self, bytes: usize, count: usize) -> bool {
        bytes + AROUND <= self.single_bytes && count <= self.count
    }

    /// The same for a list that shrinks: at half the bounds, so that a list at the bound does not flap.
    pub(super) fn fits_packed_again(self, bytes: usize, count: usize) -> bool {
        bytes + AROUND <= self.single_bytes / 2 && count <= self.count / 2
    }
}
