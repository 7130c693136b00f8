//! What goes wrong in a run, and what is planned: drawn from the seed before it begins.

use std::collections::BTreeSet;

use shoal_proto::cluster::quorum;
use shoal_proto::member::rival;
use shoal_proto::view::NodeId;

use crate::dice::Dice;
use crate::history::Time;
use crate::strike::{self, Strike};
use crate::world::{Event, MS, Network, SECOND, Scale, World};

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// A process ends without a word.
    Crash,
    /// A machine without a process gets one.
    Start,
    /// Several machines get processes at once.
    Burst,
    /// A process hands over and goes.
    Leave,
    /// A process does nothing for a while; its clock goes on.
    Pause(Time),
    /// Machines are cut in two parts.
    Partition,
    /// Messages from one machine to another get lost, not those back.
    OneWay,
    /// All reach all again.
    Heal,
    /// Gossip at one process wrongly holds another for dead.
    Doubt(Time),
    /// Gossip everywhere does.
    Slander(Time),
    /// A process has no memory for some of what comes in, for a while.
    Full(Time),
    /// A stream of slots breaks.
    Stream,
    /// The clients' connections to a process break.
    Conns,
    /// A process crashes and another starts there at once.
    Restart,
    /// A process is cut off, and another of its name is started elsewhere, because it seems to be gone; it comes back after a while.
    Elsewhere(Time),
}

/// What kind of things happen in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Joins and leaves, and nothing that is not planned.
    Planned,
    /// Crashes and restarts.
    Crashes,
    /// Pauses, doubts, broken streams: everybody lives, nobody is sure.
    Flaps,
    /// Partitions, also of one direction.
    Partitions,
    /// Slots have copies, and processes end only when these hold what they held: nothing may be lost.
    Copies,
    /// All of it.
    Chaos,
}

pub(crate) const PROFILES: [Profile; 6] = [
    Profile::Planned,
    Profile::Crashes,
    Profile::Flaps,
    Profile::Partitions,
    Profile::Copies,
    Profile::Chaos,
];

impl Profile {
    fn draw(self, dice: &mut Dice) -> Fault {
        use Fault::*;
        let long = dice.range(50 * MS, 3 * SECOND);
        let kinds: &[Fault] = match self {
            Self::Planned => &[Start, Burst, Leave, Leave, Full(long)],
            Self::Crashes => &[Crash, Crash, Start, Restart, Leave, Leave, Burst, Conns, Full(long)],
            Self::Flaps => {
                &[Pause(long), Pause(long), Doubt(long), Slander(long), Stream, Conns, Start, Leave]
            }
            Self::Partitions => {
                &[Partition, Partition, OneWay, Heal, Elsewhere(long), Start, Burst, Leave, Leave, Stream]
            }
            Self::Copies => {
                &[Crash, Crash, Crash, Restart, Start, Start, Burst, Leave, Stream, Conns, Full(long)]
            }
            Self::Chaos => &[
                Crash,
                Start,
                Burst,
                Leave,
                Pause(long),
                Partition,
                OneWay,
                Heal,
                Doubt(long),
                Slander(long),
                Stream,
                Conns,
                Restart,
                Elsewhere(long),
                Full(long),
            ],
        };
        *dice.pick(kinds).expect("there are some")
    }
}

/// What a seed stands for.
pub(crate) struct Plan {
    pub(crate) profile: Profile,
    pub(crate) scale: Scale,
    pub(crate) network: Network,
    pub(crate) faults: Vec<(Time, Fault)>,
    pub(crate) strikes: Vec<Strike>,
    /// When nothing happens any more.
    pub(crate) quiet: Time,
}

