//! The errors a client can get, with Redis's exact texts.

use std::borrow::Cow;

/// An error reply: what stands behind the `-`. `Display` gives the whole line, code first.
///
/// None of these changes data: a command that fails was not executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key holds another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// An argument or value that should be a 64-bit integer is not.
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    /// An argument or value that should be a float is not.
    #[error("ERR value is not a valid float")]
    NotFloat,
    /// The options of a command do not fit together.
    #[error("ERR syntax error")]
    Syntax,
    /// A key that must exist does not.
    #[error("ERR no such key")]
    NoSuchKey,
    /// An index beyond the end.
    #[error("ERR index out of range")]
    IndexOutOfRange,
    /// An increment would leave the 64-bit range.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// An offset that is negative or beyond the limit.
    #[error("ERR offset is out of range")]
    OffsetOutOfRange,
    /// A string would grow beyond `proto-max-bulk-len`.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    TooLong,
    /// A number that must not be negative is.
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    /// The database number does not exist.
    #[error("ERR DB index is out of range")]
    DbOutOfRange,
    /// Memory is full and the policy may evict nothing.
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    /// The keys of a command live in different slots.
    #[error("CROSSSLOT Keys in request don't hash to the same slot")]
    CrossSlot,
    /// The slot lives elsewhere.
    #[error("MOVED {slot} {host}:{port}")]
    Moved {
        /// The slot that was asked for.
        slot: u16,
        /// Its owner's host.
        host: String,
        /// Its owner's RESP port.
        port: u16,
    },
    /// Nobody serves the slot at the moment.
    #[error("CLUSTERDOWN Hash slot not served")]
    ClusterDown,
    /// A keyed command came to a shut gate: it was not executed, and may be soon. What waits for that keeps this to
    /// itself; a client that has waited for too long gets the text.
    #[error("CLUSTERDOWN The cluster is down")]
    Held,
    /// The same, because one of its keys is being copied to another node.
    #[error("TRYAGAIN Multiple keys request during rehashing of slot")]
    KeyHeld,
    /// The slot's gate says that it is not served here; whoever knows the owner answers `MOVED` instead.
    #[error("CLUSTERDOWN Hash slot not served")]
    NotHere(u16),
    /// Authentication is required first.
    #[error("NOAUTH Authentication required.")]
    NoAuth,
    /// Wrong number of arguments for the named command (`get`, `config|get`).
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(Cow<'static, str>),
    /// An option that a command does not know; clients get its bytes as they were.
    #[error("ERR Unsupported option {}", String::from_utf8_lossy(.0))]
    UnsupportedOption(Vec<u8>),
    /// Any other text, code included (`ERR ...`).
    #[error("{0}")]
    Text(Cow<'static, str>),
}

impl Error {
    /// An error of fixed text, code included.
    pub const fn text(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// An error of computed text, code included.
    pub fn owned(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }

    /// Whether it says that the request was not executed at all: INFO counts such calls as rejected, not as failed.
    pub fn before_execution(&self) -> bool {
        matches!(
            self,
            Self::OutOfMemory
                | Self::CrossSlot
                | Self::Moved { .. }
                | Self::ClusterDown
                | Self::Held
                | Self::KeyHeld
                | Self::NotHere(_)
                | Self::NoAuth
                | Self::Arity(_)
        )
    }

    /// Whether a gate kept the command from being executed: it may have to wait instead of being answered.
    #[inline]
    pub fn is_barred(&self) -> bool {
        matches!(self, Self::Held | Self::KeyHeld | Self::NotHere(_))
    }

    /// The first word, by which INFO counts errors (`ERR`, `WRONGTYPE`).
    pub fn code(&self) -> String {
        let line = self.to_string();
        line.split(' ').next().unwrap_or("ERR").to_owned()
    }
}

/// What a command handler returns.
pub type Result<T = ()> = std::result::Result<T, Error>;
