//! What one member does with each slot: owner, on its way out, on its way in, copy of another's.
//!
//! ```text
//! owner:  Owned -> Syncing -> Synced -> Frozen -> Sent(id) -> gone       target:  none -> Incoming -> Ready -> Owned
//!              ^________________________________|  Refused                          ^____|  Begin, stream lost
//! ```
//! A slot changes hands without anybody else: the owner stops serving it, offers it with the last of its data, and is no
//! longer its owner when the target has taken it. An offer without an answer stays one until the answer comes or the next
//! view says who has the slot. Only slots of the view's targets move, each at most once in a view.
//!
//! Copies come over the same streams and stay `Synced`: every change follows, and answers wait until it is applied. Both
//! ends claim that when a view is made, and the next view lists the copy as in sync. From its claim on, an owner waits
//! for a copy until a view comes that does not list it, whatever happens to the stream; and who is listed keeps what it has. So
//! whoever a view lists has all that was answered, and can take over when the owner is gone. A copy that was lost is not
//! made anew before a view has dropped it. If the cluster keeps copies, a slot that changes hands in a view leaves one
//! behind: the former owner follows the new one.

mod offers;
mod room;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use super::action::Action;
use super::message::{Copied, Report, Transfer};
use super::mutant::{self, Mutant};
use super::readable::{Readable, Reading};
use super::slots::Slots;
use super::states::{Aim, Export, Hand, Hands, Incoming, Offer, Out, Syncing, of_slot};
use crate::slot::SLOTS;
use crate::view::{NodeId, View};
use room::Room;

/// Slots that one member sends to another at the same time.
pub const IN_FLIGHT: usize = 64;

/// More are begun when no more than so many are under way, up to [`IN_FLIGHT`]. One for each that is through would make each take every
/// step of its way alone, and what a step costs is mostly that threads wake each other.
const REFILL: usize = IN_FLIGHT / 2;

/// Slots of a member that the cluster went on without before it had handed them over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unhanded {
    /// How many.
    pub slots: u16,
    /// Those among them that began anew elsewhere, empty, since there was no copy.
    pub lost: u16,
}

/// States of all slots at one member. See the module's documentation.
#[derive(Debug, Default, Clone, Hash)]
pub struct Handoff {
    owned: Slots,
    exports: BTreeMap<(u16, NodeId), Export>,
    /// How many there are, by peer.
    loads: BTreeMap<NodeId, usize>,
    /// Those that are under way, by peer.
    syncing: Syncing,
    /// Slots that have a target or are to be copied and wait for their turn, by peer.
    waiting: BTreeMap<NodeId, VecDeque<u16>>,
    /// Those among them that there was no room for.
    room: Room,
    /// Where slots go in this view.
    targets: BTreeMap<u16, NodeId>,
    /// Slots that can be handed over, by target.
    ready: BTreeMap<NodeId, BTreeSet<u16>>,
    hands: Hands,
    /// Copies in sync that the view does not list.
    unlisted: BTreeSet<(u16, NodeId)>,
    broken: BTreeSet<(u16, NodeId)>,
    /// Peers to whom a stream stands, and its number.
    streams: BTreeMap<NodeId, u64>,
    /// Slots whose data comes in.
    incoming: BTreeMap<u16, Incoming>,
    /// Slots of which the view says that we have a copy in sync.
    kept: Slots,
    reading: Reading,
    /// Slots that we handed over, the offer's id, and whose data we keep.
    handed: BTreeMap<u16, (NodeId, u64)>,
    /// Some of those that are no copies, which is to be said when the next view is there.
    alone: Slots,
    /// Owners of slots that we are to get: former owners follow us, so a stream to them must stand.
    sources: BTreeSet<NodeId>,
    /// Offers taken, by slot: the owner may ask again.
    taken: BTreeMap<u16, (NodeId, u64)>,
    /// Offers that were refused are never taken: the largest id by slot and owner. Ids of one owner only grow.
    refused: BTreeMap<(u16, NodeId), u64>,
    next_id: u64,
    moved: u16,
    wedged: bool,
    epoch: u64,
    /// Whether slots have copies, and answers wait for them.
    copies: bool,
    guard: bool,
    actions: VecDeque<Action>,
}

