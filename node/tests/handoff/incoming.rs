//! A slot that comes in over a socket: what is put into effect when, what goes back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Read;

use shoal_net::cluster::Slots;
use shoal_node::{
    handoff::{
        Form, Record,
        record::{Entry, Heat},
    },
    server::Node,
    store::{Expiry, Gate},
};
use shoal_proto::{
    cluster::{Action, Transfer},
    slot::key_slot,
    version,
};

use crate::{
    late::{APPLIED, PEER, Taken},
    support::{start, start_with},
};

/// The frame that says that no memory is left.
const FULL: [u8; 5] = [1, 0, 0, 0, 6];

/// A node to which these slots may come from a peer, whose end of the stream it is.
fn target(node: Node, slots: &[u16]) -> Taken {
    slots.iter().for_each(|slot| node.shared.set_gate(*slot, Gate::Away));
    let mut target = Taken::at(node, slots[0]);
    // Left out, and told when the stream is served.
    let begun = target.send(slots[0], Record::Gone(0, b"a"));
    assert_eq!(target.heard(), (APPLIED, begun));
    for slot in slots {
        target.plane.act(vec![Action::Allow { slot: *slot, from: PEER }]);
    }
    target
}

fn put(key: &[u8]) -> Record<'_> {
    let heat = Heat::default();
    Record::Put(Entry { db: 0, expires_at: 0, heat, form: Form::StrWhole, key }, b"value")
}

fn says(slot: u16) -> Vec<u8> {
    version::write(&Transfer::Begin { slot, epoch: 1, stream: 1 }).unwrap()
}

#[test]
fn slots_that_begin_together_hold_what_came_after_their_beginnings() {
    let (a, b) = (key_slot(b"a"), key_slot(b"b"));
    let node = start();
    for (slot, key) in [(a, b"{a}old"), (b, b"{b}old")] {
        node.shared.store.lock_slot(0, slot, 1).set_str(key, b"1", Expiry::Never);
    }
    let mut target = target(node, &[a, b]);
    let mut bytes = Vec::new();
    for slot in [a, b] {
        Record::Message(&says(slot)).write(0, &mut bytes);
        Record::Begin.write(slot, &mut bytes);
    }
    put(b"a").write(a, &mut bytes);
    // It begins anew: nothing of before counts.
    Record::Begin.write(a, &mut bytes);
    put(b"{a}new").write(a, &mut bytes);
    put(b"{b}new").write(b, &mut bytes);
    Record::Through.write(b, &mut bytes);
    let end = target.send_bytes(&bytes);
    loop {
        let (kind, position) = target.heard();
        assert_eq!(kind, APPLIED);
        if position == end {
            break;
        }
    }
    for (slot, key) in [(a, &b"{a}new"[..]), (b, b"{b}new")] {
        let mut keys = Vec::new();
        target.node.shared.store.inspect_slot(slot, |_, key, _, _| keys.push(key.to_vec()));
        assert_eq!(keys, [key]);
    }
}

#[test]
fn a_node_without_memory_says_so_and_ends_the_stream() {
    let slot = key_slot(b"a");
    let node = start_with(&[("maxmemory", "1"), ("maxmemory-policy", "noeviction")]);
    // More than there may be.
    node.shared.store.lock_slot(0, key_slot(b"b"), 1).set_str(b"b", b"1", Expiry::Never);
    let mut target = target(node, &[slot]);
    target.send(slot, put(b"a"));
    let mut said = [0; FULL.len()];
    target.stream.read_exact(&mut said).unwrap();
    assert_eq!(said, FULL);
    target.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(target.stream.read(&mut said).unwrap(), 0, "that was the end");
    assert_eq!(target.node.shared.store.slot_stats(slot).keys, 0);
}
