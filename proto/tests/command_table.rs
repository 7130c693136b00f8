//! What must hold for every row of the command table, and key extraction by example.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashSet;

use shoal_proto::command::{
    Argument, Begin, Command, Entry, Find, Flags, KeyFlags, KeySpec, Kind, Merge, Positions, Route, Status,
    parse_syntax, table,
};
use shoal_proto::resp::request::OwnedArgs;

fn real_keys(command: &Command) -> Vec<&KeySpec> {
    command.keys.iter().filter(|spec| !spec.flags.contains(KeyFlags::NOT_KEY)).collect()
}

/// Rows that do something: all but containers, `COMMAND` being both.
fn executable() -> impl Iterator<Item = &'static Entry> {
    table().entries().iter().filter(|e| e.command.subcommands.is_empty())
}

#[test]
fn names_are_unique_and_lower_case() {
    let mut seen = HashSet::new();
    for entry in table().entries() {
        assert!(seen.insert(entry.name.as_str()), "{} is there twice", entry.name);
        assert_eq!(entry.name, entry.name.to_ascii_lowercase());
    }
    // 241 of Valkey 8 and Shoal's own container.
    assert_eq!(table().commands().count(), 242);
}

#[test]
fn every_name_is_found_in_any_case() {
    for entry in table().entries() {
        for name in [entry.name.clone(), entry.name.to_ascii_uppercase()] {
            assert_eq!(table().by_full_name(name.as_bytes()).map(|e| e.id), Some(entry.id), "{name}");
            let mut request: Vec<&str> = name.split('|').collect();
            let given = request.len();
            request.resize(entry.command.arity.unsigned_abs().into(), "x");
            if entry.command.subcommands.is_empty() || request.len() == given {
                let args = OwnedArgs::new(request);
                assert_eq!(table().find(args.args()).map(|e| e.id), Ok(entry.id), "{name}");
            }
        }
    }
    for missing in ["", "nosuch", "get|", "get|x", "client|", "client|nosuch", "GETT", "gE"] {
        assert!(table().by_full_name(missing.as_bytes()).is_none(), "{missing}");
    }
}

#[test]
fn wrong_requests_answer_with_redis_texts() {
    for (request, text) in [
        ("client", "ERR wrong number of arguments for 'client' command"),
        ("shoal", "ERR wrong number of arguments for 'shoal' command"),
        ("get", "ERR wrong number of arguments for 'get' command"),
        ("GET a b", "ERR wrong number of arguments for 'get' command"),
        ("Client ID x", "ERR wrong number of arguments for 'client|id' command"),
        ("config nosuch", "ERR unknown subcommand 'nosuch'. Try CONFIG HELP."),
        ("nosuch a b", "ERR unknown command 'nosuch', with args beginning with: 'a' 'b' "),
    ] {
        let args = OwnedArgs::new(request.split(' '));
        assert_eq!(table().find(args.args()).unwrap_err().to_string(), text);
    }
    let alone = OwnedArgs::new(["command"]);
    assert_eq!(table().find(alone.args()).unwrap().name, "command");
}

#[test]
fn arity_is_sane() {
    for entry in table().entries() {
        let words = 1 + i8::from(entry.parent.is_some());
        let least = entry.command.arity.abs();
        assert!(least >= words, "{}: arity {}", entry.name, entry.command.arity);
        if !entry.command.subcommands.is_empty() {
            assert_eq!(entry.command.arity, if entry.name == "command" { -1 } else { -2 }, "{}", entry.name);
        }
    }
}

#[test]
fn arity_and_syntax_agree() {
    /// The fewest words that the arguments take, and whether they may take more.
    fn least(arguments: &[Argument]) -> (usize, bool) {
        arguments.iter().fold((0, false), |(sum, open), argument| {
            let (words, more) = match argument.kind {
                Kind::PureToken => (1, false),
                Kind::OneOf => {
                    let each: Vec<_> =
                        argument.arguments.iter().map(|a| least(std::slice::from_ref(a))).collect();
                    let fewest = each.iter().map(|e| e.0).min().unwrap_or(0);
                    (fewest, each.iter().any(|e| e.1 || e.0 != fewest))
                }
                Kind::Block => least(&argument.arguments),
                _ => (1, false),
            };
            let words = words + usize::from(argument.token.is_some() && argument.kind != Kind::PureToken);
            let needed = if argument.optional { 0 } else { words };
            (sum + needed, open || more || argument.optional || argument.multiple)
        })
    }
    // Redis counts these loosely: their handlers check the rest.
    let loose =
        ["auth", "replconf", "xadd", "xtrim", "cluster|slot-stats", "client|kill", "latency|histogram"];
    for entry in executable().filter(|e| !loose.contains(&e.name.as_str())) {
        let (words, open) = least(&parse_syntax(entry.command).unwrap());
        let words = words + 1 + usize::from(entry.parent.is_some());
        let arity = entry.command.arity;
        assert!(usize::from(arity.unsigned_abs()) <= words, "{}: {arity} but needs {words}", entry.name);
        if arity > 0 {
            assert!(!open && words == arity as usize, "{}: {arity}, {words}, {open}", entry.name);
        }
    }
}

