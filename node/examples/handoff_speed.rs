//! How fast slots are copied and taken in, and how long a lock is held for that.
//!
//! `cargo run --release -p shoal-node --example handoff_speed -- [keys] [large megabytes] [command...]`: one thread
//! copies, one applies, nothing else runs. With commands (`ZADD`, `HSET`, `SADD`, `RPUSH`) only one collection of each. Prints for each kind of data keys and megabytes a second of wall time, the CPU time of
//! both threads, and the CPU time of the longest call of each, which holds a shard's lock for less than that.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    thread::sched_yield,
    time::{ClockId, clock_gettime},
};
use shoal_node::{
    command::{Scope, dispatch::Dispatch},
    handoff::{Applier, Outbox},
    server::Changes,
    store::{Copied, Gate, Settings, Store},
};
use shoal_proto::{
    resp::{Protocol, Reply, request::OwnedArgs},
    slot::{SLOTS, key_slot},
};

const NOW: u64 = 1_700_000_000_000;

struct Core {
    store: Store,
    dispatch: Dispatch,
}

impl Core {
    fn new(gate: Gate) -> Self {
        let core = Self { store: Store::new(Settings::default()), dispatch: Dispatch::default() };
        core.store.set_gates(|_| Some(gate));
        core
    }

    fn run<T: AsRef<[u8]>>(&self, words: &[T]) {
        let (args, mut out) = (OwnedArgs::new(words), Vec::new());
        let scope =
            Scope { db: 0, now: NOW, touch: true, within: None, alone: true, waits: None, landed: None };
        self.dispatch.execute(&self.store, scope, args.args(), &mut Reply::new(&mut out, Protocol::Resp2));
        assert_ne!(out[0], b'-', "{}", String::from_utf8_lossy(&out));
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What one thread did.
#[derive(Default)]
struct Part {
    cpu: Duration,
    longest: Duration,
}

/// Takes in what comes until the stream is broken off.
fn apply(target: &Core, outbox: &Outbox) -> Part {
    let (mut applier, mut part, mut bytes) = (Applier::new(), Part::default(), Vec::new());
    let (mut chunk, mut applied) = (Vec::new(), 0);
    loop {
        if outbox.take(&mut chunk).is_err() {
            return part;
        }
        if chunk.is_empty() {
            sched_yield();
            continue;
        }
        let begun = cpu();
        bytes.extend_from_slice(&chunk);
        let mut at = 0;
        loop {
            let call = cpu();
            let done = applier.apply(&target.store, &target.dispatch, |_| true, &bytes[at..]);
            let consumed = done.expect("the stream is whole").consumed;
            part.longest = part.longest.max(cpu() - call);
            at += consumed;
            if consumed == 0 {
                break;
            }
        }
        bytes.drain(..at);
        part.cpu += cpu() - begun;
        applied += at as u64;
        outbox.ack(applied);
    }
}

/// Sends the slots.
fn copy(source: &Core, outbox: &Arc<Outbox>, slots: &[u16]) -> Part {
    let mut part = Part::default();
    for slot in slots {
        source.store.tap(*slot, outbox, false);
        loop {
            let call = cpu();
            let copied = source.store.copy_slot(*slot, outbox, 64 << 10);
            part.longest = part.longest.max(cpu() - call);
            part.cpu += cpu() - call;
            match copied {
                Copied::All => break,
                Copied::NoRoom => sched_yield(),
                Copied::More => {}
                Copied::Nothing => panic!("the slot is tapped"),
            }
        }
    }
    part
}

/// Moves slots; what was sent, and what both ends did.
fn transfer(source: &Core, target: &Core, slots: &[u16]) -> (u64, Part, Part) {
    let outbox = Outbox::new(64 << 20, Arc::new(Changes::default()));
    std::thread::scope(|scope| {
        let applying = scope.spawn(|| apply(target, &outbox));
        let copied = copy(source, &outbox, slots);
        while !outbox.is_safe(outbox.appended()) {
            sched_yield();
        }
        outbox.break_off();
        (outbox.appended(), copied, applying.join().expect("the applier does not panic"))
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn measure(name: &str, source: &Core, slots: &[u16]) {
    let target = Core::new(Gate::Away);
    let keys = |core: &Core| -> usize { slots.iter().map(|slot| core.store.slot_stats(*slot).keys).sum() };
    let begun = Instant::now();
    let (bytes, copied, applied) = transfer(source, &target, slots);
    let seconds = begun.elapsed().as_secs_f64();
    let count = keys(source);
    assert_eq!(keys(&target), count, "all keys have come");
    let (rate, megabytes) = (count as f64 / seconds / 1e6, bytes as f64 / seconds / 1e6);
    println!("{name:<26} {rate:>6.2} M keys/s {megabytes:>6.0} MB/s, {:.0} MB", bytes as f64 / 1e6);
    println!("    copy:  CPU {:>7.1} ms, longest call {:>6.2} ms", ms(copied.cpu), ms(copied.longest));
    println!("    apply: CPU {:>7.1} ms, longest call {:>6.2} ms", ms(applied.cpu), ms(applied.longest));
    let (begun, mut longest) = (cpu(), Duration::ZERO);
    let mut timed = |step: &mut dyn FnMut() -> bool| {
        let mut more = true;
        while more {
            let call = cpu();
            more = step();
            longest = longest.max(cpu() - call);
        }
    };
    for slot in slots {
        timed(&mut || {
            target.store.drop_slot(*slot, None);
            false
        });
    }
    timed(&mut || target.store.drop_left(1));
    println!("    drop:  CPU {:>7.1} ms, longest call {:>6.2} ms", ms(cpu() - begun), ms(longest));
}

/// One collection of about that many megabytes.
fn large(name: &str, megabytes: usize) {
    let core = Core::new(Gate::Open);
    let count = megabytes * 10_000;
    for first in (0..count).step_by(1000) {
        let mut words = vec![name.as_bytes().to_vec(), b"large".to_vec()];
        for i in first..first + 1000 {
            match name {
                "ZADD" => words.push((i * 7919 % 100_003).to_string().into_bytes()),
                "HSET" => words.push(format!("{i:020}").into_bytes()),
                _ => {}
            }
            words.push(format!("{i:060}").into_bytes());
        }
        core.run(&words);
    }
    measure(&format!("{name}, {count} elements"), &core, &[key_slot(b"large")]);
}

const LARGE: [&str; 4] = ["ZADD", "HSET", "SADD", "RPUSH"];

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default| args.next().map_or(default, |arg| arg.parse().expect("a number"));
    let (keys, megabytes): (usize, usize) = (number(1_000_000), number(200));
    let names: Vec<String> = args.collect();
    if !names.is_empty() {
        return names.iter().for_each(|name| large(name, megabytes));
    }
    let every: Vec<u16> = (0..SLOTS).collect();
    let small = Core::new(Gate::Open);
    for i in 0..keys {
        small.run(&[&b"SET"[..], format!("key:{i:012}").as_bytes(), &[b'v'; 32]]);
    }
    measure("16 + 32 bytes", &small, &every);
    drop(small);
    let strings = Core::new(Gate::Open);
    for i in 0..megabytes * 100 {
        strings.run(&[&b"SET"[..], format!("key:{i:012}").as_bytes(), &[b'v'; 10_000]]);
    }
    measure("strings of 10 KB", &strings, &every);
    drop(strings);
    let string = Core::new(Gate::Open);
    string.run(&[&b"SET"[..], b"large", &vec![b'v'; megabytes << 20]]);
    measure("one string", &string, &[key_slot(b"large")]);
    drop(string);
    LARGE.into_iter().for_each(|name| large(name, megabytes));
}
