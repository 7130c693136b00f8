//! Bytes that need no memory of their own while they are short: keys and values of large collections.
//!
//! Of three waits for memory in a look-up the one for the key goes, and adding or removing an element does not ask the
//! allocator.

use std::ops::Deref;

/// As many bytes lie in place.
const HERE: usize = 22;
/// What the allocator adds to an allocation.
const ALLOCATION: usize = 16;

/// Such bytes. They take 24 bytes in place.
#[derive(Debug, Clone)]
pub(crate) struct Short(Form);

#[derive(Debug, Clone)]
enum Form {
    Here(u8, [u8; HERE]),
    Apart(Box<[u8]>),
}

impl Short {
    /// Heap bytes of that many bytes.
    pub(crate) fn heap_of(len: usize) -> usize {
        if len <= HERE { 0 } else { len + ALLOCATION }
    }

    /// Heap bytes held.
    #[inline]
    pub(crate) fn heap(&self) -> usize {
        match &self.0 {
            Form::Here(..) => 0,
            Form::Apart(bytes) => bytes.len() + ALLOCATION,
        }
    }

    /// Other bytes; counters and records of one size need no new allocation.
    pub(crate) fn set(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Form::Apart(old) if old.len() == bytes.len() => old.copy_from_slice(bytes),
            _ => *self = bytes.into(),
        }
    }
}

impl From<&[u8]> for Short {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        if bytes.len() > HERE {
            return Self(Form::Apart(bytes.into()));
        }
        let mut here = [0; HERE];
        here[..bytes.len()].copy_from_slice(bytes);
        Self(Form::Here(bytes.len() as u8, here))
    }
}

impl Deref for Short {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Here(len, bytes) => &bytes[..usize::from(*len)],
            Form::Apart(bytes) => bytes,
        }
    }
}

impl PartialEq for Short {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_what_they_were_whether_or_not_they_lie_in_place() {
        const { assert!(size_of::<Short>() == 24) };
        let text: Vec<u8> = (0..100).collect();
        let mut short = Short::from(&text[..0]);
        for len in (0..100).chain([50, 50, 3, 3, 22, 23, 22]) {
            assert_eq!(&*Short::from(&text[..len]), &text[..len]);
            short.set(&text[100 - len..]);
            assert_eq!(&*short, &text[100 - len..]);
            assert_eq!(short.heap(), if len > 22 { len + 16 } else { 0 });
            assert_eq!(short.heap(), Short::heap_of(len));
        }
    }
}
