//! What text scripts cannot say well: chance, large collections, errors that must leave data as it was.

use std::collections::BTreeSet;

use shoal_proto::resp::Protocol;

use crate::command::{draw::tests::chi_square, testing::Core};

/// The bulk strings of a reply.
fn bulks(reply: &str) -> Vec<String> {
    let mut lines = reply.split("\r\n");
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('$') {
            found.push(lines.next().unwrap_or_default().to_owned());
        }
    }
    found
}

/// A sorted set of `len` members `m<n>` with score `n`, in both encodings.
fn both_forms(len: usize) -> [Core; 2] {
    let pairs: String = (0..len).map(|n| format!(" {n} m{n}")).collect();
    [100_000, 0].map(|entries| {
        let mut core = Core::new();
        core.store.configure(|settings| settings.encodings.zset_entries = entries);
        assert_eq!(core.run(&format!("ZADD z{pairs}")), format!(":{len}\r\n"));
        core
    })
}

#[test]
fn an_error_leaves_everything_as_it_was() {
    let mut core = Core::new();
    core.run("ZADD z 1 a");
    for line in [
        "ZADD z 2 b x c",
        "ZADD z 2 b 3",
        "ZADD z NX XX 2 b",
        "ZADD new 2 b x c",
        "ZUNIONSTORE z 2 z z WEIGHTS 1 x",
        "ZRANGESTORE z z 0 x",
        "ZPOPMIN z -1",
        "ZMPOP 1 z MIN COUNT 0",
        "ZREMRANGEBYRANK z 0 x",
    ] {
        assert!(core.run(line).starts_with('-'), "{line}");
        assert_eq!(core.run("ZRANGE z 0 -1 WITHSCORES"), "*2\r\n$1\r\na\r\n$1\r\n1\r\n", "{line}");
    }
    assert_eq!(core.run("ZCARD new"), ":0\r\n");
    core.run("ZADD z inf a");
    assert_eq!(core.run("ZINCRBY z -inf a"), "-ERR resulting score is not a number (NaN)\r\n");
    assert_eq!(core.run("ZSCORE z a"), "$3\r\ninf\r\n");
}

#[test]
fn what_becomes_empty_is_gone() {
    for line in
        ["ZREM z a b", "ZPOPMIN z 5", "ZPOPMAX z 2", "ZMPOP 1 z MAX COUNT 9", "ZREMRANGEBYSCORE z -inf +inf"]
    {
        let mut core = Core::new();
        core.run("ZADD z 1 a 2 b");
        core.run(line);
        assert_eq!(core.store.len(0).0, 0, "{line}");
    }
    let mut core = Core::new();
    core.run("ZADD {t}z 1 a");
    core.run("ZADD {t}dst 1 a");
    assert_eq!(core.run("ZINTERSTORE {t}dst 2 {t}z {t}none"), ":0\r\n");
    assert_eq!(core.run("ZRANGESTORE {t}z {t}z 5 6"), ":0\r\n");
    assert_eq!(core.store.len(0).0, 0);
}

#[test]
fn ranges_agree_in_both_forms() {
    let mut forms = both_forms(300);
    for line in [
        "ZRANGE z 0 -1",
        "ZRANGE z 5 1",
        "ZRANGE z -3 -1 WITHSCORES",
        "ZRANGE z 100 220 REV",
        "ZRANGE z (10 200 BYSCORE LIMIT 50 70 WITHSCORES",
        "ZRANGE z 200 (10 BYSCORE REV LIMIT 50 70",
        "ZRANGE z 200 (10 BYSCORE REV LIMIT 500 70",
        "ZRANGE z 0 -1 BYSCORE",
        "ZRANGE z -inf +inf BYSCORE LIMIT 0 0",
        "ZRANGE z -inf +inf BYSCORE LIMIT -1 5",
        "ZRANGE z -inf +inf BYSCORE LIMIT 290 -7",
        "ZCOUNT z 17 (212",
        "ZRANK z m77",
        "ZREVRANK z m77 WITHSCORE",
        "ZMSCORE z m1 none m299",
        "ZRANDMEMBER z 300 WITHSCORES",
        "ZPOPMAX z 3",
        "ZREMRANGEBYRANK z -5 -2",
        "ZREMRANGEBYSCORE z 5 (150",
        "ZRANGE z 0 -1 WITHSCORES",
        "ZUNION 1 z WITHSCORES",
    ] {
        let [small, large] = &mut forms;
        let order = |mut core: Vec<String>| {
            if line.starts_with("ZRANDMEMBER") {
                core.sort();
            }
            core
        };
        let (a, b) = (small.run(line), large.run(line));
        if line.starts_with("ZRANDMEMBER") {
            assert_eq!(order(bulks(&a)), order(bulks(&b)), "{line}");
        } else {
            assert_eq!(a, b, "{line}");
        }
    }
}