#[test]
fn keys_flags_and_positions_agree() {
    for entry in executable() {
        let (command, name) = (entry.command, &entry.name);
        let writes = command.flags.contains(Flags::WRITE);
        let reads = command.flags.contains(Flags::READONLY);
        assert!(!(writes && reads), "{name} both writes and reads only");
        let keys = real_keys(command);
        // Scripts and WATCH do what they please with their keys, or nothing.
        let neutral = command.flags.contains(Flags::NO_MANDATORY_KEYS)
            || ["watch", "pfselftest"].contains(&name.as_str())
            || !command.flags.intersects(Flags::WRITE | Flags::READONLY) && name.starts_with("object|");
        if !keys.is_empty() && !neutral {
            assert!(writes || reads, "{name} has keys but neither writes nor reads");
        }
        // PFCOUNT keeps its estimate inside the value.
        if reads && !neutral && name != "pfcount" {
            let change = KeyFlags::RW | KeyFlags::OW | KeyFlags::RM;
            assert!(keys.iter().all(|k| !k.flags.intersects(change)), "{name} reads only but changes keys");
        }
        for spec in command.keys {
            let kind = spec.flags & (KeyFlags::RO | KeyFlags::RW | KeyFlags::OW | KeyFlags::RM);
            let expected = u32::from(!spec.flags.contains(KeyFlags::NOT_KEY));
            assert_eq!(kind.bits().count_ones(), expected, "{name}: one of RO, RW, OW, RM");
        }
        let positions = Positions::of(command.keys);
        assert_eq!(positions.movable, command.flags.contains(Flags::MOVABLEKEYS), "{name}");
        assert_eq!(positions.first == 0, positions.step == 0, "{name}");
        assert!(positions.last < 0 || positions.last >= positions.first, "{name}: {positions:?}");
        let least = i16::from(command.arity.unsigned_abs());
        assert!(positions.first < least || keys.is_empty(), "{name}");
    }
}

#[test]
fn routes_fit_the_keys() {
    for entry in executable() {
        let (command, name) = (entry.command, &entry.name);
        let keys = real_keys(command);
        match command.route {
            Route::Slot => assert!(!keys.is_empty(), "{name} has no key to go by"),
            Route::Split { step, merge } => {
                let [spec] = keys.as_slice() else { panic!("{name}: one specification") };
                assert_eq!(spec.begin, Begin::Index(1), "{name}");
                assert_eq!(spec.find, Find::Range { last: -1, step: step.into(), limit: 0 }, "{name}");
                assert_ne!(merge, Merge::Special, "{name}");
            }
            Route::AllNodes(_) => assert!(keys.is_empty(), "{name} has keys"),
            Route::Local => {
                let known = ["watch", "cluster|keyslot"].contains(&name.as_str());
                assert!(keys.is_empty() || known, "{name} has keys");
            }
            Route::Refused(why) => assert!(!why.is_empty(), "{name}"),
        }
        if let Status::Never(why) = command.status {
            assert_eq!(command.route, Route::Refused(why), "{name}");
        }
    }
}

#[test]
fn rows_are_documented() {
    let mut seen = HashSet::new();
    for entry in table().entries() {
        let command = entry.command;
        assert!(command.summary.ends_with('.') && command.summary.len() < 110, "{}", entry.name);
        assert!(
            seen.insert((command.group, command.summary, command.syntax)) || command.name == "help",
            "{}",
            entry.name
        );
        assert!(!command.complexity.is_empty(), "{}", entry.name);
        assert!(command.since.split('.').count() == 3, "{}", entry.name);
        for sub in command.subcommands {
            assert!(sub.subcommands.is_empty() && sub.group == command.group, "{}", entry.name);
        }
        if !command.subcommands.is_empty() {
            assert!(command.subcommands.iter().any(|sub| sub.name == "help"), "{} HELP", entry.name);
        }
    }
}

