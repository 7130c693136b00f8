//! The world of one run: machines with processes, a network, routers and clients, all on one virtual clock.
//!
//! Everything is drawn from one seed and happens in one thread, in the order of time and then of making. A process that
//! is paused gets what comes in the meantime when it goes on; one that crashed gets nothing any more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use shoal_proto::cluster::{Message, Told, Transfer};
use shoal_proto::view::{Member, NodeId, View};

use crate::client::{Agent, Conn, Op};
use crate::dice::Dice;
use crate::flush::Whole;
use crate::history::Time;
use crate::oracle::Oracle;
use crate::process::Process;
use crate::strike::{Blow, Strike};

pub(crate) const MS: Time = 1000;
pub(crate) const SECOND: Time = 1000 * MS;

/// How the network behaves; parts of a thousand, and microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    pub(crate) loss: u64,
    pub(crate) twice: u64,
    /// How often a message takes up to `late` instead of up to `delay`.
    pub(crate) slow: u64,
    pub(crate) delay: Time,
    pub(crate) late: Time,
}

/// What goes from one end of a stream to the other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item {
    /// Back: everything up to this position was dealt with.
    Ack(u64),
    Transfer(Transfer),
    /// The version that all keys of a slot have that were not written since.
    Base {
        slot: u16,
        version: u64,
        birth: u64,
    },
    /// What a key holds.
    Record {
        key: u32,
        cell: Cell,
    },
    /// A slot was emptied by a command.
    Clear {
        slot: u16,
        op: usize,
        version: u64,
    },
    /// Back: what was emptied before this position is not yet with all copies; and it is.
    Pending(u64),
    Settled(u64),
}

/// What a key holds: who wrote it, and the count if it is a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) version: u64,
    pub(crate) count: u64,
}

/// A connection that carries slots from one process to another, and answers back.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Processes: who sends slots, and who takes them.
    pub(crate) ends: [usize; 2],
    /// Who they were when it was made: a process that was excluded is another one since.
    pub(crate) ids: [NodeId; 2],
    pub(crate) open: bool,
    /// Which ends still think that it stands.
    pub(crate) known: [bool; 2],
    pub(crate) last: [Time; 2],
    /// Things put in, and those that the other end has dealt with.
    pub(crate) position: u64,
    pub(crate) acked: u64,
    /// Up to where it has said that its copies lack something, and that they do not.
    pub(crate) pending: u64,
    pub(crate) settled: u64,
}

/// What happens at some time.
#[derive(Debug)]
pub(crate) enum Event {
    Wake(usize),
    Gossip(usize),
    Tick(usize),
    Message { to: NodeId, from: NodeId, message: Box<Message> },
    Connect { from: usize, to: NodeId },
    Item { stream: usize, end: usize, item: Item, position: u64 },
    StreamEnd { stream: usize, end: usize },
    Copy { process: usize, slot: u16, to: NodeId, copy: u64 },
    Frozen { process: usize, slot: u16, to: NodeId, id: u64 },
    Request { conn: usize, op: usize },
    Execute { conn: usize },
    Reply { conn: usize, op: usize, reply: Reply },
    ConnEnd { conn: usize },
    Push { agent: usize, view: Arc<View> },
    Client { agent: usize, client: usize },
    Fault(usize),
    Strike { process: usize, blow: Blow },
}

/// What a node answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    /// Executed: the version before, the version now, the count.
    Done { before: u64, count: u64 },
    /// The slot is at another node, in the view of this epoch.
    Moved { to: Option<NodeId>, epoch: u64 },
    /// What view the node has.
    View(Told),
    /// Waited too long; not executed.
    Down,
}

struct Scheduled {
    key: Reverse<(Time, u64)>,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// How large a world is and what runs in it.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) slots: u16,
    pub(crate) hot: u16,
    pub(crate) nodes: usize,
    pub(crate) machines: usize,
    pub(crate) agents: usize,
    pub(crate) clients: usize,
    /// Clocks run up to so many parts of a thousand too fast or too slow.
    pub(crate) drift: u64,
    /// How long gossip takes to notice that somebody is gone.
    pub(crate) detection: Time,
    /// Copies of each slot, and whether answers wait for them.
    pub(crate) replicas: u8,
    pub(crate) ack_all: bool,
    /// How often a client empties everything instead of a command, of a thousand times.
    pub(crate) empties: u64,
}