#[test]
fn every_member_is_as_likely_to_be_drawn() {
    for mut core in both_forms(50) {
        for (line, rounds) in [("ZRANDMEMBER z", 3000), ("ZRANDMEMBER z -10", 300), ("ZRANDMEMBER z 10", 300)]
        {
            let mut counts = vec![0; 50];
            for _ in 0..rounds {
                let found = bulks(&core.run(line));
                for member in &found {
                    counts[member[1..].parse::<usize>().unwrap()] += 1;
                }
                if line.ends_with(" 10") {
                    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 10);
                }
            }
            // The chance that 49 degrees of freedom exceed 112 is below one in a million.
            assert!(chi_square(&counts) < 112.0, "{line}: {counts:?}");
        }
    }
}

#[test]
fn draws_of_absurd_length_are_refused() {
    let mut core = both_forms(3).into_iter().next().unwrap();
    for (line, text) in [
        ("ZRANDMEMBER z -9223372036854775807 WITHSCORES", "-ERR value is out of range\r\n"),
        (
            "ZRANDMEMBER z -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n",
        ),
    ] {
        assert_eq!(core.run(line), text);
    }
}

#[test]
fn a_scan_gives_every_member_with_its_score() {
    for mut core in both_forms(500) {
        let mut seen = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let page = bulks(&core.run(&format!("ZSCAN z {cursor} COUNT 20 MATCH m*")));
            cursor.clone_from(&page[0]);
            for pair in page[1..].chunks(2) {
                assert_eq!(pair[0][1..], pair[1]);
                seen.insert(pair[0].clone());
            }
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 500);
    }
}

#[test]
fn scans_write_scores_as_redis_does() {
    let [mut small, mut large] = both_forms(1);
    for core in [&mut small, &mut large] {
        core.run("ZREM z m0");
        core.run("ZADD z 0.1 a");
        core.protocol = Protocol::Resp3;
        assert_eq!(core.run("ZSCORE z a"), ",0.1\r\n");
    }
    assert_eq!(small.run("ZSCAN z 0"), "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$3\r\n0.1\r\n");
    assert_eq!(large.run("ZSCAN z 0"), "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$19\r\n0.10000000000000001\r\n");
}

#[test]
fn memory_is_accounted_and_comes_back() {
    let mut core = Core::new();
    for n in 0..2000 {
        core.run(&format!("ZADD z {} member:{n}", n % 7));
    }
    assert!(core.store.used_memory() > 2000 * 40);
    core.run("ZREMRANGEBYRANK z 0 -1");
    assert_eq!(core.store.used_memory(), 0);
}

#[test]
fn stored_results_are_as_small_as_they_can_be() {
    let mut core = Core::new();
    core.store.configure(|settings| settings.encodings.zset_entries = 2);
    core.run("ZADD {t}z 1 a 2 b 3 c");
    let encoding = |core: &mut Core, key: &str| {
        core.store
            .lock_slot(0, shoal_proto::slot::key_slot(key.as_bytes()), core.now)
            .peek(key.as_bytes())
            .map(|v| v.encoding())
    };
    assert_eq!(encoding(&mut core, "{t}z"), Some("skiplist"));
    core.run("ZRANGESTORE {t}a {t}z 0 1");
    assert_eq!(encoding(&mut core, "{t}a"), Some("listpack"));
    core.run("ZUNIONSTORE {t}a 1 {t}z");
    assert_eq!(encoding(&mut core, "{t}a"), Some("skiplist"));
    core.run("ZDIFFSTORE {t}a 2 {t}z {t}a");
    assert_eq!(encoding(&mut core, "{t}a"), None);
}
