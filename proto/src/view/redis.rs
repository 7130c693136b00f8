//! The view in the words of Redis Cluster: the replies of `CLUSTER SLOTS`, `SHARDS`, `NODES` and `INFO`.

use std::fmt::Write;

use super::{Ranges, View};
use crate::{resp::Reply, slot::SLOTS};

/// A node as these commands describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// 40 hexadecimal digits.
    pub id: String,
    /// Host for clients; never empty.
    pub host: String,
    /// Port for clients.
    pub port: u16,
    /// Port of gossip; 0 if there is none.
    pub bus_port: u16,
    /// Name for people; may be empty.
    pub name: String,
    /// The slots it owns.
    pub ranges: Ranges,
    /// Whether it is the one that answers.
    pub myself: bool,
}

/// The nodes of a view; the one at `me` says that it is the one that answers.
pub fn nodes_of(view: &View, me: Option<usize>) -> Vec<Node> {
    let node = |(place, member): (usize, &super::Member)| Node {
        id: member.id.hex(),
        host: member.host.clone(),
        port: member.resp_port,
        bus_port: member.gossip_port,
        name: member.name.clone(),
        ranges: view.ranges(place),
        myself: me == Some(place),
    };
    view.members.iter().enumerate().map(node).collect()
}

/// `CLUSTER SLOTS`.
pub fn slots(nodes: &[Node], out: &mut Reply<'_>) {
    let mut rows: Vec<(u16, u16, &Node)> =
        nodes.iter().flat_map(|n| n.ranges.iter().map(move |(first, last)| (*first, *last, n))).collect();
    rows.sort_unstable_by_key(|(first, ..)| *first);
    out.array(rows.len());
    for (first, last, node) in rows {
        out.array(3);
        out.int(i64::from(first));
        out.int(i64::from(last));
        out.array(4);
        out.bulk(node.host.as_bytes());
        out.int(i64::from(node.port));
        out.bulk(node.id.as_bytes());
        out.array(0);
    }
}

/// `CLUSTER SHARDS`.
pub fn shards(nodes: &[Node], out: &mut Reply<'_>) {
    out.array(nodes.len());
    for node in nodes {
        out.map(2);
        out.bulk(b"slots");
        out.array(node.ranges.len() * 2);
        for (first, last) in &node.ranges {
            out.int(i64::from(*first));
            out.int(i64::from(*last));
        }
        out.bulk(b"nodes");
        out.array(1);
        out.map(7);
        for (name, value) in [("id", &node.id), ("ip", &node.host), ("endpoint", &node.host)] {
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
        out.bulk(b"port");
        out.int(i64::from(node.port));
        out.bulk(b"role");
        out.bulk(b"master");
        out.bulk(b"replication-offset");
        out.int(0);
        out.bulk(b"health");
        out.bulk(b"online");
    }
}

/// `CLUSTER NODES`.
pub fn nodes(nodes: &[Node], epoch: u64, out: &mut Reply<'_>) {
    let mut text = String::new();
    for node in nodes {
        let flags = if node.myself { "myself,master" } else { "master" };
        let name = if node.name.is_empty() { String::new() } else { format!(",{}", node.name) };
        let (id, host, port, bus) = (&node.id, &node.host, node.port, node.bus_port);
        write!(text, "{id} {host}:{port}@{bus}{name} {flags} - 0 0 {epoch} connected")
            .expect("writing to memory cannot fail");
        for (first, last) in &node.ranges {
            let range = if first == last { format!(" {first}") } else { format!(" {first}-{last}") };
            text.push_str(&range);
        }
        text.push('\n');
    }
    out.verbatim(&text);
}

/// `CLUSTER INFO`.
pub fn info(nodes: &[Node], epoch: u64, out: &mut Reply<'_>) {
    let assigned: u32 = nodes.iter().flat_map(|n| &n.ranges).map(|(a, b)| u32::from(b - a) + 1).sum();
    let state = if assigned == u32::from(SLOTS) { "ok" } else { "fail" };
    let size = nodes.iter().filter(|n| !n.ranges.is_empty()).count();
    out.verbatim(&format!(
        "cluster_state:{state}\r\ncluster_slots_assigned:{assigned}\r\n\
         cluster_slots_ok:{assigned}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n\
         cluster_known_nodes:{}\r\ncluster_size:{size}\r\ncluster_current_epoch:{epoch}\r\n\
         cluster_my_epoch:{epoch}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        nodes.len(),
    ));
}
