//! What changes of a large cluster cost in CPU, on the busiest of its nodes: the product's core for each node, messages
//! written and read as on the wire, virtual time, one thread. It is measured by the clock: nothing else should run meanwhile.
//!
//! `cargo run --release -p shoal-net --example hundred_nodes [nodes]`

#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use shoal_proto::bus::{self, Tell, Verb};
use shoal_proto::cluster::{Core, Output};
use shoal_proto::view::{Member, NodeId, View};

/// A message's time under way.
const DELAY: Duration = Duration::from_micros(300);

struct Node {
    core: Core,
    alive: bool,
    /// CPU since the clock was set to nothing.
    busy: Duration,
}

/// When a message arrives, its number, to whom, from whom, and its bytes.
type Flight = Reverse<(Duration, u64, usize, usize, Vec<u8>)>;

struct World {
    now: Duration,
    nodes: Vec<Node>,
    flights: BinaryHeap<Flight>,
    sent: u64,
    bytes: usize,
}

fn id(n: usize) -> NodeId {
    NodeId { node: n as u64, boot: 1_760_000_000_000 + n as u64 }
}

fn member(n: usize) -> Member {
    Member {
        id: id(n),
        name: format!("shoal-node-{n}"),
        host: format!("shoal-node-{n}.shoal-nodes.default.svc.cluster.local"),
        resp_port: 6379,
        gossip_port: 16379,
        weight: 100,
        zone: format!("zone-{}", n % 3),
        replication: shoal_proto::view::Replication::default(),
    }
}

impl World {
    /// `count` members with even shares.
    fn new(count: usize) -> Self {
        let view = View::first(77, (0..count).map(member).collect());
        let nodes = (0..count).map(|n| Node { core: Core::new(id(n)), alive: true, busy: Duration::ZERO });
        let mut world = Self {
            now: Duration::from_secs(1),
            nodes: nodes.collect(),
            flights: BinaryHeap::new(),
            sent: 0,
            bytes: 0,
        };
        for n in 0..count {
            world.work(n, |core, now| core.learn(now, &view));
        }
        world.hold_up(&(0..count).collect());
        world.run(Duration::from_secs(3));
        world
    }

    /// Tells all who is up.
    fn hold_up(&mut self, up: &BTreeSet<usize>) {
        for n in up.clone() {
            let others = up.iter().filter(|m| **m != n).map(|m| id(*m)).collect();
            self.work(n, |core, now| core.on_up(now, others));
        }
    }

    /// Lets a node do something, measures it, and sends what comes of it.
    fn work(&mut self, n: usize, what: impl FnOnce(&mut Core, Duration)) {
        let (now, cluster) = (self.now, 77);
        let node = &mut self.nodes[n];
        let begun = Instant::now();
        what(&mut node.core, now);
        let mut letters = Vec::new();
        while let Some(output) = node.core.poll_output() {
            if let Output::Send { to, message } = output {
                let tell = Tell { cluster, from: id(n), to, message };
                letters.push((to.node as usize, bus::encode(&tell)));
            }
        }
        node.busy += begun.elapsed();
        for (to, bytes) in letters {
            self.sent += 1;
            self.bytes += bytes.len();
            self.flights.push(Reverse((self.now + DELAY, self.sent, to, n, bytes)));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// The next thing that happens before `end`, if anything does.
    fn step(&mut self, end: Duration) -> bool {
        let timers = self.nodes.iter().enumerate().filter(|(_, node)| node.alive);
        let (at, n) = timers.map(|(n, node)| (node.core.poll_timeout(), n)).min().expect("somebody lives");
        let flight = self.flights.peek().map(|Reverse((at, ..))| *at);
        if flight.unwrap_or(at).min(at) > end {
            return false;
        }
        if flight.is_some_and(|flight| flight <= at) {
            let Reverse((at, _, to, from, bytes)) = self.flights.pop().expect("just seen");
            self.now = self.now.max(at);
            if self.nodes[to].alive {
                self.work(to, |core, now| {
                    let tell: Tell = bus::decode(Verb::Tell, &bytes).expect("our own");
                    core.on_message(now, id(from), tell.message);
                });
            }
        } else {
            self.now = self.now.max(at);
            self.work(n, |core, now| core.on_timeout(now));
        }
        true
    }

    /// Runs until all who live have a newer view than now; what it cost the busiest node, and all, and how long it took.
    fn change(&mut self, name: &str, begin: impl FnOnce(&mut Self)) -> Duration {
        let epoch = self.nodes.iter().map(|node| node.core.view().epoch).max().unwrap_or(0);
        self.nodes.iter_mut().for_each(|node| node.busy = Duration::ZERO);
        let (start, sent, bytes) = (self.now, self.sent, self.bytes);
        begin(self);
        let there = |world: &Self| {
            let live = world.nodes.iter().filter(|node| node.alive);
            live.map(|node| node.core.view().epoch).min().unwrap_or(0) > epoch
        };
        while !there(self) {
            assert!(self.step(start + Duration::from_secs(30)), "{name}: no view");
        }
        let most = self.nodes.iter().map(|node| node.busy).max().unwrap_or_default();
        let all: Duration = self.nodes.iter().map(|node| node.busy).sum();
        println!(
            "{name}: {:.1} ms of CPU on the busiest node, {:.1} ms on all; {} messages, {} KB; {:.2} s of virtual time",
            most.as_secs_f64() * 1e3,
            all.as_secs_f64() * 1e3,
            self.sent - sent,
            (self.bytes - bytes) / 1000,
            (self.now - start).as_secs_f64()
        );
        most
    }
}

fn main() {
    let count: usize = std::env::args().nth(1).map_or(100, |text| text.parse().expect("a number of nodes"));
    let mut world = World::new(count);
    let everybody = |world: &World| -> BTreeSet<usize> {
        (0..world.nodes.len()).filter(|n| world.nodes[*n].alive).collect()
    };
    let mut most = Duration::ZERO;
    for (name, victim) in [("a member crashes", count / 2), ("the leader crashes", 0)] {
        most = most.max(world.change(name, |world| {
            world.nodes[victim].alive = false;
            let up = everybody(world);
            world.hold_up(&up);
        }));
        world.run(Duration::from_secs(2));
    }
    most = most.max(world.change("a newcomer is taken in", |world| {
        world.nodes.push(Node { core: Core::new(id(count)), alive: true, busy: Duration::ZERO });
        let up = everybody(world);
        world.hold_up(&up);
        for n in up {
            world.work(n, |core, now| core.on_record(now, member(count), false));
        }
    }));
    let mut view = View::first(77, (0..count).map(member).collect());
    let mut table = Duration::ZERO;
    for round in 0..20 {
        let members: Vec<Member> = (0..count + round % 2).filter(|n| n % 20 != round).map(member).collect();
        let begun = Instant::now();
        let next = view.next(members);
        table = table.max(begun.elapsed());
        view = next;
    }
    println!("a table for {} members: at most {:.1} ms", view.members.len(), table.as_secs_f64() * 1e3);
    println!("a change: at most {:.1} ms on any node", most.as_secs_f64() * 1e3);
}
