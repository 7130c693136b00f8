//! `COMMAND` and its subcommands, answered from the table alone: nodes and routers call [`command`].

use super::{Begin, Category, Entry, Find, Flags, KeyError, KeyFlags, KeySpec, Positions, docs, table};
use crate::error::{Error, Result};
use crate::glob;
use crate::resp::{Args, Reply};

/// Answers `COMMAND [subcommand ..]`, whose arity has been checked.
///
/// # Errors
/// Redis's texts for wrong filters and for commands without keys.
pub fn command(args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let Some(name) = args.get(1) else {
        every(out);
        return Ok(());
    };
    match name.to_ascii_lowercase().as_slice() {
        b"count" => out.int(table().commands().count() as i64),
        b"info" if args.len() == 2 => every(out),
        b"info" => some(args.from(2), out),
        b"docs" => docs::docs(args, out),
        b"list" => list(args, out)?,
        b"getkeys" => keys(args.from(2), false, out)?,
        b"getkeysandflags" => keys(args.from(2), true, out)?,
        _ => docs::help(table().command(b"command").expect("COMMAND is in the table"), out),
    }
    Ok(())
}

fn every(out: &mut Reply<'_>) {
    out.array(table().commands().count());
    table().commands().for_each(|entry| one(entry, out));
}

fn some(names: Args<'_>, out: &mut Reply<'_>) {
    out.array(names.len());
    for name in names.iter() {
        match table().by_full_name(name) {
            Some(entry) => one(entry, out),
            None => out.null(),
        }
    }
}

/// The ten fields of a command, its subcommands nested.
fn one(entry: &Entry, out: &mut Reply<'_>) {
    let command = entry.command;
    let positions = Positions::of(command.keys);
    out.array(10);
    out.bulk(entry.name.as_bytes());
    out.int(command.arity.into());
    statuses(command.flags.names(), out);
    out.int(positions.first.into());
    out.int(positions.last.into());
    out.int(positions.step.into());
    statuses(command.acl_categories().names().map(|name| format!("@{name}")), out);
    out.set(command.tips.len());
    command.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(command.keys.len());
    command.keys.iter().for_each(|spec| key_spec(spec, out));
    let subcommands = table().subcommands(entry);
    if subcommands.is_empty() {
        out.set(0);
    } else {
        out.array(subcommands.len());
    }
    subcommands.iter().for_each(|sub| one(sub, out));
}

fn statuses(names: impl Iterator<Item = String>, out: &mut Reply<'_>) {
    let names: Vec<String> = names.collect();
    out.set(names.len());
    names.iter().for_each(|name| out.simple(name));
}

fn key_spec(spec: &KeySpec, out: &mut Reply<'_>) {
    out.map(3);
    out.bulk(b"flags");
    statuses(spec.flags.names(), out);
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(index) => typed("index", &[("index", index)], None, out),
        Begin::Keyword(word, from) => typed("keyword", &[("startfrom", from)], Some(("keyword", word)), out),
        Begin::Option(..) | Begin::Unknown => typed("unknown", &[], None, out),
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            typed("range", &[("lastkey", last), ("keystep", step), ("limit", limit)], None, out);
        }
        Find::Count { index, first, step } => {
            typed("keynum", &[("keynumidx", index), ("firstkey", first), ("keystep", step)], None, out);
        }
        Find::Unknown => typed("unknown", &[], None, out),
    }
}

/// A map of a type and its parameters.
fn typed(kind: &str, numbers: &[(&str, i16)], word: Option<(&str, &str)>, out: &mut Reply<'_>) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(numbers.len() + usize::from(word.is_some()));
    if let Some((name, value)) = word {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    for (name, value) in numbers {
        out.bulk(name.as_bytes());
        out.int((*value).into());
    }
}

/// `COMMAND LIST [FILTERBY <MODULE name | ACLCAT category | PATTERN pattern>]`.
fn list(args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let chosen = filter(args)?;
    let names: Vec<&str> = table()
        .entries()
        .iter()
        .filter(|entry| chosen.takes(entry))
        .map(|entry| entry.name.as_str())
        .collect();
    out.array(names.len());
    names.iter().for_each(|name| out.bulk(name.as_bytes()));
    Ok(())
}

enum Filter<'a> {
    Everything,
    Nothing,
    Category(Category),
    Pattern(&'a [u8]),
}

impl Filter<'_> {
    fn takes(&self, entry: &Entry) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Category(category) => entry.command.acl_categories().contains(*category),
            Self::Pattern(pattern) => glob::matches_nocase(pattern, entry.name.as_bytes()),
        }
    }
}

fn filter<'a>(args: Args<'a>) -> Result<Filter<'a>> {
    if args.len() == 2 {
        return Ok(Filter::Everything);
    }
    if args.len() != 5 || !args.is(2, "filterby") {
        return Err(Error::Syntax);
    }
    match args.at(3).to_ascii_lowercase().as_slice() {
        // There are no modules, and an unknown category has no commands.
        b"module" => Ok(Filter::Nothing),
        b"aclcat" => Ok(Category::by_name(args.at(4)).map_or(Filter::Nothing, Filter::Category)),
        b"pattern" => Ok(Filter::Pattern(args.at(4))),
        _ => Err(Error::Syntax),
    }
}

/// `COMMAND GETKEYS` and `COMMAND GETKEYSANDFLAGS` of the request `args`.
fn keys(args: Args<'_>, with_flags: bool, out: &mut Reply<'_>) -> Result {
    let entry = table().resolve(args).ok_or(Error::text("ERR Invalid command specified"))?;
    if !entry.has_keys() {
        return Err(Error::text("ERR The command has no key arguments"));
    }
    if !entry.command.accepts(args.len()) {
        return Err(Error::text("ERR Invalid number of arguments specified for command"));
    }
    let mut found = Vec::new();
    let told = entry.each_key_with_spec(args, |at, spec| found.push((at, actual_flags(entry, spec, args))));
    if entry.command.flags.contains(Flags::NO_MANDATORY_KEYS) {
        // `EVAL script 5 a` has no keys, and that is no error here.
        if told.is_err() {
            found.clear();
        }
    } else if told.is_err() || found.is_empty() {
        return Err(Error::owned(KeyError::Invalid.to_string()));
    }
    out.array(found.len());
    for (at, flags) in found {
        if with_flags {
            out.array(2);
            out.bulk(args.at(at));
            statuses(flags.names(), out);
        } else {
            out.bulk(args.at(at));
        }
    }
    Ok(())
}

/// What really happens to the key where that depends on the options.
fn actual_flags(entry: &Entry, spec: &KeySpec, args: Args<'_>) -> KeyFlags {
    if !spec.flags.contains(KeyFlags::VARIABLE_FLAGS) {
        return spec.flags;
    }
    let reads = match entry.command.name {
        "set" => (3..args.len()).any(|i| args.is(i, "get")),
        // BITFIELD only reads if it neither sets nor increments.
        _ if !(2..args.len()).any(|i| args.is(i, "set") || args.is(i, "incrby")) => {
            return KeyFlags::RO | KeyFlags::ACCESS;
        }
        _ => true,
    };
    if reads { KeyFlags::RW | KeyFlags::ACCESS | KeyFlags::UPDATE } else { KeyFlags::OW | KeyFlags::UPDATE }
}
