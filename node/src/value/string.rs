//! Strings: any bytes up to 512 MB.

use shoal_proto::number;

/// A string value. Knows whether it was modified in place, which Redis's encoding names reveal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Str {
    bytes: Vec<u8>,
    raw: bool,
}

impl Str {
    /// A string as `SET` stores it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), raw: false }
    }

    /// The text of an integer.
    pub fn from_int(n: i64) -> Self {
        Self::new(itoa::Buffer::new().format(n).as_bytes())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, to modify in place; from then on `OBJECT ENCODING` says `raw`.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        self.raw = true;
        &mut self.bytes
    }

    /// Replaces the whole text, keeping the allocation.
    pub fn set(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        if self.bytes.capacity() > 2 * bytes.len() + 64 {
            self.bytes.shrink_to_fit();
        }
        self.raw = false;
    }

    /// The integer whose canonical text this is.
    pub fn as_int(&self) -> Option<i64> {
        number::parse_i64(&self.bytes)
    }

    /// `int`, `embstr` or `raw`.
    pub fn encoding(&self) -> &'static str {
        if self.raw {
            "raw"
        } else if self.bytes.len() <= 20 && self.as_int().is_some() {
            "int"
        } else if self.bytes.len() <= 44 {
            "embstr"
        } else {
            "raw"
        }
    }

    /// Bytes of heap memory.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}
