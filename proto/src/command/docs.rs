//! `COMMAND DOCS` and the `HELP` of containers: the table for people and their tools.

use super::{Argument, Entry, Kind, syntax, table};
use crate::resp::{Args, Reply};

/// Answers `COMMAND DOCS [name ...]`; names that do not exist are left out.
pub fn docs(args: Args<'_>, out: &mut Reply<'_>) {
    let table = table();
    let entries: Vec<&Entry> = if args.len() <= 2 {
        table.commands().collect()
    } else {
        args.from(2).iter().filter_map(|name| table.by_full_name(name)).collect()
    };
    named(&entries, out);
}

/// Answers `<CONTAINER> HELP`.
pub fn help(container: &Entry, out: &mut Reply<'_>) {
    let mut lines = vec![format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        container.name.to_ascii_uppercase()
    )];
    for sub in table().subcommands(container).iter().filter(|sub| sub.command.name != "help") {
        let name = sub.command.name.to_ascii_uppercase();
        lines.push(format!("{name} {}", sub.command.syntax).trim_end().to_owned());
        lines.push(format!("    {}", sub.command.summary));
    }
    lines.extend(["HELP".to_owned(), "    Print this help.".to_owned()]);
    out.array(lines.len());
    for line in lines {
        out.simple(&line);
    }
}

/// A map from full names to documentation.
fn named(entries: &[&Entry], out: &mut Reply<'_>) {
    out.map(entries.len());
    for entry in entries {
        out.bulk(entry.name.as_bytes());
        one(entry, out);
    }
}

fn one(entry: &Entry, out: &mut Reply<'_>) {
    let command = entry.command;
    let arguments = syntax::parse(command).expect("the syntax of every row parses, as a test shows");
    let subcommands: Vec<&Entry> = table().subcommands(entry).iter().collect();
    let optional = [command.deprecated.is_some(), !arguments.is_empty(), !subcommands.is_empty()];
    let deprecated = usize::from(optional[0]);
    out.map(4 + 2 * deprecated + optional.iter().filter(|there| **there).count());
    text("summary", command.summary, out);
    text("since", command.since, out);
    text("group", command.group.name(), out);
    text("complexity", command.complexity, out);
    if let Some((since, instead)) = command.deprecated {
        out.bulk(b"doc_flags");
        out.set(1);
        out.simple("deprecated");
        text("deprecated_since", since, out);
        text("replaced_by", instead, out);
    }
    if !arguments.is_empty() {
        out.bulk(b"arguments");
        let mut keys = KeyIndexes { left: count_keys(&arguments), next: 0, specs: command.keys.len() };
        list(&arguments, &mut keys, out);
    }
    if !subcommands.is_empty() {
        out.bulk(b"subcommands");
        named(&subcommands, out);
    }
}

fn text(name: &str, value: &str, out: &mut Reply<'_>) {
    out.bulk(name.as_bytes());
    out.bulk(value.as_bytes());
}

/// Which key specification each key argument belongs to, in order: the last to the last, the others to
/// the one in the same place.
struct KeyIndexes {
    left: usize,
    next: usize,
    specs: usize,
}

impl KeyIndexes {
    fn take(&mut self) -> usize {
        self.left -= 1;
        let last = self.left == 0 && self.next > 0;
        let index = if last { self.specs } else { self.specs.min(self.next + 1) };
        self.next += 1;
        index.saturating_sub(1)
    }
}

fn count_keys(arguments: &[Argument]) -> usize {
    arguments.iter().map(|a| usize::from(a.kind == Kind::Key) + count_keys(&a.arguments)).sum()
}

fn list(arguments: &[Argument], keys: &mut KeyIndexes, out: &mut Reply<'_>) {
    out.array(arguments.len());
    for argument in arguments {
        let nested = matches!(argument.kind, Kind::OneOf | Kind::Block);
        let flags: Vec<&str> = [
            (argument.optional, "optional"),
            (argument.multiple, "multiple"),
            (argument.multiple_token, "multiple_token"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
        let key = (argument.kind == Kind::Key).then(|| keys.take());
        // A group has arguments where a value has a display text.
        let optional = [key.is_some(), argument.token.is_some(), !flags.is_empty()];
        out.map(3 + optional.iter().filter(|there| **there).count());
        text("name", &argument.name, out);
        text("type", argument.kind.name(), out);
        if !nested {
            text("display_text", &argument.name, out);
        }
        if let Some(key) = key {
            out.bulk(b"key_spec_index");
            out.int(key as i64);
        }
        if let Some(token) = argument.token {
            text("token", token, out);
        }
        if !flags.is_empty() {
            out.bulk(b"flags");
            out.set(flags.len());
            for flag in flags {
                out.simple(flag);
            }
        }
        if nested {
            out.bulk(b"arguments");
            list(&argument.arguments, keys, out);
        }
    }
}