/// See the module's documentation.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) dice: Dice,
    pub(crate) network: Network,
    pub(crate) scale: Scale,
    pub(crate) processes: Vec<Process>,
    /// The process that runs on each machine.
    pub(crate) machines: Vec<Option<usize>>,
    /// The machine on which each process was started.
    pub(crate) homes: BTreeMap<NodeId, usize>,
    /// Whether messages from one machine to another get nowhere.
    pub(crate) cut: Vec<Vec<bool>>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) ops: Vec<Op>,
    pub(crate) wholes: Vec<Whole>,
    pub(crate) hot: Vec<u16>,
    pub(crate) oracle: Oracle,
    /// The newest boot of each node that anybody knows.
    pub(crate) boots: Vec<u64>,
    /// When clients stop.
    pub(crate) until: Time,
    pub(crate) faults: Vec<crate::faults::Fault>,
    /// Blows that wait for their moment.
    pub(crate) strikes: Vec<Strike>,
    pub(crate) planned: bool,
    /// Processes that left and had handed over all, those of which something was lost, those that gave up, and slots that there was no memory for.
    pub(crate) left_well: u64,
    pub(crate) left_badly: u64,
    pub(crate) given_up: u64,
    pub(crate) lacked: u64,
    /// Processes end only when others have what they hold.
    pub(crate) covered: bool,
    events: BinaryHeap<Scheduled>,
    made: u64,
    pub(crate) handled: u64,
    trace: Option<VecDeque<String>>,
    trace_ops: bool,
}

/// Most events of a run: twenty times what usual ones have.
const MOST: u64 = 400_000;

/// Lines that a replay keeps.
const TRACE: usize = 2000;

impl World {
    /// The first `scale.nodes` machines run a cluster, the others nothing.
    pub(crate) fn new(seed: u64, scale: Scale, network: Network, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let mut hot = BTreeSet::new();
        while hot.len() < usize::from(scale.hot) {
            hot.insert(dice.below(scale.slots.into()) as u16);
        }
        let count = scale.machines;
        let mut world = Self {
            now: 0,
            network,
            processes: Vec::new(),
            machines: vec![None; count],
            homes: BTreeMap::new(),
            cut: vec![vec![false; count]; count],
            streams: Vec::new(),
            agents: Vec::new(),
            conns: Vec::new(),
            ops: Vec::new(),
            wholes: Vec::new(),
            hot: hot.into_iter().collect(),
            oracle: Oracle::new(scale.slots),
            boots: vec![0; count],
            until: Time::MAX,
            faults: Vec::new(),
            strikes: Vec::new(),
            planned: false,
            left_well: 0,
            left_badly: 0,
            given_up: 0,
            lacked: 0,
            covered: false,
            events: BinaryHeap::new(),
            made: 0,
            handled: 0,
            trace: trace.then(VecDeque::new),
            trace_ops: trace && std::env::var_os("OPS").is_some(),
            dice,
            scale,
        };
        let first: Vec<usize> = (0..world.scale.nodes).map(|m| world.start(m)).collect();
        world.bootstrap(&first);
        world.make_agents();
        world
    }

    fn bootstrap(&mut self, first: &[usize]) {
        let mut members: Vec<Member> = first.iter().map(|p| self.processes[*p].member.clone()).collect();
        members.sort_by_key(|m| (m.id.boot, m.id.node));
        let (slots, count) = (usize::from(self.scale.slots), members.len());
        let owners: Vec<u16> = (0..slots).map(|slot| (slot * count / slots) as u16).collect();
        let view = View::new(77, 1, members, &owners);
        for p in first {
            // The first view comes when all have heard of each other.
            let (now, id) = (self.local(*p), self.processes[*p].id);
            let up: BTreeSet<NodeId> =
                view.members.iter().map(|m| m.id).filter(|other| *other != id).collect();
            let process = &mut self.processes[*p];
            process.heard.extend(up.iter().map(|id| (*id, 0)));
            process.core.on_up(now, up);
            process.core.learn(now, &view);
            self.drain(*p);
        }
    }

    /// A process starts on a machine, under the name that is usual there, or another one if somebody else has that.
    pub(crate) fn start(&mut self, machine: usize) -> usize {
        let used: BTreeSet<usize> =
            self.processes.iter().filter(|p| p.alive).map(|p| p.id.node as usize).collect();
        let free = std::iter::once(machine).chain(0..self.machines.len()).find(|node| !used.contains(node));
        self.start_as(free.expect("there are as many names as machines"), machine)
    }