impl Handoff {
    /// What the driver must do next.
    pub fn poll(&mut self) -> Option<Action> {
        super::pop(&mut self.actions)
    }

    /// What copies may be read from now on, if that changed; to be put into effect before any action.
    pub fn poll_readable(&mut self) -> Option<Arc<Readable>> {
        self.reading.poll()
    }

    /// Whether we own `slot`.
    pub fn owns(&self, slot: u16) -> bool {
        self.owned.has(slot)
    }

    /// What was not handed over, now that `view` lacks us. What was offered counts as handed over if it did not begin anew: then its
    /// target has taken it.
    pub fn unhanded(&self, view: &View) -> Unhanded {
        let mut unhanded = Unhanded::default();
        for slot in self.owned.iter() {
            let offered = self.hands.get(slot).is_some_and(|hand| matches!(hand.state, Offer::Sent(_)));
            let lost = view.born(slot) > self.epoch;
            if lost || !offered {
                unhanded.slots += 1;
                unhanded.lost += u16::from(lost);
            }
        }
        unhanded
    }

    /// Slots handed over in this view, and those yet to be.
    pub fn progress(&self) -> (u16, u16) {
        (self.moved, self.targets.len() as u16)
    }

    /// Whether slots are being copied, how many copies are in sync that the view does not know, and whether one is gone
    /// that it holds to be in sync.
    pub fn copying(&self) -> (bool, u16, bool) {
        let busy = !self.syncing.is_empty() || self.waiting.values().any(|waiting| !waiting.is_empty());
        (busy, self.unlisted.len().min(u16::MAX.into()) as u16, !self.broken.is_empty())
    }

    /// Whether no slot is on its way and no copy either.
    pub fn is_calm(&self) -> bool {
        self.targets.is_empty()
            && self.hands.is_empty()
            && self.sources.is_empty()
            && self.copying() == (false, 0, false)
    }

    /// From whom the data of `slot` comes in. What anybody else sends of it is to be dropped.
    pub fn source(&self, slot: u16) -> Option<NodeId> {
        self.incoming.get(&slot).filter(|incoming| incoming.live).map(|incoming| incoming.from)
    }

    /// Whether what is here of a slot, which we do not own, must be kept: it is a copy in sync, or was when its stream
    /// broke or it was handed over.
    pub fn keeps(&self, slot: u16) -> bool {
        self.handed.contains_key(&slot) || self.incoming.get(&slot).is_some_and(|incoming| incoming.complete)
    }

    /// Members to which something is to be sent: the driver keeps a stream to each.
    pub fn peers(&self) -> BTreeSet<NodeId> {
        let exports = self.loads.keys().copied();
        let waiting = self.waiting.iter().filter(|(_, w)| !w.is_empty()).map(|(id, _)| *id);
        let lacking = self.room.peers();
        exports.chain(waiting).chain(lacking).chain(self.sources.iter().copied()).collect()
    }

    /// What we keep. Of what we own and have offered nothing changes until the next view if we are wedged; copies may
    /// become more.
    pub fn report(&self) -> Report {
        let offered = |(slot, hand): (u16, Hand)| matches!(hand.state, Offer::Sent(_)).then_some(slot);
        let offered: Slots = self.hands.iter().filter_map(offered).collect();
        let owned: Slots = self.owned.iter().filter(|slot| !offered.has(*slot)).collect();
        let sent: Slots = offered.iter().chain(self.handed.keys().copied()).collect();
        let claims = self.exports.iter().filter(|(_, e)| e.lasting && e.state == Out::Synced);
        let holds = self.incoming.iter().filter(|(_, incoming)| incoming.complete);
        Report {
            owned: owned.ranges(),
            sent: sent.ranges(),
            claims: copied(claims.map(|((slot, to), e)| (*to, e.stream, *slot))),
            holds: copied(holds.map(|(slot, incoming)| (incoming.from, incoming.stream, *slot))),
        }
    }

