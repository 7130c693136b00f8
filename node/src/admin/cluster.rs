//! `CLUSTER ...`: the view in the words of Redis Cluster, for clients that come to the nodes directly.

use shoal_proto::{
    Error,
    error::Result,
    number,
    resp::{Args, Reply},
    slot::{SLOTS, key_slot},
    view::redis::{self, Node, Run},
};

use super::{Cx, Handlers, help, plan};
use crate::server::Ownership;

pub(super) const HANDLERS: Handlers = &[
    ("cluster|slots", slots),
    ("cluster|shards", shards),
    ("cluster|nodes", nodes),
    ("cluster|info", info),
    ("cluster|replicas", replicas),
    ("cluster|slaves", replicas),
    ("cluster|myid", myid),
    ("cluster|myshardid", myid),
    ("cluster|keyslot", keyslot),
    ("cluster|countkeysinslot", count_keys_in_slot),
    ("cluster|getkeysinslot", get_keys_in_slot),
    ("cluster|links", links),
    ("cluster|forget", plan::forget),
    ("cluster|help", help),
];

/// The view's members, or this node alone.
fn members(cx: &Cx<'_>, ownership: &Ownership) -> Vec<Node> {
    if let Some(view) = ownership.view() {
        return redis::nodes_of(view, ownership.place());
    }
    // The address through which this client came is the one it can use.
    let (host, port) = cx.session.record.laddr.rsplit_once(':').unwrap_or(("127.0.0.1", "0"));
    let everything = ownership.alone().then_some((0, SLOTS - 1));
    vec![Node {
        id: cx.shared.run_id.clone(),
        host: host.trim_matches(['[', ']']).to_owned(),
        port: port.parse().unwrap_or_else(|_| cx.shared.port()),
        bus_port: 0,
        name: String::new(),
        ranges: everything.into_iter().collect(),
        myself: true,
    }]
}

fn slots(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let ownership = cx.shared.ownership.load();
    let nodes = members(cx, &ownership);
    redis::slots(&nodes, &runs(&ownership, &nodes), out);
    Ok(())
}

fn runs(ownership: &Ownership, nodes: &[Node]) -> Vec<Run> {
    ownership.view().map_or_else(|| redis::uncopied(nodes), |view| redis::runs_of(view))
}

/// Of the node named by its id, or by its name.
fn replicas(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let ownership = cx.shared.ownership.load();
    let nodes = members(cx, &ownership);
    let named = |node: &Node| [node.id.as_bytes(), node.name.as_bytes()].contains(&args.at(2));
    let Some(of) = nodes.iter().position(named).filter(|_| !args.at(2).is_empty()) else {
        return Err(Error::owned(format!("ERR Unknown node {}", String::from_utf8_lossy(args.at(2)))));
    };
    redis::replicas(&nodes, &runs(&ownership, &nodes), of, epoch(&ownership), out);
    Ok(())
}

fn shards(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    redis::shards(&members(cx, &cx.shared.ownership.load()), out);
    Ok(())
}

fn nodes(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let ownership = cx.shared.ownership.load();
    redis::nodes(&members(cx, &ownership), epoch(&ownership), out);
    Ok(())
}

fn info(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let ownership = cx.shared.ownership.load();
    redis::info(&members(cx, &ownership), epoch(&ownership), cx.shared.serves().is_ok(), out);
    Ok(())
}

fn epoch(ownership: &Ownership) -> u64 {
    ownership.view().map_or(0, |view| view.epoch)
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

/// None: gossip is datagrams, and connections between nodes are opened when there is something to say, and closed soon after.
fn links(_: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    out.array(0);
    Ok(())
}
