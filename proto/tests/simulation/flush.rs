//! Emptying everything: FLUSHALL by routers, which ask all members by the product's own [`Rounds`], and by cluster clients, which ask each
//! node by itself; and what nodes do that are asked.
//!
//! What a node empties is a write of nothing to all keys of its slots, by whoever asked; if a slot was its target's by then, the target
//! empties it on its behalf, which is another one. That a router says that all is empty is one more such write to every key: a value that
//! was there before and is there afterwards lies around it.

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_proto::cluster::rounds::Next;
use shoal_proto::cluster::{Emptying, Rounds, Told};
use shoal_proto::view::{NodeId, View};

use crate::client::{DEADLINE, Kind, Op, State};
use crate::copies::{Pending, Times, Wait, of};
use crate::history::{Access, NEVER, NOTHING, Time};
use crate::process::SlotData;
use crate::world::{Event, Item, MS, Reply, SECOND, World};

/// One emptying of everything.
#[derive(Debug)]
pub(crate) struct Whole {
    client: (usize, usize),
    start: Time,
    /// When it was answered, if it was.
    end: Time,
    version: u64,
    rounds: Rounds,
    /// By which members are asked.
    view: Arc<View>,
    /// Only this one is.
    only: Option<NodeId>,
    /// What each was asked last.
    parts: Vec<(NodeId, usize)>,
    /// Somebody who was asked is no member any more.
    lacks_one: bool,
    wait: Option<Next>,
}

impl Whole {
    pub(crate) fn is_done(&self) -> bool {
        self.end != NEVER
    }
}

/// A node is emptying its slots, one after the other.
#[derive(Debug)]
pub(crate) struct Run {
    op: usize,
    left: Vec<u16>,
    waits: Vec<Wait>,
    times: Times,
}

/// What was emptied for a slot's former owner: who has to have it before that may count.
#[derive(Debug)]
pub(crate) struct Settling {
    stream: usize,
    position: u64,
    waits: Vec<Wait>,
}

/// Routers look again after so long if members do not have their view.
const AGAIN: Time = 25 * MS;
/// How often a stream breaks that has to say that an offered slot was emptied, of a thousand times.
const TORN: u64 = 100;

impl World {
    // Clients.

    /// Begins to empty everything; a client without a router perhaps only one node, this one if it is given.
    pub(crate) fn new_whole(&mut self, agent: usize, client: usize, node: Option<NodeId>) {
        let view = self.agents[agent].view.clone();
        // Whoever looks after one node may also come from where a router is.
        let single = (self.agents[agent].direct || node.is_some()) && self.dice.permille(500);
        let some = if single { self.dice.pick(&view.members).map(|m| m.id) } else { None };
        let only = node.filter(|node| single && view.place(*node).is_some()).or(some);
        let version = self.oracle.execute(self.now);
        self.wholes.push(Whole {
            client: (agent, client),
            start: self.now,
            end: NEVER,
            version,
            rounds: Rounds::new(view.epoch, view.moves()),
            view,
            only,
            parts: Vec::new(),
            lacks_one: false,
            wait: None,
        });
        let whole = self.wholes.len() - 1;
        self.agents[agent].clients[client].whole = Some(whole);
        self.note_op(|| format!("whole {whole} begins"));
        self.after(DEADLINE, Event::Client { agent, client });
        let first = if self.agents[agent].direct || only.is_some() { Kind::Empty } else { Kind::View };
        self.ask_all(whole, first);
    }

    /// Somebody empties everything, or `p`, while that has slots on offer. `hurt`: and a stream of it has broken.
    pub(crate) fn empty_at_once(&mut self, p: usize, hurt: bool) {
        let often = if hurt { 10 } else { 4 };
        if self.scale.empties == 0
            || !self.dice.permille(often * self.scale.empties)
            || self.now >= self.until
        {
            return;
        }
        let node = self.processes[p].id;
        let agent = self.dice.below(self.agents.len() as u64) as usize;
        let clients = self.agents.get(agent).map_or(0, |agent| agent.clients.len());
        let idle = |client: &usize| {
            let client = &self.agents[agent].clients[*client];
            client.whole.is_none() && client.batch.iter().all(|op| !self.ops[*op].open())
        };
        if let Some(client) = (0..clients).find(idle) {
            self.new_whole(agent, client, Some(node));
        }
    }

