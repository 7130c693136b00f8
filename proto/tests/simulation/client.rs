//! Routers and cluster clients, by the documented rules.
//!
//! Commands of one client on one slot stay in order: those that were redirected are sent again only when all that were
//! sent before have their answers. A router sends a read again when its connection is lost; a write only if the view says that
//! the slot was made anew without the node that had it, so that its effect is gone. A cluster client gives both up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use shoal_proto::cluster::Told;
use shoal_proto::view::{NodeId, View};

use crate::history::{Access, NEVER, Time};
use crate::world::{Event, MS, Reply, SECOND, World};

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Set,
    Del,
    Incr,
    /// Part of emptying everything: what one node serves; and what view it has. See `flush.rs`.
    Empty,
    View,
}

/// Where a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// To be sent, or sent again.
    New,
    Sent {
        to: NodeId,
        epoch: u64,
    },
    /// It was sent in this epoch, and its connection is lost.
    Doubtful {
        to: NodeId,
        epoch: u64,
    },
    Done,
    Failed,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) key: u32,
    pub(crate) kind: Kind,
    pub(crate) client: (usize, usize),
    pub(crate) start: Time,
    pub(crate) end: Time,
    pub(crate) state: State,
    hops: u32,
    before: u64,
    pub(crate) count: u64,
    /// Executions: their place in the order of all, which is the version they write, and the birth of the slot's data.
    pub(crate) executed: Vec<(u64, u64)>,
    /// A read that goes to a copy first; and whether it was answered there.
    pub(crate) at_copy: bool,
    pub(crate) looked: bool,
    /// Of a part: what emptied slots by it, and with which versions; and the view that was told.
    pub(crate) emptied: Vec<(u16, u64)>,
    pub(crate) told: Option<Told>,
}

impl Op {
    pub(crate) fn new(key: u32, kind: Kind, client: (usize, usize), start: Time) -> Self {
        Self {
            key,
            kind,
            client,
            start,
            end: NEVER,
            state: State::New,
            hops: 0,
            before: 0,
            count: 0,
            executed: Vec::new(),
            at_copy: false,
            looked: false,
            emptied: Vec::new(),
            told: None,
        }
    }

    /// It is about a node and not a key.
    pub(crate) fn is_part(&self) -> bool {
        matches!(self.kind, Kind::Empty | Kind::View)
    }

    pub(crate) fn failed(&self) -> bool {
        self.state == State::Failed
    }

    pub(crate) fn open(&self) -> bool {
        !matches!(self.state, State::Done | State::Failed)
    }

    /// The read of a copy that it was: when it began and ended, and the version.
    pub(crate) fn look(&self) -> Option<Access> {
        let (key, start, end, version) = (self.key, self.start, self.end, self.before);
        (self.looked && self.state == State::Done).then_some(Access {
            key,
            start,
            end,
            version,
            write: false,
        })
    }

    /// What it says about its key, besides what it read from a copy. An execution whose effect was lost, so that another followed, is a write of its own
    /// that was never answered.
    pub(crate) fn accesses(&self) -> impl Iterator<Item = Access> {
        let done = self.state == State::Done;
        let (key, start) = (self.key, self.start);
        let end = if done { self.end } else { NEVER };
        let read = Access { key, start, end, version: self.before, write: false };
        let reads = done && matches!(self.kind, Kind::Get | Kind::Incr) && !self.looked;
        let reads_only = self.kind == Kind::Get || self.is_part();
        let executions = if reads_only { &[] } else { self.executed.as_slice() };
        let last = executions.len();
        let writes = executions.iter().enumerate().map(move |(i, (version, _))| {
            let end = if i + 1 == last { end } else { NEVER };
            Access { key, start, end, version: *version, write: true }
        });
        reads.then_some(read).into_iter().chain(writes)
    }

    /// The version before, if it was answered.
    pub(crate) fn base(&self) -> Option<u64> {
        (self.state == State::Done && self.kind == Kind::Incr).then_some(self.before)
    }
}

/// A client's commands under way, all of one slot, in order.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) batch: Vec<usize>,
    /// It is emptying everything.
    pub(crate) whole: Option<usize>,
    /// When it thinks of something new.
    pub(crate) idle_until: Time,
}

