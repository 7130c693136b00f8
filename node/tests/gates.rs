//! Gates and the lease as clients meet them: commands wait, are redirected or given up; replies that may be untrue
//! never leave.

use std::{net::TcpListener, sync::Arc, time::Duration};

use shoal_node::{
    config::Config,
    server::{self, Node, Shared, Wiring, uptime_ms},
    store::Gate,
};
use shoal_proto::{
    command::{Flags, Status, table},
    slot::{SLOTS, key_slot},
    view::{Member, NodeId, View},
};
use shoal_testkit::{Client, Frame};

fn member(node: u64) -> Member {
    Member {
        id: NodeId { node, boot: node },
        name: format!("n{node}"),
        host: format!("10.0.0.{node}"),
        resp_port: 6379,
        gossip_port: 7379,
        weight: 100,
        zone: String::new(),
        replication: Default::default(),
    }
}

/// A view of two members in which the first owns everything.
fn view() -> Arc<View> {
    Arc::new(View::new(7, 1, vec![member(1), member(2)], &[0; SLOTS as usize]))
}

fn start(threads: usize) -> Node {
    let config = Config::default();
    let shared = Shared::new(config.store_settings(), config, Wiring::none(), true);
    let listener = TcpListener::bind("127.0.0.1:0").expect("the node is up");
    server::start(shared, listener, threads).expect("the node is up")
}

fn owner() -> Node {
    let node = start(2);
    node.shared.install(view(), member(1).id);
    node
}

fn client(node: &Node) -> Client {
    Client::connect(([127, 0, 0, 1], node.shared.port()).into()).expect("the node is up")
}

fn answer(client: &mut Client, line: &str) -> String {
    text(client.line(line).expect("the node is up"))
}

fn text(frame: Frame) -> String {
    match &frame {
        Frame::Error(line) | Frame::Simple(line) => String::from_utf8_lossy(line).into_owned(),
        Frame::Array(frames) => format!("{:?}", frames.iter().cloned().map(text).collect::<Vec<_>>()),
        frame => match frame.text() {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => format!("{frame:?}"),
        },
    }
}

/// No reply comes within a while.
fn silent(client: &mut Client) -> bool {
    client.set_patience(Duration::from_millis(30)).expect("the node is up");
    let silent = client.receive().is_err();
    client.set_patience(Duration::from_secs(30)).expect("the node is up");
    silent
}

#[test]
fn a_node_that_joins_serves_nothing() {
    let node = start(1);
    assert!(answer(&mut client(&node), "GET a").contains("CLUSTERDOWN Hash slot not served"));
    node.shared.install(view(), member(2).id);
    assert!(answer(&mut client(&node), "GET a").contains("MOVED 15495 10.0.0.1:6379"));
}

#[test]
fn a_held_command_runs_when_the_gate_opens() {
    let node = owner();
    let mut one = client(&node);
    node.shared.set_gate(key_slot(b"a"), Gate::Held);
    // What comes before is answered at once, what comes behind waits too, and nothing is executed twice.
    one.send_raw(b"INCR b\r\nINCR a\r\nINCR b\r\nPING\r\n").unwrap();
    assert_eq!(text(one.receive().unwrap()), text(Frame::Int(1)));
    assert!(silent(&mut one));
    assert_eq!(answer(&mut client(&node), "GET b"), text(Frame::Bulk(b"1".to_vec())));
    node.shared.set_gate(key_slot(b"a"), Gate::Open);
    let rest: Vec<String> = (0..3).map(|_| text(one.receive().unwrap())).collect();
    assert_eq!(rest, [text(Frame::Int(1)), text(Frame::Int(2)), text(Frame::Simple(b"PONG".to_vec()))]);
}

