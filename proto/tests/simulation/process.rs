//! A process: the product's core, and a small model of the data plane that does what the core says.
//!
//! The model follows the documentation of `cluster::handoff`: a slot is served, frozen or away; the data of a slot goes
//! through one ordered stream as records of keys, first all of them in steps, then every write; `Freeze` stops executions at once;
//! a reply leaves only if the lease is valid after the execution, and when guarded copies have applied what it tells (see
//! `copies.rs`). Only some hot slots hold keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shoal_proto::cluster::{Action, Core, Fate, Gate, Intake, Output, Readable, Transfer, Unhanded};
use shoal_proto::view::{Member, NodeId, Replication, View};

use crate::client::Kind;
use crate::copies::Export;
use crate::history::{NOTHING, Time};
use crate::leave::Leaving;
use crate::strike::{self, Moment};
use crate::world::{Cell, Event, Item, MS, Reply, SECOND, Scale, Stream, World};

/// A version that nobody ever wrote: keys of data that is not complete.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// What a hot slot holds.
#[derive(Debug, Clone)]
pub(crate) struct SlotData {
    /// The version of keys that are not in it.
    pub(crate) base: u64,
    /// What that was when the slot was made.
    pub(crate) birth: u64,
    pub(crate) cells: BTreeMap<u32, Cell>,
}

impl SlotData {
    fn new(base: u64) -> Self {
        Self { base, birth: base, cells: BTreeMap::new() }
    }
}

/// See the module's documentation.
pub(crate) struct Process {
    pub(crate) id: NodeId,
    pub(crate) machine: usize,
    pub(crate) member: Member,
    pub(crate) core: Core,
    pub(crate) alive: bool,
    pub(crate) paused_until: Time,
    /// Until when it has no memory for some of what comes in.
    pub(crate) full_until: Time,
    pub(crate) leaving: Option<Leaving>,
    /// Gone for good after it handed everything over.
    pub(crate) left: bool,
    pub(crate) gates: Vec<Gate>,
    pub(crate) data: BTreeMap<u16, SlotData>,
    pub(crate) lease: Duration,
    pub(crate) readable: Arc<Readable>,
    pub(crate) view: Arc<View>,
    /// When gossip heard of each process last.
    pub(crate) heard: BTreeMap<NodeId, Time>,
    /// Whom gossip wrongly holds for dead, and until when.
    pub(crate) doubted: BTreeMap<NodeId, Time>,
    pub(crate) up: BTreeSet<NodeId>,
    pub(crate) conns: Vec<usize>,
    /// Where slots went in this view.
    gone: BTreeMap<u16, NodeId>,
    pub(crate) exports: BTreeMap<(u16, NodeId), Export>,
    /// Slots that were offered, and to whom.
    pub(crate) offered: BTreeMap<u16, NodeId>,
    /// Who may send slots, and who sent those that were taken.
    pub(crate) intake: Intake,
    /// What was emptied for others and is not yet with all copies.
    pub(crate) settling: Vec<crate::flush::Settling>,
    /// How often its lease had ended when it came back.
    pub(crate) lapses: u64,
    connecting: BTreeSet<NodeId>,
    rate: u64,
    started: Time,
    wake_at: Time,
    /// How often in a row it was woken for nothing.
    idle: u32,
}

impl Process {
    pub(crate) fn new(member: Member, machine: usize, rate: u64, started: Time, slots: u16) -> Self {
        let id = member.id;
        Self {
            id,
            machine,
            member,
            core: Core::new(id),
            alive: true,
            paused_until: 0,
            leaving: None,
            full_until: 0,
            left: false,
            gates: vec![Gate::Away; usize::from(slots)],
            data: BTreeMap::new(),
            lease: Duration::ZERO,
            readable: Arc::default(),
            view: Arc::new(View::empty()),
            heard: BTreeMap::new(),
            doubted: BTreeMap::new(),
            up: BTreeSet::new(),
            conns: Vec::new(),
            gone: BTreeMap::new(),
            exports: BTreeMap::new(),
            offered: BTreeMap::new(),
            intake: Intake::default(),
            settling: Vec::new(),
            lapses: 0,
            connecting: BTreeSet::new(),
            rate,
            started,
            wake_at: Time::MAX,
            idle: 0,
        }
    }
}

