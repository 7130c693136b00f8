//! Slots that have no room where they are to go: they stay with their owner, and are tried again now and then.
//!
//! The end that has no room gives up what came of such a slot, and says so ([`Transfer::Missing`]); the rest of the stream goes on. Its
//! owner goes on serving it, sends the others first, and then begins those anew, after pauses that grow as long as none of them
//! gets through. A copy that is complete is not given up in this way: answers wait for it, so its stream has to end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Export, Handoff, Offer, Out, Slots};
use crate::view::{NodeId, Ranges};

/// Pauses before slots that had no room are tried again: the shortest and the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(32);

/// Slots for which one member has no room.
#[derive(Debug, Clone, Hash)]
struct Waits {
    slots: BTreeSet<u16>,
    /// The next one.
    pause: Duration,
    /// When they are tried again; none while that is under way.
    until: Option<Duration>,
}

/// What waits for room, by member.
#[derive(Debug, Default, Clone, Hash)]
pub(super) struct Room(BTreeMap<NodeId, Waits>);

impl Room {
    /// Whether a slot is to wait.
    pub(super) fn waits(&self, slot: u16, to: NodeId) -> bool {
        self.0.get(&to).is_some_and(|waits| waits.slots.contains(&slot))
    }

    /// There was none for this slot.
    pub(super) fn lack(&mut self, slot: u16, to: NodeId) {
        let none = || Waits { slots: BTreeSet::new(), pause: SHORTEST, until: None };
        self.0.entry(to).or_insert_with(none).slots.insert(slot);
    }

    /// It got through.
    pub(super) fn found(&mut self, slot: u16, to: NodeId) {
        if let Some(waits) = self.0.get_mut(&to)
            && waits.slots.remove(&slot)
        {
            waits.pause = SHORTEST;
            if waits.slots.is_empty() {
                self.0.remove(&to);
            }
        }
    }

    /// Only these are to go anywhere.
    pub(super) fn keep(&mut self, wanted: impl Fn(u16, NodeId) -> bool) {
        for (to, waits) in &mut self.0 {
            waits.slots.retain(|slot| wanted(*slot, *to));
        }
        self.0.retain(|_, waits| !waits.slots.is_empty());
    }

    /// Where anything is to go that waits.
    pub(super) fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.0.keys().copied()
    }

    /// Whose turn it is. `busy`: something is on its way to a member, which comes first.
    fn due(&mut self, now: Duration, busy: impl Fn(NodeId) -> bool) -> Vec<(NodeId, u16)> {
        let mut due = Vec::new();
        for (to, waits) in self.0.iter_mut().filter(|(to, _)| !busy(**to)) {
            match waits.until {
                None => {
                    waits.until = Some(now + waits.pause);
                    waits.pause = (2 * waits.pause).min(LONGEST);
                }
                Some(until) if now >= until => {
                    waits.until = None;
                    due.extend(waits.slots.iter().map(|slot| (*to, *slot)));
                }
                Some(_) => {}
            }
        }
        due
    }

    fn ranges(&self) -> impl Iterator<Item = (NodeId, Ranges)> {
        self.0.iter().map(|(to, waits)| (*to, waits.slots.iter().copied().collect::<Slots>().ranges()))
    }
}

impl Handoff {
    /// Slots of ours that stay here because there is no room for them where they, or copies of them, are to go: by member.
    pub fn lacks_room(&self) -> BTreeMap<NodeId, Ranges> {
        self.room.ranges().collect()
    }

    /// Sends a slot when it is its turn.
    pub(super) fn enqueue(&mut self, slot: u16, to: NodeId) {
        if !self.room.waits(slot, to) {
            self.waiting.entry(to).or_default().push_back(slot);
        }
    }

    /// Begins anew what had no room, if it is time.
    pub(super) fn try_room(&mut self, now: Duration) {
        let Self { room, waiting, syncing, hands, .. } = self;
        let busy = |to| {
            waiting.get(&to).is_some_and(|waiting| !waiting.is_empty())
                || syncing.count(to) + hands.count(to) > 0
        };
        for (to, slot) in room.due(now, busy) {
            if !self.exports.contains_key(&(slot, to)) {
                self.waiting.entry(to).or_default().push_back(slot);
            }
        }
    }

