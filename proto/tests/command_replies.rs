//! `COMMAND` and `HELP` as clients read them, in RESP2 and RESP3.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use redis_protocol::resp2::{decode::decode as decode2, types::OwnedFrame as Frame2};
use shoal_proto::command::{docs, info, table};
use shoal_proto::resp::request::OwnedArgs;
use shoal_proto::resp::{Protocol, Reply};

/// The reply's bytes, or the error's text.
fn bytes(request: &str, protocol: Protocol) -> Result<Vec<u8>, String> {
    let args = OwnedArgs::new(request.split(' '));
    table().find(args.args()).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    info::command(args.args(), &mut Reply::new(&mut out, protocol)).map_err(|e| e.to_string())?;
    Ok(out)
}

/// The RESP2 reply as text: strings bare, arrays in brackets.
fn ask(request: &str) -> String {
    match bytes(request, Protocol::Resp2) {
        Ok(bytes) => {
            let (frame, read) = decode2(&bytes).expect("RESP").expect("a whole reply");
            assert_eq!(read, bytes.len(), "{request}");
            shown(&frame)
        }
        Err(text) => text,
    }
}

fn shown(frame: &Frame2) -> String {
    match frame {
        Frame2::SimpleString(text) | Frame2::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
        Frame2::Error(text) => text.clone(),
        Frame2::Integer(n) => n.to_string(),
        Frame2::Null => "(nil)".to_owned(),
        Frame2::Array(frames) => format!("[{}]", frames.iter().map(shown).collect::<Vec<_>>().join(" ")),
    }
}

/// Where the frame at `at` ends, in either protocol. (redis-protocol does not read sets of maps, which is
/// what key specifications are.)
fn end(bytes: &[u8], at: usize) -> usize {
    let line = at + bytes[at..].windows(2).position(|w| w == b"\r\n").expect("a whole line");
    let number =
        || std::str::from_utf8(&bytes[at + 1..line]).expect("text").parse::<usize>().expect("a length");
    let parts = match bytes[at] {
        b'+' | b':' | b'_' => 0,
        b'$' => return line + 2 + number() + 2,
        b'*' | b'~' => number(),
        b'%' => 2 * number(),
        other => panic!("unexpected {}", char::from(other)),
    };
    (0..parts).fold(line + 2, |at, _| end(bytes, at))
}

#[test]
fn every_reply_is_one_whole_frame_in_both_protocols() {
    let commands = table().commands().count();
    for (request, kind2, n2, kind3, n3) in [
        ("COMMAND", '*', commands, '*', commands),
        ("command info", '*', commands, '*', commands),
        ("command docs", '*', 2 * commands, '%', commands),
        ("command docs get nosuch set", '*', 4, '%', 2),
        ("command list", '*', table().entries().len(), '*', table().entries().len()),
    ] {
        for (protocol, kind, n) in [(Protocol::Resp2, kind2, n2), (Protocol::Resp3, kind3, n3)] {
            let reply = bytes(request, protocol).unwrap();
            assert_eq!(end(&reply, 0), reply.len(), "{request}");
            assert!(reply.starts_with(format!("{kind}{n}\r\n").as_bytes()), "{request}");
        }
    }
}

#[test]
fn info_tells_flags_positions_and_categories() {
    let range = "find_keys [type range spec [lastkey 0 keystep 1 limit 0]]";
    let index = "begin_search [type index spec [index 1]]";
    for (request, reply) in [
        (
            "command info get",
            format!(
                "[[get 2 [readonly fast] 1 1 1 [@read @string @fast] [] \
                 [[flags [RO access] {index} {range}]] []]]"
            ),
        ),
        ("command info nosuch PING", "[(nil) [ping -1 [fast] 0 0 0 [@fast @connection] \
            [request_policy:all_shards response_policy:all_succeeded] [] []]]".to_owned()),
        ("command info client|setname|x", "[(nil)]".to_owned()),
        (
            "command info EVAL",
            "[[eval -3 [noscript stale skip_monitor no_mandatory_keys movablekeys] 0 0 0 [@slow @scripting] [] \
             [[flags [RW access update] begin_search [type index spec [index 2]] \
             find_keys [type keynum spec [keynumidx 0 firstkey 1 keystep 1]]]] []]]"
                .to_owned(),
        ),
        (
            "command info config|resetstat",
            "[[config|resetstat 2 [admin noscript loading stale] 0 0 0 [@admin @slow @dangerous] \
             [request_policy:all_nodes response_policy:all_succeeded] [] []]]"
                .to_owned(),
        ),
    ] {
        assert_eq!(ask(request), reply, "{request}");
    }
    assert!(ask("command info sort").contains("[type unknown spec []]"));
    assert!(ask("command info client").starts_with("[[client -2 [] 0 0 0 [@slow] [] [] [[client|caching 3 "));
}