#[test]
fn a_held_command_is_sent_to_the_new_owner() {
    let node = owner();
    let (mut one, slot) = (client(&node), key_slot(b"a"));
    node.shared.set_gate(slot, Gate::Held);
    one.send(["SET", "a", "1"]).unwrap();
    assert!(silent(&mut one));
    node.shared.moved(&[(slot, 1)]);
    node.shared.set_gate(slot, Gate::Away);
    assert!(text(one.receive().unwrap()).contains(&format!("MOVED {slot} 10.0.0.2:6379")));
    // The overlay shows in CLUSTER SLOTS, and ends with the next view.
    assert!(answer(&mut one, "CLUSTER SLOTS").contains("10.0.0.2"));
    node.shared.install(view(), member(1).id);
    assert_eq!(answer(&mut one, "GET a"), text(Frame::NullBulk));
}

#[test]
fn a_slot_can_come_by_overlay() {
    let node = start(1);
    node.shared.install(view(), member(2).id);
    let slot = key_slot(b"a");
    node.shared.moved(&[(slot, 1)]);
    let mut one = client(&node);
    // The owner is known before the gate opens: the command waits.
    one.send(["SET", "a", "1"]).unwrap();
    assert!(silent(&mut one));
    node.shared.set_gate(slot, Gate::Open);
    assert_eq!(text(one.receive().unwrap()), text(Frame::Simple(b"OK".to_vec())));
}

#[test]
fn patience_ends() {
    let node = owner();
    let mut one = client(&node);
    assert!(answer(&mut one, "CONFIG SET cluster-hold-timeout 40").contains("OK"));
    node.shared.set_gate(key_slot(b"a"), Gate::Held);
    // All that came together has waited as long as the first.
    let begun = std::time::Instant::now();
    one.send_raw("GET a\r\n".repeat(100).as_bytes()).unwrap();
    for _ in 0..100 {
        assert!(text(one.receive().unwrap()).contains("CLUSTERDOWN The cluster is down"));
    }
    assert!(begun.elapsed() >= Duration::from_millis(40) && begun.elapsed() < Duration::from_secs(3));
    assert!(answer(&mut one, "SET b 1").contains("OK"));
    assert!(answer(&mut one, "GET a").contains("CLUSTERDOWN The cluster is down"));
    node.shared.set_gate(key_slot(b"a"), Gate::Open);
    assert_eq!(answer(&mut one, "GET a"), text(Frame::NullBulk));
    assert!(answer(&mut one, "INFO commandstats").contains("cmdstat_get:calls=1,"));
}

/// A slot that is held may be another's at any moment: first it is decided whose.
#[test]
fn databases_are_exchanged_when_no_slot_is_held() {
    let node = start(2);
    node.shared.install(View::first(1, vec![member(1)]).into(), member(1).id);
    let (mut one, mut other) = (client(&node), client(&node));
    answer(&mut one, "SET b 1");
    assert!(answer(&mut one, "CONFIG SET cluster-hold-timeout 60000").contains("OK"));
    node.shared.set_gate(key_slot(b"b"), Gate::Held);
    other.send(["SWAPDB", "0", "1"]).unwrap();
    assert!(silent(&mut other), "it waits");
    assert_eq!(answer(&mut one, "DBSIZE"), text(Frame::Int(1)));
    node.shared.set_gate(key_slot(b"b"), Gate::Open);
    assert_eq!(text(other.receive().unwrap()), "OK");
    assert_eq!(answer(&mut one, "DBSIZE"), text(Frame::Int(0)));
}

