//! What version 3 says, byte for byte: it must be understood for ever, as far as versions next to it go, and nobody may
//! change it unawares.
//!
//! `wire/version_3.txt` has a line for each kind of message: its name and its bytes. When what is said changes, it is another
//! version, and that gets a file beside this one: `WIRE=print cargo test -p shoal-proto --test wire -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_proto::bus::*;
use shoal_proto::cluster::{Ballot, Copied, Message, Report};
use shoal_proto::member::{Along, Identity, Kind, Membership, Output, Profile, Role, datagram};
use shoal_proto::version::VERSION;
use shoal_proto::view::{Copies, Member, NodeId, Replication, View};

const FIXTURES: &str = include_str!("wire/version_3.txt");

fn id(n: u64) -> NodeId {
    NodeId { node: n << 40, boot: 1_760_000_000_000 + n }
}

fn member(n: u64) -> Member {
    Member {
        id: id(n),
        name: format!("node-{n}"),
        host: format!("10.0.0.{n}"),
        resp_port: 7000,
        gossip_port: 17_000,
        weight: 100 + n as u16,
        zone: "zone".to_owned(),
        replication: Replication { replicas: 1, ack_all: n == 1 },
    }
}

fn identity(n: u64) -> Identity {
    let ip = match n {
        1 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        _ => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    Identity {
        node: id(n).node,
        boot: id(n).boot,
        renew: 3,
        ip,
        gossip_port: 17_000,
        resp_port: 7000,
        role: if n == 1 { Role::Node } else { Role::Router },
        weight: 100,
        version: 3,
    }
}

/// A view that has something of everything.
fn view() -> View {
    let first = View::first(77, vec![member(1), member(2)]);
    let mut targets = vec![u16::MAX; 16384];
    targets[5] = 1;
    let mut copies = vec![Copies::default(); 16384];
    copies[9].add(1, true);
    let mut view = first.next(vec![member(1), member(2)]).with_targets(&targets).with_copies(&copies);
    view.leaving = vec![id(2)];
    view
}

/// Every kind of message.
fn messages() -> Vec<(&'static str, Message)> {
    let (epoch, ballot) = (300, Ballot { round: 4, proposer: id(1) });
    let copied = vec![Copied { peer: id(2), stream: 5, slots: vec![(1, 2), (400, 16383)] }];
    let report =
        Report { owned: vec![(0, 16383)], sent: vec![(7, 7)], claims: copied.clone(), holds: copied };
    let accepted = Some((ballot, Box::new(view())));
    vec![
        ("prepare", Message::Prepare { epoch, ballot, suspects: vec![id(2)] }),
        ("promise", Message::Promise { epoch, ballot, accepted, report, lease_left: 900 }),
        ("nack", Message::Nack { epoch, promised: ballot }),
        ("accept", Message::Accept { ballot, view: Box::new(view()) }),
        ("accepted", Message::Accepted { epoch, ballot }),
        ("commit", Message::Commit { view: Box::new(view()) }),
        ("behind", Message::Behind { epoch }),
        ("last-call", Message::LastCall),
        ("present", Message::Present),
        ("lease-ask", Message::LeaseAsk { epoch, round: 1000 }),
        ("lease-grant", Message::LeaseGrant { epoch, round: 1000 }),
        (
            "progress",
            Message::Progress { epoch, moved: 1, left: 16384, copying: true, copied: 3, broken: false },
        ),
    ]
}

/// Reads a message, as text; nothing if it is not understood.
type Read = Box<dyn Fn(&[u8]) -> Option<String>>;

/// A kind: its name, its bytes as they are written now, what is in them, and what is read from other bytes.
struct Case {
    name: String,
    bytes: Vec<u8>,
    said: String,
    read: Read,
}

fn request<T: Serialize + DeserializeOwned + Check + Debug + 'static>(
    name: &str,
    verb: Verb,
    said: &T,
) -> Case {
    let read = move |blob: &[u8]| {
        let message = Request { verb, version: 3, blob }.message::<T>();
        message.ok().map(|message| format!("{message:?}"))
    };
    Case { name: name.to_owned(), bytes: encode(said), said: format!("{said:?}"), read: Box::new(read) }
}

