//! The one command table: every top-level command of Valkey 8, and all that follows from a command's
//! description (arity, flags, where its keys are, how the router treats it, `COMMAND`, `docs/commands.md`).
//!
//! Node dispatch and router planning look commands up in [`table()`]; neither knows names of its own.

pub mod absent;
pub mod docs;
mod flags;
pub mod info;
mod keys;
mod lookup;
mod route;
mod rows;
mod syntax;

pub use flags::{Category, Flags, Group};
pub use keys::{Begin, Find, KeyError, KeyFlags, KeySpec, Positions};
pub use lookup::{Entry, Table, table};
pub use route::{Merge, Route, Status};
pub use syntax::{Argument, Kind, parse as parse_syntax};

/// The description of one command or subcommand, as written in the table.
#[derive(Debug)]
pub struct Command {
    /// Lower-case name without its container (`get`, `setname`).
    pub name: &'static str,
    /// Number of arguments with the name (and the container's name); negative: at least so many.
    pub arity: i8,
    /// What the command does and where it may run.
    pub flags: Flags,
    /// ACL categories beyond those that flags and group imply.
    pub categories: Category,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// The family it belongs to.
    pub group: Group,
    /// Redis version that introduced it.
    pub since: &'static str,
    /// Since which version another command is preferred, and which one.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// What the router does with it.
    pub route: Route,
    /// Whether Shoal executes it.
    pub status: Status,
    /// Its arguments in the notation of the Redis documentation: `key [NX | XX] [EX seconds | PX milliseconds]`.
    pub syntax: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// Cost in the sizes of its operands.
    pub complexity: &'static str,
    /// Command tips as `COMMAND INFO` lists them (`nondeterministic_output`, `request_policy:all_shards`).
    pub tips: &'static [&'static str],
    /// Subcommands of a container such as `CLIENT`.
    pub subcommands: &'static [Command],
}

impl Command {
    /// Whether a request of `len` arguments has an acceptable length.
    pub fn accepts(&self, len: usize) -> bool {
        if self.arity >= 0 { len == self.arity as usize } else { len >= self.arity.unsigned_abs() as usize }
    }

    /// All its ACL categories: those that flags and group imply, and the row's own.
    pub fn acl_categories(&self) -> Category {
        let group = if self.subcommands.is_empty() { self.group.category() } else { Category::empty() };
        (self.categories | group).with_implied(self.flags)
    }

    /// Whether it writes.
    pub fn writes(&self) -> bool {
        self.flags.contains(Flags::WRITE)
    }
}