    /// A view is being made: nothing changes hands until it is there. What was offered may still be answered.
    pub fn wedge(&mut self) {
        self.reading.close();
        if self.wedged || mutant::off(Mutant::NoWedge) {
            return;
        }
        self.wedged = true;
        let frozen = self.hands.iter().filter(|(_, hand)| matches!(hand.state, Offer::Frozen(_)));
        for (slot, to) in frozen.map(|(slot, hand)| (slot, hand.to)).collect::<Vec<_>>() {
            self.thaw(slot);
            self.ready.entry(to).or_default().insert(slot);
        }
    }

    /// Serves a slot again that was to be handed over.
    fn thaw(&mut self, slot: u16) {
        if self.hands.remove(slot).is_some() {
            self.actions.push_back(Action::Serve { slot, fresh: false });
        }
    }

    /// A view that we are a member of is in force.
    pub fn on_view(&mut self, view: &View, me: NodeId) {
        (self.wedged, self.epoch, self.moved) = (false, view.epoch, 0);
        (self.copies, self.guard) = (view.replication().replicas > 0, view.replication().ack_all);
        self.waiting.clear();
        self.ready.clear();
        self.targets.clear();
        self.sources.clear();
        self.unlisted.clear();
        self.broken.clear();
        let mine = view.place(me).map(|p| p as u16);
        let id = |place: u16| view.members.get(usize::from(place)).map(|m| m.id);
        let (owners, targets, copies) = (view.owners(), view.targets(), view.all_copies());
        let (mut kept, mut readable) = (Slots::default(), Slots::default());
        self.room.keep(|slot, to| {
            let at = usize::from(slot);
            let aims = copies[at].iter().map(|(at, _)| at).chain([targets[at]]);
            Some(owners[at]) == mine && aims.into_iter().any(|at| id(at) == Some(to))
        });
        for slot in 0..view.slots() {
            let at = usize::from(slot);
            let (owner, target) = (owners[at], id(targets[at]));
            if Some(owner) == mine {
                self.own(slot, view.born(slot) == view.epoch);
                let aim = |(at, listed)| id(at).map(|to| Aim { to, lasting: true, listed });
                let mut aims: Vec<Aim> = copies[at].iter().filter_map(aim).collect();
                if let Some(to) = target {
                    self.targets.insert(slot, to);
                    if aims.iter().all(|aim| aim.to != to) {
                        aims.push(Aim { to, lasting: false, listed: false });
                    }
                }
                self.aim(slot, &aims);
                continue;
            }
            let listed = mine.and_then(|mine| copies[at].has(mine));
            let wanted = listed.is_some() || target == Some(me);
            if target == Some(me) && self.copies {
                self.sources.extend(id(owner));
            }
            if listed == Some(true) {
                kept.insert(slot);
            }
            self.disown(slot, id(owner), listed == Some(true), wanted);
            if self.may_read(slot, id(owner), (listed == Some(true), target.is_some())) {
                readable.insert(slot);
            }
        }
        self.kept = kept;
        self.reading.on_view(readable);
        std::mem::take(&mut self.alone).iter().for_each(|slot| self.on_emptied_alone(slot));
        self.handed.retain(|slot, _| self.kept.has(*slot));
        self.taken.retain(|slot, _| self.owned.has(*slot));
        self.refused.retain(|(_, owner), _| view.place(*owner).is_some());
        self.start();
        self.hand_over();
    }

    /// The view says that `slot` is ours.
    fn own(&mut self, slot: u16, fresh: bool) {
        let (had, keeps) = (self.owned.has(slot), self.keeps(slot));
        if had && !fresh {
            return self.thaw(slot);
        }
        // What we have of it is in doubt, or was never ours: it starts empty. But if it is a copy in sync, or was handed
        // over to somebody who is gone, it holds all that was answered.
        self.end_exports(slot);
        self.hands.remove(slot);
        self.handed.remove(&slot);
        self.incoming.remove(&slot);
        self.owned.insert(slot);
        self.actions.push_back(Action::Serve { slot, fresh: fresh || !keeps });
    }

