//! The data types. Each is a plain value: no lock, no clock, no socket.

pub mod bits;
pub(crate) mod dense;
mod hash;
pub(crate) mod linear;
pub mod list;
pub mod packed;
pub(crate) mod segments;
pub mod set;
mod short;
mod string;
pub mod table;
mod typed;
pub mod zset;

pub use hash::Hash;
pub use list::List;
pub use set::Set;
pub use string::Str;
pub use typed::Typed;
pub use zset::Zset;

/// Sizes up to which collections stay packed: Redis's settings of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encodings {
    /// `hash-max-listpack-entries`: fields.
    pub hash_entries: usize,
    /// `hash-max-listpack-value`: bytes of a field or value.
    pub hash_value: usize,
    /// `list-max-listpack-size`: elements of a packed node, or -1..-5 for 4..64 KB.
    pub list_size: i64,
    /// `list-compress-depth`: accepted and kept; nothing is compressed.
    pub list_compress_depth: i64,
    /// `set-max-intset-entries`: members.
    pub set_intset_entries: usize,
    /// `set-max-listpack-entries`: members.
    pub set_entries: usize,
    /// `set-max-listpack-value`: bytes of a member.
    pub set_value: usize,
    /// `zset-max-listpack-entries`: members.
    pub zset_entries: usize,
    /// `zset-max-listpack-value`: bytes of a member.
    pub zset_value: usize,
}

impl Default for Encodings {
    fn default() -> Self {
        Self {
            hash_entries: 128,
            hash_value: 64,
            list_size: 128,
            list_compress_depth: 0,
            set_intset_entries: 512,
            set_entries: 128,
            set_value: 64,
            zset_entries: 128,
            zset_value: 64,
        }
    }
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string (and bitmaps, counters).
    Str(Str),
    /// A list.
    List(List),
    /// A hash.
    Hash(Hash),
    /// A set.
    Set(Set),
    /// A sorted set.
    Zset(Zset),
}

impl Value {
    /// The name `TYPE` gives.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Str(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
            Self::Zset(_) => "zset",
        }
    }

    /// The name `OBJECT ENCODING` gives.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Str(s) => s.encoding(),
            Self::List(l) => l.encoding(),
            Self::Hash(h) => h.encoding(),
            Self::Set(s) => s.encoding(),
            Self::Zset(z) => z.encoding(),
        }
    }

    /// Bytes of heap memory held. O(1).
    pub fn memory(&self) -> usize {
        match self {
            Self::Str(s) => s.memory(),
            Self::List(l) => l.memory(),
            Self::Hash(h) => h.memory(),
            Self::Set(s) => s.memory(),
            Self::Zset(z) => z.memory(),
        }
    }

    /// Names the addresses that looking up these elements will read, if they are many enough for that to take long.
    pub(crate) fn lead<'k>(&self, elements: impl Iterator<Item = &'k [u8]>, ask: impl Fn(usize)) {
        match self {
            Self::Str(_) | Self::List(_) => {}
            Self::Hash(hash) => hash.lead(elements, ask),
            Self::Set(set) => set.lead(elements, ask),
            Self::Zset(zset) => zset.lead(elements, ask),
        }
    }

    /// Whether this is a collection without elements: such a key does not exist.
    pub fn is_empty_collection(&self) -> bool {
        match self {
            Self::Str(_) => false,
            Self::List(l) => l.is_empty(),
            Self::Hash(h) => h.is_empty(),
            Self::Set(s) => s.is_empty(),
            Self::Zset(z) => z.is_empty(),
        }
    }
}
