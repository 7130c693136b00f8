//! A seeded run of everything that slots can do under a router's clients, against a world that knows what was executed
//! where and when: moves within a view, new views, refusals, lost connections, crashes and restarts.
//!
//! Each request names itself in its keys (`{tag}client:number`), so that replies cannot be confused unnoticed and each
//! execution is known; the reply to a read tells which execution it is of. `SHOAL_SEED=n` runs one seed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use shoal_proto::slot::key_slot;
use shoal_router::Settings;
use support::{Act, Bench, Client, FakeNode, born, eventually, settings};

const NODES: usize = 3;
const TAGS: usize = 24;
const CLIENTS: usize = 6;

/// What happened to the keys of a slot, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Executed {
        client: usize,
        number: usize,
        write: bool,
    },
    /// Its data was lost.
    Remade,
}

/// How nodes misbehave in a run.
#[derive(Debug, Clone, Copy)]
struct Mischief {
    /// Connections break at random, nodes refuse for a while or crash, and slots come back at once.
    breaks: bool,
}

struct World {
    random: StdRng,
    mischief: Mischief,
    /// By tag.
    slots: Vec<u16>,
    /// By tag, the node that serves it.
    owners: Vec<usize>,
    /// By tag, how many requests are still answered with `TRYAGAIN`.
    busy: Vec<u32>,
    /// By tag, the epoch of its data.
    born: Vec<u64>,
    events: Vec<Vec<Event>>,
    /// By node, how many requests are still answered with `CLUSTERDOWN`.
    down: Vec<u32>,
    /// By node, whether it runs.
    dead: Vec<bool>,
    /// By node, which run of it this is.
    boots: Vec<u64>,
    addrs: Vec<std::net::SocketAddr>,
    epoch: u64,
}

/// Client and number of a request, from one of its keys.
fn name(key: &str) -> (usize, usize) {
    let (client, number) = key.rsplit_once('}').unwrap().1.split_once(':').unwrap();
    (client.parse().unwrap(), number.parse().unwrap())
}

impl World {
    fn tag(&self, key: &[u8]) -> usize {
        let slot = key_slot(key);
        self.slots.iter().position(|s| *s == slot).unwrap()
    }

    /// What node `me` does with a request.
    fn serve(&mut self, me: usize, boot: u64, words: &[Vec<u8>]) -> Option<Act> {
        if self.dead[me] || boot != self.boots[me] {
            return Some(Act::Close);
        }
        let command = String::from_utf8(words[0].clone()).unwrap();
        let (step, write) = match command.as_str() {
            "GET" | "MGET" => (1, false),
            "MSET" => (2, true),
            "INCR" | "DEL" => (1, true),
            _ => return None,
        };
        let keys: Vec<&Vec<u8>> = words[1..].iter().step_by(step).collect();
        if self.mischief.breaks && self.random.random_range(0..150) == 0 {
            return Some(Act::Close);
        }
        if self.down[me] > 0 {
            self.down[me] -= 1;
            return Some(Act::Reply(b"-CLUSTERDOWN The cluster is down\r\n".to_vec()));
        }
        let tags: Vec<usize> = keys.iter().map(|key| self.tag(key)).collect();
        for tag in &tags {
            if self.owners[*tag] != me {
                let (slot, addr) = (self.slots[*tag], self.addrs[self.owners[*tag]]);
                return Some(Act::Reply(format!("-MOVED {slot} {addr}\r\n").into_bytes()));
            }
        }
        if let Some(tag) = tags.iter().find(|tag| self.busy[**tag] > 0) {
            self.busy[*tag] -= 1;
            return Some(Act::Reply(
                b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_vec(),
            ));
        }
        let (client, number) = name(std::str::from_utf8(keys[0]).unwrap());
        let mut seen = Vec::new();
        for tag in &tags {
            if !seen.contains(tag) {
                self.events[*tag].push(Event::Executed { client, number, write });
                seen.push(*tag);
            }
        }
        if self.mischief.breaks && self.random.random_range(0..150) == 0 {
            return Some(Act::Close);
        }
        let bulk = |(key, tag): (&&Vec<u8>, &usize)| {
            let text = format!("{}@{}", String::from_utf8_lossy(key), self.events[*tag].len() - 1);
            format!("${}\r\n{text}\r\n", text.len())
        };
        let reply = match command.as_str() {
            "MGET" => {
                format!("*{}\r\n{}", keys.len(), keys.iter().zip(&tags).map(bulk).collect::<String>())
            }
            "GET" => bulk((&keys[0], &tags[0])),
            "INCR" => format!(":{number}\r\n"),
            "DEL" => format!(":{}\r\n", keys.len()),
            _ => "+OK\r\n".to_owned(),
        };
        if self.mischief.breaks && self.random.random_range(0..300) == 0 {
            return Some(Act::ReplyAndClose(reply.into_bytes()[..1].to_vec()));
        }
        Some(Act::Reply(reply.into_bytes()))
    }
}

