//! `SHOAL PLAN` against what happens then, with real nodes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shoal_testkit::{Frame, process::Process};

/// How long a change of the cluster may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the command line should have been.
const EXPECTED: &str =
    "-ERR syntax error, expected [JOIN [count] [WEIGHT weight] [ZONE zone] | LEAVE name [name ...]] ...";

fn node(name: &str, weight: u16, zone: &str, join: Option<&Process>) -> Process {
    let weight = weight.to_string();
    let flags = ["--name", name, "--weight", &weight, "--zone", zone];
    process::start(&[&[env!("CARGO_BIN_EXE_shoal-node")], &flags[..]].concat(), join)
}

fn ask(node: &Process, line: &str) -> String {
    match node.client().unwrap().line(line).unwrap() {
        Frame::Bulk(text) | Frame::Simple(text) | Frame::Verbatim(_, text) => {
            String::from_utf8(text).unwrap()
        }
        Frame::Error(text) => format!("-{}", String::from_utf8_lossy(&text)),
        Frame::Int(n) => n.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

/// By slot the name of its owner, as a node sees it.
fn owners(of: &Process) -> Vec<String> {
    let mut owners = vec![String::new(); 16384];
    for line in ask(of, "CLUSTER NODES").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let name = words[1].rsplit(',').next().unwrap();
        for range in &words[8..] {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            owners[first.parse().unwrap()..=last.parse().unwrap()].fill(name.to_owned());
        }
    }
    owners
}

/// Waits until nothing moves any more and all of these have slots.
fn settle(nodes: &[&Process]) {
    let deadline = Instant::now() + PATIENCE;
    let settled = |node: &&Process| {
        let names: std::collections::BTreeSet<String> = owners(node).into_iter().collect();
        ask(node, "SHOAL PLAN").starts_with("0 of") && names.len() == nodes.len() && !names.contains("")
    };
    while !nodes.iter().all(settled) {
        assert!(Instant::now() < deadline, "{}", ask(nodes[0], "SHOAL CLUSTER"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Slots and, as far as a node knows, keys, by who gives and who gets them.
type Moves = BTreeMap<(String, String), (usize, usize)>;

fn planned(text: &str) -> Moves {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let keys =
            words.iter().position(|w| w.starts_with("keys")).map_or(0, |at| words[at - 1].parse().unwrap());
        ((words[0].to_owned(), words[2].trim_end_matches(':').to_owned()), (words[3].parse().unwrap(), keys))
    };
    text.lines().filter(|l| l.contains(" -> ")).map(line).collect()
}

fn happened(before: &[String], after: &[String]) -> BTreeMap<(String, String), usize> {
    let mut moved = BTreeMap::new();
    for (from, to) in before.iter().zip(after).filter(|(from, to)| from != to) {
        *moved.entry((from.clone(), to.clone())).or_default() += 1;
    }
    moved
}

#[test]
fn what_is_planned_is_what_happens() {
    let a = node("a", 100, "", None);
    let b = node("b", 300, "x", Some(&a));
    settle(&[&a, &b]);
    let mut clients = [&a, &b].map(|node| node.client().unwrap());
    for key in 0..3000 {
        let key = format!("key:{key}");
        let mut set = |client: &mut shoal_testkit::Client| {
            client.call(["SET", &key, "value"]).unwrap() == Frame::Simple(b"OK".to_vec())
        };
        assert!(clients.iter_mut().any(&mut set), "{key}");
    }
    let size = |node: &Process| ask(node, "DBSIZE").parse::<usize>().unwrap();
    // Somebody with another weight comes.
    let plans = [&a, &b].map(|node| planned(&ask(node, "SHOAL PLAN JOIN WEIGHT 50 ZONE y")));
    let before = owners(&a);
    let c = node("c", 50, "y", Some(&a));
    settle(&[&a, &b, &c]);
    let moved = happened(&before, &owners(&a));
    let slots: BTreeMap<_, _> =
        moved.iter().map(|((from, to), n)| ((from.clone(), to.replace('c', "new-1")), *n)).collect();
    for plan in &plans {
        assert_eq!(
            plan.iter().map(|(pair, (slots, _))| (pair.clone(), *slots)).collect::<BTreeMap<_, _>>(),
            slots
        );
    }
    // Each knows what it has itself.
    let known: usize = plans.iter().flat_map(|plan| plan.values()).map(|(_, keys)| keys).sum();
    assert!(known > 0 && known == size(&c), "{plans:?}, {}", size(&c));
    // Somebody goes.
    let text = ask(&b, "SHOAL PLAN LEAVE b");
    let (plan, before, sizes) = (planned(&text), owners(&a), [size(&a), size(&c)]);
    assert!(
        text.starts_with(&format!(
            "{} of 16384 slots would move",
            before.iter().filter(|n| *n == "b").count()
        ))
    );
    let mut gone = b;
    gone.signal("TERM").unwrap();
    assert_eq!(gone.wait(PATIENCE).unwrap(), Some(0), "{}", gone.output());
    settle(&[&a, &c]);
    let moved = happened(&before, &owners(&a));
    assert_eq!(
        plan.iter().map(|(pair, (slots, _))| (pair.clone(), *slots)).collect::<BTreeMap<_, _>>(),
        moved
    );
    for (node, name, had) in [(&a, "a", sizes[0]), (&c, "c", sizes[1])] {
        assert_eq!(plan[&("b".to_owned(), name.to_owned())].1, size(node) - had, "keys that {name} got");
    }
    // All at once: what the others have beyond their new shares, and all of one.
    let all = planned(&ask(&a, "SHOAL PLAN LEAVE c JOIN 2 JOIN WEIGHT 200 ZONE z"));
    let count =
        |of: &str| all.iter().filter(|((_, to), _)| to == of).map(|(_, (slots, _))| slots).sum::<usize>();
    let equal = [count("new-1"), count("new-2"), count("new-3") / 2];
    assert!(equal.iter().all(|n| (3276..=3277).contains(n)), "{all:?}");
    assert_eq!(
        all.iter().filter(|((from, _), _)| from == "c").map(|(_, (slots, _))| slots).sum::<usize>(),
        owners(&a).iter().filter(|n| *n == "c").count()
    );
}

#[test]
fn what_cannot_be_planned_is_explained() {
    let a = node("a", 100, "", None);
    let b = node("b", 100, "", Some(&a));
    settle(&[&a, &b]);
    for (words, answer) in [
        ("JOIN 0", "-ERR count '0' is no number between 1 and 256"),
        ("JOIN -1", "-ERR count '-1' is no number between 1 and 256"),
        ("JOIN many", "-ERR count 'many' is no number between 1 and 256"),
        ("JOIN 200 JOIN 57", "-ERR no more than 256 new members can be imagined"),
        ("JOIN WEIGHT 0", "-ERR weight '0' is no number between 1 and 10000"),
        ("JOIN 2 WEIGHT -5", "-ERR weight '-5' is no number between 1 and 10000"),
        ("JOIN WEIGHT 10001", "-ERR weight '10001' is no number between 1 and 10000"),
        (
            "JOIN WEIGHT 99999999999999999999",
            "-ERR weight '99999999999999999999' is no number between 1 and 10000",
        ),
        ("JOIN WEIGHT", EXPECTED),
        ("JOIN 2 COLOUR red", EXPECTED),
        ("JOIN 2 3", EXPECTED),
        ("LEAVE", EXPECTED),
        ("LEAVE JOIN", EXPECTED),
        ("MOVE a b", EXPECTED),
        ("LEAVE nobody", "-ERR no member is called 'nobody'"),
        ("LEAVE a nobody", "-ERR no member is called 'nobody'"),
        ("LEAVE b b", "-ERR 'b' is named twice"),
        ("LEAVE b JOIN LEAVE b", "-ERR 'b' is named twice"),
        ("LEAVE a b", "-ERR somebody has to stay"),
    ] {
        assert_eq!(ask(&a, &format!("SHOAL PLAN {words}")), answer, "{words}");
    }
    for words in ["LEAVE a b JOIN", "JOIN WEIGHT 10000 ZONE z", "join 256"] {
        assert!(ask(&a, &format!("SHOAL PLAN {words}")).contains(" of 16384 slots would move"), "{words}");
    }
}