    /// The stream by which `p` took a slot breaks before the answer is there, now and then: its owner does not know for a while.
    pub(crate) fn tear(&mut self, p: usize, from: NodeId) {
        if self.planned || self.scale.empties == 0 || !self.dice.permille(self.scale.empties) {
            return;
        }
        let ids = [from, self.processes[p].id];
        if let Some(stream) = self.streams.iter().rposition(|s| s.ids == ids && s.open) {
            self.break_stream(stream);
        }
    }

    /// A stream breaks with the word in it that an offered slot was emptied, now and then.
    pub(crate) fn tear_behind(&mut self, stream: usize) {
        if !self.planned && self.dice.permille(TORN) {
            self.break_stream(stream);
        }
    }

    fn ask_all(&mut self, whole: usize, kind: Kind) {
        let (client, view, now) = (self.wholes[whole].client, self.wholes[whole].view.clone(), self.now);
        let mut parts = Vec::new();
        let only = self.wholes[whole].only;
        for member in view.members.iter().filter(|m| only.is_none_or(|only| only == m.id)) {
            parts.push((member.id, self.ops.len()));
            self.ops.push(Op::new(0, kind, client, now));
        }
        self.wholes[whole].parts = parts;
        self.wholes[whole].wait = None;
        self.go_on_whole(whole);
    }

    /// Sends what can be sent, and goes on when all have answered.
    pub(crate) fn go_on_whole(&mut self, whole: usize) {
        let Whole { client: (agent, client), start, .. } = self.wholes[whole];
        if self.now >= start + DEADLINE {
            return self.end_whole(whole, false);
        }
        let direct = self.agents[agent].direct || self.wholes[whole].only.is_some();
        let (mut open, mut failed, mut again) = (false, false, false);
        for (to, op) in self.wholes[whole].parts.clone() {
            let member = self.agents[agent].view.place(to).is_some();
            match self.ops[op].state {
                State::New | State::Doubtful { .. } if !member && !direct => {
                    self.ops[op].state = State::Failed;
                    self.wholes[whole].lacks_one = true;
                }
                State::New => {
                    open = true;
                    again |= !self.send_part(agent, to, op);
                }
                State::Doubtful { .. } => {
                    // If it still is who it was, nobody knows what it did.
                    let lives =
                        self.process_of(to).is_some_and(|p| self.processes[p].paused_until <= self.now);
                    if direct || lives {
                        self.ops[op].state = State::Failed;
                        failed = true;
                    } else {
                        (open, again) = (true, true);
                    }
                }
                State::Sent { .. } => open = true,
                State::Failed => failed |= direct || self.agents[agent].view.place(to).is_some(),
                State::Done => {}
            }
        }
        if failed && !direct {
            return self.end_whole(whole, false);
        }
        if again {
            let delay = self.dice.range(20 * MS, 100 * MS);
            self.after(delay, Event::Client { agent, client });
        }
        if open {
            return;
        }
        if direct {
            // Each node has answered for itself.
            return self.end_whole(whole, false);
        }
        self.next_round(whole);
    }

    fn send_part(&mut self, agent: usize, to: NodeId, op: usize) -> bool {
        let Some(conn) = self.conn(agent, to) else { return false };
        let epoch = self.agents[agent].view.epoch;
        let delay = self.delay();
        let at = (self.now + delay).max(self.conns[conn].last[0]);
        self.conns[conn].last[0] = at;
        self.ops[op].state = State::Sent { to, epoch };
        self.conns[conn].waiting.push_back(op);
        self.at(at, Event::Request { conn, op });
        true
    }