    /// There is no room here for more of a slot that comes in from this peer. What came of it is given up, unless it is a copy that
    /// is complete: then the stream has to end.
    pub fn on_no_room(&mut self, slot: u16, from: NodeId) {
        let Some(incoming) = self.incoming.get(&slot).copied() else { return };
        if incoming.from == from && incoming.live && !incoming.complete {
            self.forget(slot);
            self.say_missing(slot, incoming.stream, from);
        }
    }

    /// The other end has given up what came of a slot by this stream, which it was to have and had not.
    pub(super) fn on_lacking(&mut self, slot: u16, from: NodeId, stream: u64) {
        let Some(Export { lasting, state, .. }) =
            self.exports.get(&(slot, from)).copied().filter(|export| export.stream == stream)
        else {
            return;
        };
        if lasting && state != Out::Syncing {
            return;
        }
        self.room.lack(slot, from);
        let offered = |hand: super::Hand| hand.to == from && matches!(hand.state, Offer::Sent(_));
        // It will be refused, which is to be waited for.
        if !self.hands.get(slot).is_some_and(offered) {
            self.unexport(slot, from);
            self.start();
            self.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Transfer};
    use super::*;
    use crate::view::{Member, Replication, View};

    const TICK: Duration = Duration::from_millis(100);

    fn id(n: u64) -> NodeId {
        NodeId { node: n, boot: 1 }
    }

    /// The first of two members has all slots, of which the second is to get the first ones.
    fn view(slots: u16, moving: u16, replicas: u8) -> View {
        let replication = Replication { replicas, ack_all: true };
        let member = |n| Member { replication, ..Member::sample(id(n)) };
        let targets: Vec<u16> =
            (0..slots).map(|slot| if slot < moving { 1 } else { crate::view::NOBODY }).collect();
        View::new(7, 3, vec![member(1), member(2)], &vec![0; usize::from(slots)]).with_targets(&targets)
    }

    /// Both ends and the stream between them. The second has room for some slots only.
    struct Pair {
        view: View,
        ends: [Handoff; 2],
        full: BTreeSet<u16>,
        served: BTreeSet<u16>,
        begun: Vec<u16>,
        now: Duration,
    }

    impl Pair {
        fn new(slots: u16, full: impl IntoIterator<Item = u16>) -> Self {
            let view = view(slots, slots, 0);
            let mut ends = [Handoff::default(), Handoff::default()];
            for (end, n) in ends.iter_mut().zip([1, 2]) {
                end.on_view(&view, id(n));
                end.on_connected(id(3 - n));
            }
            let full = full.into_iter().collect();
            Self { view, ends, full, served: BTreeSet::new(), begun: Vec::new(), now: Duration::ZERO }
        }

        /// All that follows at once. Every slot has data, and the second end says it when it has no room for it.
        fn settle(&mut self) {
            while let Some((at, action)) = (0..2).find_map(|at| Some((at, self.ends[at].poll()?))) {
                match action {
                    Action::Serve { slot, .. } if at == 0 => drop(self.served.insert(slot)),
                    Action::Freeze { slot, id, .. } => {
                        self.served.remove(&slot);
                        self.ends[0].on_frozen(slot, id);
                    }
                    Action::Export { slot, copy, .. } => {
                        self.begun.push(slot);
                        if self.full.contains(&slot) {
                            self.ends[1].on_no_room(slot, id(1));
                        }
                        self.ends[0].on_synced(slot, copy);
                    }
                    Action::Gone { slot, .. } => drop(self.served.remove(&slot)),
                    Action::Send { message, .. } => {
                        let (other, from) = (1 - at, id(1 + at as u64));
                        self.ends[other].on_transfer(&self.view, id(1 + other as u64), from, message);
                    }
                    _ => {}
                }
            }
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                self.now += TICK;
                self.ends[0].retry(self.now);
                self.settle();
            }
        }
    }

    #[test]
    fn what_has_no_room_is_served_where_it_is_and_the_others_move() {
        let mut pair = Pair::new(300, [0, 1, 7, 299]);
        pair.settle();
        assert_eq!(pair.served, pair.full, "nothing is held");
        assert_eq!(pair.ends[0].progress(), (296, 4));
        assert_eq!(pair.ends[0].lacks_room(), BTreeMap::from([(id(2), vec![(0, 1), (7, 7), (299, 299)])]));
        assert!((0..300).all(|slot| pair.ends[1].owns(slot) != pair.full.contains(&slot)));
    }