/// The arguments back in the notation they were read from.
fn notation(arguments: &[Argument]) -> String {
    let one = |argument: &Argument| -> String {
        let inner = match argument.kind {
            Kind::PureToken => argument.token.expect("it is one").to_owned(),
            Kind::OneOf => {
                let each: Vec<String> =
                    argument.arguments.iter().map(|a| notation(std::slice::from_ref(a))).collect();
                each.join(" | ")
            }
            Kind::Block => notation(&argument.arguments),
            _ => argument.name.clone(),
        };
        let bare = argument.optional && !argument.multiple && argument.token.is_none();
        let inner = if argument.kind == Kind::OneOf && !bare { format!("<{inner}>") } else { inner };
        let token = argument.token.filter(|_| argument.kind != Kind::PureToken);
        let mut text = token.map_or(inner.clone(), |token| format!("{token} {inner}"));
        if argument.multiple {
            let again = if argument.multiple_token { text.clone() } else { inner };
            text = format!("{text} [{again} ...]");
        }
        if argument.optional { format!("[{text}]") } else { text }
    };
    arguments.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_syntax_parses_and_says_the_same_again() {
    for entry in table().entries() {
        let arguments =
            parse_syntax(entry.command).unwrap_or_else(|| panic!("{} does not parse", entry.name));
        let again = notation(&arguments);
        if entry.name == "bitfield" {
            // `[x ...]` instead of `[x [x ...]]`, because x is long.
            assert!(arguments[1].optional && arguments[1].multiple, "{again}");
        } else {
            assert_eq!(again, entry.command.syntax, "{}", entry.name);
        }
    }
}

#[test]
fn keys_of_requests() {
    for (request, keys) in [
        ("get a", "a"),
        ("mset a 1 b 2 c 3", "a b c"),
        ("msetnx a 1 b 2", "a b"),
        ("eval script 2 a b c d", "a b"),
        ("eval script 0 a b", ""),
        ("fcall_ro f 1 a b", "a"),
        ("zunionstore d 2 a b WEIGHTS 1 2", "d a b"),
        ("zinter 2 a b", "a b"),
        ("blmpop 0 2 a b LEFT", "a b"),
        ("blpop a b 0", "a b"),
        ("xread COUNT 2 STREAMS a b 0 0", "a b"),
        ("XREADGROUP GROUP g c streams a b > >", "a b"),
        ("sort a BY w_* GET # STORE d", "a d"),
        ("sort a STORE b store c", "a c"),
        ("sort a LIMIT 0 5", "a"),
        ("sort_ro a BY w_*", "a"),
        ("object ENCODING a", "a"),
        ("memory usage a SAMPLES 5", "a"),
        ("migrate h 1 a 0 1", "a"),
        ("migrate h 1 _ 0 1 KEYS a b", "a b"),
        ("migrate h 1 _ 0 1 COPY AUTH2 u p KEYS a", "a"),
        ("georadius a 1 2 3 m STORE b", "a b"),
        ("georadiusbymember a m 3 m ASC STOREDIST b", "a b"),
        ("geosearchstore d s FROMMEMBER m BYRADIUS 1 m", "d s"),
        ("bitop AND d a b", "d a b"),
        ("copy a b", "a b"),
        ("rename a b", "a b"),
        ("lcs a b LEN", "a b"),
        ("xgroup CREATE a g $", "a"),
        ("pfcount a b", "a b"),
        ("publish c m", ""),
        ("spublish c m", ""),
        ("ping", ""),
    ] {
        // `_` stands for the empty string.
        let args = OwnedArgs::new(request.split(' ').map(|word| if word == "_" { "" } else { word }));
        let args = args.args();
        let entry = table().find(args).unwrap();
        let mut found = Vec::new();
        entry.each_key(args, |at| found.push(std::str::from_utf8(args.at(at)).unwrap())).unwrap();
        assert_eq!(found.join(" "), keys, "{request}");
    }
    for wrong in ["eval s 3 a", "eval s -1 a", "eval s x a", "zunion 9223372036854775807 a", "lmpop 2 a LEFT"]
    {
        let args = OwnedArgs::new(wrong.split(' '));
        let entry = table().find(args.args()).unwrap();
        // LMPOP's count of two takes LEFT for a key, as it does in Redis.
        let counted = wrong.starts_with("lmpop");
        assert_eq!(entry.each_key(args.args(), |_| ()).is_ok(), counted, "{wrong}");
    }
}

#[test]
fn what_entries_remember_follows_from_the_specifications() {
    for entry in executable().filter(|e| e.one_key) {
        let arity = usize::from(entry.command.arity.unsigned_abs()).max(2);
        // Whatever stands behind the key, more of it changes nothing.
        for more in [0, 1, 7] {
            let mut words: Vec<&str> = entry.name.split('|').collect();
            words.resize(arity + more, "1");
            let (args, mut found) = (OwnedArgs::new(words), Vec::new());
            entry.each_key(args.args(), |at| found.push(at)).unwrap();
            assert_eq!(found, [1], "{}", entry.name);
        }
    }
    let one_key = |name: &str| table().by_full_name(name.as_bytes()).unwrap().one_key;
    for name in ["get", "set", "hset", "lpush", "zadd", "expire", "incr", "lrange"] {
        assert!(one_key(name), "{name}");
    }
    for name in ["mget", "del", "ping", "rename", "sort", "object|encoding", "zunion", "migrate"] {
        assert!(!one_key(name), "{name}");
    }
}
