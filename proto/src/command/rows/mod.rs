//! The rows of the table, a file per family.

use super::Command;

mod string;

/// Every family's commands.
pub(super) static GROUPS: &[&[Command]] = &[string::COMMANDS];

/// Row constructors, so that a row reads as data.
mod row {
    use crate::command::{Begin, Category, Command, Find, Flags, Group, KeyFlags, KeySpec, Route, Status};

    /// A row with everything optional at its default: `Command { .., ..row::blank(...) }` cannot be used in
    /// statics with references to temporaries, so rows use these const builders.
    pub(super) const fn command(
        name: &'static str,
        arity: i8,
        flags: Flags,
        group: Group,
        since: &'static str,
    ) -> Command {
        Command {
            name,
            arity,
            flags,
            categories: Category::empty(),
            keys: &[],
            group,
            since,
            route: Route::Slot,
            status: Status::Built,
            syntax: "",
            summary: "",
            complexity: "O(1)",
            tips: &[],
            subcommands: &[],
        }
    }

    /// Keys from argument `first` to `last` (relative to `first`; negative: from the end), every `step`th.
    pub(super) const fn keys(flags: KeyFlags, first: i16, last: i16, step: i16) -> KeySpec {
        KeySpec { flags, begin: Begin::Index(first), find: Find::Range { last, step, limit: 0 } }
    }

    /// One key at argument `at`.
    pub(super) const fn key(flags: KeyFlags, at: i16) -> KeySpec {
        keys(flags, at, 0, 1)
    }
}
