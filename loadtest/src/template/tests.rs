//! Lines and the requests that are made of them.

use super::*;

fn filling() -> Filling {
    Filling {
        keys: KeyText::new("k", 4, 1000),
        values: ValueText::new(1),
        sizes: Sizes::Fixed(3),
        ttls: Some("60".parse().unwrap()),
    }
}

fn encode(line: &str) -> String {
    encode_with(&filling(), line, 7, 1).0
}

/// The request about this key, and how many keys it asks for.
fn encode_with(filling: &Filling, line: &str, key: u64, seed: u64) -> (String, u32) {
    let template = Template::compile(line, filling).unwrap();
    let mut next = 100;
    let mut out = Vec::new();
    let more = |_: &mut Random| {
        next += 1;
        next
    };
    let keys = template.encode(key, filling, &mut Random::new(seed), more, &mut out);
    let text = String::from_utf8(out).unwrap();
    check_request(&text);
    (text, keys)
}

/// Every length in a request must be true.
fn check_request(text: &str) {
    let (count, mut rest) = text.split_once("\r\n").unwrap();
    for _ in 0..count[1..].parse::<usize>().unwrap() {
        let (length, word) = rest.split_once("\r\n").unwrap();
        let length: usize = length.strip_prefix('$').unwrap().parse().unwrap();
        rest = word[length..].strip_prefix("\r\n").unwrap_or_else(|| panic!("{text}"));
    }
    assert_eq!(rest, "", "{text}");
}

#[test]
fn encodes_requests() {
    assert_eq!(encode("PING"), "*1\r\n$4\r\nPING\r\n");
    assert_eq!(encode("get {key}"), "*2\r\n$3\r\nget\r\n$4\r\nk007\r\n");
    assert_eq!(encode("GET a:{key}:b"), "*2\r\n$3\r\nGET\r\n$8\r\na:k007:b\r\n");
    let set = encode("SET {key} {value} EX 10");
    assert!(set.starts_with("*5\r\n$3\r\nSET\r\n$4\r\nk007\r\n$3\r\n"), "{set}");
    assert!(set.ends_with("\r\n$2\r\nEX\r\n$2\r\n10\r\n"), "{set}");
    assert_eq!(encode("MGET {keys:3}"), "*4\r\n$4\r\nMGET\r\n$4\r\nk007\r\n$4\r\nk101\r\n$4\r\nk102\r\n");
    assert_eq!(encode("INCRBY {key} {int:5-5}"), "*3\r\n$6\r\nINCRBY\r\n$4\r\nk007\r\n$1\r\n5\r\n");
    assert_eq!(encode("HGET {key} f{int:3-3}x"), "*3\r\n$4\r\nHGET\r\n$4\r\nk007\r\n$3\r\nf3x\r\n");
}

#[test]
fn names_and_counts() {
    let template = Template::compile("mget {keys:10}", &filling()).unwrap();
    assert_eq!((template.name(), template.adds()), ("MGET", false));
    assert!(Template::compile("SET {new} x", &filling()).unwrap().adds());
    assert_eq!(encode_with(&filling(), "MGET {keys:10}", 7, 1).1, 10);
    assert_eq!(encode_with(&filling(), "GET {key}", 7, 1).1, 1);
    let counts: Vec<u32> =
        (0..200).map(|seed| encode_with(&filling(), "MGET {keys:2-5}", 7, seed).1).collect();
    assert!((2..=5).all(|count| counts.contains(&count)));
    assert!(counts.iter().all(|count| (2..=5).contains(count)));
}

#[test]
fn several_keys_come_with_their_values() {
    let text = encode("MSET {pairs:2}");
    let words: Vec<&str> = text.split("\r\n").collect();
    assert_eq!((words[0], words[4], words[8]), ("*5", "k007", "k101"));
    assert_eq!((words[6].len(), words[10].len()), (3, 3));
    let words = encode_with(&filling(), "MSET {pairs:1-9}", 7, 3);
    assert!(words.0.starts_with(&format!("*{}\r\n", 1 + 2 * words.1)), "{words:?}");
}

#[test]
fn values_and_groups_are_parts_of_words() {
    assert_eq!(encode("GET t:{group:5}"), "*2\r\n$3\r\nGET\r\n$3\r\nt:1\r\n");
    let text = encode("ZADD z 0 {key}:{value}");
    assert!(text.contains("\r\n$8\r\nk007:"), "{text}");
}

#[test]
fn keys_of_different_lengths() {
    let filling = Filling { keys: KeyText::varied("k", &Sizes::Uniform(4, 30), 1000), ..filling() };
    let mut lengths = Vec::new();
    for key in 0..100 {
        let (text, _) = encode_with(&filling, "MSET {pairs:3}", key, 1);
        let (get, _) = encode_with(&filling, "GET {key}", key, 1);
        encode_with(&filling, "GET a:{key}", key, 1);
        let own = |text: &str| text.split("\r\n").nth(4).unwrap().to_owned();
        assert_eq!(own(&text), own(&get));
        lengths.push(own(&get).len());
    }
    assert!(lengths.iter().min() < Some(&8) && lengths.iter().max() > Some(&26), "{lengths:?}");
}

#[test]
fn a_time_to_live_may_be_missing_with_its_word() {
    assert!(encode("SET {key} x EX {ttl}").ends_with("$2\r\nEX\r\n$2\r\n60\r\n"));
    assert!(encode("SET {key} x PX {ttl}").ends_with("$2\r\nPX\r\n$5\r\n60000\r\n"));
    assert_eq!(encode("EXPIRE {key} {ttl}"), "*3\r\n$6\r\nEXPIRE\r\n$4\r\nk007\r\n$2\r\n60\r\n");
    let mixed = Filling { ttls: Some("60,none".parse().unwrap()), ..filling() };
    let (mut with, mut without) = (0, 0);
    for key in 0..100 {
        let (text, _) = encode_with(&mixed, "SET {key} x EX {ttl}", key, 1);
        if text.starts_with("*5") {
            with += 1
        } else {
            without += 1
        }
        assert_eq!(text.starts_with("*5"), text.contains("EX"));
    }
    assert!(with > 30 && without > 30, "{with} {without}");
    for line in ["EXPIRE {key} {ttl}", "SETEX {key} {ttl} x", "SET {key} x EX a{ttl}"] {
        let error = Template::compile(line, &mixed).unwrap_err();
        assert!(error.contains("must follow EX or PX"), "{error}");
    }
    let never = Filling { ttls: None, ..filling() };
    let error = Template::compile("SET {key} x EX {ttl}", &never).unwrap_err();
    assert!(error.contains("no times to live"), "{error}");
}

#[test]
fn refuses_what_it_does_not_know() {
    for line in [
        "",
        "{key} x",
        "GET {kee}",
        "GET {key",
        "GET {keys:0}",
        "GET {int:9-1}",
        "GET a{keys:2}",
        "GET {keys:}",
        "GET {keys:5-2}",
        "GET {keys:0-2}",
        "GET {keys:1000000}",
        "GET {group:0}",
        "GET {group:x}",
        "GET {}",
        "GET {keys:1-2} {keys:1-3}",
        "GET {keys:normal:x:1}",
    ] {
        assert!(Template::compile(line, &filling()).is_err(), "{line}");
    }
}