/// A router, or a client that routes by itself.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) view: Arc<View>,
    pub(crate) direct: bool,
    /// Where slots went since the view: the node, and in which epoch.
    moved: BTreeMap<u16, (u64, NodeId)>,
    conns: BTreeMap<NodeId, usize>,
    pub(crate) clients: Vec<Client>,
}

/// A connection from an agent to a process.
#[derive(Debug)]
pub(crate) struct Conn {
    agent: usize,
    pub(crate) process: usize,
    pub(crate) to: NodeId,
    pub(crate) open: bool,
    /// At the node: what is to be executed, and since when.
    pub(crate) queue: VecDeque<(usize, Time)>,
    /// An execution is under way.
    pub(crate) busy: bool,
    /// Slots that are being emptied.
    pub(crate) emptying: Option<crate::flush::Run>,
    /// What was executed and waits to be answered.
    pub(crate) pending: Option<crate::copies::Pending>,
    /// At the agent: what is unanswered, in order.
    pub(crate) waiting: VecDeque<usize>,
    pub(crate) last: [Time; 2],
}

/// How long a command may take.
pub(crate) const DEADLINE: Time = 2 * SECOND + 500 * MS;

impl World {
    pub(crate) fn make_agents(&mut self) {
        let view = self.newest().expect("the cluster has begun");
        for agent in 0..self.scale.agents {
            let clients = (0..self.scale.clients).map(|_| Client::default()).collect();
            let direct = self.dice.permille(300);
            self.agents.push(Agent {
                view: view.clone(),
                direct,
                moved: BTreeMap::new(),
                conns: BTreeMap::new(),
                clients,
            });
            for client in 0..self.scale.clients {
                let delay = self.dice.below(200 * MS);
                self.after(delay, Event::Client { agent, client });
            }
        }
    }

    pub(crate) fn slot_of(&self, key: u32) -> u16 {
        self.hot[key as usize % self.hot.len()]
    }

    pub(crate) fn push(&mut self, agent: usize, view: &Arc<View>) {
        let agent_ = &mut self.agents[agent];
        if view.epoch <= agent_.view.epoch {
            return;
        }
        agent_.view = view.clone();
        let epoch = view.epoch;
        agent_.moved.retain(|_, (at, _)| *at >= epoch);
        for client in 0..self.agents[agent].clients.len() {
            self.go_on(agent, client);
        }
    }

    /// A client looks whether there is something to do.
    pub(crate) fn client(&mut self, agent: usize, client: usize) {
        if let Some(whole) = self.agents[agent].clients[client].whole {
            return self.go_on_whole(whole);
        }
        let batch = &self.agents[agent].clients[client].batch;
        if batch.iter().all(|op| !self.ops[*op].open()) {
            if self.now >= self.until || self.now < self.agents[agent].clients[client].idle_until {
                return;
            }
            if self.scale.empties > 0 && self.dice.permille(self.scale.empties) {
                return self.new_whole(agent, client, None);
            }
            self.new_batch(agent, client);
        }
        self.go_on(agent, client);
    }

    fn new_batch(&mut self, agent: usize, client: usize) {
        let count = if self.dice.permille(300) { self.dice.range(2, 5) } else { 1 };
        let place = self.dice.below(self.hot.len() as u64) as u32;
        let mut batch = Vec::new();
        for _ in 0..count {
            let key = place + self.hot.len() as u32 * self.dice.below(2) as u32;
            let kind = match self.dice.below(10) {
                0..5 => Kind::Get,
                5..8 => Kind::Set,
                8 => Kind::Incr,
                _ => Kind::Del,
            };
            batch.push(self.ops.len());
            let at_copy =
                kind == Kind::Get && count == 1 && self.scale.replicas > 0 && self.dice.permille(500);
            self.ops.push(Op { at_copy, ..Op::new(key, kind, (agent, client), self.now) });
        }
        self.agents[agent].clients[client].batch = batch;
        self.after(DEADLINE, Event::Client { agent, client });
    }

