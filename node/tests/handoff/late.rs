//! What comes late in the stream of a slot that has changed hands already.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use shoal_net::cluster::Slots;
use shoal_node::{
    handoff::{
        LIMIT, Outbox, Record,
        mover::{DataPlane, Mover},
    },
    server::Node,
    store::{Expiry, Gate},
};
use shoal_proto::{
    cluster::{Action, Transfer},
    slot::{SLOTS, key_slot},
    view::{Member, NodeId, View},
};

use crate::support::start;

const ME: NodeId = NodeId { node: 1, boot: 1 };
pub(crate) const PEER: NodeId = NodeId { node: 7, boot: 1 };

fn member(id: NodeId) -> Member {
    Member {
        id,
        name: format!("n{}", id.node),
        host: format!("10.0.0.{}", id.node),
        resp_port: 6379,
        gossip_port: 7379,
        weight: 100,
        zone: String::new(),
        replication: Default::default(),
    }
}

/// A node that took a slot over from a peer, and that peer's end of the stream.
pub(crate) struct Taken {
    pub(crate) node: Node,
    pub(crate) plane: DataPlane,
    pub(crate) stream: TcpStream,
    /// Bytes of the stream.
    sent: u64,
}

impl Taken {
    fn new(slot: u16) -> Self {
        Self::at(start(), slot)
    }

    pub(crate) fn at(node: Node, slot: u16) -> Self {
        let plane = DataPlane(Mover::new(node.shared.clone(), "target").unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        // Before the stream, or the answer would come back among what is looked at here.
        plane.act(vec![Action::Send { to: PEER, message: Transfer::Taken { slot, id: 1 } }]);
        plane.accept(PEER, tokio::net::TcpStream::from_std(theirs).unwrap(), Vec::new());
        node.shared.renew_lease(u64::MAX);
        Self { node, plane, stream, sent: 0 }
    }

    pub(crate) fn send(&mut self, slot: u16, record: Record<'_>) -> u64 {
        let mut bytes = Vec::new();
        record.write(slot, &mut bytes);
        self.send_bytes(&bytes)
    }

    /// Where the stream ends then.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> u64 {
        self.stream.write_all(bytes).unwrap();
        self.sent += bytes.len() as u64;
        self.sent
    }

    /// The kind and the position of the next frame that comes back.
    pub(crate) fn heard(&mut self) -> (u8, u64) {
        let mut frame = [0; 13];
        self.stream.read_exact(&mut frame).unwrap();
        assert_eq!(frame[..4], [9, 0, 0, 0], "a position");
        (frame[4], u64::from_le_bytes(frame[5..].try_into().unwrap()))
    }

    /// The stream ends, and nothing comes before that.
    fn ends(&mut self) {
        let mut rest = Vec::new();
        assert_eq!(self.stream.read_to_end(&mut rest).map_err(|end| end.kind()).unwrap_or(0), 0, "{rest:?}");
    }

