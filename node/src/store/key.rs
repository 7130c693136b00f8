//! A key's bytes, inside its entry while they are few: one trip to main memory less for each look-up.

use std::ops::Deref;

/// Longest key that is kept inside the entry.
const INLINE: usize = 38;

/// A key.
#[derive(Debug)]
pub(crate) enum Key {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
}

impl Key {
    pub(super) fn new(bytes: &[u8]) -> Self {
        if bytes.len() > INLINE {
            return Self::Heap(bytes.into());
        }
        let mut inline = [0; INLINE];
        inline[..bytes.len()].copy_from_slice(bytes);
        Self::Inline(bytes.len() as u8, inline)
    }

    /// Bytes on the heap, with the allocator's usual 16.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Inline(..) => 0,
            Self::Heap(bytes) => bytes.len() + 16,
        }
    }
}

impl Deref for Key {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_read_back() {
        for len in 0..100 {
            let bytes: Vec<u8> = (0..len as u8).collect();
            assert_eq!(*Key::new(&bytes), *bytes);
        }
        assert_eq!(size_of::<Key>(), 40);
    }
}