    /// All have answered.
    fn next_round(&mut self, whole: usize) {
        let Whole { client: (agent, client), wait, lacks_one, .. } = self.wholes[whole];
        let asked_views =
            self.wholes[whole].parts.first().is_some_and(|(_, op)| self.ops[*op].kind == Kind::View);
        let changed = self.agents[agent].view.epoch != self.wholes[whole].view.epoch;
        let told: Vec<Option<Told>> =
            self.wholes[whole].parts.iter().map(|(_, op)| self.ops[*op].told).collect();
        let rounds = &mut self.wholes[whole].rounds;
        let next = match wait {
            Some(_) if changed => Next::Later,
            Some(Next::Later) => Next::Later,
            Some(_) => return,
            None if lacks_one => Next::Later,
            None if asked_views => rounds.on_views(told),
            None if changed => Next::Later,
            None => rounds.on_emptied(),
        };
        match next {
            Next::Done => self.end_whole(whole, true),
            // They are counted differently now.
            Next::Empty | Next::Ask if changed => self.wait_on(whole, AGAIN),
            Next::Empty => self.ask_all(whole, Kind::Empty),
            Next::Ask => self.ask_all(whole, Kind::View),
            Next::Newer | Next::Later if changed || wait == Some(Next::Later) => {
                let view = self.agents[agent].view.clone();
                let whole_ = &mut self.wholes[whole];
                whole_.rounds.restart(view.epoch, view.moves());
                (whole_.view, whole_.lacks_one) = (view, false);
                self.ask_all(whole, Kind::View);
            }
            Next::Newer => {
                self.wholes[whole].wait = Some(Next::Newer);
                let live = self.live();
                if let Some(p) = self.dice.pick(&live).copied() {
                    self.fetch_view(agent, p);
                }
                self.after(4 * AGAIN, Event::Client { agent, client });
            }
            Next::Later => self.wait_on(whole, AGAIN),
        }
    }

    /// All is begun anew after a while.
    fn wait_on(&mut self, whole: usize, time: Time) {
        let (agent, client) = self.wholes[whole].client;
        self.wholes[whole].wait = Some(Next::Later);
        self.after(time, Event::Client { agent, client });
    }

    fn end_whole(&mut self, whole: usize, done: bool) {
        let (agent, client) = self.wholes[whole].client;
        for (_, op) in std::mem::take(&mut self.wholes[whole].parts) {
            if self.ops[op].open() {
                self.ops[op].state = State::Failed;
            }
        }
        if done {
            self.wholes[whole].end = self.now;
        } else if self.planned && !self.agents[agent].direct && self.wholes[whole].only.is_none() {
            self.oracle.fail(format!("emptying {whole} failed though nothing did"));
        }
        self.note_op(|| format!("whole {whole} ends: {done}"));
        self.agents[agent].clients[client].whole = None;
        self.finished(agent, client);
    }

    pub(crate) fn part_reply(&mut self, op: usize, reply: Reply) {
        let (now, (agent, client)) = (self.now, self.ops[op].client);
        let part = &mut self.ops[op];
        match reply {
            Reply::Down => part.state = State::Failed,
            Reply::View(told) => (part.state, part.end, part.told) = (State::Done, now, Some(told)),
            Reply::Done { .. } | Reply::Moved { .. } => (part.state, part.end) = (State::Done, now),
        }
        self.after(0, Event::Client { agent, client });
    }

    /// All writes of nothing to a key by whoever emptied more than it.
    pub(crate) fn emptied(&self, key: u32) -> Vec<Access> {
        let slot = self.slot_of(key);
        let whole = |w: &Whole| Access { key, start: w.start, end: w.end, version: w.version, write: true };
        let mut all: Vec<Access> = self.wholes.iter().filter(|w| w.is_done()).map(whole).collect();
        for op in self.ops.iter().filter(|op| op.kind == Kind::Empty) {
            let end = if op.state == State::Done { op.end } else { NEVER };
            let of_slot = op.emptied.iter().filter(|(of, _)| *of == slot);
            all.extend(of_slot.map(|(_, v)| Access { key, start: op.start, end, version: *v, write: true }));
        }
        all
    }

    // Nodes.

    /// Whether all who get changes of a slot would hear of one.
    fn told(&self, p: usize, slot: u16) -> bool {
        let mut streams = self.processes[p].exports.range(of(slot)).map(|(_, export)| export.stream);
        streams.all(|stream| stream.is_some_and(|stream| self.streams[stream].known[0]))
    }

    fn emptying(&self, p: usize, slot: u16) -> Emptying {
        self.processes[p].gates[usize::from(slot)].emptying(self.told(p, slot))
    }

    /// The head of a connection's queue is about the node.
    pub(crate) fn pump_part(&mut self, conn: usize, op: usize, since: Time) {
        let p = self.conns[conn].process;
        let process = &self.processes[p];
        let (view, inside) = (&process.view, process.view.place(process.id).is_some());
        if self.ops[op].kind == Kind::View {
            let told = Told { epoch: view.epoch, mine: if inside { view.epoch } else { 0 } };
            return self.answer(conn, op, Reply::View(told));
        }
        let done = Reply::Done { before: NOTHING, count: 0 };
        if !inside {
            // Nothing is here, and it takes no leave to say so.
            return self.answer(conn, op, done);
        }
        let slots = 0..self.scale.slots;
        if !self.has_lease(p) || slots.clone().any(|slot| self.emptying(p, slot) == Emptying::Later) {
            if self.now > since + 2 * SECOND + 500 * MS {
                self.answer(conn, op, Reply::Down);
            }
            return;
        }
        self.conns[conn].busy = true;
        let (left, times) = (self.hot.clone(), self.times(p));
        self.conns[conn].emptying = Some(Run { op, left, waits: Vec::new(), times });
        self.empty_on(conn);
    }