    /// Nothing comes within a while.
    fn is_silent(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
        let end = self.stream.read(&mut [0; 1]);
        self.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        end.is_err_and(|end| matches!(end.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

pub(crate) const APPLIED: u8 = 1;
const PENDING: u8 = 3;
const SETTLED: u8 = 4;

/// Whoever emptied it at its former owner waits until no copy can bring it back.
#[test]
fn what_empties_a_slot_is_settled_when_its_copies_have_it() {
    let slot = key_slot(b"a");
    let mut taken = Taken::new(slot);
    let store = &taken.node.shared.store;
    store.lock_slot(0, slot, 1).set_str(b"a", b"1", Expiry::Never);
    let copies = [(); 2].map(|()| Outbox::new(LIMIT, Arc::default()));
    copies.iter().for_each(|copy| store.follow(slot, copy, true));
    let position = taken.send(slot, Record::Clear(None));
    assert_eq!(taken.heard(), (PENDING, position), "before it counts as applied");
    assert_eq!(taken.heard(), (APPLIED, position));
    assert_eq!(taken.node.shared.store.slot_stats(slot).keys, 0);
    copies[0].ack(copies[0].appended());
    assert!(taken.is_silent());
    copies[1].ack(copies[1].appended());
    assert_eq!(taken.heard(), (SETTLED, position));
}

/// The stream and what follows in it wait for no copy: two such streams could wait for each other.
#[test]
fn a_stream_goes_on_while_something_is_pending() {
    let slot = key_slot(b"a");
    let mut taken = Taken::new(slot);
    let copy = Outbox::new(LIMIT, Arc::default());
    taken.node.shared.store.follow(slot, &copy, true);
    let first = taken.send(slot, Record::Clear(Some(1)));
    assert_eq!((taken.heard(), taken.heard()), ((PENDING, first), (APPLIED, first)));
    let second = taken.send(slot, Record::Clear(None));
    assert_eq!((taken.heard(), taken.heard()), ((PENDING, second), (APPLIED, second)));
    // Not ours: it is skipped, and nobody waits.
    let third = taken.send(slot, Record::Gone(0, b"a"));
    assert_eq!(taken.heard(), (APPLIED, third));
    copy.break_off();
    taken.node.shared.store.untap(slot, &copy);
    let mut settled = taken.heard();
    if settled == (SETTLED, first) {
        // Unless both were settled at once.
        settled = taken.heard();
    }
    assert_eq!(settled, (SETTLED, second));
}

#[test]
fn a_slot_without_copies_has_nothing_pending() {
    let slot = key_slot(b"a");
    let mut taken = Taken::new(slot);
    taken.node.shared.store.lock_slot(0, slot, 1).set_str(b"a", b"1", Expiry::Never);
    let position = taken.send(slot, Record::Clear(None));
    assert_eq!(taken.heard(), (APPLIED, position));
    assert_eq!(taken.node.shared.store.slot_stats(slot).keys, 0);
}

/// Between the offer and the last of its stream the peer may have been left behind by the cluster.
#[test]
fn a_new_view_does_not_make_one_forget_from_whom_a_slot_came() {
    let slot = key_slot(b"a");
    for ours in [true, false] {
        let mut taken = Taken::new(slot);
        taken.node.shared.store.lock_slot(0, slot, 1).set_str(b"a", b"1", Expiry::Never);
        // Read, so the stream is served: a view does not end it.
        let begun = taken.send(slot, Record::Gone(0, b"b"));
        assert_eq!(taken.heard(), (APPLIED, begun));
        let owner = if ours { 0 } else { 1 };
        let view = View::new(3, 9, vec![member(ME), member(PEER)], &[owner; SLOTS as usize]);
        taken.plane.install(&Arc::new(view), ME);
        if !ours {
            // It has gone on since: whoever has it cannot be told by us.
            taken.node.shared.set_gate(slot, Gate::Away);
            taken.send(slot, Record::Clear(None));
            taken.ends();
            continue;
        }
        let position = taken.send(slot, Record::Clear(None));
        assert_eq!(taken.heard(), (APPLIED, position));
        assert_eq!(taken.node.shared.store.slot_stats(slot).keys, 0);
    }
}

/// As soon as the former owner has read that we follow it sends clients here, maybe before our gate is open.
#[test]
fn nobody_is_sent_back_by_who_has_said_that_it_took_a_slot() {
    let slot = key_slot(b"a");
    let taken = Taken::new(slot);
    let view = View::new(3, 9, vec![member(PEER), member(ME)], &[0; SLOTS as usize]);
    taken.plane.install(&Arc::new(view), ME);
    taken.node.shared.set_gate(slot, Gate::Away);
    let owns = || taken.node.shared.ownership().owns(slot);
    assert!(!owns());
    taken.plane.act(vec![Action::Send { to: PEER, message: Transfer::Follow { slot, id: 2, stream: 1 } }]);
    assert!(owns(), "commands wait here");
    assert_eq!(taken.node.shared.store.gate(slot), Gate::Away, "and are not executed yet");
}

/// It may go on to a third before the first hears that it was taken.
#[test]
fn what_is_emptied_is_emptied_wherever_it_went() {
    let slot = key_slot(b"a");
    let mut taken = Taken::new(slot);
    let third = Outbox::new(LIMIT, Arc::default());
    let shared = taken.node.shared.clone();
    shared.store.lock_slot(0, slot, 1).set_str(b"a", b"1", Expiry::Never);
    shared.store.follow(slot, &third, false);
    shared.set_gate(slot, Gate::Held);
    let position = taken.send(slot, Record::Clear(None));
    assert_eq!((taken.heard(), taken.heard()), ((PENDING, position), (APPLIED, position)));
    assert!(taken.is_silent(), "the third has not emptied it yet");
    third.ack(third.appended());
    assert_eq!(taken.heard(), (SETTLED, position));
    // Now it is the third's, and no stream leads there.
    shared.set_gate(slot, Gate::Away);
    taken.send(slot, Record::Clear(None));
    taken.ends();
}