    /// A process starts on a machine under this name, as another member than any before it.
    pub(crate) fn start_as(&mut self, node: usize, machine: usize) -> usize {
        let drift = self.scale.drift as i64;
        // Most at an extreme: that is where leases may overlap.
        let rate = 1_000_000 + 1000 * drift * [-1, -1, 0, 1, 1][self.dice.below(5) as usize];
        let back = if self.dice.permille(300) { 50 } else { 0 };
        let clock = (1_000_000 + self.now / 100).saturating_sub(back * 1000);
        let boot = clock.max(self.boots[node] + 1);
        self.boots[node] = boot;
        let id = NodeId { node: node as u64, boot };
        let p = self.processes.len();
        let member = crate::process::member(id, machine, &self.scale);
        self.processes.push(Process::new(member, machine, rate as u64, self.now, self.scale.slots));
        self.machines[machine] = Some(p);
        self.homes.insert(id, machine);
        self.note(|| format!("start {machine} as {p} {id:?}"));
        let (a, b, c) = (self.dice.below(100 * MS), self.dice.below(50 * MS), self.dice.below(10 * MS));
        self.after(a, Event::Gossip(p));
        self.after(b, Event::Tick(p));
        self.after(c, Event::Wake(p));
        p
    }

    /// Says what happens, if this is a replay.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE {
                trace.pop_front();
            }
            trace.push_back(format!("{:>10} {}", self.now, line()));
        }
    }

    /// The same for commands, of which there are many.
    pub(crate) fn note_op(&mut self, line: impl FnOnce() -> String) {
        if self.trace_ops {
            self.note(line);
        }
    }

    /// The last that was noted.
    pub(crate) fn trace(&self) -> String {
        self.trace.iter().flatten().map(|line| format!("{line}\n")).collect()
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.made += 1;
        self.events.push(Scheduled { key: Reverse((at.max(self.now), self.made)), event });
    }

    pub(crate) fn after(&mut self, delay: Time, event: Event) {
        self.at(self.now + delay, event);
    }

    /// A message's time under way.
    pub(crate) fn delay(&mut self) -> Time {
        let Network { slow, delay, late, .. } = self.network;
        let most = if self.dice.permille(slow) { late } else { delay };
        50 + self.dice.below(most.max(1))
    }

    /// The process that a member's name stands for, if it runs.
    pub(crate) fn process_of(&self, id: NodeId) -> Option<usize> {
        let p = self.machines[*self.homes.get(&id)?]?;
        (self.processes[p].id == id).then_some(p)
    }

    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut[self.processes[a].machine][self.processes[b].machine]
    }

    /// Handles events until `end` or something is wrong.
    pub(crate) fn run(&mut self, end: Time) -> Result<(), String> {
        while let Some(next) = self.events.peek() {
            let Reverse((at, made)) = next.key;
            if at > end {
                break;
            }
            let event = self.events.pop().expect("just seen").event;
            self.now = at;
            if let Some(p) = self.subject(&event) {
                let process = &self.processes[p];
                if !process.alive {
                    continue;
                }
                if process.paused_until > at {
                    let key = Reverse((process.paused_until, made));
                    self.events.push(Scheduled { key, event });
                    continue;
                }
            }
            self.handled += 1;
            if self.handled > MOST {
                return Err(format!("no end of events, now {event:?}"));
            }
            self.handle(event);
            if let Some(wrong) = self.oracle.wrong.take() {
                return Err(wrong);
            }
        }
        self.now = end;
        Ok(())
    }

    /// The process to which an event happens.
    fn subject(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Wake(p) | Event::Gossip(p) | Event::Tick(p) => Some(*p),
            Event::Copy { process, .. } | Event::Frozen { process, .. } => Some(*process),
            Event::Message { to, .. } => self.machines[*self.homes.get(to)?],
            Event::Connect { from, .. } => Some(*from),
            Event::Item { stream, end, .. } | Event::StreamEnd { stream, end } => {
                Some(self.streams[*stream].ends[*end])
            }
            Event::Request { conn, .. } | Event::Execute { conn } => Some(self.conns[*conn].process),
            Event::Reply { .. }
            | Event::ConnEnd { .. }
            | Event::Push { .. }
            | Event::Client { .. }
            | Event::Fault(_)
            | Event::Strike { .. } => None,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Wake(p) => self.wake(p),
            Event::Gossip(p) => self.gossip(p),
            Event::Tick(p) => self.tick(p),
            Event::Message { to, from, message } => self.message(to, from, *message),
            Event::Connect { from, to } => self.connect(from, to),
            Event::Item { stream, end, item, position } => self.item(stream, end, item, position),
            Event::StreamEnd { stream, end } => self.stream_end(stream, end),
            Event::Copy { process, slot, to, copy } => self.copy(process, slot, to, copy),
            Event::Frozen { process, slot, to, id } => {
                self.frozen(process, slot, to, id);
                self.drain(process);
            }
            Event::Request { conn, op } => self.request(conn, op),
            Event::Execute { conn } => self.execute(conn),
            Event::Reply { conn, op, reply } => self.reply(conn, op, reply),
            Event::ConnEnd { conn } => self.conn_end(conn),
            Event::Push { agent, view } => self.push(agent, &view),
            Event::Client { agent, client } => self.client(agent, client),
            Event::Fault(at) => self.fault(at),
            Event::Strike { process, blow } => self.strike(process, blow),
        }
    }

    /// Records of a slot that are on their way to a process, in the order in which they would come.
    pub(crate) fn records_under_way(&self, p: usize, of: u16) -> Vec<(NodeId, u32, Cell)> {
        let record = |scheduled: &Scheduled| match scheduled.event {
            Event::Item { stream, end: 1, item: Item::Record { key, cell }, .. }
                if self.streams[stream].ends[1] == p && self.slot_of(key) == of =>
            {
                Some((scheduled.key, (self.streams[stream].ids[0], key, cell)))
            }
            _ => None,
        };
        let mut all: Vec<_> = self.events.iter().filter_map(record).collect();
        all.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        all.into_iter().map(|(_, record)| record).collect()
    }

    /// Sends a message between processes; it may get lost, double or late.
    pub(crate) fn send(&mut self, from: usize, to: NodeId, message: Message) {
        let Some(home) = self.homes.get(&to).copied() else { return };
        if self.machines[home].is_none() || self.cut[self.processes[from].machine][home] {
            return;
        }
        if self.dice.permille(self.network.loss) {
            return;
        }
        #[cfg(feature = "adjacent")]
        let message = self.over_the_wire(from, to, message);
        let from = self.processes[from].id;
        if self.dice.permille(self.network.twice) {
            let delay = 2 * self.delay();
            self.after(delay, Event::Message { to, from, message: Box::new(message.clone()) });
        }
        let delay = self.delay();
        self.after(delay, Event::Message { to, from, message: Box::new(message) });
    }

    fn message(&mut self, to: NodeId, from: NodeId, message: Message) {
        let Some(p) = self.process_of(to) else { return };
        if self.cut[self.homes[&from]][self.homes[&to]] {
            return;
        }
        let routine = matches!(
            message,
            Message::LeaseAsk { .. } | Message::LeaseGrant { .. } | Message::Progress { .. }
        );
        if !routine || self.trace_ops {
            self.note(|| format!("{p} <- {from:?} {}", brief(&message)));
        }
        let now = self.local(p);
        self.processes[p].core.on_message(now, from, message);
        self.drain(p);
    }

    /// Members by name of a view, for lines of a trace.
    pub(crate) fn owners(view: &View, slot: u16) -> Option<NodeId> {
        view.owner(slot).map(|m| m.id)
    }

    /// All live processes that have not left.
    pub(crate) fn live(&self) -> Vec<usize> {
        (0..self.processes.len()).filter(|p| self.processes[*p].alive && !self.processes[*p].left).collect()
    }

    /// The newest view that a live process is inside of, by epoch.
    pub(crate) fn newest(&self) -> Option<Arc<View>> {
        let inside = self.live().into_iter().filter(|p| self.processes[*p].core.inside());
        inside.map(|p| self.processes[p].core.view().clone()).max_by_key(|v| v.epoch)
    }

    /// How often each version's increment was the base of another; for the checks at the end.
    pub(crate) fn count_by<K: Ord>(items: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
        let mut counts = BTreeMap::new();
        for item in items {
            *counts.entry(item).or_default() += 1;
        }
        counts
    }
}

/// A message without the long parts.
fn brief(message: &Message) -> String {
    match message {
        Message::Promise { epoch, ballot, accepted, report, lease_left } => format!(
            "Promise {epoch} {ballot:?} accepted {:?} {report:?} left {lease_left}",
            accepted.as_ref().map(|(b, v)| (*b, v.epoch))
        ),
        Message::Accept { ballot, view } => format!("Accept {ballot:?} {}", view.epoch),
        Message::Commit { view } => format!("Commit {}", view.epoch),
        other => format!("{other:?}"),
    }
}
