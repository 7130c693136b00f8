//! `INFO`: the fields that tools read, with Redis's names.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use shoal_proto::{
    command::table,
    error::Result,
    resp::{Args, Reply},
    session::REDIS_VERSION,
    view::{Replication, View},
};

use super::{Cx, Handlers, memory};
use crate::{
    heap::{self, resident},
    memory_limit,
    server::clock,
    store::DATABASES,
};

pub(super) const HANDLERS: Handlers = &[("info", info)];

/// Writes one section.
type Section = fn(&Cx<'_>, &mut String);

/// Sections in Redis's order; `true`: shown by default.
const SECTIONS: &[(&str, Section, bool)] = &[
    ("server", server, true),
    ("clients", clients, true),
    ("memory", memory, true),
    ("persistence", persistence, true),
    ("stats", stats, true),
    ("replication", replication, true),
    ("cpu", cpu, true),
    ("modules", modules, true),
    ("commandstats", command_stats, false),
    ("errorstats", error_stats, true),
    ("cluster", cluster, true),
    ("keyspace", keyspace, true),
];

fn info(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let wanted: Vec<String> =
        args.from(1).iter().map(|a| String::from_utf8_lossy(a).to_ascii_lowercase()).collect();
    let has = |word: &str| wanted.iter().any(|w| w == word);
    let everything = has("all") || has("everything");
    let mut text = String::new();
    for (name, section, default) in SECTIONS {
        if everything || has(name) || (*default && (wanted.is_empty() || has("default"))) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            section(cx, &mut text);
        }
    }
    out.verbatim(&text);
    Ok(())
}

/// Appends `# Title` and the fields, a line each.
fn put(text: &mut String, title: &str, fields: &[(&str, String)]) {
    write!(text, "# {title}\r\n").expect("writing to memory cannot fail");
    for (name, value) in fields {
        write!(text, "{name}:{value}\r\n").expect("writing to memory cannot fail");
    }
}

/// Bytes for people, as Redis writes them: `1.50M`.
fn human(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2}{unit}", bytes as f64 / *size as f64),
        None => format!("{bytes}B"),
    }
}

