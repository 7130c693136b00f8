//! Strings: any bytes up to 512 MB. Also bitmaps and counters.
//!
//! Growth in place is amortised: a string that grows takes room for more, as much again up to 1 MB and an
//! eighth beyond, so that a run of appends copies each byte a bounded number of times and no string wastes
//! much. Nothing here checks a limit on the length: commands do.

use shoal_proto::number;

/// Up to this size, growth doubles the room.
const DOUBLED: usize = 1 << 20;

/// A string value. Knows how it was made, which Redis's encoding names reveal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Str {
    bytes: Vec<u8>,
    form: Form,
}

/// How a string was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    /// Whole, by `SET` and its like: an `int` if it looks like one.
    #[default]
    Whole,
    /// By a command that computes a text: never an `int`.
    Text,
    /// Modified in place or computed as bytes: `raw` whatever its length.
    Raw,
}

impl Str {
    /// A string as `SET` stores it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), form: Form::Whole }
    }

    /// The text of an integer.
    pub fn from_int(n: i64) -> Self {
        Self::new(itoa::Buffer::new().format(n).as_bytes())
    }

    /// A computed text (`INCRBYFLOAT`).
    pub fn from_text(text: impl Into<Vec<u8>>) -> Self {
        Self { bytes: text.into(), form: Form::Text }
    }

    /// Computed bytes (`BITOP`).
    pub fn from_raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), form: Form::Raw }
    }

    /// Whether it was modified in place or computed as bytes.
    pub(crate) fn is_raw(&self) -> bool {
        self.form == Form::Raw
    }

    /// Whether it was computed as a text.
    pub(crate) fn is_text(&self) -> bool {
        self.form == Form::Text
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Replaces the whole text. Keeps the allocation if it fits and is not far too large.
    pub fn set(&mut self, bytes: &[u8]) {
        if (bytes.len()..=2 * bytes.len() + 64).contains(&self.bytes.capacity()) {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
        } else {
            self.bytes = bytes.to_vec();
        }
        self.form = Form::Whole;
    }

    /// Replaces the text by that of an integer.
    pub fn set_int(&mut self, n: i64) {
        self.set(itoa::Buffer::new().format(n).as_bytes());
    }

    /// Replaces the text by a computed one.
    pub fn set_text(&mut self, text: &str) {
        self.set(text.as_bytes());
        self.form = Form::Text;
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.reserve(self.bytes.len() + bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.form = Form::Raw;
    }

    /// Overwrites from `offset` on, with zeros up to there if the string is shorter.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes_mut(offset + bytes.len())[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// The bytes, to change in place; at least `len` of them, new ones zero.
    pub fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        self.form = Form::Raw;
        if self.bytes.is_empty() {
            // Fresh zeros cost no writes where the system hands out zeroed pages.
            self.bytes = vec![0; len];
        } else if len > self.bytes.len() {
            self.reserve(len);
            self.bytes.resize(len, 0);
        }
        &mut self.bytes
    }

    /// Makes room for `total` bytes and for growth.
    fn reserve(&mut self, total: usize) {
        if total > self.bytes.capacity() {
            let spare = total.min(DOUBLED).max(total / 8);
            self.bytes.reserve_exact(total + spare - self.bytes.len());
        }
    }

    /// The integer whose canonical text this is.
    pub fn as_int(&self) -> Option<i64> {
        number::parse_i64(&self.bytes)
    }

    /// `int`, `embstr` or `raw`.
    pub fn encoding(&self) -> &'static str {
        match self.form {
            Form::Raw => "raw",
            Form::Whole if self.as_int().is_some() => "int",
            Form::Whole | Form::Text if self.bytes.len() <= 44 => "embstr",
            Form::Whole | Form::Text => "raw",
        }
    }

    /// Bytes of heap memory.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_those_of_redis() {
        assert_eq!(Str::new("-12").encoding(), "int");
        assert_eq!(Str::new("012").encoding(), "embstr");
        assert_eq!(Str::new([b'x'; 44]).encoding(), "embstr");
        assert_eq!(Str::new([b'x'; 45]).encoding(), "raw");
        assert_eq!(Str::from_text("12").encoding(), "embstr");
        assert_eq!(Str::from_raw("12").encoding(), "raw");
        let mut string = Str::new("12");
        string.append(b"3");
        assert_eq!((string.bytes(), string.encoding()), (&b"123"[..], "raw"));
        string.set(b"4");
        assert_eq!(string.encoding(), "int");
        string.write_at(3, b"5");
        assert_eq!((string.bytes(), string.encoding()), (&b"4\0\x005"[..], "raw"));
    }

    #[test]
    fn growth_is_amortised_and_bounded() {
        let mut string = Str::default();
        let mut moves = 0;
        for _ in 0..80_000 {
            let before = string.memory();
            string.append(&[7; 100]);
            moves += usize::from(string.memory() != before);
        }
        assert!(moves < 50, "{moves} reallocations");
        assert!(string.memory() <= 8_000_000 + DOUBLED + 8_000_000 / 8);
        // One that never grows holds nothing in reserve.
        assert_eq!(Str::new(vec![0; 1000]).memory(), 1000);
        let mut fresh = Str::default();
        fresh.write_at(996, b"abcd");
        assert_eq!(fresh.memory(), 1000);
    }

    #[test]
    fn a_smaller_text_gives_memory_back() {
        let mut string = Str::new(vec![b'x'; 10_000]);
        string.set(b"short");
        assert_eq!(string.memory(), 5);
        string.set(b"four");
        assert_eq!(string.memory(), 5);
        string.set(b"a little longer");
        assert_eq!(string.memory(), 15);
    }
}
