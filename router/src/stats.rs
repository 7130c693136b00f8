//! Counters: plain numbers on a worker, published once per turn, read by `INFO` and by the metrics endpoint.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Published(AtomicU64);

impl Published {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

macro_rules! counters {
    ($($field:ident, $name:literal, $help:literal;)*) => {
        /// One worker's counts.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $field: u64,)*
        }

        /// One worker's counts as others see them.
        #[derive(Debug, Default)]
        pub(crate) struct Totals {
            $(pub(crate) $field: Published,)*
        }

        /// Names and help texts of the counters, for the daemon's table of metrics. Each has a label `worker`.
        pub const METRICS: &[(&str, &str)] = &[$(($name, $help),)*];

        impl Tally {
            /// Shows the counts to others.
            pub(crate) fn publish(&self, totals: &Totals) {
                $(totals.$field.set(self.$field);)*
            }
        }

        impl Totals {
            /// Hands the counts to the process's metrics recorder; on each scrape.
            pub(crate) fn record(&self, worker: usize) {
                let worker = worker.to_string();
                $(metrics::counter!($name, "worker" => worker.clone()).absolute(self.$field.get());)*
            }
        }
    };
}

counters! {
    connections, "shoal_router_connections_total", "Client connections accepted.";
    requests, "shoal_router_requests_total", "Requests of clients.";
    bytes_in, "shoal_router_client_bytes_received_total", "Bytes received from clients.";
    bytes_out, "shoal_router_client_bytes_sent_total", "Bytes sent to clients.";
    node_bytes_in, "shoal_router_node_bytes_received_total", "Bytes received from nodes.";
    node_bytes_out, "shoal_router_node_bytes_sent_total", "Bytes sent to nodes.";
    protocol_errors, "shoal_router_protocol_errors_total", "Clients closed because they did not speak RESP.";
    slow_clients_closed, "shoal_router_slow_clients_closed_total", "Clients closed because they did not read their replies.";
    redirects, "shoal_router_redirects_total", "Redirects followed.";
    overrides, "shoal_router_slot_overrides_total", "Slots that a node said are elsewhere than the view says.";
    refusals, "shoal_router_refusals_total", "Answers CLUSTERDOWN and TRYAGAIN of nodes, after which a request was held.";
    held, "shoal_router_held_total", "Times that a request was held because no node could serve it at once.";
    overloads, "shoal_router_overloads_total", "Requests answered with an error because too many were held.";
    overtaken, "shoal_router_overtaken_total", "Refused requests answered with an error because a later write of their client was executed.";
    restarts, "shoal_router_restarts_total", "Requests about the whole cluster asked again because nodes left.";
    retries, "shoal_router_retries_total", "Reads sent again after a connection was lost.";
    reborn, "shoal_router_writes_resent_total", "Writes sent again after their slot was made anew without the node that may have executed them.";
    lost, "shoal_router_lost_total", "Requests answered with an error because a connection was lost after they were sent.";
    unreachable, "shoal_router_unreachable_total", "Requests that waited in vain for a node that serves them.";
    missed, "shoal_router_missed_total", "Reads that no node could serve in time, answered as if their keys were not there.";
    connects, "shoal_router_node_connects_total", "Connections opened to nodes.";
    connect_failures, "shoal_router_node_connect_failures_total", "Attempts to connect to a node that failed.";
}
