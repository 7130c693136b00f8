//! The notation of a row: const builders, so that every row reads as data and is checked when compiling.
//!
//! `string("get", 2, "1.0.0", "readonly fast")` begins a row; the calls behind it add what is not the
//! default. Flags, key flags and ACL categories are written as words; a misspelt word does not compile.

use crate::command::{
    Begin, Category, Command, Find, Flags, Group, KeyFlags, KeySpec, Merge, Positions, Route, Status,
};

/// A row with everything optional at its default: built, routed by its keys' slot, O(1).
pub(super) const fn row(
    group: Group,
    name: &'static str,
    arity: i8,
    since: &'static str,
    flags: &str,
) -> Command {
    Command {
        name,
        arity,
        flags: Flags::from_bits_retain(words(flags, FLAGS)),
        categories: Category::empty(),
        keys: &[],
        group,
        since,
        deprecated: None,
        route: Route::Slot,
        status: Status::Built,
        syntax: "",
        summary: "",
        complexity: "O(1)",
        tips: &[],
        subcommands: &[],
    }
}

impl Command {
    /// Where the keys are; sets `MOVABLEKEYS` where positions cannot tell.
    pub(super) const fn keys(mut self, keys: &'static [KeySpec]) -> Self {
        self.keys = keys;
        if Positions::of(keys).movable {
            self.flags = self.flags.union(Flags::MOVABLEKEYS);
        }
        self
    }

    /// The arguments, in the notation of the Redis documentation.
    pub(super) const fn syntax(mut self, syntax: &'static str) -> Self {
        self.syntax = syntax;
        self
    }

    /// One sentence, and the cost.
    pub(super) const fn about(mut self, summary: &'static str, complexity: &'static str) -> Self {
        self.summary = summary;
        self.complexity = complexity;
        self
    }

    /// ACL categories that neither the flags nor the group imply.
    pub(super) const fn acl(mut self, categories: &str) -> Self {
        self.categories = Category::from_bits_retain(words(categories, CATEGORIES));
        self
    }

    /// Command tips.
    pub(super) const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    /// Since when another command is preferred, and which.
    pub(super) const fn deprecated(mut self, since: &'static str, instead: &'static str) -> Self {
        self.deprecated = Some((since, instead));
        self
    }