/// Each command that reads keys, as one that finds nothing.
const READS: &str = "\
GET a|STRLEN a|GETRANGE a 0 5|SUBSTR a 0 5|GETBIT a 7|BITCOUNT a|BITPOS a 1|BITPOS a 0|BITPOS a 1 0 -1|MGET a a|\
EXISTS a|EXISTS a a|TOUCH a|TTL a|PTTL a|EXPIRETIME a|PEXPIRETIME a|TYPE a|OBJECT ENCODING a|OBJECT REFCOUNT a|OBJECT IDLETIME a|\
SORT_RO a|SORT_RO a BY nosort GET #|\
HGET a f|HMGET a f g|HGETALL a|HKEYS a|HVALS a|HLEN a|HEXISTS a f|HSTRLEN a f|HRANDFIELD a|HRANDFIELD a 2|HRANDFIELD a 2 WITHVALUES|\
HSCAN a 0|HSCAN a 0 COUNT 5|\
LINDEX a 0|LLEN a|LRANGE a 0 -1|LPOS a x|LPOS a x RANK 1|LPOS a x COUNT 0|LPOS a x RANK 1 count 2|\
SCARD a|SISMEMBER a m|SMISMEMBER a m n|SMEMBERS a|SRANDMEMBER a|SRANDMEMBER a 2|SSCAN a 0|SINTER a|SUNION a a|SDIFF a a|SINTERCARD 1 a|\
ZCARD a|ZCOUNT a -inf +inf|ZLEXCOUNT a - +|ZSCORE a m|ZMSCORE a m n|ZRANK a m|ZRANK a m WITHSCORE|ZREVRANK a m|ZREVRANK a m WITHSCORE|\
ZRANGE a 0 -1|ZRANGE a 0 -1 WITHSCORES|ZRANGEBYSCORE a -inf +inf|ZRANGEBYLEX a - +|ZREVRANGE a 0 -1|ZREVRANGEBYSCORE a +inf -inf|\
ZREVRANGEBYLEX a + -|ZRANDMEMBER a|ZRANDMEMBER a 3|ZRANDMEMBER a 3 WITHSCORES|ZSCAN a 0|ZDIFF 1 a|ZDIFF 1 a WITHSCORES|ZINTER 1 a|ZUNION 1 a|\
ZINTERCARD 1 a";

/// These depend on more than their keys, or are not about keys, so that they are errors still.
const NOT_MISSED: [&str; 12] = [
    "bitfield_ro",
    "eval_ro",
    "evalsha_ro",
    "fcall_ro",
    "keys",
    "lcs",
    "memory|usage",
    "object|freq",
    "randomkey",
    "scan",
    "dbsize",
    "lolwut",
];

/// If the user wants that, what cannot be served reads as what is not there, for every command that reads and in both protocols.
#[test]
fn reads_that_cannot_be_served_may_be_misses() {
    let (empty, shut) = (owner(), owner());
    let (mut there, mut here) = (client(&empty), client(&shut));
    for setting in ["cluster-hold-timeout 0", "cluster-when-down miss"] {
        assert!(answer(&mut here, &format!("CONFIG SET {setting}")).contains("OK"));
    }
    assert!(answer(&mut here, "SET a 1").contains("OK"));
    shut.shared.set_gate(key_slot(b"a"), Gate::Held);
    for protocol in ["HELLO 2", "HELLO 3"] {
        there.line(protocol).unwrap();
        here.line(protocol).unwrap();
        for line in READS.split('|') {
            let wanted = there.line(line).unwrap();
            assert!(!wanted.is_error(), "{line}: {wanted:?}");
            assert_eq!(here.line(line).unwrap(), wanted, "{line}");
        }
    }
    // Writes never are, nor reads when nothing was said about them.
    assert!(answer(&mut here, "SET a 2").contains("CLUSTERDOWN"));
    assert!(answer(&mut here, "GETEX a").contains("CLUSTERDOWN"));
    assert!(answer(&mut here, "LCS a a").contains("CLUSTERDOWN"));
    assert!(answer(&mut here, "CONFIG SET cluster-when-down error").contains("OK"));
    assert!(answer(&mut here, "GET a").contains("CLUSTERDOWN"));
    shut.shared.set_gate(key_slot(b"a"), Gate::Open);
    assert_eq!(answer(&mut here, "GET a"), "1");
    // None was forgotten.
    let asked: Vec<&str> = READS.split('|').collect();
    for entry in table().entries() {
        let reads = entry.command.flags.contains(Flags::READONLY)
            && entry.command.status == Status::Built
            && entry.has_keys();
        let line = entry.name.to_uppercase().replace('|', " ");
        let known = asked.iter().any(|a| *a == line || a.starts_with(&format!("{line} ")));
        assert!(!reads || known || NOT_MISSED.contains(&entry.name.as_str()), "{line} is not in the list");
    }
}