    /// Sends `slot` to where the view wants it, or nowhere.
    fn aim(&mut self, slot: u16, aims: &[Aim]) {
        let exports: Vec<(NodeId, Export)> =
            self.exports.range(of_slot(slot)).map(|((_, to), export)| (*to, *export)).collect();
        for (to, export) in &exports {
            let Some(aim) = aims.iter().find(|aim| aim.to == *to) else {
                self.unexport(slot, *to);
                continue;
            };
            if aim.lasting && self.guard && !export.guard && export.state == Out::Synced && aim.listed {
                // Answers did not wait for it so far; it must be dropped before it can be made anew.
                self.breaks(slot, *to);
            }
            let lost = self.exports.get(&(slot, *to)).is_some_and(|e| e.state == Out::Broken);
            let other = aim.lasting && (!export.lasting || (self.guard && !export.guard));
            match export.state {
                _ if aim.listed && lost && !mutant::off(Mutant::CopyListedAnew) => self.breaks(slot, *to),
                _ if lost || other => {
                    self.unexport(slot, *to);
                    self.enqueue(slot, *to);
                }
                Out::Synced if self.targets.get(&slot) == Some(to) => {
                    self.ready.entry(*to).or_default().insert(slot);
                    self.note_listed(slot, aim, export);
                }
                Out::Synced => self.note_listed(slot, aim, export),
                Out::Syncing | Out::Broken => {}
            }
        }
        for aim in aims.iter().filter(|aim| exports.iter().all(|(to, _)| *to != aim.to)) {
            self.enqueue(slot, aim.to);
        }
    }

    fn note_listed(&mut self, slot: u16, aim: &Aim, export: &Export) {
        if !export.lasting || aim.listed {
            return;
        }
        self.unlisted.insert((slot, aim.to));
        // It may have said what it has before it heard that. But if it has lost it, the next view will not list it either, nor any
        // other: so it is told again, and says if nothing is there.
        let stands = self.streams.get(&aim.to) == Some(&export.stream);
        if stands && !mutant::off(Mutant::SayCompleteOnce) {
            let message = Transfer::Complete { slot, stream: export.stream };
            self.actions.push_back(Action::Send { to: aim.to, message });
        }
    }

    /// A copy that was in sync is out of reach.
    fn breaks(&mut self, slot: u16, to: NodeId) {
        if let Some(export) = self.exports.get_mut(&(slot, to)) {
            export.state = Out::Broken;
            self.unlisted.remove(&(slot, to));
            self.broken.insert((slot, to));
            if let Some(ready) = self.ready.get_mut(&to) {
                ready.remove(&slot);
            }
        }
    }

    /// The view says that `slot` is somebody else's. `listed`: and that we have a copy in sync; `wanted`: or are to
    /// get one, or the slot itself.
    fn disown(&mut self, slot: u16, owner: Option<NodeId>, listed: bool, wanted: bool) {
        let hand = self.hands.remove(slot);
        if self.owned.remove(slot) {
            match (hand, owner) {
                (Some(Hand { to, state: Offer::Sent(id) }), Some(owner))
                    if listed && to == owner && !mutant::off(Mutant::GiveUpHanded) =>
                {
                    // Its first change may be on the way.
                    self.handed.insert(slot, (to, id));
                    self.actions.push_back(Action::Gone { slot, to, keep: true });
                }
                (_, Some(to)) => self.actions.push_back(Action::Gone { slot, to, keep: false }),
                (_, None) => self.actions.push_back(Action::Drop { slot }),
            }
            return self.end_exports(slot);
        }
        self.end_exports(slot);
        match self.incoming.get(&slot) {
            Some(incoming) if !wanted || Some(incoming.from) != owner => self.forget(slot),
            None if self.handed.contains_key(&slot) && !listed => {
                self.actions.push_back(Action::Drop { slot })
            }
            Some(_) | None => {}
        }
    }