pub(crate) fn member(id: NodeId, machine: usize, scale: &Scale) -> Member {
    Member {
        id,
        name: format!("n{}", id.node),
        host: format!("10.0.0.{machine}"),
        resp_port: 0,
        gossip_port: 0,
        weight: 100,
        zone: String::new(),
        replication: Replication { replicas: scale.replicas, ack_all: scale.ack_all },
    }
}

impl World {
    /// A process's own time.
    pub(crate) fn local(&self, p: usize) -> Duration {
        let process = &self.processes[p];
        // Nanoseconds, so that nothing is rounded away.
        Duration::from_nanos((self.now - process.started) * process.rate / 1000)
    }

    fn true_time(&self, p: usize, local: Duration) -> Time {
        let process = &self.processes[p];
        process.started + (local.as_nanos() as u64 * 1000).div_ceil(process.rate)
    }

    /// Whether a process's lease is valid now.
    pub(crate) fn has_lease(&self, p: usize) -> bool {
        self.local(p) < self.processes[p].lease
    }

    pub(crate) fn wake(&mut self, p: usize) {
        self.processes[p].wake_at = Time::MAX;
        let now = self.local(p);
        if self.processes[p].core.poll_timeout() <= now {
            self.processes[p].core.on_timeout(now);
            let idle = self.processes[p].core.poll_timeout() <= now;
            self.processes[p].idle = if idle { self.processes[p].idle + 1 } else { 0 };
            if self.processes[p].idle > 3 {
                self.oracle.fail(format!("{p} has nothing to do, again and again"));
            }
        }
        self.drain(p);
    }

    /// Carries out what the core wants, then answers what waited for it.
    pub(crate) fn drain(&mut self, p: usize) {
        let mut changed = false;
        while let Some(output) = self.processes[p].core.poll_output() {
            match output {
                Output::Send { to, message } => {
                    let moment = strike::of_message(&message);
                    self.send(p, to, message);
                    moment.into_iter().for_each(|moment| self.moment(p, moment));
                }
                Output::Install(view) => {
                    self.installed(p, view);
                    changed = true;
                }
                Output::Lease(until) => {
                    let had = self.has_lease(p);
                    self.processes[p].lease = until;
                    if !had && self.has_lease(p) {
                        self.processes[p].lapses += 1;
                        self.serves_alone(p, None);
                        changed = true;
                    }
                }
                Output::Slot(action) => {
                    changed = true;
                    self.act(p, action);
                }
                Output::Readable(readable) => {
                    changed = true;
                    self.processes[p].readable = readable;
                }
                Output::Excluded(unhanded) => self.excluded(p, unhanded),
            }
        }
        if changed {
            self.release(p);
            self.pump(p);
        }
        let at = self.true_time(p, self.processes[p].core.poll_timeout());
        if at < self.processes[p].wake_at {
            self.processes[p].wake_at = at;
            self.at(at, Event::Wake(p));
        }
    }

    fn installed(&mut self, p: usize, view: Arc<View>) {
        self.note(|| format!("{p} installs {}: {}", view.epoch, sketch(&view)));
        let views = self.oracle.views();
        self.oracle.on_view(&view, self.now);
        if self.oracle.views() > views {
            self.moment(p, Moment::Installs);
        }
        self.processes[p].gone.clear();
        self.processes[p].view = view.clone();
        self.processes[p].intake.on_view(&view);
        for agent in 0..self.agents.len() {
            if self.dice.permille(700) {
                let delay = self.delay();
                self.after(delay, Event::Push { agent, view: view.clone() });
            }
        }
        self.connect_peers(p);
    }

