//! The router's settings: limits and habits of its data path. The daemon fills them from flags.

use std::time::Duration;

/// How the router answers `CLUSTER ...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterView {
    /// As a cluster of one shard, whose only node is this router.
    #[default]
    Itself,
    /// With the real nodes, so that cluster-aware clients go to them directly.
    Nodes,
}

/// What a read is answered that no node could serve in time. Writes get an error always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenDown {
    /// Why it could not be served.
    #[default]
    Error,
    /// As if the key was not there.
    Miss,
}

/// Settings of a [`Router`](crate::Router). Every queue of the data path has its bound here.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Worker threads.
    pub threads: usize,
    /// Connected clients; one more is told so and closed.
    pub max_clients: usize,
    /// What clients must give to `AUTH`; none lets everybody in.
    pub password: Option<Vec<u8>>,
    /// What the nodes want to hear; none sends no `AUTH`.
    pub upstream_password: Option<Vec<u8>>,
    /// Whether a new connection to a node says that a router is behind it. Only off for servers that are
    /// not Shoal's and for connections that speak RESP2 in database 0.
    pub upstream_handshake: bool,
    /// How `CLUSTER` is answered.
    pub cluster_view: ClusterView,
    /// Unanswered requests of one client; it is not read beyond that until half of them are answered.
    pub max_outstanding: usize,
    /// Replies waiting for a client that reads slowly; its requests are not planned beyond that.
    pub client_output_soft: usize,
    /// Replies waiting for a client; beyond that it is closed (`client-output-buffer-limit`).
    pub client_output_hard: usize,
    /// Requests that one connection to a node may hold unanswered, in bytes; clients whose requests
    /// go there are not read beyond that until half of them are answered.
    pub upstream_buffer: usize,
    /// How long a request may take that a node cannot serve at once: one that is redirected, refused for now, sent to a
    /// node that cannot be reached, or to a slot without an owner.
    pub patience: Duration,
    /// What a read is answered after that, or when no more can be held.
    pub when_down: WhenDown,
    /// Such requests that one worker holds.
    pub max_held: usize,
    /// Their bytes.
    pub max_held_bytes: usize,
    /// How long a node that left may take to answer what it was asked before.
    pub farewell: Duration,
    /// Redirects that one request follows.
    pub max_hops: u8,
    /// How long connecting to a node, with the handshake, may take.
    pub connect_timeout: Duration,
    /// First pause between attempts to connect; doubles up to [`backoff_max`](Self::backoff_max).
    pub backoff_min: Duration,
    /// Longest pause between attempts to connect.
    pub backoff_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            max_clients: 10_000,
            password: None,
            upstream_password: None,
            upstream_handshake: true,
            cluster_view: ClusterView::Itself,
            max_outstanding: 1024,
            client_output_soft: 1 << 20,
            client_output_hard: 1 << 30,
            upstream_buffer: 4 << 20,
            patience: Duration::from_millis(2500),
            when_down: WhenDown::Error,
            max_held: 20_000,
            max_held_bytes: 64 << 20,
            farewell: Duration::from_millis(500),
            max_hops: 5,
            connect_timeout: Duration::from_millis(1000),
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(500),
        }
    }
}
