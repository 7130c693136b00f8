//! The text of a key: a prefix and the key's number, filled up with zeroes to the wanted length.
//!
//! One number is one key whatever the distribution, and hash slots spread evenly. Keys of one length are made
//! by a copy and a few digits; where lengths differ, a key's length follows from its number. Called by the
//! templates for each key of each request.

use crate::random::mix;
use crate::sizes::Sizes;

/// The longest key made.
pub const MAX_KEY_LENGTH: usize = 64 << 10;

/// Writes the text of keys.
#[derive(Clone, Debug)]
pub struct KeyText {
    /// The key whose number is zero if all have one length, else the prefix.
    zero: Vec<u8>,
    lengths: Option<Sizes>,
}

impl KeyText {
    /// Keys that start with `prefix` and are `length` bytes long, or longer where `prefix` and the digits of
    /// `count` do not fit.
    pub fn new(prefix: &str, length: usize, count: u64) -> Self {
        let length = length.max(prefix.len() + digits(count.saturating_sub(1)));
        let mut zero = prefix.as_bytes().to_vec();
        zero.resize(length, b'0');
        Self { zero, lengths: None }
    }

    /// Keys that start with `prefix` and whose lengths follow `lengths`, longer where a key's own digits do not
    /// fit. Lengths that are all the same make keys as [`KeyText::new`] does.
    pub fn varied(prefix: &str, lengths: &Sizes, count: u64) -> Self {
        match lengths {
            Sizes::Fixed(length) => Self::new(prefix, *length as usize, count),
            _ => Self { zero: prefix.as_bytes().to_vec(), lengths: Some(lengths.clone()) },
        }
    }

    /// The length of every key in bytes, if there is one.
    pub fn fixed_length(&self) -> Option<usize> {
        self.lengths.is_none().then_some(self.zero.len())
    }

    /// The length of key `number` in bytes.
    #[inline]
    pub fn length(&self, number: u64) -> usize {
        match &self.lengths {
            None => self.zero.len(),
            // A key's length must have nothing to do with its value's, which is drawn from the bare number.
            Some(lengths) => {
                let wanted = lengths.size(mix(number ^ 0x006b_6579)).min(MAX_KEY_LENGTH);
                wanted.max(self.zero.len() + digits(number))
            }
        }
    }

    /// The key number zero of keys of one length. Copied and then given to [`KeyText::number`] it becomes any
    /// other key.
    pub fn zero(&self) -> &[u8] {
        &self.zero
    }

    /// Turns a copy of [`KeyText::zero`] that ends with `text` into key `number`, which is below the count.
    #[inline]
    pub fn number(number: u64, text: &mut [u8]) {
        let mut rest = number;
        let mut at = text.len();
        while rest >= 100 {
            at -= 2;
            text[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
            rest /= 100;
        }
        if rest >= 10 {
            text[at - 2..at].copy_from_slice(&PAIRS[rest as usize]);
        } else {
            text[at - 1] = b'0' + rest as u8;
        }
    }

    /// Appends the text of key `number`.
    #[inline]
    pub fn append(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.zero);
        if self.lengths.is_some() {
            out.resize(start + self.length(number), b'0');
        }
        Self::number(number, out);
    }
}

/// How many digits a number has.
#[inline]
pub fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The numbers from 0 to 99 with two digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    fn text(keys: &KeyText, number: u64) -> String {
        let mut out = Vec::new();
        keys.append(number, &mut out);
        assert_eq!(out.len(), keys.length(number));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_key_has_its_length() {
        let keys = KeyText::new("key:", 16, 1_000_000);
        for number in [0, 9, 10, 42, 99, 100, 999_999] {
            assert_eq!(text(&keys, number), format!("key:{number:012}"));
        }
        assert_eq!(KeyText::new("key:", 1, 1000).fixed_length(), Some(7));
        assert_eq!(text(&KeyText::new("", 200, 10), 3).len(), 200);
    }

    #[test]
    fn lengths_may_differ_and_keys_are_still_different() {
        let keys = KeyText::varied("k", &Sizes::Uniform(1, 20), 100_000);
        assert_eq!(keys.fixed_length(), None);
        let mut all: Vec<String> = (0..100_000).map(|number| text(&keys, number)).collect();
        assert!(all.iter().all(|key| (2..=20).contains(&key.len())));
        // Keys of up to 7 bytes are lengthened by their digits; the others have even shares.
        for length in 7..=20 {
            let count = all.iter().filter(|key| key.len() == length).count();
            assert!(count.abs_diff(5000) < 300 || length == 7, "{count} of {length} bytes");
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100_000);
        assert_eq!(KeyText::varied("k", &Sizes::Fixed(9), 10).fixed_length(), Some(9));
    }
}