    #[test]
    fn it_is_tried_again_after_growing_pauses_until_there_is_room() {
        let mut pair = Pair::new(100, [3, 4]);
        pair.settle();
        pair.begun.clear();
        let mut attempts = Vec::new();
        for _ in 0..1300 {
            pair.run(TICK);
            if !std::mem::take(&mut pair.begun).is_empty() {
                attempts.push(pair.now.as_millis() / 1000);
            }
            assert_eq!(pair.served, pair.full);
        }
        assert_eq!(attempts, [1, 3, 7, 15, 31, 63, 95, 127]);
        pair.full.remove(&4);
        pair.run(LONGEST + TICK);
        assert_eq!(pair.ends[0].lacks_room(), BTreeMap::from([(id(2), vec![(3, 3)])]));
        pair.full.clear();
        // What got through shows that there may be room: soon again.
        pair.run(SHORTEST + 2 * TICK);
        assert_eq!((pair.ends[0].lacks_room(), pair.ends[0].progress()), (BTreeMap::new(), (100, 0)));
    }

    #[test]
    fn another_view_does_not_begin_it_anew() {
        let mut pair = Pair::new(10, [3]);
        pair.settle();
        pair.begun.clear();
        let mut owners = vec![1; 10];
        owners[3] = 0;
        let mut targets = vec![crate::view::NOBODY; 10];
        targets[3] = 1;
        let members = pair.view.members.clone();
        pair.view = View::new(7, 4, members.clone(), &owners).with_targets(&targets);
        for n in 0..2 {
            pair.ends[n].on_view(&pair.view, id(1 + n as u64));
        }
        pair.settle();
        assert!(pair.begun.is_empty() && pair.served.contains(&3));
        assert_eq!(pair.ends[0].lacks_room(), BTreeMap::from([(id(2), vec![(3, 3)])]));
        pair.view = View::new(7, 5, members, &owners);
        for n in 0..2 {
            pair.ends[n].on_view(&pair.view, id(1 + n as u64));
        }
        assert_eq!(pair.ends[0].lacks_room(), BTreeMap::new(), "it is to go nowhere any more");
    }

    /// What changed after it was copied may be too much, too.
    #[test]
    fn what_is_offered_waits_for_the_answer() {
        let mut owner = Handoff::default();
        let view = view(1, 1, 0);
        owner.on_view(&view, id(1));
        owner.on_connected(id(2));
        let actions = |owner: &mut Handoff| std::iter::from_fn(|| owner.poll()).collect::<Vec<_>>();
        let (stream, copy) = (1, 2);
        assert!(actions(&mut owner).iter().any(|a| matches!(a, Action::Export { copy: 2, .. })));
        owner.on_synced(0, copy);
        owner.on_frozen(0, 3);
        actions(&mut owner);
        owner.on_transfer(&view, id(1), id(2), Transfer::Missing { slot: 0, stream });
        assert_eq!(actions(&mut owner), [], "it may have been taken before");
        owner.on_transfer(&view, id(1), id(2), Transfer::Refused { slot: 0, id: 4, ready: false });
        let serve = Action::Serve { slot: 0, fresh: false };
        let (unexport, stop) = (
            Action::Unexport { slot: 0, to: id(2) },
            Action::Send { to: id(2), message: Transfer::Stop { slot: 0 } },
        );
        assert_eq!(actions(&mut owner), [serve, unexport, stop], "and is not begun anew");
        assert_eq!(owner.lacks_room(), BTreeMap::from([(id(2), vec![(0, 0)])]));
    }

    /// Answers wait for a copy that is complete, and it may be all that there will be.
    #[test]
    fn a_complete_copy_is_not_given_up() {
        let mut copy = Handoff::default();
        let view = view(1, 0, 1);
        copy.on_view(&view, id(2));
        copy.on_transfer(&view, id(2), id(1), Transfer::Begin { slot: 0, epoch: 3, stream: 5 });
        copy.on_transfer(&view, id(2), id(1), Transfer::Complete { slot: 0, stream: 5 });
        while copy.poll().is_some() {}
        copy.on_no_room(0, id(1));
        assert_eq!((copy.poll(), copy.source(0)), (None, Some(id(1))));
    }
}