/// A request as its client remembers it.
struct Sent {
    line: String,
    tags: Vec<usize>,
    write: bool,
    /// The reply; for a read without the numbers of the executions.
    expected: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// With the places of the executions by key that a read's reply names.
    Done(Vec<usize>),
    /// Nobody knows whether it was executed.
    Lost,
    /// It was not executed, as this says.
    Refused(String),
}

/// Takes the numbers of executions out of a read's reply.
fn strip(reply: &str) -> (String, Vec<usize>) {
    let mut places = Vec::new();
    let mut text = String::new();
    for (i, piece) in reply.split('@').enumerate() {
        let digits = if i == 0 { 0 } else { piece.chars().take_while(char::is_ascii_digit).count() };
        places.extend(piece[..digits].parse::<usize>());
        text.push_str(&piece[digits..]);
    }
    (text, places)
}

fn request(random: &mut StdRng, me: usize, number: usize, tags: &[String]) -> Sent {
    let several = 1 + random.random_range(0..5);
    let kind = random.random_range(0..6);
    let count = if kind < 3 { 1 } else { several };
    let chosen: Vec<usize> = (0..count).map(|_| random.random_range(0..tags.len())).collect();
    let keys: Vec<String> = chosen.iter().map(|tag| format!("{{{}}}{me}:{number}", tags[*tag])).collect();
    let write = !matches!(kind, 0 | 3);
    let (line, expected) = match kind {
        0 => (format!("GET {}", keys[0]), format!("{:?}", keys[0])),
        1 | 2 => (format!("INCR {}", keys[0]), format!(":{number}")),
        3 => {
            let values: Vec<String> = keys.iter().map(|k| format!("{k:?}")).collect();
            (format!("MGET {}", keys.join(" ")), format!("[{}]", values.join(", ")))
        }
        4 => (format!("MSET {} v", keys.join(" v ")), "+OK".to_owned()),
        _ => (format!("DEL {}", keys.join(" ")), format!(":{count}")),
    };
    Sent { line, tags: chosen, write, expected }
}

/// One client: pipelines of all sizes; returns what became of each request.
fn client(
    bench: &Bench,
    seed: u64,
    me: usize,
    tags: &[String],
    done: &AtomicBool,
    progress: &Progress,
) -> Vec<(Sent, Outcome)> {
    let mut random = StdRng::seed_from_u64(seed * 100 + me as u64);
    let mut client: Client = bench.client();
    let mut history = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let mut pipeline = Vec::new();
        for _ in 0..1 + random.random_range(0..20) {
            let number = history.len() + pipeline.len();
            let sent = request(&mut random, me, number, tags);
            client.send(&sent.line);
            pipeline.push(sent);
        }
        for sent in pipeline {
            let reply = client.reply();
            let (text, places) = strip(&reply);
            let outcome = match &*text {
                text if text == sent.expected => Outcome::Done(places),
                reply if reply.starts_with("-ERR The connection to a node was lost") => Outcome::Lost,
                reply if reply.starts_with("-CLUSTERDOWN") || reply.starts_with("-TRYAGAIN") => {
                    Outcome::Refused(reply.to_owned())
                }
                reply => panic!("seed {seed}: {reply} instead of {}", sent.expected),
            };
            history.push((sent, outcome));
            progress.replies.fetch_add(1, Ordering::Relaxed);
        }
        progress.rounds[me].fetch_add(1, Ordering::Relaxed);
    }
    client.send("PING");
    assert_eq!(client.reply(), "+PONG", "seed {seed}: a reply too many");
    history
}

/// What clients have got.
struct Progress {
    replies: AtomicUsize,
    /// By client, pipelines that were answered.
    rounds: Vec<AtomicUsize>,
}

impl Progress {
    fn rounds(&self) -> Vec<usize> {
        self.rounds.iter().map(|n| n.load(Ordering::Relaxed)).collect()
    }