    /// The subcommands of a container.
    pub(super) const fn subcommands(mut self, subcommands: &'static [Command]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// Known, not executed yet.
    pub(super) const fn planned(mut self) -> Self {
        self.status = Status::Planned;
        self
    }

    /// Known, never executed: neither by a node nor through the router.
    pub(super) const fn never(mut self, why: &'static str) -> Self {
        self.status = Status::Never(why);
        self.route = Route::Refused(why);
        self
    }

    /// Not through the router.
    pub(super) const fn refused(mut self, why: &'static str) -> Self {
        self.route = Route::Refused(why);
        self
    }

    /// Split by key, `step` arguments each.
    pub(super) const fn split(mut self, step: u8, merge: Merge) -> Self {
        self.route = Route::Split { step, merge };
        self
    }

    /// Sent to every node.
    pub(super) const fn all_nodes(mut self, merge: Merge) -> Self {
        self.route = Route::AllNodes(merge);
        self
    }

    /// Answered where the client is connected.
    pub(super) const fn local(mut self) -> Self {
        self.route = Route::Local;
        self
    }
}

/// One key at argument `at`.
pub(super) const fn key(at: i16, flags: &str) -> KeySpec {
    keys(at, 0, 1, flags)
}

/// Keys from argument `first` to `last` (relative to `first`; negative: from the end), every `step`th.
pub(super) const fn keys(first: i16, last: i16, step: i16, flags: &str) -> KeySpec {
    spec(Begin::Index(first), Find::Range { last, step, limit: 0 }, flags)
}

/// A count at argument `at`, and that many keys behind it.
pub(super) const fn counted(at: i16, flags: &str) -> KeySpec {
    spec(Begin::Index(at), Find::Count { index: 0, first: 1, step: 1 }, flags)
}

/// Keys behind `word`, searched from argument `from`; `last` and `limit` as in [`Find::Range`].
pub(super) const fn behind(word: &'static str, from: i16, last: i16, limit: i16, flags: &str) -> KeySpec {
    spec(Begin::Keyword(word, from), Find::Range { last, step: 1, limit }, flags)
}

/// The key behind the last `word` among options; Redis reports such a place as unknown.
pub(super) const fn option(word: &'static str, from: i16, flags: &str) -> KeySpec {
    spec(Begin::Option(word, from), Find::Unknown, flags)
}

/// Keys that no specification can describe.
pub(super) const fn unknown(flags: &str) -> KeySpec {
    spec(Begin::Unknown, Find::Unknown, flags)
}

const fn spec(begin: Begin, find: Find, flags: &str) -> KeySpec {
    KeySpec { flags: KeyFlags::from_bits_retain(words(flags, KEY_FLAGS) as u16), begin, find }
}

const FLAGS: &[(&str, u32)] = &[
    ("write", Flags::WRITE.bits()),
    ("readonly", Flags::READONLY.bits()),
    ("denyoom", Flags::DENYOOM.bits()),
    ("admin", Flags::ADMIN.bits()),
    ("pubsub", Flags::PUBSUB.bits()),
    ("noscript", Flags::NOSCRIPT.bits()),
    ("blocking", Flags::BLOCKING.bits()),
    ("loading", Flags::LOADING.bits()),
    ("stale", Flags::STALE.bits()),
    ("skip_monitor", Flags::SKIP_MONITOR.bits()),
    ("skip_slowlog", Flags::SKIP_SLOWLOG.bits()),
    ("asking", Flags::ASKING.bits()),
    ("fast", Flags::FAST.bits()),
    ("no_auth", Flags::NO_AUTH.bits()),
    ("may_replicate", Flags::MAY_REPLICATE.bits()),
    ("no_async_loading", Flags::NO_ASYNC_LOADING.bits()),
    ("no_multi", Flags::NO_MULTI.bits()),
    ("allow_busy", Flags::ALLOW_BUSY.bits()),
    ("no_mandatory_keys", Flags::NO_MANDATORY_KEYS.bits()),
    ("touches_arbitrary_keys", Flags::TOUCHES_ARBITRARY_KEYS.bits()),
    ("protected", Flags::PROTECTED.bits()),
];

const KEY_FLAGS: &[(&str, u32)] = &[
    ("ro", KeyFlags::RO.bits() as u32),
    ("rw", KeyFlags::RW.bits() as u32),
    ("ow", KeyFlags::OW.bits() as u32),
    ("rm", KeyFlags::RM.bits() as u32),
    ("access", KeyFlags::ACCESS.bits() as u32),
    ("update", KeyFlags::UPDATE.bits() as u32),
    ("insert", KeyFlags::INSERT.bits() as u32),
    ("delete", KeyFlags::DELETE.bits() as u32),
    ("not_key", KeyFlags::NOT_KEY.bits() as u32),
    ("incomplete", KeyFlags::INCOMPLETE.bits() as u32),
    ("variable_flags", KeyFlags::VARIABLE_FLAGS.bits() as u32),
];

const CATEGORIES: &[(&str, u32)] = &[
    ("keyspace", Category::KEYSPACE.bits()),
    ("read", Category::READ.bits()),
    ("fast", Category::FAST.bits()),
    ("set", Category::SET.bits()),
    ("sortedset", Category::SORTEDSET.bits()),
    ("list", Category::LIST.bits()),
    ("admin", Category::ADMIN.bits()),
    ("dangerous", Category::DANGEROUS.bits()),
    ("connection", Category::CONNECTION.bits()),
];

/// The union of the bits of `text`'s words, which are separated by one space.
const fn words(text: &str, known: &[(&str, u32)]) -> u32 {
    let text = text.as_bytes();
    let mut bits = 0;
    let mut start = 0;
    while start < text.len() {
        let mut end = start;
        while end < text.len() && text[end] != b' ' {
            end += 1;
        }
        bits |= word(text, start, end, known);
        start = end + 1;
    }
    bits
}

const fn word(text: &[u8], start: usize, end: usize, known: &[(&str, u32)]) -> u32 {
    let mut i = 0;
    while i < known.len() {
        let name = known[i].0.as_bytes();
        let mut at = 0;
        while at < name.len() && start + at < end && name[at] == text[start + at] {
            at += 1;
        }
        if at == name.len() && start + at == end {
            return known[i].1;
        }
        i += 1;
    }
    panic!("an unknown flag or category in the command table")
}