/// Draws a run.
pub(crate) fn plan(seed: u64) -> Plan {
    let mut dice = Dice::new(seed ^ 0xabcd);
    let profile = PROFILES[(seed % PROFILES.len() as u64) as usize];
    let nodes = match dice.below(12) {
        0 => 1,
        1..3 => 2,
        3..8 => 3,
        11 => dice.range(8, 12) as usize,
        n => (n - 4) as usize,
    };
    let scale = Scale {
        slots: [16, 32, 64][dice.below(3) as usize],
        hot: dice.range(1, 5) as u16,
        nodes,
        machines: nodes + 4,
        agents: dice.range(1, 3) as usize,
        clients: dice.range(1, 5) as usize,
        drift: if dice.permille(500) { 50 } else { 0 },
        detection: dice.range(500 * MS, 1300 * MS),
        replicas: match dice.below(6) {
            0 => 2,
            1 | 2 => 1,
            _ if profile == Profile::Copies => 1,
            _ => 0,
        },
        ack_all: true,
        empties: 0,
    };
    let (planned, covered) = (profile == Profile::Planned, profile == Profile::Copies);
    let bad = !planned && !covered && dice.permille(500);
    let network = Network {
        loss: if bad { dice.below(100) } else { 0 },
        twice: dice.below(50),
        slow: if bad { dice.below(100) } else { dice.below(10) },
        delay: dice.range(100, 3 * MS),
        late: if bad { 300 * MS } else { 30 * MS },
    };
    // Copies have to be there before anything is worth trying.
    let span = if covered { dice.range(2 * SECOND, 12 * SECOND) } else { dice.range(SECOND, 5 * SECOND) };
    let count = dice.range(1, if planned { 4 } else { 9 });
    let mut faults: Vec<(Time, Fault)> =
        (0..count).map(|_| (300 * MS + dice.below(span), profile.draw(&mut dice))).collect();
    // Things that happen close together find more.
    if dice.permille(400) {
        let first = faults[0].0;
        for (at, _) in &mut faults[1..] {
            *at = first + dice.below(400 * MS);
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    let quiet = faults.iter().map(|(at, _)| *at).max().unwrap_or(0) + 300 * MS;
    let strikes = strike::draw(profile, &mut dice);
    let ack_all = scale.replicas == 0 || !dice.permille(330);
    let empties = if dice.permille(600) { dice.range(10, 60) } else { 0 };
    let scale = Scale { ack_all, empties, ..scale };
    Plan { profile, scale, network, faults, strikes, quiet }
}

impl World {
    pub(crate) fn schedule(&mut self, faults: &[(Time, Fault)]) {
        for (at, fault) in faults {
            self.faults.push(*fault);
            self.at(*at, Event::Fault(self.faults.len() - 1));
        }
    }

    pub(crate) fn fault(&mut self, at: usize) {
        let fault = self.faults[at];
        self.note(|| format!("---- {fault:?}"));
        let live = self.live();
        let some = self.dice.pick(&live).copied();
        let other = self.dice.pick(&live).copied();
        match fault {
            Fault::Crash => {
                if let Some(p) = some.filter(|p| self.may_lose(*p)) {
                    self.crash(p);
                }
            }
            Fault::Restart => {
                if let Some(p) = some.filter(|p| self.may_lose(*p)) {
                    self.crash(p);
                    self.start(self.processes[p].machine);
                }
            }
            Fault::Elsewhere(time) => {
                if let Some(p) = some {
                    self.start_elsewhere(p, time);
                }
            }
            Fault::Start => self.start_somewhere(),
            Fault::Burst => (0..self.dice.range(2, 5)).for_each(|_| self.start_somewhere()),
            Fault::Leave => {
                let staying = live.iter().filter(|p| self.processes[**p].leaving.is_none()).count();
                if let Some(p) = some.filter(|p| staying > 1 && self.processes[*p].core.inside()) {
                    self.start_leaving(p);
                }
            }
            Fault::Pause(time) => {
                if let Some(p) = some.filter(|p| self.processes[*p].paused_until <= self.now) {
                    self.processes[p].paused_until = self.now + time;
                    self.note(|| format!("{p} is paused for {time}"));
                }
            }
            Fault::Partition => self.partition_with(None),
            Fault::OneWay => {
                if let (Some(a), Some(b)) = (some, other) {
                    let (a, b) = (self.processes[a].machine, self.processes[b].machine);
                    self.cut[a][b] = a != b;
                    self.sever();
                }
            }
            Fault::Heal => self.heal(),
            Fault::Doubt(time) => {
                if let (Some(p), Some(q)) = (some, other.filter(|q| Some(*q) != some)) {
                    self.doubt(p, q, time);
                }
            }
            Fault::Slander(time) => {
                for p in live {
                    if let Some(q) = some.filter(|q| *q != p) {
                        self.doubt(p, q, time);
                    }
                }
            }
            Fault::Full(time) => {
                if let Some(p) = some {
                    self.processes[p].full_until = self.now + time;
                    self.note(|| format!("{p} is full for {time}"));
                }
            }
            Fault::Stream => {
                let open: Vec<usize> = (0..self.streams.len()).filter(|s| self.streams[*s].open).collect();
                if let Some(stream) = self.dice.pick(&open).copied() {
                    self.break_stream(stream);
                }
            }
            Fault::Conns => {
                if let Some(p) = some {
                    self.break_conns(p);
                }
            }
        }
    }

    /// Whether those who remain could still make a view without `p`; sometimes that does not matter.
    pub(crate) fn may_lose(&mut self, p: usize) -> bool {
        if self.live().len() < 2 || (self.covered && !self.is_covered(p)) {
            return false;
        }
        // Who is about to leave goes also if the one who took everything over ends at that moment: then there is nobody.
        if !self.live().into_iter().any(|q| q != p && self.processes[q].leaving.is_none()) {
            return false;
        }
        let Some(view) = self.newest() else { return true };
        let stays =
            |q: &usize| view.place(self.processes[*q].id).is_some() && self.processes[*q].leaving.is_none();
        let rest = self.live().into_iter().filter(|q| *q != p && stays(q));
        let rest: BTreeSet<NodeId> = rest.map(|q| self.processes[q].id).collect();
        !rest.is_empty() && (quorum::decides(&view, &rest) || self.dice.permille(50))
    }

    pub(crate) fn crash(&mut self, p: usize) {
        self.note(|| format!("{p} crashes"));
        self.processes[p].alive = false;
        self.machines[self.processes[p].machine] = None;
        for stream in 0..self.streams.len() {
            if self.streams[stream].ends.contains(&p) && self.streams[stream].open {
                self.break_stream(stream);
            }
        }
        self.break_conns(p);
    }

    fn start_somewhere(&mut self) {
        if let Some(machine) = self.free_machine() {
            self.start(machine);
        }
    }

    fn free_machine(&mut self) -> Option<usize> {
        let free: Vec<usize> = (0..self.machines.len()).filter(|m| self.machines[*m].is_none()).collect();
        self.dice.pick(&free).copied()
    }

    /// Cuts off a process, and starts another of its name where a member lets it in, which does not reach the first.
    fn start_elsewhere(&mut self, p: usize, time: Time) {
        if !self.processes[p].core.inside() || self.has_successor(p) {
            return;
        }
        let Some(machine) = self.free_machine() else { return };
        self.partition_with(Some(self.processes[p].machine));
        self.faults.push(Fault::Heal);
        self.after(time, Event::Fault(self.faults.len() - 1));
        let reached = |q: &usize| !self.cut[self.processes[*q].machine][machine];
        let there: Vec<usize> = self.live().into_iter().filter(reached).collect();
        let ids = there.iter().map(|q| self.processes[*q].id).collect();
        let id = self.processes[p].id;
        if there.iter().any(|q| {
            let view = self.processes[*q].core.view();
            self.processes[*q].core.inside() && !rival::is_needed(view, id, &ids)
        }) {
            self.start_as(id.node as usize, machine);
        }
    }

    /// Cuts the machines in two parts at random, this one into the smaller.
    pub(crate) fn partition_with(&mut self, machine: Option<usize>) {
        let mut sides: Vec<bool> = self.machines.clone().iter().map(|_| self.dice.permille(400)).collect();
        machine.into_iter().for_each(|machine| sides[machine] = true);
        for (a, side) in sides.iter().enumerate() {
            for (b, other) in sides.iter().enumerate() {
                self.cut[a][b] = side != other;
            }
        }
        self.sever();
    }

    /// Streams over a cut break, sooner or later.
    pub(crate) fn sever(&mut self) {
        for stream in 0..self.streams.len() {
            let [a, b] = self.streams[stream].ends;
            if self.streams[stream].open && (self.is_cut(a, b) || self.is_cut(b, a)) {
                self.break_stream(stream);
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.iter_mut().for_each(|row| row.fill(false));
    }

    /// Nothing happens any more: all reach all, nobody is doubted, few messages get lost.
    pub(crate) fn calm(&mut self) {
        self.note(|| "---- quiet".to_owned());
        self.heal();
        self.strikes.clear();
        self.network.loss = self.network.loss.min(20);
        self.network.late = self.network.late.min(50 * MS);
        for p in 0..self.processes.len() {
            self.processes[p].doubted.clear();
            self.processes[p].full_until = 0;
        }
    }

    /// If those who are left can never make a view, an operator says so. One that was cut off and started anew elsewhere may be back, and then
    /// others ended without which there is no majority any more: gossip knows the new one, the view the old one. The operator ends the old one first.
    pub(crate) fn rescue(&mut self) -> bool {
        let Some(view) = self.newest() else { return false };
        let inside: Vec<usize> =
            self.live().into_iter().filter(|p| view.place(self.processes[*p].id).is_some()).collect();
        if let Some(p) = inside.iter().copied().find(|p| self.has_successor(*p)) {
            self.note(|| format!("an operator ends {p}, whose name another one has"));
            self.crash(p);
            return true;
        }
        let ids: BTreeSet<NodeId> = inside.iter().map(|p| self.processes[*p].id).collect();
        let holders = |p: &&usize| self.processes[**p].core.view().epoch == view.epoch;
        if quorum::decides(&view, &ids) || self.oracle.forced {
            return false;
        }
        let Some(p) = inside.iter().find(holders).copied() else { return false };
        self.oracle.forced = true;
        self.note(|| format!("{p} is told to go on alone"));
        let now = self.local(p);
        self.processes[p].core.force(now);
        self.drain(p);
        true
    }
}