    /// Whether our copy of a slot may be read while the view is in force, which lists it or not, and has a target for the
    /// slot or not. See [`super::readable`].
    fn may_read(&self, slot: u16, owner: Option<NodeId>, (listed, moves): (bool, bool)) -> bool {
        let follows = owner.is_some() && self.source(slot) == owner;
        (listed || mutant::off(Mutant::ReadUnlisted))
            && (!moves || mutant::off(Mutant::ReadMoving))
            && self.incoming.get(&slot).is_some_and(|incoming| incoming.complete)
            && (self.guard || follows)
    }

    fn forget(&mut self, slot: u16) {
        self.reading.remove(slot);
        if self.incoming.remove(&slot).is_some() {
            self.actions.push_back(Action::Drop { slot });
        }
    }

    fn add_export(&mut self, slot: u16, to: NodeId, export: Export) {
        if self.exports.insert((slot, to), export).is_none() {
            *self.loads.entry(to).or_default() += 1;
        }
    }

    fn remove_export(&mut self, slot: u16, to: NodeId) -> bool {
        self.syncing.remove(to, slot);
        self.unlisted.remove(&(slot, to));
        self.broken.remove(&(slot, to));
        if let Some(ready) = self.ready.get_mut(&to) {
            ready.remove(&slot);
        }
        let had = self.exports.remove(&(slot, to)).is_some();
        if had {
            self.loads.entry(to).and_modify(|load| *load -= 1);
            self.loads.retain(|_, load| *load > 0);
            self.actions.push_back(Action::Unexport { slot, to });
        }
        had
    }

    /// Ends all exports of a slot that is not ours any more.
    fn end_exports(&mut self, slot: u16) {
        let all: Vec<NodeId> = self.exports.range(of_slot(slot)).map(|((_, to), _)| *to).collect();
        for to in all {
            self.remove_export(slot, to);
        }
    }

    /// Ends an export of a slot that we go on serving.
    fn unexport(&mut self, slot: u16, to: NodeId) {
        if self.hands.get(slot).is_some_and(|hand| hand.to == to) {
            self.thaw(slot);
        }
        if self.remove_export(slot, to) && self.streams.contains_key(&to) {
            self.actions.push_back(Action::Send { to, message: Transfer::Stop { slot } });
        }
    }

    fn under_way(&self, to: NodeId) -> usize {
        self.syncing.count(to) + self.hands.count(to)
    }

    /// Begins as many exports as may be under way.
    fn start(&mut self) {
        if self.wedged {
            return;
        }
        let peers: Vec<(NodeId, u64)> = self.streams.iter().map(|(to, stream)| (*to, *stream)).collect();
        for (to, stream) in peers {
            let mut under_way = self.under_way(to);
            if under_way > REFILL {
                continue;
            }
            while under_way < IN_FLIGHT
                && let Some(slot) = self.waiting.get_mut(&to).and_then(VecDeque::pop_front)
            {
                under_way += 1;
                self.next_id += 1;
                // Who is a target and is not to keep a copy is no copy: it has not been listed.
                let lasting = self.targets.get(&slot) != Some(&to);
                let (copy, guard) = (self.next_id, lasting && self.guard);
                self.syncing.insert(to, slot);
                self.add_export(slot, to, Export { copy, stream, lasting, guard, state: Out::Syncing });
                let message = Transfer::Begin { slot, epoch: self.epoch, stream };
                self.actions.push_back(Action::Send { to, message });
                self.actions.push_back(Action::Export { slot, to, copy, lasting, guard });
            }
        }
    }

    /// Freezes as many slots as may be under way of those that can be handed over.
    fn hand_over(&mut self) {
        if self.wedged {
            return;
        }
        let peers: Vec<NodeId> = self.ready.keys().copied().collect();
        for to in peers.into_iter().filter(|to| self.streams.contains_key(to)).collect::<Vec<_>>() {
            let mut under_way = self.hands.count(to);
            while under_way < IN_FLIGHT
                && let Some(slot) = self.ready.get_mut(&to).and_then(BTreeSet::pop_first)
            {
                under_way += 1;
                self.next_id += 1;
                self.hands.set(slot, Hand { to, state: Offer::Frozen(self.next_id) });
                self.actions.push_back(Action::Freeze { slot, to, id: self.next_id });
            }
        }
    }