    /// Whether everything that clients had sent at that time is answered.
    fn is_past(&self, rounds: &[usize]) -> bool {
        self.rounds().iter().zip(rounds).all(|(now, then)| *now > then + 1)
    }
}

/// Things happen to slots and nodes, between some replies each.
fn stir(bench: &Bench, world: &Mutex<World>, random: &mut StdRng, progress: &Progress, steps: usize) {
    // Where nothing breaks a slot moves again only when everything is answered that was sent before: a handoff takes far
    // longer than a node needs for a pipeline that it has received.
    let mut moved: Vec<Option<Vec<usize>>> = vec![None; TAGS];
    for _ in 0..steps {
        let mut w = world.lock().unwrap();
        let alive: Vec<usize> = (0..NODES).filter(|n| !w.dead[*n]).collect();
        let (tag, node) = (random.random_range(0..TAGS), alive[random.random_range(0..alive.len())]);
        let breaks = w.mischief.breaks;
        match random.random_range(0..if breaks { 10 } else { 5 }) {
            1..=4 if breaks || moved[tag].as_ref().is_none_or(|then| progress.is_past(then)) => {
                w.owners[tag] = node;
                moved[tag] = Some(progress.rounds());
            }
            1..=4 => {}
            0 => publish(bench, &mut w),
            9 => w.busy[tag] = random.random_range(1..6),
            5 => w.down[node] = random.random_range(1..6),
            7 => drop(bench.nodes[node].kill()),
            6 if alive.len() > 1 => {
                // It executes nothing more, and the others learn of it after a while.
                w.dead[node] = true;
                bench.nodes[node].kill();
                drop(w);
                (0..random.random_range(0..2000)).for_each(|_| std::thread::yield_now());
                bury(bench, &mut world.lock().unwrap(), node, random);
                continue;
            }
            _ => {
                if let Some(node) = (0..NODES).find(|n| w.dead[*n]) {
                    // Another process at the same address.
                    w.boots[node] = bench.nodes[node].boot.fetch_add(1, Ordering::Relaxed) + 1;
                    w.dead[node] = false;
                    publish(bench, &mut w);
                }
            }
        }
        drop(w);
        let mark = progress.replies.load(Ordering::Relaxed);
        eventually("progress", || progress.replies.load(Ordering::Relaxed) > mark + 20);
    }
}

/// A view without a dead node: others get its slots, empty.
fn bury(bench: &Bench, world: &mut World, dead: usize, random: &mut StdRng) {
    let alive: Vec<usize> = (0..NODES).filter(|n| !world.dead[*n]).collect();
    for tag in 0..TAGS {
        if world.owners[tag] == dead {
            world.owners[tag] = alive[random.random_range(0..alive.len())];
            world.born[tag] = world.epoch + 1;
            world.events[tag].push(Event::Remade);
        }
    }
    publish(bench, world);
}

/// The next view: who serves what by now.
fn publish(bench: &Bench, world: &mut World) {
    world.epoch += 1;
    let members: Vec<usize> = (0..NODES).filter(|n| !world.dead[*n]).collect();
    let mut nodes: Vec<Arc<FakeNode>> = members.iter().map(|n| bench.nodes[*n].clone()).collect();
    nodes.sort_by_key(|n| (n.id().boot, n.id().node));
    let mut owners = vec![0u16; 16384];
    let mut births = vec![1u64; 16384];
    for (tag, slot) in world.slots.iter().enumerate() {
        let owner = bench.nodes[world.owners[tag]].addr;
        owners[usize::from(*slot)] = nodes.iter().position(|n| n.addr == owner).unwrap() as u16;
        births[usize::from(*slot)] = world.born[tag];
    }
    bench.views.send_replace(Arc::new(born(world.epoch, &nodes, &owners, &births)));
}

