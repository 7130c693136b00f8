//! Command flags, ACL categories and groups, with the names `COMMAND INFO` gives them.

use bitflags::bitflags;

bitflags! {
    /// What a command does and where it may run, as `COMMAND INFO` reports it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// Changes data.
        const WRITE = 1;
        /// Reads data.
        const READONLY = 1 << 1;
        /// May use memory: refused when there is none.
        const DENYOOM = 1 << 2;
        /// For administrators.
        const ADMIN = 1 << 3;
        /// Publish and subscribe.
        const PUBSUB = 1 << 4;
        /// Not from scripts.
        const NOSCRIPT = 1 << 5;
        /// May wait for another client.
        const BLOCKING = 1 << 6;
        /// Allowed while loading.
        const LOADING = 1 << 7;
        /// Allowed on a stale replica.
        const STALE = 1 << 8;
        /// Not shown by MONITOR.
        const SKIP_MONITOR = 1 << 9;
        /// Not in the slow log.
        const SKIP_SLOWLOG = 1 << 10;
        /// Implies ASKING in clusters.
        const ASKING = 1 << 11;
        /// Constant or logarithmic time.
        const FAST = 1 << 12;
        /// Needs no authentication.
        const NO_AUTH = 1 << 13;
        /// Its keys are optional (`EVAL` with none).
        const NO_MANDATORY_KEYS = 1 << 14;
        /// Not while loading asynchronously.
        const NO_ASYNC_LOADING = 1 << 15;
        /// Not inside MULTI.
        const NO_MULTI = 1 << 16;
        /// First, last and step do not tell all keys; computed from the key specifications.
        const MOVABLEKEYS = 1 << 17;
        /// Allowed while a script is busy.
        const ALLOW_BUSY = 1 << 18;
        /// May replicate even without the write flag.
        const MAY_REPLICATE = 1 << 19;
        /// Touches arbitrary keys.
        const TOUCHES_ARBITRARY_KEYS = 1 << 20;
        /// Refused unless a setting allows it.
        const PROTECTED = 1 << 21;
        /// Those that `COMMAND INFO` does not list.
        const HIDDEN = Self::MAY_REPLICATE.bits() | Self::TOUCHES_ARBITRARY_KEYS.bits() | Self::PROTECTED.bits();
    }
}

bitflags! {
    /// ACL categories.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Category: u32 {
        /// Whole keys of any type.
        const KEYSPACE = 1;
        /// Reads.
        const READ = 1 << 1;
        /// Writes.
        const WRITE = 1 << 2;
        /// Sets.
        const SET = 1 << 3;
        /// Sorted sets.
        const SORTEDSET = 1 << 4;
        /// Lists.
        const LIST = 1 << 5;
        /// Hashes.
        const HASH = 1 << 6;
        /// Strings.
        const STRING = 1 << 7;
        /// Bitmaps.
        const BITMAP = 1 << 8;
        /// HyperLogLogs.
        const HYPERLOGLOG = 1 << 9;
        /// Geospatial indexes.
        const GEO = 1 << 10;
        /// Streams.
        const STREAM = 1 << 11;
        /// Publish and subscribe.
        const PUBSUB = 1 << 12;
        /// Administration.
        const ADMIN = 1 << 13;
        /// Fast commands.
        const FAST = 1 << 14;
        /// All others.
        const SLOW = 1 << 15;
        /// Commands that wait.
        const BLOCKING = 1 << 16;
        /// Commands that can do harm.
        const DANGEROUS = 1 << 17;
        /// The connection itself.
        const CONNECTION = 1 << 18;
        /// Transactions.
        const TRANSACTION = 1 << 19;
        /// Scripts.
        const SCRIPTING = 1 << 20;
    }
}

/// The family a command belongs to, as `COMMAND DOCS` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each variant is a family's name")]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Cluster,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    /// The name `COMMAND DOCS` uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Hash => "hash",
            Self::PubSub => "pubsub",
            Self::Transactions => "transactions",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Scripting => "scripting",
            Self::HyperLogLog => "hyperloglog",
            Self::Cluster => "cluster",
            Self::Geo => "geo",
            Self::Stream => "stream",
            Self::Bitmap => "bitmap",
        }
    }
}

impl Group {
    /// The ACL category that every command of the family is in, containers excepted.
    pub(super) fn category(self) -> Category {
        match self {
            Self::String => Category::STRING,
            Self::List => Category::LIST,
            Self::Set => Category::SET,
            Self::SortedSet => Category::SORTEDSET,
            Self::Hash => Category::HASH,
            Self::Transactions => Category::TRANSACTION,
            Self::Connection => Category::CONNECTION,
            Self::Scripting => Category::SCRIPTING,
            Self::HyperLogLog => Category::HYPERLOGLOG,
            Self::Geo => Category::GEO,
            Self::Stream => Category::STREAM,
            Self::Bitmap => Category::BITMAP,
            Self::Generic | Self::PubSub | Self::Server | Self::Cluster => Category::empty(),
        }
    }
}

impl Category {
    /// These and what `flags` imply, by Redis's rules; scripts are never in `@read`.
    pub(super) fn with_implied(mut self, flags: Flags) -> Self {
        let read = flags.contains(Flags::READONLY) && !self.contains(Self::SCRIPTING);
        for (implied, categories) in [
            (flags.contains(Flags::WRITE), Self::WRITE),
            (read, Self::READ),
            (flags.contains(Flags::ADMIN), Self::ADMIN | Self::DANGEROUS),
            (flags.contains(Flags::PUBSUB), Self::PUBSUB),
            (flags.contains(Flags::FAST), Self::FAST),
            (flags.contains(Flags::BLOCKING), Self::BLOCKING),
        ] {
            if implied {
                self |= categories;
            }
        }
        if self.contains(Self::FAST) { self } else { self | Self::SLOW }
    }

    /// The categories' names without the `@`.
    pub fn names(self) -> impl Iterator<Item = String> {
        self.iter_names().map(|(name, _)| name.to_ascii_lowercase())
    }

    /// The category called `name`, in any case and without the `@`.
    pub fn by_name(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_uppercase();
        Self::from_name(&name)
    }
}

impl Flags {
    /// The flags' names in the order `COMMAND INFO` lists them.
    pub fn names(self) -> impl Iterator<Item = String> {
        self.difference(Self::HIDDEN).iter_names().map(|(name, _)| name.to_ascii_lowercase())
    }
}