#[test]
fn commands_on_everything_see_what_is_served() {
    let node = owner();
    let mut one = client(&node);
    for key in ["a", "b", "c", "d"] {
        answer(&mut one, &format!("SET {key} 1 EX 1000"));
    }
    node.shared.set_gate(key_slot(b"a"), Gate::Away);
    node.shared.set_gate(key_slot(b"b"), Gate::Held);
    assert_eq!(answer(&mut one, "DBSIZE"), text(Frame::Int(3)));
    assert!(!answer(&mut one, "KEYS *").contains("\"a\""));
    assert!(!answer(&mut one, "SCAN 0 COUNT 1000").contains("\"a\""));
    for _ in 0..50 {
        assert_ne!(answer(&mut one, "RANDOMKEY"), text(Frame::Bulk(b"a".to_vec())));
    }
    assert_eq!(answer(&mut one, "CLUSTER COUNTKEYSINSLOT 15495"), text(Frame::Int(0)));
    assert_eq!(answer(&mut one, "SWAPDB 0 1"), "ERR SWAPDB is not allowed in cluster mode");
    for line in ["FLUSHALL", "FLUSHDB"] {
        assert_eq!(answer(&mut one, line), "OK", "nobody is to get what is held");
        assert_eq!(answer(&mut one, "DBSIZE"), text(Frame::Int(0)));
    }
    node.shared.set_gate(key_slot(b"b"), Gate::Open);
    assert_eq!(answer(&mut one, "DBSIZE"), text(Frame::Int(0)));
    node.shared.set_gate(key_slot(b"a"), Gate::Open);
    assert_eq!(answer(&mut one, "DBSIZE"), text(Frame::Int(1)), "what was away was left alone");
    assert_eq!(answer(&mut one, "GET a"), text(Frame::Bulk(b"1".to_vec())));
    node.shared.store.audit();
}

#[test]
fn without_a_lease_nothing_is_served_until_it_is_back() {
    let node = owner();
    let mut one = client(&node);
    node.shared.renew_lease(uptime_ms());
    one.send(["INCR", "a"]).unwrap();
    assert!(silent(&mut one));
    assert!(answer(&mut client(&node), "PING").contains("PONG"), "what touches no key goes on");
    node.shared.renew_lease(uptime_ms() + 60_000);
    assert_eq!(text(one.receive().unwrap()), text(Frame::Int(1)));
}

/// The lease ends while a command is executed: DEBUG SLEEP stands for a stopped process.
fn executed_too_late(node: &Node) -> Client {
    let mut one = client(node);
    node.shared.renew_lease(uptime_ms() + 100);
    one.send_raw(b"INCR a\r\nDEBUG SLEEP 0.15\r\n").expect("the node is up");
    assert!(silent(&mut one));
    one
}

#[test]
fn replies_wait_for_the_lease() {
    let node = owner();
    let mut one = executed_too_late(&node);
    while node.shared.lease.is_valid() {
        std::thread::yield_now();
    }
    node.shared.renew_lease(uptime_ms() + 60_000);
    assert_eq!(text(one.receive().unwrap()), text(Frame::Int(1)));
}

#[test]
fn replies_never_leave_after_another_view() {
    for forget in [false, true] {
        let node = owner();
        let mut one = executed_too_late(&node);
        while answer_is_withheld(&node) {
            std::thread::yield_now();
        }
        if forget {
            node.shared.forget_everything();
        } else {
            node.shared.install(view(), member(1).id);
        }
        node.shared.renew_lease(uptime_ms() + 60_000);
        assert!(one.receive().is_err(), "the connection is closed instead");
    }
}

/// Whether the batch is still being executed: its first command has run, and the lease is not over.
fn answer_is_withheld(node: &Node) -> bool {
    node.shared.lease.is_valid() || node.shared.store.len(0).0 == 0
}