    /// The cluster went on without it: it drops everything, and becomes another member unless it wanted to go.
    fn excluded(&mut self, p: usize, unhanded: Unhanded) {
        self.note(|| format!("{p} is excluded"));
        let process = &mut self.processes[p];
        process.gates.fill(Gate::Away);
        process.data.clear();
        process.exports.clear();
        process.offered.clear();
        process.lease = Duration::ZERO;
        for stream in 0..self.streams.len() {
            if !self.streams[stream].ends.contains(&p) || !self.streams[stream].open {
                continue;
            }
            if self.processes[p].leaving.is_some() {
                // It stays for a while, and says that it has dealt with what still comes.
                let delay = self.dice.range(200 * MS, 400 * MS);
                (0..2).for_each(|end| self.after(delay, Event::StreamEnd { stream, end }));
            } else {
                self.break_stream(stream);
            }
        }
        if self.processes[p].leaving.is_some() {
            return self.has_left(p, unhanded);
        }
        if self.has_successor(p) {
            self.note(|| format!("{p} ends: another has its name"));
            self.crash(p);
            return;
        }
        let process = &self.processes[p];
        let (machine, node) = (process.machine, process.id.node as usize);
        let boot = self.boots[node] + 1;
        self.boots[node] = boot;
        let id = NodeId { node: node as u64, boot };
        self.homes.insert(id, machine);
        let member = member(id, machine, &self.scale);
        let process = &mut self.processes[p];
        process.id = id;
        process.member = member;
        process.core.rename(id);
        process.connecting.clear();
        self.note(|| format!("{p} is {id:?} now"));
    }

    /// Whether a process of the same name lives that was started later: who wants to join under it is refused.
    pub(crate) fn has_successor(&self, p: usize) -> bool {
        let NodeId { node, boot } = self.processes[p].id;
        self.processes.iter().any(|other| other.alive && other.id.node == node && other.id.boot > boot)
    }

    fn act(&mut self, p: usize, action: Action) {
        self.note(|| format!("{p} {action:?}"));
        match action {
            Action::Serve { slot, fresh } => {
                if fresh && self.processes[p].view.born(slot) != self.processes[p].view.epoch {
                    self.oracle.fail(format!("{p} drops slot {slot}, which it has by the view"));
                }
                self.processes[p].intake.refuse(slot);
                if fresh && self.is_hot(slot) {
                    let base = self.oracle.lost(slot, self.processes[p].view.epoch, self.now);
                    self.processes[p].data.insert(slot, SlotData::new(base));
                    self.oracle.begins(slot);
                    self.land_late(p, slot);
                } else if !fresh && self.is_hot(slot) {
                    self.may_be_promoted(p, slot);
                }
                self.processes[p].offered.remove(&slot);
                self.processes[p].gates[usize::from(slot)] = Gate::Open;
                let id = self.processes[p].id;
                self.oracle.serves(slot, id);
                self.serves_alone(p, Some(slot));
            }
            Action::Export { slot, to, copy, lasting, guard } => {
                self.export(p, slot, to, copy, lasting.then_some(guard));
            }
            Action::Follow { slot, to, guard } => self.follow(p, slot, to, guard),
            Action::Allow { slot, from } => self.processes[p].intake.allow(slot, from),
            Action::Freeze { slot, to, id } => {
                self.processes[p].gates[usize::from(slot)] = Gate::Held;
                if self.dice.permille(500) {
                    self.frozen(p, slot, to, id);
                } else {
                    let delay = self.dice.below(5 * MS);
                    self.after(delay, Event::Frozen { process: p, slot, to, id });
                }
            }
            Action::Send { to, message } => {
                if let Transfer::Taken { slot, .. } | Transfer::Follow { slot, .. } = message {
                    self.processes[p].intake.on_taken(slot, to);
                    self.say(p, to, message);
                    self.tear(p, to);
                } else {
                    self.say(p, to, message);
                }
                if let Transfer::Take { slot, .. } = message {
                    self.processes[p].offered.insert(slot, to);
                    self.empty_at_once(p, false);
                }
                strike::of_transfer(message).into_iter().for_each(|moment| self.moment(p, moment));
            }
            Action::Unexport { slot, to } => {
                self.processes[p].exports.remove(&(slot, to));
            }
            Action::Gone { slot, to, keep } => {
                self.oracle.gone += 1;
                let process = &mut self.processes[p];
                process.offered.remove(&slot);
                process.gates[usize::from(slot)] = Gate::Away;
                process.gone.insert(slot, to);
                if !keep {
                    process.data.remove(&slot);
                } else if self.is_emptied_alone(p, slot, to) {
                    self.note(|| format!("{p} has emptied slot {slot} alone"));
                    self.processes[p].core.on_slots(|handoff| handoff.on_emptied_alone(slot));
                }
            }
            Action::Drop { slot } => {
                let process = &mut self.processes[p];
                process.intake.refuse(slot);
                process.gates[usize::from(slot)] = Gate::Away;
                process.data.remove(&slot);
            }
        }
    }

