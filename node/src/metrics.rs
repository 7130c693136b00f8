//! The node's metrics: one table, refreshed from the counters that the workers keep anyway.

use std::{sync::Arc, time::Duration};

use metrics::{Unit, counter, gauge};
use shoal_net::telemetry::{Kind, Metric};

use crate::{heap::resident, server::Shared, store::DATABASES};

const fn row(name: &'static str, kind: Kind, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind, unit, help }
}

/// What a node measures; every metric has the label `node`.
pub(crate) const METRICS: &[Metric] = &[
    row("shoal_commands_total", Kind::Counter, Unit::Count, "Commands executed."),
    row("shoal_errors_total", Kind::Counter, Unit::Count, "Error replies, by code."),
    row("shoal_connections_total", Kind::Counter, Unit::Count, "Connections accepted."),
    row("shoal_connections_rejected_total", Kind::Counter, Unit::Count, "Connections refused at the limit."),
    row(
        "shoal_output_limit_disconnections_total",
        Kind::Counter,
        Unit::Count,
        "Clients closed because they left too much unread.",
    ),
    row(
        "shoal_query_limit_disconnections_total",
        Kind::Counter,
        Unit::Count,
        "Clients closed because of too many bytes not executed.",
    ),
    row("shoal_clients", Kind::Gauge, Unit::Count, "Connections at present."),
    row("shoal_received_bytes_total", Kind::Counter, Unit::Bytes, "Bytes of requests."),
    row("shoal_sent_bytes_total", Kind::Counter, Unit::Bytes, "Bytes of replies."),
    row("shoal_keys", Kind::Gauge, Unit::Count, "Keys in all databases."),
    row("shoal_keys_with_expiry", Kind::Gauge, Unit::Count, "Keys that will expire."),
    row("shoal_memory_used_bytes", Kind::Gauge, Unit::Bytes, "Memory that keys and values take."),
    row("shoal_memory_limit_bytes", Kind::Gauge, Unit::Bytes, "maxmemory; 0 means no limit."),
    row("shoal_keyspace_hits_total", Kind::Counter, Unit::Count, "Reads that found their key."),
    row("shoal_keyspace_misses_total", Kind::Counter, Unit::Count, "Reads that did not."),
    row("shoal_expired_keys_total", Kind::Counter, Unit::Count, "Keys that expired."),
    row("shoal_evicted_keys_total", Kind::Counter, Unit::Count, "Keys evicted for memory."),
    row(
        "shoal_ghost_hits_total",
        Kind::Counter,
        Unit::Count,
        "Keys that came back soon after they were evicted.",
    ),
    row(
        "shoal_moved_bytes_total",
        Kind::Counter,
        Unit::Bytes,
        "Bytes moved within the log, to keep used items and to compact.",
    ),
    row(
        "shoal_memory_held_bytes",
        Kind::Gauge,
        Unit::Bytes,
        "Bytes of keys and values, those lost around them and what was measured beyond; held against the limit.",
    ),
    row(
        "shoal_memory_measured_bytes",
        Kind::Gauge,
        Unit::Bytes,
        "Bytes of those held that no key takes, but the process was found to have too much.",
    ),
    row(
        "shoal_memory_resident_bytes",
        Kind::Gauge,
        Unit::Bytes,
        "What the whole process has of the machine's memory.",
    ),
    row("shoal_slots_owned", Kind::Gauge, Unit::Count, "Hash slots that this node serves."),
    row(
        "shoal_lease_held",
        Kind::Gauge,
        Unit::Count,
        "1 while a majority lets this node serve, or it has nothing to serve; else 0.",
    ),
];

/// How often the exported values follow the counters.
const EVERY: Duration = Duration::from_secs(1);

/// Refreshes the exported values until the runtime ends.
pub(crate) async fn publish(shared: Arc<Shared>, node: String) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        refresh(&shared, &node);
    }
}

fn refresh(shared: &Shared, node: &str) {
    use std::sync::atomic::Ordering::Relaxed;
    let count = |name: &'static str, value: u64| counter!(name, "node" => node.to_owned()).absolute(value);
    let set = |name: &'static str, value: f64| gauge!(name, "node" => node.to_owned()).set(value);
    let (totals, keys) = (&shared.totals, shared.store.stats());
    count("shoal_commands_total", totals.commands());
    for (code, errors) in totals.errors.all() {
        counter!("shoal_errors_total", "node" => node.to_owned(), "code" => code).absolute(errors);
    }
    count("shoal_connections_total", totals.connections.load(Relaxed));
    count("shoal_connections_rejected_total", totals.rejected.load(Relaxed));
    count("shoal_output_limit_disconnections_total", totals.output_limit.load(Relaxed));
    count("shoal_query_limit_disconnections_total", totals.query_limit.load(Relaxed));
    set("shoal_clients", shared.registry.len() as f64);
    count("shoal_received_bytes_total", totals.input());
    count("shoal_sent_bytes_total", totals.output());
    let sizes: Vec<(usize, usize)> = (0..DATABASES as u8).map(|db| shared.store.len(db)).collect();
    set("shoal_keys", sizes.iter().map(|(keys, _)| *keys as f64).sum());
    set("shoal_keys_with_expiry", sizes.iter().map(|(_, expires)| *expires as f64).sum());
    set("shoal_memory_used_bytes", shared.store.used_memory() as f64);
    set("shoal_memory_limit_bytes", shared.store.settings().maxmemory as f64);
    count("shoal_keyspace_hits_total", keys.hits);
    count("shoal_keyspace_misses_total", keys.misses);
    count("shoal_expired_keys_total", keys.expired);
    count("shoal_evicted_keys_total", keys.evicted);
    count("shoal_ghost_hits_total", keys.ghost_hits);
    count("shoal_moved_bytes_total", keys.moved_bytes);
    set("shoal_memory_held_bytes", shared.store.held_memory() as f64);
    set("shoal_memory_measured_bytes", shared.store.padding() as f64);
    set("shoal_memory_resident_bytes", resident() as f64);
    set("shoal_slots_owned", f64::from(shared.ownership().count()));
    set("shoal_lease_held", f64::from(u8::from(shared.lease.is_valid())));
}
