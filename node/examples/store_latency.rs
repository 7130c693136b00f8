//! How long single operations of the store take, in CPU time of the thread: while it grows, and while many keys expire.
//!
//! ```text
//! cargo run --release -p shoal-node --example store_latency -- grow 8000000
//! cargo run --release -p shoal-node --example store_latency -- expire 2000000
//! ```
//!
//! CPU time, because on a shared machine the time on the clock says what others did. The timer itself takes part of each figure.

use rustix::time::{ClockId, clock_gettime};
use shoal_node::store::{Expiry, Settings, Store, Sweep};
use shoal_proto::slot::key_slot;

const NOW: u64 = 1_700_000_000_000;

/// CPU time of this thread in ns.
fn cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Runs `f`; ns of CPU.
fn timed(f: impl FnOnce()) -> u64 {
    let before = cpu();
    f();
    cpu() - before
}

fn set(store: &Store, n: usize, expiry: Expiry) {
    let key = format!("key:{n:012}");
    store.lock_slot(0, key_slot(key.as_bytes()), NOW).set_str(key.as_bytes(), &[b'x'; 32], expiry);
}

fn show(what: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    let all: u64 = times.iter().sum();
    println!(
        "{what}: {} times, mean {:.2} us, p50 {:.2}, p99 {:.2}, p99.9 {:.2}, p99.99 {:.2}, longest {:.1} us",
        times.len(),
        all as f64 / times.len() as f64 / 1000.0,
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        at(1.0)
    );
}

/// Inserts keys and reports each eighth, so that a step at a doubling would show.
fn grow(count: usize) {
    let store = Store::new(Settings::default());
    let mut all = Vec::with_capacity(count);
    for part in 0..8 {
        let from = count / 8 * part;
        let times: Vec<u64> =
            (from..from + count / 8).map(|n| timed(|| set(&store, n, Expiry::Never))).collect();
        all.extend_from_slice(&times);
        show(&format!("keys {from} to {}", from + count / 8), times);
    }
    show("all inserts", all);
}

/// All keys expire at one instant; each hold of a lock by the sweep is timed on its own.
fn expire(count: usize) {
    let store = Store::new(Settings::default());
    (0..count).for_each(|n| set(&store, n, Expiry::At(NOW + 1000)));
    let mut sweep = Sweep::default();
    let (mut times, mut removed) = (Vec::new(), 0);
    loop {
        let mut more = false;
        times.push(timed(|| {
            let step = store.sweep(&mut sweep, NOW + 1000, 1);
            (removed, more) = (removed + step.0, step.1);
        }));
        if !more {
            break;
        }
    }
    let total: u64 = times.iter().sum();
    println!(
        "{removed} keys expired, {} bytes used, {:.0} ms of CPU",
        store.used_memory(),
        total as f64 / 1e6
    );
    show("holds of a lock", times);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = words.get(1).and_then(|n| n.parse().ok()).unwrap_or(2_000_000);
    match words.first().map(String::as_str) {
        Some("grow") => grow(count),
        Some("expire") => expire(count),
        _ => eprintln!("store_latency grow|expire [KEYS]"),
    }
}