    pub(crate) fn is_hot(&self, slot: u16) -> bool {
        self.hot.binary_search(&slot).is_ok()
    }

    /// No other process may serve what this one serves.
    fn serves_alone(&mut self, p: usize, slot: Option<u16>) {
        if !self.has_lease(p) {
            return;
        }
        let slots = match slot {
            Some(slot) => usize::from(slot)..usize::from(slot) + 1,
            None => 0..self.processes[p].gates.len(),
        };
        for other in 0..self.processes.len() {
            if other == p || !self.processes[other].alive || !self.has_lease(other) {
                continue;
            }
            let (a, b) = (&self.processes[p].gates, &self.processes[other].gates);
            let both = slots.clone().find(|s| a[*s] == Gate::Open && b[*s] == Gate::Open);
            if let Some(slot) = both {
                self.oracle.fail(format!("slot {slot} is served by {p} and {other}"));
            }
        }
    }

    // Streams.

    /// Sees to streams to all peers that something goes to.
    fn connect_peers(&mut self, p: usize) {
        for to in self.processes[p].core.handoff().peers() {
            let stands = self.stream(p, to).is_some();
            if !stands && self.processes[p].connecting.insert(to) {
                let delay = 2 * self.delay();
                self.after(delay, Event::Connect { from: p, to });
            }
        }
    }

    /// The stream from `p` to a member that `p` thinks stands.
    pub(crate) fn stream(&self, p: usize, to: NodeId) -> Option<usize> {
        let id = self.processes[p].id;
        self.streams.iter().rposition(|s| s.ends[0] == p && s.ids == [id, to] && s.known[0])
    }

    pub(crate) fn connect(&mut self, from: usize, to: NodeId) {
        self.processes[from].connecting.remove(&to);
        let Some(target) = self.process_of(to).filter(|t| !self.processes[*t].left) else { return };
        if self.is_cut(from, target) || self.is_cut(target, from) || self.stream(from, to).is_some() {
            return;
        }
        // Whoever takes a new stream of a peer has done with the old one.
        let id = self.processes[from].id;
        let old: Vec<usize> = (0..self.streams.len())
            .filter(|s| self.streams[*s].ids == [id, to] && self.streams[*s].known[1])
            .collect();
        old.into_iter().for_each(|stream| self.stream_end(stream, 1));
        let now = self.now;
        let stream = Stream {
            ends: [from, target],
            ids: [id, to],
            open: true,
            known: [true; 2],
            last: [now; 2],
            position: 0,
            acked: 0,
            pending: 0,
            settled: 0,
        };
        self.streams.push(stream);
        self.processes[target].intake.on_stream(id);
        self.note(|| format!("{from} has a stream to {target}"));
        self.processes[from].core.on_slots(|handoff| handoff.on_connected(to));
        self.drain(from);
    }

    /// What is under way gets lost; both ends notice some time.
    pub(crate) fn break_stream(&mut self, stream: usize) {
        self.streams[stream].open = false;
        for end in 0..2 {
            let delay = self.dice.below(200 * MS);
            self.after(delay, Event::StreamEnd { stream, end });
        }
    }