    /// A stream to `peer` stands, with nothing in it yet. Offers that have no answer are made again.
    pub fn on_connected(&mut self, peer: NodeId) {
        self.next_id += 1;
        self.streams.insert(peer, self.next_id);
        for (slot, hand) in self.hands.iter() {
            if let Hand { to, state: Offer::Sent(id) } = hand
                && to == peer
            {
                let message = Transfer::Take { slot, epoch: self.epoch, id };
                self.actions.push_back(Action::Send { to, message });
            }
        }
        self.start();
        self.hand_over();
    }

    /// The stream to `peer` is gone, and with it what was on the way.
    pub fn on_disconnected(&mut self, peer: NodeId) {
        self.streams.remove(&peer);
        let of_peer: Vec<(u16, Export)> =
            self.exports.iter().filter(|((_, to), _)| *to == peer).map(|((s, _), e)| (*s, *e)).collect();
        for (slot, export) in of_peer {
            let hand = self.hands.get(slot).filter(|hand| hand.to == peer);
            let sent = hand.is_some_and(|hand| matches!(hand.state, Offer::Sent(_)));
            if hand.is_some() && !sent {
                self.thaw(slot);
            }
            if export.lasting && export.state != Out::Syncing && !mutant::off(Mutant::CopyAnew) {
                self.breaks(slot, peer);
            } else if !sent {
                self.unexport(slot, peer);
                if !self.room.waits(slot, peer) {
                    self.waiting.entry(peer).or_default().push_front(slot);
                }
            }
        }
    }

    /// The stream from `peer` is gone: its slots come anew, but what may be needed stays.
    pub fn on_source_lost(&mut self, peer: NodeId) {
        let mut lost = Vec::new();
        for (slot, incoming) in self.incoming.iter_mut().filter(|(_, incoming)| incoming.from == peer) {
            incoming.live = false;
            if !self.guard {
                self.reading.remove(*slot);
            }
            if !incoming.complete || mutant::off(Mutant::GiveUpBroken) {
                lost.push(*slot);
            }
        }
        lost.into_iter().for_each(|slot| self.forget(slot));
    }

    /// Nearly all of the slot was sent; of a guarded copy, all that was answered is applied.
    pub fn on_synced(&mut self, slot: u16, copy: u64) {
        let mut exports = self.exports.range_mut(of_slot(slot));
        let Some(((_, to), export)) = exports.find(|(_, e)| (e.copy, e.state) == (copy, Out::Syncing)) else {
            return;
        };
        export.state = Out::Synced;
        let (to, export) = (*to, *export);
        self.syncing.remove(to, slot);
        if export.lasting {
            self.room.found(slot, to);
            self.unlisted.insert((slot, to));
            let message = Transfer::Complete { slot, stream: export.stream };
            self.actions.push_back(Action::Send { to, message });
        }
        if self.targets.get(&slot) == Some(&to) {
            self.ready.entry(to).or_default().insert(slot);
            self.hand_over();
        }
        self.start();
    }

    /// Nothing more is executed on the slot, and all of it is in the stream.
    pub fn on_frozen(&mut self, slot: u16, id: u64) {
        let Some(hand) = self.hands.get(slot).filter(|hand| hand.state == Offer::Frozen(id)) else {
            return;
        };
        self.next_id += 1;
        self.hands.set(slot, Hand { state: Offer::Sent(self.next_id), ..hand });
        let message = Transfer::Take { slot, epoch: self.epoch, id: self.next_id };
        self.actions.push_back(Action::Send { to: hand.to, message });
        if mutant::off(Mutant::ServeWhileSent) {
            self.actions.push_back(Action::Serve { slot, fresh: false });
        }
    }

