//! `docs/commands.md` is the command table for readers: this test fails when it is stale, and writes it
//! when `UPDATE_DOCS=1` is set.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write;
use std::path::Path;

use shoal_proto::command::{Entry, Group, Merge, Route, Status, table};

const HEAD: &str = "\
# Commands

Generated from the command table in `proto/src/command`: edit that, then run
`UPDATE_DOCS=1 cargo test -p shoal-proto --test commands_doc`.

**Through the router** says what a router does: *one slot*: forwards to the node that owns the keys' slot
(keys in several slots answer `CROSSSLOT`); *split*: keys may be in any slots, the parts run at the same time;
*all nodes*: asks every node and merges; *itself*: answers on its own; *refused*: ask a node.
Nodes answer `MOVED` for slots of other nodes. **Status** is *yes*, *planned* (answers an error that says so) or
*no* with the reason. An arity counts the name and the subcommand; a negative one is a minimum.
";

const FAMILIES: &[(Group, &str)] = &[
    (Group::String, "Strings"),
    (Group::Bitmap, "Bitmaps"),
    (Group::Generic, "Keys and expiry"),
    (Group::Hash, "Hashes"),
    (Group::List, "Lists"),
    (Group::Set, "Sets"),
    (Group::SortedSet, "Sorted sets"),
    (Group::Stream, "Streams"),
    (Group::PubSub, "Publish and subscribe"),
    (Group::Transactions, "Transactions"),
    (Group::Scripting, "Scripts and functions"),
    (Group::HyperLogLog, "HyperLogLogs"),
    (Group::Geo, "Geospatial indexes"),
    (Group::Connection, "Connection"),
    (Group::Server, "Server"),
    (Group::Cluster, "Cluster"),
];

fn merged(merge: Merge) -> &'static str {
    match merge {
        Merge::Values => "values in place",
        Merge::Sum => "sum",
        Merge::AllOk => "OK if all say so",
        Merge::Concat => "one after another",
        Merge::Scan => "one cursor",
        Merge::Random => "one drawn",
        Merge::Info => "field by field",
        Merge::Special => "its own rule",
    }
}

fn route(entry: &Entry) -> String {
    match (entry.command.status, entry.command.route) {
        (Status::Never(_), _) => "refused".to_owned(),
        (_, Route::Slot) => "one slot".to_owned(),
        (_, Route::Split { merge, .. }) => format!("split: {}", merged(merge)),
        (_, Route::AllNodes(merge)) => format!("all nodes: {}", merged(merge)),
        (_, Route::Local) => "itself".to_owned(),
        (_, Route::Refused(why)) => format!("refused: {why}"),
    }
}

fn status(status: Status) -> String {
    match status {
        Status::Built => "yes".to_owned(),
        Status::Planned => "planned".to_owned(),
        Status::Never(why) => format!("no: {why}"),
    }
}

fn line(entry: &Entry, out: &mut String) {
    let name = entry.name.to_ascii_uppercase().replace('|', " ");
    let call = format!("{name} {}", entry.command.syntax).trim_end().replace('|', "\\|");
    let (arity, summary) = (entry.command.arity, entry.command.summary);
    let (route, status) = (route(entry), status(entry.command.status));
    writeln!(out, "| `{call}` | {arity} | {summary} | {route} | {status} |").expect("a string grows");
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    for (group, title) in FAMILIES {
        // A container does nothing without a subcommand, except COMMAND.
        let shown = |e: &&Entry| {
            e.command.group == *group && (e.command.subcommands.is_empty() || e.command.arity == -1)
        };
        let mut entries: Vec<&Entry> = table().entries().iter().filter(shown).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let built = entries.iter().filter(|e| e.command.status == Status::Built).count();
        writeln!(out, "\n## {title}\n\n{built} of {} are there.\n", entries.len()).expect("a string grows");
        out.push_str("| Command | Arity | | Through the router | Status |\n|---|---|---|---|---|\n");
        entries.iter().for_each(|entry| line(entry, &mut out));
    }
    out
}

#[test]
fn commands_md_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    let wanted = document();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|v| v == "1") {
        std::fs::write(&path, wanted).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/commands.md is stale: run with UPDATE_DOCS=1 and commit it");
}

#[test]
fn every_family_has_a_chapter() {
    for entry in table().entries() {
        let group = entry.command.group;
        assert!(FAMILIES.iter().any(|(known, _)| *known == group), "{group:?}");
    }
}