    pub(crate) fn stream_end(&mut self, stream: usize, end: usize) {
        let Stream { ends, ids, known, .. } = &mut self.streams[stream];
        if !std::mem::replace(&mut known[end], false) {
            return;
        }
        let (p, peer, me) = (ends[end], ids[1 - end], ids[end]);
        self.streams[stream].open = false;
        if self.processes[p].id != me {
            return;
        }
        self.note(|| format!("{p} loses the stream {} {peer:?}", if end == 0 { "to" } else { "from" }));
        if end == 0 && self.hot.iter().any(|slot| self.processes[p].gates[usize::from(*slot)] == Gate::Held) {
            self.empty_at_once(p, true);
        }
        self.processes[p].core.on_slots(|handoff| match end {
            0 => handoff.on_disconnected(peer),
            _ => handoff.on_source_lost(peer),
        });
        self.drain(p);
        self.release(p);
    }

    /// Puts something into a stream; the position behind it, for what goes from the owner.
    pub(crate) fn put(&mut self, stream: usize, from_end: usize, item: Item) -> u64 {
        let position = self.streams[stream].position + u64::from(from_end == 0);
        self.streams[stream].position = position;
        if !self.streams[stream].open {
            return position;
        }
        let end = 1 - from_end;
        let mut delay = self.delay();
        if !self.planned && self.is_behind_offer(stream, item) && self.dice.permille(500) {
            // It may be a while behind what went before it, also in that its sender was slow.
            delay += self.dice.below(1500 * MS);
        }
        let at = (self.now + delay).max(self.streams[stream].last[end]);
        self.streams[stream].last[end] = at;
        self.at(at, Event::Item { stream, end, item, position });
        if self.is_behind_offer(stream, item) {
            self.tear_behind(stream);
        }
        position
    }

    /// Whether it says that a slot was emptied which its owner has offered.
    fn is_behind_offer(&self, stream: usize, item: Item) -> bool {
        let owner = &self.processes[self.streams[stream].ends[0]];
        matches!(item, Item::Clear { slot, .. } if owner.gates[usize::from(slot)] == Gate::Held)
    }

    /// Answers go back where the offer came from.
    fn say(&mut self, p: usize, to: NodeId, message: Transfer) {
        let id = self.processes[p].id;
        match message {
            Transfer::Taken { .. } | Transfer::Refused { .. } | Transfer::Missing { .. } => {
                let back =
                    self.streams.iter().rposition(|s| s.ends[1] == p && s.ids == [to, id] && s.known[1]);
                if let Some(stream) = back {
                    self.put(stream, 1, Item::Transfer(message));
                }
            }
            Transfer::Begin { .. }
            | Transfer::Complete { .. }
            | Transfer::Follow { .. }
            | Transfer::Take { .. }
            | Transfer::Stop { .. } => {
                if let Some(stream) = self.stream(p, to) {
                    self.put(stream, 0, Item::Transfer(message));
                }
            }
        }
    }

    pub(crate) fn item(&mut self, stream: usize, end: usize, item: Item, position: u64) {
        let Stream { ends, ids, open, known, .. } = &self.streams[stream];
        let (p, from) = (ends[end], ids[1 - end]);
        if !*open || !known[end] || self.processes[p].id != ids[end] {
            return;
        }
        self.take(stream, (p, from), item, position);
        if end == 1 && (self.scale.replicas > 0 || matches!(item, Item::Clear { .. })) {
            // Whatever was sent up to there is applied, or did not have to be.
            self.put(stream, 1, Item::Ack(position));
        }
    }