    /// The other end of a stream says something; everything before it in the stream was dealt with.
    pub fn on_transfer(&mut self, view: &View, me: NodeId, from: NodeId, message: Transfer) {
        match message {
            Transfer::Begin { slot, epoch, stream } => {
                let owner = view.owner(slot).is_some_and(|m| m.id == from);
                self.on_begin(from, slot, (epoch, stream), owner);
            }
            Transfer::Complete { slot, stream } => match self.incoming.get_mut(&slot) {
                Some(i) if (i.from, i.stream, i.live) == (from, stream, true) => i.complete = true,
                _ => self.say_missing(slot, stream, from),
            },
            Transfer::Missing { slot, stream } => {
                let ours = |e: &Export| (e.stream, e.state, e.lasting) == (stream, Out::Synced, true);
                if !self.exports.get(&(slot, from)).is_some_and(ours) {
                    self.on_lacking(slot, from, stream);
                } else if !mutant::off(Mutant::IgnoreMissing) {
                    self.breaks(slot, from);
                }
            }
            Transfer::Stop { slot } => {
                if self.incoming.get(&slot).is_some_and(|incoming| incoming.from == from) {
                    self.forget(slot);
                }
            }
            Transfer::Take { slot, epoch, id } => self.on_take(view, me, from, (slot, epoch, id)),
            Transfer::Taken { slot, id } => self.on_taken(slot, id, from),
            Transfer::Follow { slot, id, stream } => self.on_follow(slot, id, from, stream),
            Transfer::Refused { slot, id, ready } => self.on_refused(slot, id, from, ready),
        }
    }

    /// `owner`: the view in force says that the slot is the peer's.
    fn on_begin(&mut self, from: NodeId, slot: u16, (epoch, stream): (u64, u64), owner: bool) {
        // What comes late from an earlier owner is worth nothing. (An owner never sends anew what the view in force lists as in sync:
        // it holds it to be in sync, or broken, until another view comes.)
        let late = epoch <= self.epoch && !owner;
        if slot >= SLOTS || self.owned.has(slot) || late {
            return;
        }
        self.forget(slot);
        self.kept.remove(slot);
        self.handed.remove(&slot);
        self.incoming.insert(slot, Incoming { from, stream, complete: false, live: true });
        self.actions.push_back(Action::Allow { slot, from });
    }

    /// Tries again what was refused or had to wait. To be called now and then.
    pub fn retry(&mut self, now: Duration) {
        self.try_room(now);
        self.start();
        self.hand_over();
    }

    /// We are nobody any more: nothing is ours, all that is kept must go.
    pub fn end(&mut self) {
        // Which streams stand is the driver's to say.
        let (next_id, streams) = (self.next_id, std::mem::take(&mut self.streams));
        let (actions, mut reading) = (std::mem::take(&mut self.actions), std::mem::take(&mut self.reading));
        reading.end();
        *self = Self { next_id, streams, actions, reading, ..Self::default() };
    }

    /// We are nobody yet, by a view that somebody who was late told us. What has come by a later one, which knows us, goes with
    /// the rest, and whoever takes it for a copy in sync must hear of that.
    pub fn wait(&mut self) {
        for (slot, incoming) in std::mem::take(&mut self.incoming) {
            self.actions.push_back(Action::Drop { slot });
            if incoming.complete && !mutant::off(Mutant::ForgetUntold) {
                self.say_missing(slot, incoming.stream, incoming.from);
            }
        }
        self.end();
    }
}

/// Collects slots by peer and stream.
fn copied(all: impl Iterator<Item = (NodeId, u64, u16)>) -> Vec<Copied> {
    let mut sets: BTreeMap<(NodeId, u64), Slots> = BTreeMap::new();
    for (peer, stream, slot) in all {
        sets.entry((peer, stream)).or_default().insert(slot);
    }
    let of = |((peer, stream), slots): ((NodeId, u64), Slots)| Copied { peer, stream, slots: slots.ranges() };
    sets.into_iter().map(of).collect()
}
