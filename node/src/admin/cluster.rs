//! `CLUSTER ...`: the view in the words of Redis Cluster, for clients that come to the nodes directly.

use std::fmt::Write;

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
    slot::{SLOTS, key_slot},
    view::Member,
};

use super::{Cx, Handlers, help};
use crate::server::Ownership;

pub(super) const HANDLERS: Handlers = &[
    ("cluster|slots", slots),
    ("cluster|shards", shards),
    ("cluster|nodes", nodes),
    ("cluster|info", info),
    ("cluster|myid", myid),
    ("cluster|myshardid", myid),
    ("cluster|keyslot", keyslot),
    ("cluster|countkeysinslot", count_keys_in_slot),
    ("cluster|getkeysinslot", get_keys_in_slot),
    ("cluster|links", links),
    ("cluster|help", help),
];

/// A node as CLUSTER commands describe it.
struct Node {
    id: String,
    host: String,
    port: u16,
    bus_port: u16,
    name: String,
    ranges: Vec<(u16, u16)>,
    myself: bool,
}

/// The view's members, or this node alone.
fn members(cx: &Cx<'_>, ownership: &Ownership) -> Vec<Node> {
    let Some(view) = ownership.view() else {
        // The address through which this client came is the one it can use.
        let (host, port) = cx.session.record.laddr.rsplit_once(':').unwrap_or(("127.0.0.1", "0"));
        let host = host.trim_matches(['[', ']']).to_owned();
        let everything = ownership.alone().then_some((0, SLOTS - 1));
        return vec![Node {
            id: cx.shared.run_id.clone(),
            host,
            port: port.parse().unwrap_or_else(|_| cx.shared.port()),
            bus_port: 0,
            name: String::new(),
            ranges: everything.into_iter().collect(),
            myself: true,
        }];
    };
    let node = |(i, m): (usize, &Member)| Node {
        id: m.id.hex(),
        host: m.host.clone(),
        port: m.resp_port,
        bus_port: m.gossip_port,
        name: m.name.clone(),
        ranges: view.ranges(i),
        myself: ownership.place() == Some(i),
    };
    view.members.iter().enumerate().map(node).collect()
}

fn slots(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let nodes = members(cx, &cx.shared.ownership.load());
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
    Ok(())
}

fn shards(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let nodes = members(cx, &cx.shared.ownership.load());
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
        out.bulk(b"id");
        out.bulk(node.id.as_bytes());
        out.bulk(b"port");
        out.int(i64::from(node.port));
        out.bulk(b"ip");
        out.bulk(node.host.as_bytes());
        out.bulk(b"endpoint");
        out.bulk(node.host.as_bytes());
        out.bulk(b"role");
        out.bulk(b"master");
        out.bulk(b"replication-offset");
        out.int(0);
        out.bulk(b"health");
        out.bulk(b"online");
    }
    Ok(())
}

fn nodes(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let ownership = cx.shared.ownership.load();
    let epoch = ownership.view().map_or(0, |v| v.epoch);
    let mut text = String::new();
    for node in members(cx, &ownership) {
        let flags = if node.myself { "myself,master" } else { "master" };
        let name = if node.name.is_empty() { String::new() } else { format!(",{}", node.name) };
        write!(
            text,
            "{} {}:{}@{}{name} {flags} - 0 0 {epoch} connected",
            node.id, node.host, node.port, node.bus_port
        )
        .expect("writing to memory cannot fail");
        for (first, last) in node.ranges {
            let range = if first == last { format!(" {first}") } else { format!(" {first}-{last}") };
            text.push_str(&range);
        }
        text.push('\n');
    }
    out.verbatim(&text);
    Ok(())
}

fn info(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let ownership = cx.shared.ownership.load();
    let nodes = members(cx, &ownership);
    let assigned: u32 = nodes.iter().flat_map(|n| &n.ranges).map(|(a, b)| u32::from(b - a) + 1).sum();
    let state = if assigned == u32::from(SLOTS) { "ok" } else { "fail" };
    let epoch = ownership.view().map_or(0, |v| v.epoch);
    let size = nodes.iter().filter(|n| !n.ranges.is_empty()).count();
    out.verbatim(&format!(
        "cluster_state:{state}\r\ncluster_slots_assigned:{assigned}\r\n\
         cluster_slots_ok:{assigned}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n\
         cluster_known_nodes:{}\r\ncluster_size:{size}\r\ncluster_current_epoch:{epoch}\r\n\
         cluster_my_epoch:{epoch}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        nodes.len(),
    ));
    Ok(())
}

fn myid(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let nodes = members(cx, &cx.shared.ownership.load());
    let me = nodes.iter().find(|n| n.myself).map_or_else(
        || (cx.shared.wiring.me)().map_or_else(|| cx.shared.run_id.clone(), |id| id.hex()),
        |n| n.id.clone(),
    );
    out.bulk(me.as_bytes());
    Ok(())
}

fn keyslot(_: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.int(i64::from(key_slot(args.at(2))));
    Ok(())
}

fn slot(text: &[u8]) -> Result<u16> {
    let slot = number::parse_i64(text).ok_or(Error::NotInteger)?;
    u16::try_from(slot).ok().filter(|s| *s < SLOTS).ok_or(Error::text("ERR Invalid slot"))
}

fn count_keys_in_slot(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.int(cx.shared.store.slot_len(cx.session.db, slot(args.at(2))?) as i64);
    Ok(())
}

fn get_keys_in_slot(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let slot = slot(args.at(2))?;
    let count = number::parse_i64(args.at(3)).ok_or(Error::NotInteger)?;
    let count = usize::try_from(count).map_err(|_| Error::text("ERR Invalid number of keys"))?;
    let keys = cx.shared.store.slot_keys(cx.session.db, slot, count);
    out.array(keys.len());
    keys.iter().for_each(|key| out.bulk(key));
    Ok(())
}

/// There are no long-lived links between nodes.
fn links(_: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(0);
    Ok(())
}