    fn take(&mut self, stream: usize, (p, from): (usize, NodeId), item: Item, position: u64) {
        match item {
            Item::Transfer(message) => {
                self.note(|| format!("{p} <- {from:?} {message:?}"));
                self.processes[p].core.on_transfer(from, message);
                self.drain(p);
                if let Transfer::Begin { slot, .. } = message
                    && self.is_hot(slot)
                    && self.takes_in(p, slot, from)
                {
                    self.processes[p].data.insert(slot, SlotData::new(UNKNOWN));
                }
            }
            Item::Ack(position) => self.acked(p, stream, position),
            Item::Pending(position) => {
                let pending = &mut self.streams[stream].pending;
                *pending = position.max(*pending);
            }
            Item::Settled(position) => {
                let settled = &mut self.streams[stream].settled;
                *settled = position.max(*settled);
                self.release(p);
            }
            Item::Clear { slot, op, version } => match self.processes[p].intake.fate(slot, from) {
                Fate::Take => {
                    if self.takes_in(p, slot, from)
                        && let Some(data) = self.processes[p].data.get_mut(&slot)
                    {
                        data.base = version;
                        data.cells.clear();
                    }
                }
                Fate::Taken => self.empty_taken(p, stream, (slot, op), position),
                Fate::Skip => {}
            },
            Item::Base { slot, version, birth } => {
                if self.takes_in(p, slot, from) && self.lacks_room(p) {
                    self.give_up(stream, (p, from), slot);
                } else if self.takes_in(p, slot, from)
                    && let Some(data) = self.processes[p].data.get_mut(&slot)
                {
                    (data.base, data.birth) = (version, birth);
                }
            }
            Item::Record { key, cell } => {
                let slot = self.slot_of(key);
                if self.takes_in(p, slot, from) && self.lacks_room(p) {
                    self.give_up(stream, (p, from), slot);
                } else if self.takes_in(p, slot, from)
                    && let Some(data) = self.processes[p].data.get_mut(&slot)
                {
                    data.cells.insert(key, cell);
                }
            }
        }
    }

    /// Whether what a peer sends of a slot is put into effect.
    fn takes_in(&self, p: usize, slot: u16, from: NodeId) -> bool {
        let process = &self.processes[p];
        process.gates[usize::from(slot)] == Gate::Away && process.intake.fate(slot, from) == Fate::Take
    }

    /// The slot begins anew, and is about to be served: records may be put into effect at the same time by somebody who has read
    /// them already, even if their stream has ended since.
    fn land_late(&mut self, p: usize, slot: u16) {
        self.processes[p].gates[usize::from(slot)] = Gate::Away;
        for (from, key, cell) in self.records_under_way(p, slot) {
            if self.takes_in(p, slot, from)
                && let Some(data) = self.processes[p].data.get_mut(&slot)
            {
                data.cells.insert(key, cell);
            }
        }
    }

    /// Looks after streams and what waits too long. The driver's own regular work.
    pub(crate) fn tick(&mut self, p: usize) {
        self.connect_peers(p);
        self.go_on_leaving(p);
        self.pump(p);
        self.after(50 * MS, Event::Tick(p));
    }

    // Commands.

    /// Answers what can be answered on all connections.
    pub(crate) fn pump(&mut self, p: usize) {
        let conns = std::mem::take(&mut self.processes[p].conns);
        for conn in &conns {
            self.pump_conn(*conn);
        }
        self.processes[p].conns = conns.into_iter().filter(|c| self.conns[*c].open).collect();
    }

    /// Answers the head of a connection's queue and those behind it, in order, until one must wait.
    pub(crate) fn pump_conn(&mut self, conn: usize) {
        let p = self.conns[conn].process;
        while self.conns[conn].open
            && !self.conns[conn].busy
            && let Some((op, since)) = self.conns[conn].queue.front().copied()
        {
            if self.ops[op].is_part() {
                self.pump_part(conn, op, since);
                if self.conns[conn].queue.front().is_some_and(|(first, _)| *first == op) {
                    return;
                }
                continue;
            }
            let slot = self.slot_of(self.ops[op].key);
            let waited = self.now > since + 2 * SECOND + 500 * MS;
            let process = &self.processes[p];
            let inside = process.core.inside();
            let gate = process.gates[usize::from(slot)];
            let at_copy = gate == Gate::Away && self.ops[op].at_copy && process.readable.slots.has(slot);
            match gate {
                _ if at_copy && !self.may_look(p, slot) => {
                    if !waited {
                        return;
                    }
                    self.answer(conn, op, Reply::Down);
                }
                Gate::Away if at_copy => self.execute(conn),
                Gate::Away if inside || process.left => {
                    let known = process.gone.get(&slot).copied();
                    let to = known.or_else(|| Self::owners(&process.view, slot));
                    let reply = Reply::Moved { to, epoch: process.view.epoch };
                    self.answer(conn, op, reply);
                }
                Gate::Open if self.has_lease(p) => {
                    // Between the look at the gate and the execution, anything may happen to the process.
                    self.conns[conn].busy = true;
                    if self.dice.permille(30) {
                        let delay = self.dice.below(2 * MS);
                        self.after(delay, Event::Execute { conn });
                    } else {
                        self.execute(conn);
                    }
                }
                _ if waited => self.answer(conn, op, Reply::Down),
                _ => return,
            }
        }
    }

