//! What scripts cannot say: distributions, and scans of sets that change. The rest is in `proto/testkit/scripts/set`.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{draw::tests::chi_square, testing::Core};

/// The bulk strings of a reply.
fn bulks(reply: &str) -> Vec<String> {
    let mut lines = reply.split("\r\n");
    let mut bulks = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('$') && line != "$-1" {
            bulks.push(lines.next().unwrap().to_owned());
        }
    }
    bulks
}

fn add(core: &mut Core, members: &[String]) {
    for some in members.chunks(50) {
        assert_eq!(core.run(&format!("SADD s {}", some.join(" "))), format!(":{}\r\n", some.len()));
    }
}

/// Members of an intset, a packed set and a table, 50 each.
fn forms() -> [Vec<String>; 3] {
    let numbers: Vec<String> = (0..50).map(|i| (i * 1000).to_string()).collect();
    let mut packed = numbers.clone();
    packed[7] = "text".to_owned();
    let mut table = numbers.clone();
    table[7] = "x".repeat(100);
    [numbers, packed, table]
}

/// How unevenly the words of many replies are spread over `members`.
fn unevenness(
    core: &mut Core,
    members: &[String],
    times: usize,
    mut command: impl FnMut(&mut Core) -> String,
) -> f64 {
    let mut counts: BTreeMap<&str, u32> = members.iter().map(|m| (m.as_str(), 0)).collect();
    for _ in 0..times {
        for word in bulks(&command(core)) {
            *counts.get_mut(word.as_str()).expect("a member") += 1;
        }
    }
    chi_square(&counts.into_values().collect::<Vec<_>>())
}

#[test]
fn random_members_are_fair() {
    for members in forms() {
        let mut core = Core::new();
        add(&mut core, &members);
        for (count, times) in [("", 5000), ("-100", 100), ("1", 5000), ("5", 1000), ("25", 200), ("45", 200)]
        {
            let spread =
                unevenness(&mut core, &members, times, |core| core.run(&format!("SRANDMEMBER s {count}")));
            // Beyond 8 standard deviations for 49 degrees of freedom.
            assert!(spread < 130.0, "SRANDMEMBER s {count}: {spread}");
        }
    }
}

#[test]
fn popped_members_are_fair() {
    for members in forms() {
        let mut core = Core::new();
        for (count, times) in [("", 3000), ("1", 3000), ("3", 1000), ("40", 200), ("47", 200)] {
            let spread = unevenness(&mut core, &members, times, |core| {
                drop(core.store.flush(Some(0), |_, _| {}).unwrap());
                add(core, &members);
                core.run(&format!("SPOP s {count}"))
            });
            assert!(spread < 130.0, "SPOP s {count}: {spread}");
        }
    }
}

#[test]
fn what_is_popped_is_gone_and_the_rest_stays() {
    for members in forms() {
        for count in [1, 10, 25, 42, 49, 50, 60] {
            let mut core = Core::new();
            add(&mut core, &members);
            let popped = bulks(&core.run(&format!("SPOP s {count}")));
            let left = bulks(&core.run("SMEMBERS s"));
            assert_eq!(popped.len(), count.min(50));
            assert_eq!(popped.len() + left.len(), 50);
            let all: BTreeSet<_> = popped.iter().chain(&left).collect();
            assert_eq!(all, members.iter().collect());
        }
    }
}

#[test]
fn a_table_of_which_little_is_left_by_a_pop_becomes_small() {
    let mut core = Core::new();
    let members: Vec<String> = (0..600).map(|i| format!("m{i}")).collect();
    add(&mut core, &members);
    let encoding = |core: &Core| {
        let mut found = Vec::new();
        core.store.each_entry(0, core.now, |_, value, _| found.push(value.encoding()));
        found[0]
    };
    core.run("SPOP s 400");
    assert_eq!(encoding(&core), "hashtable");
    core.run("SPOP s 190");
    assert_eq!(encoding(&core), "listpack");
}

#[test]
fn scans_see_what_stays_while_the_set_grows_and_shrinks() {
    let mut core = Core::new();
    let members: Vec<String> = (0..300).map(|i| format!("m{i}")).collect();
    add(&mut core, &members);
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    for round in 0.. {
        let mut found = bulks(&core.run(&format!("SSCAN s {cursor} COUNT 20")));
        cursor = found.remove(0);
        seen.extend(found);
        if cursor == "0" {
            break;
        }
        if round < 12 {
            let command = if round % 4 < 2 { "SADD" } else { "SREM" };
            (0..200).for_each(|i| {
                core.run(&format!("{command} s more{}-{i}", round % 2));
            });
        }
    }
    assert!(members.iter().all(|m| seen.contains(m)));
}

#[test]
fn memory_is_accounted_and_comes_back() {
    let mut core = Core::new();
    for members in forms() {
        let empty = core.store.used_memory();
        add(&mut core, &members);
        assert!(core.store.used_memory() > empty + 100);
        core.run("SPOP s 20");
        core.run("SPOP s 27");
        core.run("SPOP s");
        core.run(&format!("SREM s {}", members.join(" ")));
        assert_eq!(core.store.used_memory(), empty);
    }
}