    /// Empties the next slots; others may have their turn in between.
    pub(crate) fn empty_on(&mut self, conn: usize) {
        let p = self.conns[conn].process;
        let Some(mut run) = self.conns[conn].emptying.take() else { return };
        while let Some(slot) = run.left.pop() {
            let emptying = self.emptying(p, slot);
            if emptying != Emptying::Nothing {
                self.empty(p, slot, run.op);
            }
            // If it cannot be told any more, there will be no answer.
            if matches!(emptying, Emptying::Followed | Emptying::Later) {
                let exports = self.processes[p].exports.range(of(slot));
                run.waits.extend(exports.map(|(_, export)| export.wait(true)));
            }
            if !run.left.is_empty() && self.dice.permille(200) {
                self.conns[conn].emptying = Some(run);
                let delay = self.dice.below(2 * MS);
                return self.after(delay, Event::Execute { conn });
            }
        }
        self.conns[conn].busy = false;
        if !self.conns[conn].open {
            return;
        }
        if self.has_lease(p) {
            let guarded = self.processes[p].exports.values().filter(|export| export.guarded);
            run.waits.extend(guarded.map(|export| export.wait(false)));
            let reply = Reply::Done { before: NOTHING, count: 0 };
            self.wait(conn, Pending { op: run.op, reply, waits: run.waits, times: run.times });
        } else {
            self.close_conn(conn);
        }
        self.pump_conn(conn);
    }

    fn empty(&mut self, p: usize, slot: u16, op: usize) {
        let version = self.oracle.execute(self.now);
        let missing = SlotData { base: NOTHING, birth: NOTHING, cells: Default::default() };
        let data = self.processes[p].data.entry(slot).or_insert(missing);
        data.base = version;
        data.cells.clear();
        self.ops[op].emptied.push((slot, version));
        let id = self.processes[p].id;
        self.oracle.empties(slot, id);
        self.note_op(|| format!("{p} empties slot {slot} for {op}: {version}"));
        self.tell_copies(p, slot, Item::Clear { slot, op, version });
    }

    /// A slot's former owner emptied it after it had offered it, and before it knew that it was taken.
    pub(crate) fn empty_taken(&mut self, p: usize, stream: usize, (slot, op): (u16, usize), position: u64) {
        let gate = self.processes[p].gates[usize::from(slot)];
        self.note(|| format!("{p} is to empty slot {slot}, which is {gate:?}, for {op}"));
        let Some(emptying) = gate.emptying_taken(self.told(p, slot)) else {
            // Who has the slot cannot be told, and the former owner must not believe so.
            return self.break_stream(stream);
        };
        if emptying == Emptying::Nothing {
            return;
        }
        self.empty(p, slot, op);
        let strict = emptying == Emptying::Followed;
        let exports = self.processes[p].exports.range(of(slot)).map(|(_, export)| export);
        let waited = exports.filter(|export| emptying == Emptying::Followed || export.guarded);
        let waits: Vec<Wait> =
            waited.map(|export| export.wait(strict)).filter(|wait| !self.is_over(p, wait)).collect();
        if !waits.is_empty() {
            self.put(stream, 1, Item::Pending(position));
            self.processes[p].settling.push(Settling { stream, position, waits });
        }
    }

    /// Says what is with all copies by now.
    pub(crate) fn settle(&mut self, p: usize) {
        let mut unsettled = BTreeSet::new();
        for Settling { stream, position, waits } in std::mem::take(&mut self.processes[p].settling) {
            if !self.streams[stream].known[1] {
                continue;
            }
            if waits.iter().any(|wait| self.is_vain(wait)) {
                self.break_stream(stream);
            } else if !unsettled.contains(&stream) && waits.iter().all(|wait| self.is_over(p, wait)) {
                self.put(stream, 1, Item::Settled(position));
            } else {
                unsettled.insert(stream);
                self.processes[p].settling.push(Settling { stream, position, waits });
            }
        }
    }
}
