//! Strings: any bytes up to 512 MB. Also bitmaps and counters.
//!
//! Growth in place is amortised: a string that grows takes room for more, as much again up to 1 MB and an
//! eighth beyond, so that a run of appends copies each byte a bounded number of times and no string wastes
//! much. Large ones that are stored whole are shared: replies hold them without a copy, and the first change copies them. Nothing
//! here checks a limit on the length: commands do.

use bytes::Bytes;
use shoal_proto::number;

/// Up to this size, growth doubles the room.
const DOUBLED: usize = 1 << 20;

/// A string value. Knows how it was made, which Redis's encoding names reveal.
#[derive(Debug, Clone, Default)]
pub struct Str {
    text: Text,
    form: Form,
}

/// Where a string's bytes are.
#[derive(Debug, Clone)]
enum Text {
    Own(Vec<u8>),
    /// In memory that takes so many bytes.
    Shared(Bytes, usize),
}

impl Default for Text {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        self.form == other.form && self.bytes() == other.bytes()
    }
}

impl Eq for Str {}

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
        Self { text: Text::Own(bytes.into()), form: Form::Whole }
    }

    /// A computed text (`INCRBYFLOAT`).
    pub fn from_text(text: impl Into<Vec<u8>>) -> Self {
        Self { text: Text::Own(text.into()), form: Form::Text }
    }

    /// Computed bytes (`BITOP`).
    pub fn from_raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { text: Text::Own(bytes.into()), form: Form::Raw }
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
        match &self.text {
            Text::Own(bytes) => bytes,
            Text::Shared(bytes, _) => bytes,
        }
    }

    /// The bytes, to be held beyond the string's own life, if it is shared.
    #[inline]
    pub fn shared(&self) -> Option<&Bytes> {
        match &self.text {
            Text::Own(_) => None,
            Text::Shared(bytes, _) => Some(bytes),
        }
    }

    /// Makes the bytes such that they can be shared, where they are and in the same memory.
    pub(crate) fn share(&mut self) {
        if let Text::Own(bytes) = &mut self.text {
            let memory = bytes.capacity();
            self.text = Text::Shared(std::mem::take(bytes).into(), memory);
        }
    }

    /// The same string in shared memory that takes so many bytes; one that was made to grow stays as it is.
    #[must_use]
    pub(crate) fn into_shared(self, share: impl FnOnce(&[u8]) -> (Bytes, usize)) -> Self {
        match self {
            Self { text: Text::Own(bytes), form } if form != Form::Raw => {
                let (bytes, memory) = share(&bytes);
                Self { text: Text::Shared(bytes, memory), form }
            }
            other => other,
        }
    }

    /// A string as `SET` stores it, in memory that takes so many bytes.
    pub(crate) fn from_shared(bytes: Bytes, memory: usize) -> Self {
        Self { text: Text::Shared(bytes, memory), form: Form::Whole }
    }

    /// The bytes as those of this string alone.
    fn own(&mut self) -> &mut Vec<u8> {
        if let Text::Shared(bytes, _) = &mut self.text {
            // Without a copy if nobody else holds them and they were this string's own before.
            self.text = Text::Own(std::mem::take(bytes).into());
        }
        match &mut self.text {
            Text::Own(bytes) => bytes,
            Text::Shared(..) => unreachable!("it has just been copied"),
        }
    }

    /// The bytes, if the first change has to copy them.
    #[inline]
    pub(crate) fn to_copy(&self) -> Option<&Bytes> {
        self.shared().filter(|bytes| !bytes.is_unique())
    }

    /// Takes a copy of its bytes as its own; whether it was one of these.
    pub(crate) fn take_copy(&mut self, of: &Bytes, copy: &mut Vec<u8>) -> bool {
        let same = self.shared().is_some_and(|bytes| bytes.as_ptr_range() == of.as_ptr_range());
        if same {
            self.text = Text::Own(std::mem::take(copy));
        }
        same
    }

    /// Replaces the whole text. Keeps the allocation if it fits and is not far too large.
    pub fn set(&mut self, bytes: &[u8]) {
        match &mut self.text {
            Text::Own(own) if (bytes.len()..=2 * bytes.len() + 64).contains(&own.capacity()) => {
                own.clear();
                own.extend_from_slice(bytes);
            }
            text => *text = Text::Own(bytes.to_vec()),
        }
        self.form = Form::Whole;
    }

    /// Replaces the text by a computed one.
    pub fn set_text(&mut self, text: &str) {
        self.set(text.as_bytes());
        self.form = Form::Text;
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        let own = self.own();
        reserve(own, own.len() + bytes.len());
        own.extend_from_slice(bytes);
        self.form = Form::Raw;
    }

    /// Overwrites from `offset` on, with zeros up to there if the string is shorter.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes_mut(offset + bytes.len())[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// The bytes, to change in place; at least `len` of them, new ones zero.
    pub fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        self.form = Form::Raw;
        let own = self.own();
        if own.is_empty() {
            // Fresh zeros cost no writes where the system hands out zeroed pages.
            *own = vec![0; len];
        } else if len > own.len() {
            reserve(own, len);
            own.resize(len, 0);
        }
        own
    }

    /// The integer whose canonical text this is.
    pub fn as_int(&self) -> Option<i64> {
        number::parse_i64(self.bytes())
    }

    /// `int`, `embstr` or `raw`.
    pub fn encoding(&self) -> &'static str {
        match self.form {
            Form::Raw => "raw",
            Form::Whole if self.as_int().is_some() => "int",
            Form::Whole | Form::Text if self.bytes().len() <= 44 => "embstr",
            Form::Whole | Form::Text => "raw",
        }
    }

    /// Bytes of heap memory.
    pub fn memory(&self) -> usize {
        match &self.text {
            Text::Own(bytes) => bytes.capacity(),
            Text::Shared(_, memory) => *memory,
        }
    }
}

/// Makes room for `total` bytes and for growth.
fn reserve(bytes: &mut Vec<u8>, total: usize) {
    if total > bytes.capacity() {
        let spare = total.min(DOUBLED).max(total / 8);
        bytes.reserve_exact(total + spare - bytes.len());
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
    fn sharing_moves_nothing_and_the_next_change_copies_only_what_others_hold() {
        let mut string = Str::default();
        string.append(&[7; 100_000]);
        string.append(b"more");
        let (at, memory) = (string.bytes().as_ptr(), string.memory());
        string.share();
        assert_eq!((string.bytes().as_ptr(), string.memory(), string.encoding()), (at, memory, "raw"));
        // Nobody holds it.
        string.append(b"!");
        assert_eq!((string.bytes().as_ptr(), string.memory()), (at, memory));
        string.share();
        let held = string.shared().cloned().expect("it is shared");
        assert_eq!(string.to_copy(), Some(&held));
        let (mut copied, mut copy) = (string.clone(), held.to_vec());
        assert!(!copied.take_copy(&Bytes::from(held.to_vec()), &mut copy), "other bytes, though the same");
        assert!(copied.take_copy(&held, &mut copy) && copied.to_copy().is_none() && copied == string);
        string.append(b"?");
        assert_eq!((&held[100_000..], &string.bytes()[100_000..]), (&b"more!"[..], &b"more!?"[..]));
        assert_ne!(string.bytes().as_ptr(), at);
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