    pub(crate) fn answer(&mut self, conn: usize, op: usize, reply: Reply) {
        self.conns[conn].queue.pop_front();
        let delay = self.delay();
        let at = (self.now + delay).max(self.conns[conn].last[1]);
        self.conns[conn].last[1] = at;
        self.at(at, Event::Reply { conn, op, reply });
    }

    /// Executes the head of a connection's queue if the slot's gate is open; answers if the lease is still valid.
    pub(crate) fn execute(&mut self, conn: usize) {
        if self.conns[conn].emptying.is_some() {
            return self.empty_on(conn);
        }
        self.conns[conn].busy = false;
        let p = self.conns[conn].process;
        let Some((op, _)) = self.conns[conn].queue.front().copied() else { return };
        let key = self.ops[op].key;
        let slot = self.slot_of(key);
        if self.processes[p].gates[usize::from(slot)] == Gate::Away && self.ops[op].at_copy {
            // What is decided under a lock happens at one instant.
            return self.look_at_copy(conn, op);
        }
        if self.processes[p].gates[usize::from(slot)] == Gate::Open {
            let reply = self.apply(p, slot, op);
            if self.has_lease(p) {
                self.fence(conn, op, reply);
            } else {
                // Executed in doubt: nobody hears of it.
                self.close_conn(conn);
            }
        }
        self.pump_conn(conn);
    }

    fn apply(&mut self, p: usize, slot: u16, op: usize) -> Reply {
        let (key, kind) = (self.ops[op].key, self.ops[op].kind);
        let missing = SlotData::new(NOTHING);
        let data = self.processes[p].data.entry(slot).or_insert(missing);
        let absent = Cell { version: data.base, count: 0 };
        let before = data.cells.get(&key).copied().unwrap_or(absent);
        let birth = data.birth;
        let version = self.oracle.execute(self.now);
        let after = match kind {
            Kind::Get | Kind::Empty | Kind::View => None,
            Kind::Set | Kind::Del => Some(Cell { version, count: 0 }),
            Kind::Incr => Some(Cell { version, count: before.count + 1 }),
        };
        if let Some(cell) = after {
            data.cells.insert(key, cell);
            self.tell_copies(p, slot, Item::Record { key, cell });
            if self.has_lease(p) {
                self.oracle.writes(slot, key, version);
            }
            if self.ops[op].executed.iter().any(|(_, other)| *other == birth) {
                self.oracle.fail(format!("operation {op} on key {key} was executed twice"));
            }
        }
        self.ops[op].executed.push((version, birth));
        self.note_op(|| format!("{p} executes {op} {kind:?} key {key} slot {slot}: {} ", before.version));
        Reply::Done { before: before.version, count: after.map_or(before.count, |c| c.count) }
    }
}

/// A view in a line.
pub(crate) fn sketch(view: &View) -> String {
    let members: Vec<String> =
        view.members.iter().map(|m| format!("{}.{}", m.id.node, m.id.boot % 10_000_000)).collect();
    let some = view.all_copies().into_iter().enumerate().filter(|(_, copies)| !copies.is_empty());
    let copies: Vec<String> = some.map(|(s, c)| format!("{s}:{:?}", c.iter().collect::<Vec<_>>())).collect();
    let runs: Vec<String> =
        view.runs().map(|(a, b, m)| format!("{a}-{b}:{:?}", m.map(|m| m.id.node))).collect();
    format!(
        "[{}] leaving {:?} {} targets {:?} copies {}",
        members.join(" "),
        view.leaving.iter().map(|id| id.node).collect::<Vec<_>>(),
        runs.join(" "),
        view.targets().iter().enumerate().filter(|(_, t)| **t != u16::MAX).collect::<Vec<_>>(),
        copies.join(" ")
    )
}