fn answer<T: Serialize + DeserializeOwned + Check + Debug + 'static>(
    name: &str,
    verb: Verb,
    said: &T,
) -> Case {
    let read = move |blob: &[u8]| decode::<T>(verb, blob).ok().map(|message| format!("{message:?}"));
    Case { name: name.to_owned(), bytes: encode(said), said: format!("{said:?}"), read: Box::new(read) }
}

/// What member 2 takes from a datagram of gossip.
fn taken(datagram: &[u8]) -> Option<String> {
    let mut membership = Membership::new(77, identity(2), Profile::Fast, 2);
    let taken = membership.on_datagram(Duration::from_secs(1), datagram).ok()?;
    let up: Vec<&Identity> = membership.up().collect();
    Some(format!("{taken:?} {up:?}"))
}

/// A ping of member 1 to member 2, and a lease.
fn gossip() -> Case {
    let mut membership = Membership::new(77, identity(1), Profile::Fast, 1);
    membership.learn(Duration::from_secs(1), vec![identity(2)]);
    let along = Along { epoch: 300, ask: Some(1000), grant: None };
    let ping = loop {
        match membership.poll_output() {
            Some(Output::Send { kind: Kind::Ping, datagram, .. }) => break datagram,
            Some(_) => {}
            None => membership.on_timeout(membership.poll_timeout()),
        }
    };
    let up = [identity(1)];
    let said = format!("{:?} {:?}", Some((id(1), along)), up.iter().collect::<Vec<_>>());
    let bytes = datagram::with(&ping, &along);
    Case { name: "gossip".to_owned(), bytes, said, read: Box::new(taken) }
}

fn cases() -> Vec<Case> {
    let up = vec![identity(1), identity(2)];
    let members = Members {
        me: member(1),
        process: 9,
        admitted: true,
        cluster: 77,
        epoch: 300,
        up: up.clone(),
        view: Some(view()),
    };
    let joined = Joined { boot: 5, up: up.clone(), view: view(), you: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let mut cases = vec![
        request("join", Verb::Join, &Join { member: member(1) }),
        answer("joined", Verb::Join, &joined),
        request("hello", Verb::Members, &Hello { cluster: 77, epoch: 300, up }),
        answer("members", Verb::Members, &members),
        request("since", Verb::Watch, &Since { cluster: 77, epoch: 300 }),
        answer("latest", Verb::Watch, &Latest { cluster: 77, epoch: 300, view: Some(view()) }),
        request("push", Verb::Push, &Push { view: view() }),
        request("leave", Verb::Leave, &Leave { cluster: 77, id: id(1) }),
        request("stream", Verb::Stream, &Stream { cluster: 77, from: id(1), to: id(2) }),
        answer("granted", Verb::Stream, &Granted { version: 3 }),
        answer("heard", Verb::Tell, &Heard),
        gossip(),
    ];
    for (name, message) in messages() {
        let tell = Tell { cluster: 77, from: id(1), to: id(2), message };
        cases.push(request(&format!("tell-{name}"), Verb::Tell, &tell));
    }
    cases
}

/// Bytes as text; none are a dash.
fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let text = text.strip_prefix('-').unwrap_or(text);
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn version_3_is_understood() {
    if std::env::var_os("WIRE").is_some() {
        cases().iter().for_each(|case| println!("{} {}", case.name, hex(&case.bytes)));
        return;
    }
    let fixtures: Vec<(&str, Vec<u8>)> = FIXTURES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, text)| (name, unhex(text)))
        .collect();
    let cases = cases();
    assert_eq!(fixtures.len(), cases.len());
    for (name, bytes) in fixtures {
        let case = cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("nothing is {name}"));
        assert_eq!((case.read)(&bytes).as_ref(), Some(&case.said), "{name} is read as it was meant");
        if VERSION == 3 {
            assert_eq!(hex(&case.bytes), hex(&bytes), "{name} has changed, and the version has not");
        }
    }
}