#[test]
fn lists_are_filtered() {
    for (request, reply) in [
        (
            "command list filterby pattern XINFO*",
            "[xinfo xinfo|consumers xinfo|groups xinfo|help xinfo|stream]",
        ),
        ("command list filterby aclcat transaction", "[discard exec multi unwatch watch]"),
        ("command list filterby aclcat nosuch", "[]"),
        ("command list filterby module m", "[]"),
        ("command list filterby nosuch m", "ERR syntax error"),
        ("command list filterby pattern", "ERR syntax error"),
        ("command list x", "ERR syntax error"),
    ] {
        assert_eq!(ask(request), reply, "{request}");
    }
    assert_eq!(ask("command count"), table().commands().count().to_string());
}

#[test]
fn keys_are_picked_out_with_what_happens_to_them() {
    for (request, reply) in [
        ("command getkeys mset a 1 b 2", "[a b]"),
        ("command getkeys eval s 0 a", "[]"),
        ("command getkeys eval s 5 a", "[]"),
        ("command getkeys zunionstore d 5 a", "ERR Invalid arguments specified for command"),
        ("command getkeys lmpop 0 a LEFT", "ERR Invalid arguments specified for command"),
        ("command getkeys nosuch a", "ERR Invalid command specified"),
        ("command getkeys config nosuch", "ERR Invalid command specified"),
        ("command getkeys config get x", "ERR The command has no key arguments"),
        ("command getkeys get", "ERR Invalid number of arguments specified for command"),
        ("command getkeys", "ERR wrong number of arguments for 'command|getkeys' command"),
        ("command getkeysandflags set a 1", "[[a [OW update]]]"),
        ("command getkeysandflags set a 1 ex 5 GET", "[[a [RW access update]]]"),
        ("command getkeysandflags bitfield a get u8 0", "[[a [RO access]]]"),
        ("command getkeysandflags bitfield a incrby u8 0 1", "[[a [RW access update]]]"),
        ("command getkeysandflags sort a store b", "[[a [RO access]] [b [OW update]]]"),
    ] {
        assert_eq!(ask(request), reply, "{request}");
    }
}

#[test]
fn docs_describe_arguments() {
    let got = ask("command docs nosuch getex xread");
    assert!(got.starts_with("[getex [summary Reads a string and changes when its key expires. since 6.2.0 group \
        string complexity O(1) arguments [[name key type key display_text key key_spec_index 0] [name seconds-or-more \
        type oneof flags [optional] arguments [[name seconds type integer display_text seconds token EX] "));
    assert!(
        got.contains(
            "[name streams type block token STREAMS arguments [[name key type key display_text key \
        key_spec_index 0 flags [multiple]] [name id type string display_text id flags [multiple]]]]"
        ),
        "{got}"
    );
    assert!(
        ask("command docs setex")
            .contains(" doc_flags [deprecated] deprecated_since 2.6.12 replaced_by SET with EX ")
    );
    assert!(ask("command docs shoal").contains(" subcommands [shoal|help [summary "));
}

#[test]
fn help_has_the_shape_that_clients_know() {
    let shoal = table().command(b"shoal").unwrap();
    let mut out = Vec::new();
    docs::help(shoal, &mut Reply::new(&mut out, Protocol::Resp2));
    let lines: Vec<&str> = std::str::from_utf8(&out).unwrap().lines().collect();
    assert_eq!(lines[0], "*15");
    assert_eq!(lines[1], "+SHOAL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    assert_eq!(lines[2], "+CLUSTER");
    assert!(lines[3].starts_with("+    Shows "));
    assert_eq!(lines[6], "+MEMBERS [version message]");
    assert!(lines[7].starts_with("+    Exchanges "));
    assert_eq!(lines[lines.len() - 2..], ["+HELP", "+    Print this help."]);
}
