//! What all workers of a router share: read-only things, counters, and the registry of clients.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use shoal_proto::{
    command::table,
    session::{self, Access, Identity, REDIS_VERSION, Registry},
};

use crate::{plan::Planner, settings::Settings, stats::Totals, whole::Own};

/// Asks for something that is done elsewhere.
pub type Hook = Box<dyn Fn() + Send + Sync>;

/// Shared by all workers.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) planner: Planner,
    pub(crate) registry: Registry,
    pub(crate) access: Access,
    /// By the table's numbers, the handlers of commands about the connection.
    pub(crate) sessions: Vec<Option<session::Handler>>,
    /// Looks for a newer view.
    refresh: Hook,
    /// Whether the cluster can serve.
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// `SHUTDOWN`.
    pub(crate) stop: Hook,
    pub(crate) totals: Vec<Arc<Totals>>,
    /// Where clients connect.
    pub(crate) addr: SocketAddr,
    /// 40 hexadecimal digits, drawn at each start.
    pub(crate) run_id: String,
    started: SystemTime,
    /// Clients refused because there were too many.
    pub(crate) rejected: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        addr: SocketAddr,
        (refresh, ready): (Hook, Box<dyn Fn() -> bool + Send + Sync>),
        stop: Hook,
    ) -> Self {
        let mut sessions = vec![None; table().entries().len()];
        for (name, handler) in session::handlers() {
            if let Some(entry) = table().by_full_name(name.as_bytes()) {
                sessions[usize::from(entry.id)] = Some(handler);
            }
        }
        Self {
            planner: Planner::new(),
            registry: Registry::new(),
            access: Access::new(settings.password.clone()),
            sessions,
            refresh,
            ready,
            stop,
            totals: (0..settings.threads.max(1)).map(|_| Arc::default()).collect(),
            addr,
            run_id: (0..5).map(|_| format!("{:08x}", rand::random::<u32>())).collect(),
            started: SystemTime::now(),
            rejected: AtomicU64::new(0),
            settings,
        }
    }

    /// Asks for a newer view.
    pub(crate) fn refresh(&self) {
        (self.refresh)();
    }

    /// Whether the cluster can serve, as far as that is known here.
    pub(crate) fn is_ready(&self) -> bool {
        (self.ready)()
    }

    /// A client was refused because there were too many.
    pub(crate) fn refused(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// How the router describes itself: as one server.
    pub(crate) fn identity(&self) -> Identity {
        Identity { mode: "standalone" }
    }

    /// When the router was started, in seconds since 1970.
    pub(crate) fn started_s(&self) -> u64 {
        self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// What `INFO` and `CONFIG GET` say about the router itself.
    pub(crate) fn own_info(&self) -> Own {
        let uptime = self.started.elapsed().unwrap_or_default().as_secs();
        let executable = std::env::current_exe().map(|p| p.display().to_string()).unwrap_or_default();
        let password = String::from_utf8_lossy(self.settings.password.as_deref().unwrap_or_default());
        let total = |f: fn(&Totals) -> u64| self.totals.iter().map(|t| f(t)).sum::<u64>().to_string();
        Own {
            fields: vec![
                ("redis_version", REDIS_VERSION.to_owned()),
                ("redis_mode", "standalone".to_owned()),
                ("shoal_version", env!("CARGO_PKG_VERSION").to_owned()),
                ("executable", executable),
                ("tcp_port", self.addr.port().to_string()),
                ("rdb_last_save_time", self.started_s().to_string()),
                ("process_id", std::process::id().to_string()),
                ("run_id", self.run_id.clone()),
                ("server_time_usec", since_epoch().as_micros().to_string()),
                ("uptime_in_seconds", uptime.to_string()),
                ("uptime_in_days", (uptime / 86_400).to_string()),
                ("connected_clients", self.registry.len().to_string()),
                ("maxclients", self.settings.max_clients.to_string()),
                ("total_connections_received", total(|t| t.connections.get())),
                ("rejected_connections", self.rejected.load(Ordering::Relaxed).to_string()),
                ("total_commands_processed", total(|t| t.requests.get())),
                ("role", "master".to_owned()),
                ("connected_slaves", "0".to_owned()),
                ("loading", "0".to_owned()),
                ("cluster_enabled", "0".to_owned()),
            ],
            settings: vec![
                ("cluster-enabled", "no".to_owned()),
                ("port", self.addr.port().to_string()),
                ("bind", self.addr.ip().to_string()),
                // Whoever it lets in need not know the nodes' password.
                ("requirepass", password.into_owned()),
            ],
        }
    }
}

/// Time since 1970; zero if the clock is set before that.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Ms since 1970.
pub(crate) fn now_ms() -> u64 {
    since_epoch().as_millis() as u64
}