fn run(seed: u64, mischief: Mischief, steps: usize) -> Vec<Vec<(Sent, Outcome)>> {
    println!("SHOAL_SEED={seed} cargo test -p shoal-router --test moves");
    let bench = Bench::with(NODES, Settings { threads: 2, ..settings() });
    let tags: Vec<String> = (0..TAGS).map(|i| format!("t{i}")).collect();
    let mut random = StdRng::seed_from_u64(seed);
    let world = Arc::new(Mutex::new(World {
        random: StdRng::seed_from_u64(seed + 1),
        mischief,
        slots: tags.iter().map(|tag| key_slot(tag.as_bytes())).collect(),
        owners: tags.iter().map(|tag| bench.owner(tag)).collect(),
        busy: vec![0; TAGS],
        born: vec![1; TAGS],
        events: vec![Vec::new(); TAGS],
        down: vec![0; NODES],
        dead: vec![false; NODES],
        boots: vec![1; NODES],
        addrs: bench.nodes.iter().map(|n| n.addr).collect(),
        epoch: 1,
    }));
    for (me, node) in bench.nodes.iter().enumerate() {
        let world = world.clone();
        node.script(move |c, words| world.lock().unwrap().serve(me, c.boot, words));
    }
    let done = AtomicBool::new(false);
    let rounds = (0..CLIENTS).map(|_| AtomicUsize::new(0)).collect();
    let progress = Progress { replies: AtomicUsize::new(0), rounds };
    let histories: Vec<Vec<(Sent, Outcome)>> = std::thread::scope(|scope| {
        let (bench, tags, done, progress) = (&bench, &tags, &done, &progress);
        let spawn = |me| scope.spawn(move || client(bench, seed, me, tags, done, progress));
        let clients: Vec<_> = (0..CLIENTS).map(spawn).collect();
        stir(bench, &world, &mut random, progress, steps);
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    check(seed, &world.lock().unwrap(), &histories);
    histories
}

fn check(seed: u64, world: &World, histories: &[Vec<(Sent, Outcome)>]) {
    for (tag, events) in world.events.iter().enumerate() {
        // By client and number: where it was executed last, and how often since the data was made.
        let mut last: HashMap<(usize, usize), usize> = HashMap::new();
        let mut writes: HashMap<(usize, usize), usize> = HashMap::new();
        for (at, event) in events.iter().enumerate() {
            match *event {
                Event::Remade => writes.clear(),
                Event::Executed { client, number, write } => {
                    last.insert((client, number), at);
                    let times = writes.entry((client, number)).or_default();
                    *times += usize::from(write);
                    assert!(*times <= 1, "seed {seed}: a write was executed twice: {client}:{number}");
                }
            }
        }
        for (client, history) in histories.iter().enumerate() {
            let mut before = None;
            for (number, (sent, outcome)) in history.iter().enumerate() {
                let Some(key) = sent.tags.iter().position(|t| *t == tag) else { continue };
                match outcome {
                    Outcome::Done(places) => {
                        let at = places.get(key).or_else(|| last.get(&(client, number))).copied();
                        assert!(at.is_some(), "seed {seed}: {} was answered, not executed", sent.line);
                        assert!(
                            at > before.map(|(at, _)| at),
                            "seed {seed}: {} was overtaken on tag {tag} by {before:?}, it was at {at:?}",
                            sent.line
                        );
                        before = at.map(|at| (at, &sent.line));
                    }
                    Outcome::Refused(why) if sent.write && sent.tags.len() == 1 => {
                        // What was executed before the data was lost has no effect.
                        let times = writes.get(&(client, number)).copied().unwrap_or(0);
                        assert_eq!(times, 0, "seed {seed}: {} was executed, in spite of {why}", sent.line);
                    }
                    Outcome::Refused(_) | Outcome::Lost => {}
                }
            }
        }
    }
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SHOAL_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=count).collect(),
    }
}

fn failed(histories: &[Vec<(Sent, Outcome)>]) -> Vec<&Outcome> {
    histories
        .iter()
        .flatten()
        .map(|(_, outcome)| outcome)
        .filter(|o| !matches!(o, Outcome::Done(_)))
        .collect()
}

/// Planned changes: slots move, before and after the router hears of it. Nobody notices.
#[test]
fn planned_moves_cost_no_client_an_error() {
    for seed in seeds(4) {
        let histories = run(seed, Mischief { breaks: false }, 300);
        assert!(failed(&histories).is_empty(), "seed {seed}: {:?}", failed(&histories));
    }
}

/// Everything at once. Errors are allowed, lies are not.
#[test]
fn breaking_connections_and_crashes_never_repeat_or_reorder() {
    for seed in seeds(4) {
        let histories = run(seed, Mischief { breaks: true }, 300);
        let all: usize = histories.iter().map(Vec::len).sum();
        assert!(failed(&histories).len() < all / 2, "seed {seed}: hardly anything went well");
    }
}
