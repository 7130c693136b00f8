//! Replies of a node whose slots have copies.

use std::{sync::Arc, time::Duration};

use shoal_node::{
    handoff::{LIMIT, Outbox},
    server::Node,
    store::{Copied, Gate},
};
use shoal_proto::slot::{SLOTS, key_slot};
use shoal_testkit::{Client, Frame};

use crate::support::start;

fn client(node: &Node) -> Client {
    Client::connect(([127, 0, 0, 1], node.shared.port()).into()).expect("the node listens")
}

fn tap(node: &Node) -> Arc<Outbox> {
    let outbox = Outbox::new(1 << 20, node.shared.changes.clone());
    node.shared.store.tap(key_slot(b"a"), &outbox, true);
    assert_eq!(node.shared.store.copy_slot(key_slot(b"a"), &outbox, 1000), Copied::All);
    outbox.ack(outbox.appended());
    outbox
}

/// No reply comes within a while.
fn silent(client: &mut Client) -> bool {
    client.set_patience(Duration::from_millis(30)).expect("the socket is open");
    let silent = client.receive().is_err();
    client.set_patience(Duration::from_secs(30)).expect("the socket is open");
    silent
}

#[test]
fn replies_wait_until_every_copy_has_what_they_saw() {
    let node = start();
    let (first, second) = (tap(&node), tap(&node));
    let [mut writer, mut reader, mut other] = [(); 3].map(|()| client(&node));
    writer.send(["SET", "a", "1"]).unwrap();
    assert!(silent(&mut writer));
    // It was executed, but nobody may see it yet.
    reader.send(["GET", "a"]).unwrap();
    assert!(silent(&mut reader));
    assert_eq!(other.line("SET b 1").unwrap(), Frame::Simple(b"OK".to_vec()));
    first.ack(first.appended());
    assert!(silent(&mut writer) && silent(&mut reader));
    second.ack(second.appended());
    assert_eq!(writer.receive().unwrap(), Frame::Simple(b"OK".to_vec()));
    assert_eq!(reader.receive().unwrap(), Frame::Bulk(b"1".to_vec()));
    assert_eq!(reader.line("GET a").unwrap(), Frame::Bulk(b"1".to_vec()), "now it is with everybody");
}

#[test]
fn nobody_waits_for_a_copy_that_is_none() {
    let node = start();
    let (first, second) = (tap(&node), tap(&node));
    let mut writer = client(&node);
    writer.send(["SET", "a", "1"]).unwrap();
    writer.send(["FLUSHALL"]).unwrap();
    first.ack(first.appended());
    assert!(silent(&mut writer));
    [&first, &second].into_iter().for_each(|copy| copy.break_off());
    assert!(silent(&mut writer), "that it is broken does not make it none");
    [first, second].iter().for_each(|copy| assert!(node.shared.store.untap(key_slot(b"a"), copy)));
    for _ in 0..2 {
        assert_eq!(writer.receive().unwrap(), Frame::Simple(b"OK".to_vec()));
    }
}

#[test]
fn a_reply_about_everything_waits_for_everything() {
    let node = start();
    let outbox = tap(&node);
    let mut writer = client(&node);
    node.shared.store.lock_slot(0, key_slot(b"b"), 1).set_str(b"b", b"1", shoal_node::store::Expiry::Never);
    writer.send(["FLUSHALL"]).unwrap();
    assert!(silent(&mut writer));
    outbox.ack(outbox.appended());
    assert_eq!(writer.receive().unwrap(), Frame::Simple(b"OK".to_vec()));
}

#[test]
fn writers_of_a_large_key_go_on_when_it_is_copied() {
    enum End {
        Copied,
        Untapped,
        Broken,
    }
    for end in [End::Copied, End::Untapped, End::Broken] {
        let node = start();
        node.shared.config.set_at_start("cluster-hold-timeout", "60000").unwrap();
        let [mut writer, mut reader] = [(); 2].map(|()| client(&node));
        let elements = (0..6000).map(|i| format!("{i:0100}"));
        writer.call(["RPUSH".to_owned(), "a".to_owned()].into_iter().chain(elements)).unwrap();
        let (outbox, slot) = (Outbox::new(64 << 20, node.shared.changes.clone()), key_slot(b"a"));
        node.shared.store.tap(slot, &outbox, false);
        assert_eq!(node.shared.store.copy_slot(slot, &outbox, 1000), Copied::More);
        assert_eq!(node.shared.store.copy_slot(slot, &outbox, 1000), Copied::More);
        writer.send(["RPUSH", "a", "x"]).unwrap();
        assert!(silent(&mut writer));
        assert_eq!(reader.line("LLEN a").unwrap(), Frame::Int(6000));
        // One key must not hold up what a router sends for others.
        assert_eq!(reader.line("SHOAL UPSTREAM 1").unwrap(), Frame::Simple(b"OK".to_vec()));
        assert!(reader.line("DEL a").unwrap().is_error());
        match end {
            End::Copied => while node.shared.store.copy_slot(slot, &outbox, 1000) == Copied::More {},
            End::Untapped => assert!(node.shared.store.untap(slot, &outbox)),
            End::Broken => outbox.break_off(),
        }
        assert_eq!(writer.receive().unwrap(), Frame::Int(6001));
    }
}

