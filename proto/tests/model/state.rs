//! A state of a small world, and what can happen in it.
//!
//! Time goes in steps of 305 ms for all at once. Leases, last calls and what members say of their progress are answered at
//! once or, across a cut, never; all other messages lie in a set from which any may be delivered at any time, or never.
//! Streams keep their order. A copy of a slot is finished at any time after it began.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use shoal_proto::cluster::{Action, Message, Output, Transfer};
use shoal_proto::view::{Member, NOBODY, NodeId, View};

use crate::node::{Gate, Node, SLOTS, id, member, number};

/// A step of time: three are a bit longer than a voter holds a lease for possible.
const TIME: Duration = Duration::from_millis(305);

/// What may still happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    pub(crate) steps: u8,
    pub(crate) writes: u8,
    pub(crate) crashes: u8,
    /// Processes that are cut off from all others.
    pub(crate) cuts: u8,
    /// Live processes that one other holds for dead; it does not hear their answers to last calls either.
    pub(crate) doubts: u8,
    pub(crate) breaks: u8,
    /// Messages that are delivered and stay under way.
    pub(crate) twice: u8,
    /// How many steps of time a message may be late; then it is lost.
    pub(crate) late: u8,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Time,
    Deliver {
        at: usize,
        again: bool,
    },
    /// The head of a stream, in one of its directions.
    Item {
        from: usize,
        to: usize,
        back: bool,
    },
    Connect {
        from: usize,
        to: usize,
    },
    Break {
        from: usize,
        to: usize,
    },
    Copied {
        node: usize,
        slot: u16,
    },
    Write {
        node: usize,
        slot: usize,
    },
    Crash(usize),
    Cut(usize),
    /// Gossip at one holds another for dead.
    Down {
        at: usize,
        who: usize,
    },
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Letter {
    from: usize,
    to: usize,
    message: Message,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Item {
    message: Transfer,
    /// What the slot held when it was offered.
    value: u8,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct State {
    now: Duration,
    nodes: Vec<(u64, Arc<Node>)>,
    /// What is under way, and for how many more steps of time.
    letters: BTreeMap<u64, (u8, Arc<Letter>)>,
    streams: BTreeMap<(usize, usize), [VecDeque<Item>; 2]>,
    cut: Option<usize>,
    /// The last write of each slot that was acknowledged and not lost since.
    acked: [u8; SLOTS],
    /// Who served each slot last.
    holders: [Option<NodeId>; SLOTS],
    views: BTreeMap<u64, Arc<View>>,
    left: Limits,
    planned: bool,
    wrong: Option<String>,
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl State {
    /// `all` processes, of which the first `inside` have slots and the others none; `targets` of the slots.
    fn new(all: usize, inside: usize, owners: [u16; SLOTS], targets: [u16; SLOTS], left: Limits) -> Self {
        let members: Vec<Member> = (0..inside).map(member).collect();
        let view = View::new(77, 1, members, &owners).with_targets(&targets);
        let planned = left.crashes + left.cuts + left.doubts == 0;
        let mut state = Self {
            now: Duration::from_secs(10),
            nodes: (0..all).map(|n| (0, Arc::new(Node::new(n, all)))).collect(),
            letters: BTreeMap::new(),
            streams: BTreeMap::new(),
            cut: None,
            acked: [0; SLOTS],
            holders: [None; SLOTS],
            views: BTreeMap::new(),
            left,
            planned,
            wrong: None,
        };
        let now = state.now;
        for n in 0..all {
            state.change(n, |node| {
                node.core.on_up(now, (0..all).filter(|m| *m != n).map(id).collect());
                if n < inside {
                    node.core.learn(now, &view);
                }
            });
        }
        for n in 0..inside {
            // Everybody has a lease.
            state.change(n, |node| node.core.on_timeout(now));
        }
        state
    }

    /// Three members; slot 0 is to go from the first to the second, slot 1 is the third's.
    pub(crate) fn moving(left: Limits) -> Self {
        Self::new(3, 3, [0, 2], [1, NOBODY], left)
    }

    /// Three members; nothing is to move.
    pub(crate) fn resting(left: Limits) -> Self {
        Self::new(3, 3, [0, 2], [NOBODY; SLOTS], left)
    }

    /// Two members with both slots at the first, and a third process that wants to come in.
    pub(crate) fn joining(left: Limits) -> Self {
        let mut state = Self::new(3, 2, [0, 1], [NOBODY; SLOTS], left);
        let now = state.now;
        state.change(0, |node| node.core.on_record(now, member(2), false));
        state
    }

    /// Three members, of which the last wants to go.
    pub(crate) fn leaving(left: Limits) -> Self {
        let mut state = Self::resting(left);
        let now = state.now;
        state.change(0, |node| node.core.on_leave(now, id(2)));
        state
    }

    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.now.hash(&mut hasher);
        self.nodes.iter().for_each(|(hash, _)| hasher.write_u64(*hash));
        self.letters.iter().for_each(|(hash, (late, _))| (hash, late).hash(&mut hasher));
        (&self.streams, self.cut, self.acked, self.holders, self.left).hash(&mut hasher);
        self.views.values().for_each(|view| view.hash(&mut hasher));
        hasher.finish()
    }

    pub(crate) fn wrong(&self) -> Option<String> {
        self.wrong.clone()
    }

    /// Whether all who live agree and nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        let live = || self.nodes.iter().map(|(_, node)| node).filter(|node| node.alive);
        let newest = live().map(|node| node.core.view().epoch).max();
        live().all(|node| {
            let view = node.core.view();
            Some(view.epoch) == newest && node.core.inside() && !node.core.wedged() && !view.moves()
        })
    }

    /// A way through the world, for people.
    pub(crate) fn tell(&self, way: &[Step]) -> String {
        let (mut state, mut text) = (self.clone(), String::new());
        for step in way {
            if let Step::Deliver { at, .. } = step {
                text += &format!("  {:?}\n", state.letters.values().nth(*at));
            }
            text += &format!("{:?} {step:?}\n", state.now);
            state = state.after(*step);
        }
        text
    }

    fn node(&self, n: usize) -> &Node {
        &self.nodes[n].1
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        a == b || (self.node(a).alive && self.node(b).alive && self.cut.is_none_or(|c| c != a && c != b))
    }

    /// All that can happen.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let live: Vec<usize> = (0..self.nodes.len()).filter(|n| self.node(*n).alive).collect();
        for (at, (_, letter)) in self.letters.values().enumerate() {
            if self.reaches(letter.from, letter.to) || (self.cut.is_none() && self.node(letter.to).alive) {
                steps.push(Step::Deliver { at, again: false });
                if self.left.twice > 0 {
                    steps.push(Step::Deliver { at, again: true });
                }
            }
        }
        for ((from, to), ways) in &self.streams {
            for (back, way) in ways.iter().enumerate() {
                if !way.is_empty() && self.reaches(*from, *to) {
                    steps.push(Step::Item { from: *from, to: *to, back: back == 1 });
                }
            }
            if self.left.breaks > 0 {
                steps.push(Step::Break { from: *from, to: *to });
            }
        }
        for n in &live {
            let node = self.node(*n);
            for to in node.core.handoff().peers().into_iter().map(number) {
                if !self.streams.contains_key(&(*n, to)) && self.reaches(*n, to) {
                    steps.push(Step::Connect { from: *n, to });
                }
            }
            steps.extend(node.copies.keys().map(|slot| Step::Copied { node: *n, slot: *slot }));
            if self.left.writes > 0 {
                let serves = (0..SLOTS).filter(|slot| node.serves(*slot, self.now));
                steps.extend(serves.map(|slot| Step::Write { node: *n, slot }));
            }
            if self.left.crashes > 0 {
                steps.push(Step::Crash(*n));
            }
            if self.left.cuts > 0 && self.cut.is_none() {
                steps.push(Step::Cut(*n));
            }
            for who in (0..self.nodes.len()).filter(|who| who != n && node.up[*who]) {
                let known = node.core.view().place(id(who)).is_some();
                if known && (self.left.doubts > 0 || !self.reaches(*n, who)) {
                    steps.push(Step::Down { at: *n, who });
                }
            }
        }
        if self.left.steps > 0 {
            steps.push(Step::Time);
        }
        steps
    }

    /// The state after something happened.
    pub(crate) fn after(&self, step: Step) -> Self {
        let mut next = self.clone();
        next.happen(step);
        next.tidy();
        next.check();
        next
    }

    fn happen(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Time => {
                self.left.steps -= 1;
                self.now += TIME;
                let now = self.now;
                self.letters.retain(|_, (late, _)| std::mem::replace(late, late.saturating_sub(1)) > 0);
                for n in 0..self.nodes.len() {
                    if self.node(n).alive {
                        self.change(n, |node| node.core.on_timeout(now));
                    }
                }
            }
            Step::Deliver { at, again } => {
                let (hash, letter) =
                    self.letters.iter().nth(at).map(|(h, (_, l))| (*h, l.clone())).expect("listed");
                if again {
                    self.left.twice -= 1;
                } else {
                    self.letters.remove(&hash);
                }
                self.deliver(letter.from, letter.to, letter.message.clone());
            }
            Step::Item { from, to, back } => self.item(from, to, back),
            Step::Connect { from, to } => {
                self.streams.insert((from, to), Default::default());
                self.change(from, |node| node.core.on_slots(|slots| slots.on_connected(id(to))));
            }
            Step::Break { from, to } => {
                self.left.breaks -= 1;
                self.break_stream(from, to);
            }
            Step::Copied { node, slot } => self.change(node, |node| {
                if let Some((_, copy)) = node.copies.remove(&slot) {
                    node.core.on_slots(|slots| slots.on_synced(slot, copy));
                }
            }),
            Step::Write { node, slot } => {
                self.left.writes -= 1;
                self.acked[slot] += 1;
                let value = self.acked[slot];
                self.change(node, |node| node.values[slot] = value);
            }
            Step::Crash(n) => {
                self.left.crashes -= 1;
                self.end(n);
            }
            Step::Cut(n) => {
                self.left.cuts -= 1;
                self.cut = Some(n);
            }
            Step::Down { at, who } => {
                if self.reaches(at, who) {
                    self.left.doubts -= 1;
                }
                self.change(at, |node| {
                    node.up[who] = false;
                    let up = (0..node.up.len()).filter(|n| *n != at && node.up[*n]).map(id).collect();
                    node.core.on_up(now, up);
                });
            }
        }
    }

    /// A process is gone: crashed, or excluded; one that comes back is another one, and not in this world.
    fn end(&mut self, n: usize) {
        self.change(n, |node| {
            node.alive = false;
            node.gates = [Gate::Away; SLOTS];
            node.copies.clear();
        });
        self.letters.retain(|_, (_, letter)| letter.to != n);
        let streams: Vec<_> = self.streams.keys().filter(|(a, b)| *a == n || *b == n).copied().collect();
        streams.into_iter().for_each(|(from, to)| self.break_stream(from, to));
    }

    fn break_stream(&mut self, from: usize, to: usize) {
        if self.streams.remove(&(from, to)).is_none() {
            return;
        }
        if self.node(from).alive {
            self.change(from, |node| node.core.on_slots(|slots| slots.on_disconnected(id(to))));
        }
        if self.node(to).alive {
            self.change(to, |node| node.core.on_slots(|slots| slots.on_source_lost(id(from))));
        }
    }

    fn item(&mut self, from: usize, to: usize, back: bool) {
        let ways = self.streams.get_mut(&(from, to)).expect("listed");
        let item = ways[usize::from(back)].pop_front().expect("listed");
        let (sender, receiver) = if back { (to, from) } else { (from, to) };
        self.change(receiver, |node| {
            if let Transfer::Take { slot, .. } = item.message
                && node.core.handoff().source(slot) == Some(id(sender))
            {
                node.values[usize::from(slot)] = item.value;
            }
            node.core.on_transfer(id(sender), item.message);
        });
    }

    fn deliver(&mut self, from: usize, to: usize, message: Message) {
        let now = self.now;
        if self.node(to).alive {
            self.change(to, |node| node.core.on_message(now, id(from), message));
        }
    }

    /// Changes a process, and does what its core wants done.
    fn change(&mut self, n: usize, change: impl FnOnce(&mut Node)) {
        let mut node = self.node(n).clone();
        change(&mut node);
        let mut now_due = Vec::new();
        let mut over = false;
        while let Some(output) = node.core.poll_output() {
            match output {
                Output::Send { to, message } => {
                    let to = number(to);
                    if is_doubted(&message, node.up[to], self.node(to).up[n]) {
                        continue;
                    }
                    if is_quick(&message) {
                        now_due.push((to, message));
                    } else if self.node(to).alive {
                        let letter = Letter { from: n, to, message };
                        self.letters.insert(hash_of(&letter), (self.left.late, Arc::new(letter)));
                    }
                }
                Output::Install(view) => self.installed(view),
                Output::Lease(until) => node.lease = until,
                Output::Slot(action) => self.act(n, &mut node, action),
                Output::Readable(_) => {}
                Output::Excluded(_) => over = true,
            }
        }
        self.nodes[n] = (node.hash_of(), Arc::new(node));
        for (to, message) in now_due {
            if self.reaches(n, to) {
                self.deliver(n, to, message);
            }
        }
        if over {
            self.end(n);
        }
    }

    fn act(&mut self, n: usize, node: &mut Node, action: Action) {
        match action {
            Action::Serve { slot, fresh } => {
                let at = usize::from(slot);
                node.gates[at] = Gate::Serve;
                if fresh {
                    node.values[at] = 0;
                    if self.views.keys().next_back() == Some(&node.core.view().epoch) {
                        self.acked[at] = 0;
                    }
                }
                self.holders[at] = Some(id(n));
            }
            Action::Export { slot, to, copy, .. } => {
                node.copies.insert(slot, (to, copy));
            }
            Action::Freeze { slot, id, .. } => {
                node.gates[usize::from(slot)] = Gate::Frozen;
                node.core.on_slots(|slots| slots.on_frozen(slot, id));
            }
            Action::Send { to, message } => {
                let back = matches!(message, Transfer::Taken { .. } | Transfer::Refused { .. });
                let to = number(to);
                let key = if back { (to, n) } else { (n, to) };
                let value = match message {
                    Transfer::Take { slot, .. } => node.values[usize::from(slot)],
                    _ => 0,
                };
                if let Some(ways) = self.streams.get_mut(&key) {
                    ways[usize::from(back)].push_back(Item { message, value });
                }
            }
            Action::Unexport { slot, .. } => {
                node.copies.remove(&slot);
            }
            Action::Gone { slot, .. } | Action::Drop { slot } => {
                node.gates[usize::from(slot)] = Gate::Away;
                node.values[usize::from(slot)] = 0;
            }
            // Who may send is the core's own business here; without copies nobody follows.
            Action::Follow { .. } | Action::Allow { .. } => {}
        }
    }

    /// All views of an epoch are the same, and a member that stays loses nothing.
    fn installed(&mut self, view: Arc<View>) {
        if let Some(known) = self.views.get(&view.epoch) {
            if *known != view {
                self.fail(format!("two views of epoch {}: {known:?} {view:?}", view.epoch));
            }
            return;
        }
        let last = self.views.get(&view.epoch.saturating_sub(1)).cloned();
        for slot in (0..SLOTS as u16).filter(|slot| view.epoch > 1 && view.born(*slot) == view.epoch) {
            let stays = self.holders[usize::from(slot)].is_some_and(|id| view.place(id).is_some());
            let target = last.as_ref().and_then(|last| last.target(slot));
            if self.planned || (stays && target.is_none_or(|m| view.place(m.id).is_some())) {
                self.fail(format!("view {} loses slot {slot} for nothing", view.epoch));
            }
        }
        self.views.insert(view.epoch, view);
    }

    /// What can have no effect any more, as its epoch has gone by, is not delivered.
    fn tidy(&mut self) {
        let nodes = &self.nodes;
        self.letters.retain(|_, (_, letter)| {
            let epoch = match &letter.message {
                Message::Commit { view } | Message::Accept { view, .. } => view.epoch,
                Message::Prepare { epoch, .. }
                | Message::Promise { epoch, .. }
                | Message::Nack { epoch, .. }
                | Message::Accepted { epoch, .. } => *epoch,
                _ => return true,
            };
            epoch > nodes[letter.to].1.core.view().epoch
        });
    }

    fn fail(&mut self, wrong: String) {
        self.wrong.get_or_insert(wrong);
    }

    fn check(&mut self) {
        for slot in 0..SLOTS {
            let serve: BTreeSet<usize> =
                (0..self.nodes.len()).filter(|n| self.node(*n).serves(slot, self.now)).collect();
            if serve.len() > 1 {
                self.fail(format!("slot {slot} is served by {serve:?}"));
            }
            for n in serve {
                let (has, acked) = (self.node(n).values[slot], self.acked[slot]);
                if has != acked {
                    self.fail(format!("{n} serves write {has} of slot {slot}, acknowledged was {acked}"));
                }
            }
        }
    }
}

/// Whoever wrongly holds another for dead gets no answer to its last call either.
fn is_doubted(message: &Message, by_sender: bool, by_receiver: bool) -> bool {
    match message {
        Message::LastCall => !by_sender,
        Message::Present => !by_receiver,
        _ => false,
    }
}

/// What is answered at once, or never.
fn is_quick(message: &Message) -> bool {
    matches!(
        message,
        Message::LeaseAsk { .. }
            | Message::LeaseGrant { .. }
            | Message::LastCall
            | Message::Present
            | Message::Progress { .. }
    )
}
