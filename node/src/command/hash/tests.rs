//! What scripts cannot say: distributions, and scans of hashes that change. The rest is in `proto/testkit/scripts/hash`.

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

fn filled(fields: usize) -> Core {
    let mut core = Core::new();
    for i in 0..fields {
        assert_eq!(core.run(&format!("HSET h f{i} {i}")), ":1\r\n");
    }
    core
}

fn scan(core: &mut Core, cursor: &str, options: &str) -> (String, Vec<String>) {
    let mut found = bulks(&core.run(&format!("HSCAN h {cursor} {options}")));
    let cursor = found.remove(0);
    (cursor, found)
}

#[test]
fn random_fields_are_fair() {
    // A packed hash and a table. 130 is 8 standard deviations beyond the mean for 49 degrees of freedom, as is 300 for 149.
    for (fields, limit) in [(50, 130.0), (150, 300.0)] {
        let mut core = filled(fields);
        for (command, times) in
            [("", 5000), ("-100", 100), ("1", 5000), ("10", 500), ("49", 200), ("-3 WITHVALUES", 2000)]
        {
            let mut counts = BTreeMap::new();
            for _ in 0..times {
                for word in bulks(&core.run(&format!("HRANDFIELD h {command}"))) {
                    if word.starts_with('f') {
                        *counts.entry(word).or_insert(0) += 1;
                    }
                }
            }
            assert_eq!(counts.len(), fields);
            let counts: Vec<u32> = counts.into_values().collect();
            assert!(chi_square(&counts) < limit, "HRANDFIELD h {command}: {}", chi_square(&counts));
        }
    }
}

#[test]
fn a_random_field_comes_with_its_value() {
    for fields in [20, 200] {
        let mut core = filled(fields);
        for count in [-50, 7, 19, 300] {
            let words = bulks(&core.run(&format!("HRANDFIELD h {count} WITHVALUES")));
            assert_eq!(words.len(), 2 * if count < 0 { 50 } else { fields.min(count as usize) });
            assert!(words.chunks(2).all(|pair| pair[0] == format!("f{}", pair[1])));
        }
    }
}

#[test]
fn scans_see_what_stays_while_the_hash_grows_and_shrinks() {
    let mut core = filled(300);
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    for round in 0.. {
        let (next, found) = scan(&mut core, &cursor, "COUNT 20");
        seen.extend(found.chunks(2).map(|pair| pair[0].clone()));
        if next == "0" {
            break;
        }
        cursor = next;
        if round < 12 {
            let command = if round % 4 < 2 { "HSET" } else { "HDEL" };
            for i in 0..200 {
                let value = if command == "HSET" { "x" } else { "" };
                core.run(&format!("{command} h more{}-{i} {value}", round % 2));
            }
        }
    }
    assert!((0..300).all(|i| seen.contains(&format!("f{i}"))));
}

#[test]
fn scan_options() {
    let mut core = filled(1000);
    let (next, found) = scan(&mut core, "0", "COUNT 100");
    assert_ne!(next, "0");
    assert!((200..280).contains(&found.len()), "{}", found.len());
    // Any cursor is an answer's cursor; a large count is no obstacle.
    scan(&mut core, "18446744073709551615", "");
    let (next, found) = scan(&mut core, "0", "COUNT 9223372036854775807");
    assert_eq!((next.as_str(), found.len()), ("0", 2000));
    let (next, mut found) = scan(&mut core, "0", "COUNT 5000 MATCH f99? NOVALUES");
    found.sort();
    assert_eq!(next, "0");
    assert_eq!(found, (990..1000).map(|i| format!("f{i}")).collect::<Vec<_>>());
}

#[test]
fn more_than_a_reply_can_hold_is_refused() {
    let mut core = filled(1);
    for command in ["-4611686018427387903 WITHVALUES", "-9223372036854775807", "-100000000"] {
        assert_eq!(core.run(&format!("HRANDFIELD h {command}")), "-ERR value is out of range\r\n");
        assert_eq!(core.run(&format!("HRANDFIELD nokey {command}")), "*0\r\n");
    }
}

#[test]
fn memory_is_accounted_and_comes_back() {
    let mut core = filled(0);
    let empty = core.store.used_memory();
    for i in 0..500 {
        core.run(&format!("HSET h field{i} {}", "v".repeat(i)));
    }
    // Half the fields' values, on average.
    assert!(core.store.used_memory() > empty + 500 * 250);
    for i in 0..500 {
        core.run(&format!("HDEL h field{i}"));
    }
    assert_eq!(core.store.used_memory(), empty);
    assert_eq!(core.store.len(0).0, 0);
}