/// The target may have taken the slot when it is emptied here: it has to hear of it before the client does.
#[test]
fn who_empties_a_slot_that_is_about_to_change_hands_waits_for_its_target() {
    for broken in [false, true] {
        let node = start();
        let outbox = Outbox::new(LIMIT, node.shared.changes.clone());
        let (store, slot) = (&node.shared.store, key_slot(b"a"));
        let [mut writer, mut other] = [(); 2].map(|()| client(&node));
        assert_eq!(writer.line("SET a 1").unwrap(), Frame::Simple(b"OK".to_vec()));
        store.tap(slot, &outbox, false);
        assert_eq!(store.copy_slot(slot, &outbox, 1 << 20), Copied::All);
        assert_eq!(other.line("FLUSHDB").unwrap(), Frame::Simple(b"OK".to_vec()), "it is served here");
        assert_eq!(writer.line("SET a 2").unwrap(), Frame::Simple(b"OK".to_vec()));
        node.shared.set_gate(slot, Gate::Held);
        let before = outbox.appended();
        writer.send(["FLUSHALL"]).unwrap();
        assert!(silent(&mut writer));
        assert_eq!((store.slot_stats(slot).keys, outbox.appended() > before), (0, true));
        if broken {
            // Whether the target heard of it, nobody knows, and nobody says so.
            outbox.break_off();
            writer.set_patience(Duration::from_secs(60)).unwrap();
            let end = writer.receive().unwrap_err();
            assert_ne!(end.kind(), std::io::ErrorKind::WouldBlock, "the connection ends: {end}");
        } else {
            outbox.ack(outbox.appended());
            writer.set_patience(Duration::from_secs(60)).unwrap();
            assert_eq!(writer.receive().unwrap(), Frame::Simple(b"OK".to_vec()));
        }
    }
}

/// It may have been taken over and have copies of its own there: they would bring back what was emptied.
#[test]
fn who_empties_a_slot_that_has_changed_hands_waits_for_the_targets_copies() {
    let node = start();
    let outbox = Outbox::new(LIMIT, node.shared.changes.clone());
    let (store, slot) = (&node.shared.store, key_slot(b"a"));
    let mut writer = client(&node);
    store.tap(slot, &outbox, false);
    assert_eq!(store.copy_slot(slot, &outbox, 1 << 20), Copied::All);
    node.shared.set_gate(slot, Gate::Held);
    for later in [0, 1000] {
        let before = outbox.appended();
        writer.send(["FLUSHALL"]).unwrap();
        while outbox.appended() == before {
            std::thread::yield_now();
        }
        let position = outbox.appended();
        outbox.pend(position);
        outbox.ack(position);
        assert!(silent(&mut writer));
        // What becomes pending later does not matter when this is settled.
        outbox.pend(position + later);
        outbox.settle(position);
        assert_eq!(writer.receive().unwrap(), Frame::Simple(b"OK".to_vec()));
    }
}

#[test]
fn a_target_empties_what_is_its_own_by_then() {
    let node = start();
    let (store, slot) = (&node.shared.store, key_slot(b"a"));
    let mut writer = client(&node);
    for line in ["SET a 1", "SET b 1", "SELECT 1", "SET a 1"] {
        assert_eq!(writer.line(line).unwrap(), Frame::Simple(b"OK".to_vec()));
    }
    let outbox = tap(&node);
    let before = outbox.appended();
    let mut waits = Vec::new();
    assert!(store.flush_slot(slot, Some(1), |wait| waits.push(wait.position)));
    assert!(outbox.appended() > before, "its copies hear of it");
    assert_eq!(waits, [outbox.appended()], "and have to");
    assert_eq!((store.slot_stats(slot).keys, store.len(0).0, store.len(1).0), (1, 2, 0));
    // That another slot of the shard cannot be handed over at present is no matter of this one.
    let other = (slot + 64) % SLOTS;
    store.follow(other, &Outbox::broken(), false);
    node.shared.set_gate(other, Gate::Held);
    assert!(store.flush_slot(slot, Some(2), |_| {}));
    node.shared.set_gate(slot, Gate::Away);
    assert!(!store.flush_slot(slot, None, |_| {}) && store.slot_stats(slot).keys == 1);
    node.shared.set_gate(slot, Gate::Open);
    assert!(store.flush_slot(slot, None, |_| {}) && store.len(0).0 == 1);
    store.audit();
}

/// Without a stream nobody knows whether the target has taken the slot, and with what in it: that has to be decided first.
#[test]
fn nothing_is_emptied_while_a_target_cannot_be_told() {
    let slot = key_slot(b"a");
    for copies in [false, true] {
        let node = start();
        let outbox = Outbox::new(LIMIT, node.shared.changes.clone());
        let store = &node.shared.store;
        let mut writer = client(&node);
        for line in ["SET a 1", "SET b 1"] {
            assert_eq!(writer.line(line).unwrap(), Frame::Simple(b"OK".to_vec()));
        }
        store.tap(slot, &outbox, false);
        assert_eq!(store.copy_slot(slot, &outbox, 1 << 20), Copied::All);
        if copies {
            // Somebody else who listens does not stand for the target.
            store.follow(slot, &Outbox::new(LIMIT, node.shared.changes.clone()), false);
        }
        node.shared.set_gate(slot, Gate::Held);
        outbox.break_off();
        assert!(!store.flush_slot(slot, Some(7), |_| {}), "whoever handed it over before cannot, either");
        writer.send(["FLUSHALL"]).unwrap();
        assert!(silent(&mut writer));
        assert_eq!(store.len(0).0, 2, "nothing was emptied");
        // It has not taken it.
        node.shared.set_gate(slot, Gate::Open);
        assert_eq!(writer.receive().unwrap(), Frame::Simple(b"OK".to_vec()));
        assert_eq!(store.len(0).0, 0);
    }
}
