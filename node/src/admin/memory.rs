//! `MEMORY STATS`, `DOCTOR`, `PURGE`, `MALLOC-STATS`. (`MEMORY USAGE` is about a key and lives with those.)

use shoal_proto::{
    error::Result,
    resp::{Args, Reply},
};

use super::{Cx, Handlers, help};
use crate::{
    heap::{self, resident},
    store::{DATABASES, Policy, Store},
};

pub(super) const HANDLERS: Handlers = &[
    ("memory|stats", stats),
    ("memory|doctor", doctor),
    ("memory|purge", purge),
    ("memory|malloc-stats", malloc_stats),
    ("memory|help", help),
];

/// Bytes that are resident for a reason: keys and values and what lies around them, blocks that are kept for new ones, and the
/// process itself, so that a node without keys is not seen as fragmented.
pub(super) fn needed(store: &Store) -> u64 {
    store.accounted() + store.pooled_memory().1 as u64 + heap::base()
}

/// What is resident for each byte needed; 1 where neither is known.
pub(super) fn fragmentation(resident: u64, needed: u64) -> f64 {
    if resident == 0 || needed == 0 { 1.0 } else { resident as f64 / needed as f64 }
}

fn stats(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let store = &cx.shared.store;
    let databases: Vec<(usize, usize)> = (0..DATABASES as u8).map(|db| store.len(db)).collect();
    let keys: usize = databases.iter().map(|(keys, _)| keys).sum();
    let numbers = [
        ("peak.allocated", store.used_memory_peak() as i64),
        ("total.allocated", store.used_memory() as i64),
        ("startup.allocated", 0),
        ("clients.normal", cx.shared.registry.buffered() as i64),
        ("overhead.total", 0),
        ("keys.count", keys as i64),
        ("keys.bytes-per-key", (store.used_memory() / keys.max(1) as u64) as i64),
        ("dataset.bytes", store.used_memory() as i64),
        ("allocator.resident", resident() as i64),
    ];
    let used: Vec<usize> = (0..databases.len()).filter(|i| databases[*i].0 > 0).collect();
    out.map(numbers.len() + 1 + used.len());
    for (name, value) in numbers {
        out.bulk(name.as_bytes());
        out.int(value);
    }
    for db in used {
        out.bulk(format!("db.{db}").as_bytes());
        out.map(2);
        out.bulk(b"overhead.hashtable.main");
        out.int(databases[db].0 as i64 * 4);
        out.bulk(b"overhead.hashtable.expires");
        out.int(0);
    }
    out.bulk(b"fragmentation");
    out.double(fragmentation(resident(), needed(store)));
    Ok(())
}

fn doctor(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let store = &cx.shared.store;
    let settings = store.settings();
    let evicts = match settings.policy {
        Policy::NoEviction => false,
        policy if policy.is_volatile() => (0..DATABASES as u8).any(|db| store.len(db).1 > 0),
        _ => true,
    };
    let bytes = [store.used_memory(), store.held_memory(), store.padding()];
    out.verbatim(&advice(bytes, settings.maxmemory, evicts));
    Ok(())
}

/// About so many bytes of keys and values, so many held against the limit, and so many of these because they were measured;
/// whether there are keys that the policy may evict.
fn advice([used, held, measured]: [u64; 3], limit: u64, evicts: bool) -> String {
    let mut text = if limit == 0 || held <= limit / 10 * 9 {
        format!("Keys and values take {used} bytes.\n")
    } else if !evicts {
        format!(
            "Keys and values take {used} of {limit} bytes, and the policy may evict none: writes are refused, or will be soon.\n"
        )
    } else {
        format!("Keys and values take {used} of {limit} bytes: eviction is at work or close.\n")
    };
    if limit > 0 && measured > limit / 10 {
        text += &format!(
            "{measured} bytes more are resident than are accounted for and count against maxmemory: freed between pieces still in \
             use, or in the buffers of connections. MEMORY MALLOC-STATS tells where memory is.\n"
        );
    } else if limit == 0 || held <= limit / 10 * 9 {
        text += "Nothing to worry about.\n";
    }
    text
}

/// In the background, since it may take a while.
fn purge(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.shared.store.reclaim().trim();
    out.ok();
    Ok(())
}

/// Where memory is, for people.
fn malloc_stats(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let store = &cx.shared.store;
    let (segments, spare) = store.pooled_memory();
    let heap = heap::allocated();
    let lines = [
        ("segments and large strings", segments as u64),
        ("kept for new ones", spare as u64),
        ("allocator, in use", heap.in_use),
        ("allocator, free (resident or given back)", heap.free),
        ("allocator, mapped on their own", heap.mapped),
        ("held against maxmemory", store.held_memory()),
        ("of which measured", store.padding()),
        ("resident", heap::resident()),
    ];
    let text: String = lines.iter().map(|(what, bytes)| format!("{what}: {bytes}\n")).collect();
    out.verbatim(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Settings;

    #[test]
    fn an_empty_node_is_not_fragmented() {
        let store = Store::new(Settings::default());
        assert_eq!(needed(&store), heap::base());
        let ratio = fragmentation(heap::base() * 5 / 4, needed(&store));
        assert!((0.9..1.3).contains(&ratio), "{ratio}");
        assert_eq!((fragmentation(0, 8 << 20), fragmentation(8 << 20, 0)), (1.0, 1.0));
        assert_eq!(fragmentation(30 << 20, 20 << 20), 1.5);
    }

    #[test]
    fn the_doctor_says_what_is_the_matter() {
        let of = |used, measured, evicts| advice([used, used + measured, measured], 100, evicts);
        let evicting = true;
        assert_eq!(of(50, 0, evicting), "Keys and values take 50 bytes.\nNothing to worry about.\n");
        assert!(of(95, 0, evicting).contains("eviction"));
        assert!(of(95, 0, false).contains("refused"));
        let padded = of(70, 25, evicting);
        assert!(padded.contains("eviction") && padded.contains("25 bytes more"), "{padded}");
        assert!(!of(40, 20, evicting).contains("worry"));
        assert!(advice([40, 60, 20], 0, true).contains("worry"));
    }
}