    /// Sends what can be sent, gives up what is too old.
    fn go_on(&mut self, agent: usize, client: usize) {
        if let Some(whole) = self.agents[agent].clients[client].whole {
            return self.go_on_whole(whole);
        }
        let batch = self.agents[agent].clients[client].batch.clone();
        for op in &batch {
            self.look(agent, *op);
        }
        if batch.iter().all(|op| !self.ops[*op].open()) {
            return;
        }
        // Nothing is sent again while an answer is awaited, and nothing overtakes what is in doubt.
        let waits = |op: &usize| matches!(self.ops[*op].state, State::Sent { .. } | State::Doubtful { .. });
        if batch.iter().any(waits) {
            return;
        }
        let new: Vec<usize> = batch.into_iter().filter(|op| self.ops[*op].open()).collect();
        self.send_batch(agent, client, &new);
    }

    /// Whether a command is too old, or what was in doubt is not any more.
    fn look(&mut self, agent: usize, op: usize) {
        let slot = self.slot_of(self.ops[op].key);
        let (state, kind) = (self.ops[op].state, self.ops[op].kind);
        if self.ops[op].open() && self.now >= self.ops[op].start + DEADLINE {
            self.fail_op(op);
            return;
        }
        let State::Doubtful { to, epoch } = state else { return };
        if self.agents[agent].direct {
            self.fail_op(op);
            return;
        }
        let view = &self.agents[agent].view;
        let born = view.born(slot);
        // The view in which the slot was made anew, after the write was sent, has not got the node it went to.
        let gone = born > epoch && view.epoch == born && view.place(to).is_none();
        if kind == Kind::Get || gone {
            self.ops[op].state = State::New;
        }
    }

    fn fail_op(&mut self, op: usize) {
        self.ops[op].state = State::Failed;
        self.note(|| format!("operation {op} failed"));
        if self.planned {
            self.oracle.fail(format!("operation {op} failed though nothing did"));
        }
        let (agent, client) = self.ops[op].client;
        self.finished(agent, client);
    }

    /// A command is over; if it was the last one, its client rests a while.
    pub(crate) fn finished(&mut self, agent: usize, client: usize) {
        let batch = &self.agents[agent].clients[client].batch;
        let mut delay = 0;
        if batch.iter().all(|op| !self.ops[*op].open()) {
            delay = self.dice.below(80 * MS);
            self.agents[agent].clients[client].idle_until = self.now + delay;
        }
        self.after(delay, Event::Client { agent, client });
    }

    fn send_batch(&mut self, agent: usize, client: usize, batch: &[usize]) {
        let Some(first) = batch.first() else { return };
        let conn = self.target(agent, *first).and_then(|to| self.conn(agent, to));
        let Some(conn) = conn else {
            let delay = self.dice.range(20 * MS, 100 * MS);
            self.after(delay, Event::Client { agent, client });
            return;
        };
        let (to, epoch) = (self.conns[conn].to, self.agents[agent].view.epoch);
        let delay = self.delay();
        let at = (self.now + delay).max(self.conns[conn].last[0]);
        self.conns[conn].last[0] = at;
        for op in batch {
            self.ops[*op].state = State::Sent { to, epoch };
            self.conns[conn].waiting.push_back(*op);
            self.at(at, Event::Request { conn, op: *op });
        }
    }

    /// Whom to ask for a slot: now and then anybody, as clients do that have no table yet.
    fn target(&mut self, agent: usize, op: usize) -> Option<NodeId> {
        let slot = self.slot_of(self.ops[op].key);
        if self.ops[op].at_copy && self.ops[op].hops == 0 {
            let view = self.agents[agent].view.clone();
            let copies: Vec<u16> = view.copies(slot).iter().map(|(at, _)| at).collect();
            if let Some(at) = self.dice.pick(&copies) {
                return view.members.get(usize::from(*at)).map(|m| m.id);
            }
        }
        if self.dice.permille(30) {
            let members = self.agents[agent].view.clone();
            return self.dice.pick(&members.members).map(|m| m.id);
        }
        let agent = &self.agents[agent];
        match agent.moved.get(&slot) {
            Some((epoch, to)) if *epoch >= agent.view.epoch => Some(*to),
            _ => agent.view.owner(slot).map(|m| m.id),
        }
    }