fn server(cx: &Cx<'_>, text: &mut String) {
    let uptime = cx.now.saturating_sub(cx.shared.started) / 1000;
    let executable = std::env::current_exe().map(|p| p.display().to_string()).unwrap_or_default();
    put(
        text,
        "Server",
        &[
            ("redis_version", REDIS_VERSION.into()),
            ("redis_git_sha1", "00000000".into()),
            ("redis_git_dirty", "0".into()),
            ("redis_mode", "cluster".into()),
            ("shoal_version", env!("CARGO_PKG_VERSION").into()),
            ("os", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
            ("arch_bits", usize::BITS.to_string()),
            ("multiplexing_api", "epoll".into()),
            ("process_id", std::process::id().to_string()),
            ("run_id", cx.shared.run_id.clone()),
            ("tcp_port", cx.shared.port().to_string()),
            ("server_time_usec", clock::now_us().to_string()),
            ("uptime_in_seconds", uptime.to_string()),
            ("uptime_in_days", (uptime / 86400).to_string()),
            ("hz", cx.shared.config.get("hz")),
            ("configured_hz", cx.shared.config.get("hz")),
            ("executable", executable),
            ("config_file", String::new()),
        ],
    );
}

fn clients(cx: &Cx<'_>, text: &mut String) {
    put(
        text,
        "Clients",
        &[
            ("connected_clients", cx.shared.registry.len().to_string()),
            ("cluster_connections", "0".into()),
            ("maxclients", cx.shared.config.max_clients().to_string()),
            ("client_recent_max_input_buffer", "0".into()),
            ("client_recent_max_output_buffer", "0".into()),
            ("blocked_clients", "0".into()),
            ("tracking_clients", "0".into()),
            ("clients_in_timeout_table", "0".into()),
            ("total_blocking_keys", "0".into()),
            ("total_blocking_keys_on_nokey", "0".into()),
        ],
    );
}

fn memory(cx: &Cx<'_>, text: &mut String) {
    let store = &cx.shared.store;
    let (used, peak, rss) = (store.used_memory(), store.used_memory_peak(), resident());
    let (settings, reclaim, needed) = (store.settings(), store.reclaim(), memory::needed(store));
    let machine = memory_limit::machine();
    put(
        text,
        "Memory",
        &[
            ("used_memory", used.to_string()),
            ("used_memory_human", human(used)),
            ("used_memory_rss", rss.to_string()),
            ("used_memory_rss_human", human(rss)),
            ("used_memory_peak", peak.to_string()),
            ("used_memory_peak_human", human(peak)),
            ("used_memory_peak_perc", format!("{:.2}%", used as f64 * 100.0 / peak.max(1) as f64)),
            ("used_memory_overhead", "0".into()),
            ("used_memory_startup", "0".into()),
            ("used_memory_dataset", used.to_string()),
            ("used_memory_dataset_perc", "100.00%".into()),
            ("total_system_memory", machine.to_string()),
            ("total_system_memory_human", human(machine)),
            ("used_memory_lua", "0".into()),
            ("used_memory_scripts", "0".into()),
            ("maxmemory", settings.maxmemory.to_string()),
            ("maxmemory_human", human(settings.maxmemory)),
            ("maxmemory_policy", settings.policy.name().into()),
            ("maxmemory_policy_effective", settings.policy.effective().name().into()),
            ("shoal_memory_held", store.held_memory().to_string()),
            ("shoal_memory_measured", store.padding().to_string()),
            ("shoal_memory_process", heap::base().to_string()),
            ("mem_fragmentation_ratio", format!("{:.2}", memory::fragmentation(rss, needed))),
            ("mem_fragmentation_bytes", (rss as i64 - needed as i64).to_string()),
            ("mem_clients_normal", cx.shared.registry.buffered().to_string()),
            ("mem_clients_slaves", "0".into()),
            ("mem_allocator", "libc".into()),
            ("active_defrag_running", "0".into()),
            ("lazyfree_pending_objects", reclaim.pending().to_string()),
            ("lazyfreed_objects", reclaim.freed().to_string()),
        ],
    );
}

fn persistence(cx: &Cx<'_>, text: &mut String) {
    let fields = [
        ("loading", "0"),
        ("async_loading", "0"),
        // Nothing is ever saved, so these are all changes there were.
        ("rdb_changes_since_last_save", &cx.shared.store.stats().dirty.to_string()),
        ("rdb_bgsave_in_progress", "0"),
        ("rdb_last_save_time", &(cx.shared.started / 1000).to_string()),
        ("rdb_last_bgsave_status", "ok"),
        ("aof_enabled", "0"),
        ("aof_rewrite_in_progress", "0"),
        ("aof_last_bgrewrite_status", "ok"),
    ];
    put(text, "Persistence", &fields.map(|(name, value)| (name, value.to_owned())));
}

fn stats(cx: &Cx<'_>, text: &mut String) {
    let (totals, keys) = (&cx.shared.totals, cx.shared.store.stats());
    let errors: u64 = totals.errors.all().values().sum();
    let rates = totals.rates(cx.now, cx.shared.started);
    let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    put(
        text,
        "Stats",
        &[
            ("total_connections_received", totals.connections.load(Relaxed).to_string()),
            ("total_commands_processed", totals.commands().to_string()),
            ("instantaneous_ops_per_sec", rates.commands.to_string()),
            ("total_net_input_bytes", totals.input().to_string()),
            ("total_net_output_bytes", totals.output().to_string()),
            ("instantaneous_input_kbps", kilobytes(rates.input)),
            ("instantaneous_output_kbps", kilobytes(rates.output)),
            ("rejected_connections", totals.rejected.load(Relaxed).to_string()),
            ("client_query_buffer_limit_disconnections", totals.query_limit.load(Relaxed).to_string()),
            ("client_output_buffer_limit_disconnections", totals.output_limit.load(Relaxed).to_string()),
            ("sync_full", "0".into()),
            ("sync_partial_ok", "0".into()),
            ("sync_partial_err", "0".into()),
            ("expired_keys", keys.expired.to_string()),
            ("expired_stale_perc", "0.00".into()),
            ("expired_time_cap_reached_count", "0".into()),
            ("evicted_keys", keys.evicted.to_string()),
            ("evicted_clients", "0".into()),
            ("keyspace_hits", keys.hits.to_string()),
            ("keyspace_misses", keys.misses.to_string()),
            ("pubsub_channels", "0".into()),
            ("pubsub_patterns", "0".into()),
            ("pubsubshard_channels", "0".into()),
            ("latest_fork_usec", "0".into()),
            ("total_forks", "0".into()),
            ("migrate_cached_sockets", "0".into()),
            ("tracking_total_keys", "0".into()),
            ("unexpected_error_replies", "0".into()),
            ("total_error_replies", errors.to_string()),
            ("total_reads_processed", totals.reads().to_string()),
            ("total_writes_processed", totals.writes().to_string()),
        ],
    );
}

fn replication(cx: &Cx<'_>, text: &mut String) {
    let ownership = cx.shared.ownership.load();
    let copies = ownership.view().map(|view| Copies::of(view, ownership.place())).unwrap_or_default();
    let ack = match copies.wanted {
        // There are no copies that anything could wait for, whatever the flag says.
        Replication { replicas: 0, .. } => "none",
        Replication { ack_all: true, .. } => "all",
        Replication { ack_all: false, .. } => "async",
    };
    put(
        text,
        "Replication",
        &[
            // Of its own slots; of others it may have copies.
            ("role", "master".into()),
            ("connected_slaves", copies.at.to_string()),
            ("master_failover_state", "no-failover".into()),
            ("master_replid", cx.shared.run_id.clone()),
            ("master_repl_offset", cx.shared.store.stats().dirty.to_string()),
            ("second_repl_offset", "-1".into()),
            ("repl_backlog_active", "0".into()),
            ("shoal_replicas", copies.wanted.replicas.to_string()),
            ("shoal_replica_ack", ack.into()),
            ("shoal_slots_in_sync", copies.whole.to_string()),
            ("shoal_slots_held_for_others", copies.held.to_string()),
            ("shoal_slots_readable_for_others", cx.shared.readable.count().to_string()),
        ],
    );
}

/// What the view says of copies.
#[derive(Default)]
struct Copies {
    wanted: Replication,
    /// Members that have copies in sync of slots of this node.
    at: usize,
    /// Slots of this node that have all copies that are wanted.
    whole: usize,
    /// Slots of others of which it has a copy in sync.
    held: usize,
}

impl Copies {
    fn of(view: &View, place: Option<usize>) -> Self {
        let mut copies = Self { wanted: view.replication(), ..Self::default() };
        let Some(place) = place.map(|place| place as u16).filter(|_| view.has_copies()) else {
            return copies;
        };
        let mut at = std::collections::BTreeSet::new();
        for (of_slot, owner) in view.all_copies().iter().zip(view.owners()) {
            if owner == place {
                at.extend(of_slot.synced());
                copies.whole += usize::from(of_slot.synced().count() >= usize::from(copies.wanted.replicas));
            }
            copies.held += usize::from(owner != place && of_slot.has(place) == Some(true));
        }
        copies.at = at.len();
        copies
    }
}

fn cpu(_: &Cx<'_>, text: &mut String) {
    // utime and stime are fields 14 and 15 of /proc/self/stat, counted behind the command's parenthesis.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or("");
    let ticks =
        |i: usize| rest.split_whitespace().nth(i).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    put(
        text,
        "CPU",
        &[
            ("used_cpu_sys", format!("{:.6}", ticks(12))),
            ("used_cpu_user", format!("{:.6}", ticks(11))),
            ("used_cpu_sys_children", "0.000000".into()),
            ("used_cpu_user_children", "0.000000".into()),
        ],
    );
}

fn modules(_: &Cx<'_>, text: &mut String) {
    put(text, "Modules", &[]);
}

fn command_stats(cx: &Cx<'_>, text: &mut String) {
    put(text, "Commandstats", &[]);
    for entry in table().entries() {
        let calls = cx.shared.totals.calls(entry.id);
        if calls.calls + calls.rejected > 0 {
            let mean = calls.mean();
            write!(
                text,
                "cmdstat_{}:calls={},usec={},usec_per_call={mean:.2},rejected_calls={},failed_calls={}\r\n",
                entry.name,
                calls.calls,
                calls.micros(),
                calls.rejected,
                calls.failed
            )
            .expect("writing to memory cannot fail");
        }
    }
}

fn error_stats(cx: &Cx<'_>, text: &mut String) {
    put(text, "Errorstats", &[]);
    for (code, count) in cx.shared.totals.errors.all() {
        write!(text, "errorstat_{code}:count={count}\r\n").expect("writing to memory cannot fail");
    }
}

fn cluster(_: &Cx<'_>, text: &mut String) {
    put(text, "Cluster", &[("cluster_enabled", "1".into())]);
}

fn keyspace(cx: &Cx<'_>, text: &mut String) {
    put(text, "Keyspace", &[]);
    for db in 0..DATABASES as u8 {
        let (keys, expires) = cx.shared.store.len(db);
        if keys > 0 {
            let ttl = if expires > 0 { cx.shared.store.average_ttl(db, cx.now) } else { 0 };
            write!(text, "db{db}:keys={keys},expires={expires},avg_ttl={ttl}\r\n")
                .expect("writing to memory cannot fail");
        }
    }
}