    /// A connection to a member, if it can be had.
    pub(crate) fn conn(&mut self, agent: usize, to: NodeId) -> Option<usize> {
        if let Some(conn) = self.agents[agent].conns.get(&to) {
            return Some(*conn);
        }
        // Agents reach every machine that runs; whoever answers there may be another process by now.
        let process = self.machines[*self.homes.get(&to)?]?;
        if self.processes[process].paused_until > self.now {
            return None;
        }
        let conn = self.conns.len();
        let last = [self.now; 2];
        let (queue, waiting) = (VecDeque::new(), VecDeque::new());
        self.conns.push(Conn {
            agent,
            process,
            to,
            open: true,
            queue,
            busy: false,
            emptying: None,
            pending: None,
            waiting,
            last,
        });
        self.agents[agent].conns.insert(to, conn);
        self.processes[process].conns.push(conn);
        Some(conn)
    }

    pub(crate) fn request(&mut self, conn: usize, op: usize) {
        if self.conns[conn].open {
            let now = self.now;
            self.conns[conn].queue.push_back((op, now));
            self.pump_conn(conn);
        }
    }

    pub(crate) fn reply(&mut self, conn: usize, op: usize, reply: Reply) {
        // A connection that its node closed still brings what was sent before.
        if self.conns[conn].waiting.pop_front() != Some(op) {
            if self.conns[conn].open {
                self.oracle.fail(format!("operation {op} got the answer of another"));
            }
            return;
        }
        let (agent, client) = self.ops[op].client;
        if !matches!(self.ops[op].state, State::Sent { .. }) {
            return;
        }
        if self.ops[op].is_part() {
            return self.part_reply(op, reply);
        }
        let mut delay = 0;
        match reply {
            Reply::Done { before, count } => {
                let now = self.now;
                let op = &mut self.ops[op];
                (op.state, op.end, op.before, op.count) = (State::Done, now, before, count);
                self.finished(agent, client);
                return;
            }
            Reply::Moved { to, epoch } => {
                let slot = self.slot_of(self.ops[op].key);
                if let Some(to) = to.filter(|_| epoch >= self.agents[agent].view.epoch) {
                    self.agents[agent].moved.insert(slot, (epoch, to));
                }
                self.ops[op].state = State::New;
                self.ops[op].hops += 1;
                if self.ops[op].hops > 2 {
                    delay = 10 * MS;
                }
                if epoch > self.agents[agent].view.epoch {
                    self.fetch_view(agent, self.conns[conn].process);
                }
            }
            Reply::View(_) => self.oracle.fail(format!("operation {op} is told of a view")),
            Reply::Down => {
                // Not executed: as good as never sent, but the client learns of it.
                self.fail_op(op);
                return;
            }
        }
        self.after(delay, Event::Client { agent, client });
    }

    pub(crate) fn fetch_view(&mut self, agent: usize, process: usize) {
        let view = self.processes[process].view.clone();
        let delay = 2 * self.delay();
        self.after(delay, Event::Push { agent, view });
    }

    /// A connection breaks: what is under way to the node may still come, nothing comes back.
    pub(crate) fn close_conn(&mut self, conn: usize) {
        if !std::mem::replace(&mut self.conns[conn].open, false) {
            return;
        }
        self.conns[conn].queue.clear();
        let delay = self.dice.below(20 * MS);
        self.after(delay, Event::ConnEnd { conn });
    }

    /// The agent notices that a connection is gone.
    pub(crate) fn conn_end(&mut self, conn: usize) {
        self.conns[conn].open = false;
        let (agent, to) = (self.conns[conn].agent, self.conns[conn].to);
        if self.agents[agent].conns.get(&to) == Some(&conn) {
            self.agents[agent].conns.remove(&to);
        }
        let lost: Vec<usize> = std::mem::take(&mut self.conns[conn].waiting).into();
        for op in &lost {
            if let State::Sent { to, epoch } = self.ops[*op].state {
                self.ops[*op].state = State::Doubtful { to, epoch };
            }
        }
        for op in lost {
            let (agent, client) = self.ops[op].client;
            let delay = self.dice.below(5 * MS);
            self.after(delay, Event::Client { agent, client });
        }
        // Whoever lost a node looks for a newer view elsewhere.
        let live = self.live();
        if let Some(p) = self.dice.pick(&live).copied() {
            self.fetch_view(agent, p);
        }
    }

    /// All connections to a process break.
    pub(crate) fn break_conns(&mut self, p: usize) {
        for conn in self.processes[p].conns.clone() {
            self.close_conn(conn);
        }
    }
}
