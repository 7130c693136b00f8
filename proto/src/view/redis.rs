//! The view in the words of Redis Cluster: the replies of `CLUSTER SLOTS`, `SHARDS`, `NODES`, `REPLICAS` and `INFO`.
//!
//! In Redis a node is a master or a replica; here each node owns slots and has copies of others' slots. `SLOTS` can say so, since it
//! names the nodes of each run of slots anew. `NODES` and `SHARDS` cannot, so there every node is the master of what it owns.

use std::collections::BTreeSet;

use super::{NOBODY, Ranges, View};
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

/// Slots from `first` to `last` that have the same owner and copies: a row of `CLUSTER SLOTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The first slot.
    pub first: u16,
    /// The last slot.
    pub last: u16,
    /// The owner's place among the nodes.
    pub owner: usize,
    /// Places of those who answer reads of these slots after `READONLY`.
    pub copies: Vec<usize>,
}

/// The rows of `CLUSTER SLOTS` for a view. Copies in sync are listed, but not of slots that are about to change hands, which are read
/// at their owners only.
///
/// Clients remember of each node whether they met it as a master or as a replica first, and those that met it as a replica do
/// not ask it for what it owns when they ask all masters (redis-py: `DBSIZE`, `KEYS`, `SCAN`). So the first rows name
/// each owner that others meet as a copy, with slots of its own and nobody else's; if it must, with one slot, whose copies are not named.
pub fn runs_of(view: &View) -> Vec<Run> {
    let (owners, targets, copies) = (view.owners(), view.targets(), view.all_copies());
    let mut runs: Vec<Run> = Vec::new();
    for slot in (0..view.slots()).filter(|slot| owners[usize::from(*slot)] != NOBODY) {
        let at = usize::from(slot);
        let (owner, stays) = (usize::from(owners[at]), targets[at] == NOBODY);
        let copies = || copies[at].synced().filter(|_| stays).map(usize::from);
        match runs.last_mut() {
            Some(run)
                if run.owner == owner && run.last + 1 == slot && run.copies.iter().copied().eq(copies()) =>
            {
                run.last = slot;
            }
            _ => runs.push(Run { first: slot, last: slot, owner, copies: copies().collect() }),
        }
    }
    introduced(runs)
}

/// The same, with rows in front that name owners alone. See [`runs_of`].
fn introduced(mut runs: Vec<Run>) -> Vec<Run> {
    let met: BTreeSet<usize> = runs.iter().flat_map(|run| run.copies.iter().copied()).collect();
    let mut heads = Vec::new();
    for owner in met {
        let own = |run: &Run| run.owner == owner;
        let alone = runs.iter().position(|run| own(run) && run.copies.is_empty());
        let Some(at) = alone.or_else(|| runs.iter().position(own)) else { continue };
        let run = &mut runs[at];
        if run.copies.is_empty() || run.first == run.last {
            run.copies.clear();
            heads.push(runs.remove(at));
        } else {
            heads.push(Run { first: run.first, last: run.first, owner, copies: Vec::new() });
            run.first += 1;
        }
    }
    heads.extend(runs);
    heads
}

/// The rows of nodes whose slots have no copies.
pub fn uncopied(nodes: &[Node]) -> Vec<Run> {
    let of = |(owner, node): (usize, &Node)| {
        let run =
            move |(first, last): &(u16, u16)| Run { first: *first, last: *last, owner, copies: Vec::new() };
        node.ranges.iter().map(run).collect::<Vec<_>>()
    };
    nodes.iter().enumerate().flat_map(of).collect()
}

/// `CLUSTER SLOTS`.
pub fn slots(nodes: &[Node], runs: &[Run], out: &mut Reply<'_>) {
    out.array(runs.len());
    for run in runs {
        out.array(3 + run.copies.len());
        out.int(i64::from(run.first));
        out.int(i64::from(run.last));
        for node in
            std::iter::once(run.owner).chain(run.copies.iter().copied()).filter_map(|at| nodes.get(at))
        {
            out.array(4);
            out.bulk(node.host.as_bytes());
            out.int(i64::from(node.port));
            out.bulk(node.id.as_bytes());
            out.array(0);
        }
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

/// A node in the words of `CLUSTER NODES`, without its slots. `of`: the id of the master whose replica it is.
fn line(node: &Node, of: Option<&str>, epoch: u64) -> String {
    let myself = if node.myself { "myself," } else { "" };
    let role = if of.is_some() { "slave" } else { "master" };
    let name = if node.name.is_empty() { String::new() } else { format!(",{}", node.name) };
    let (id, host, port, bus) = (&node.id, &node.host, node.port, node.bus_port);
    let of = of.unwrap_or("-");
    format!("{id} {host}:{port}@{bus}{name} {myself}{role} {of} 0 0 {epoch} connected")
}

/// `CLUSTER NODES`.
pub fn nodes(nodes: &[Node], epoch: u64, out: &mut Reply<'_>) {
    let mut text = String::new();
    for node in nodes {
        text.push_str(&line(node, None, epoch));
        for (first, last) in &node.ranges {
            let range = if first == last { format!(" {first}") } else { format!(" {first}-{last}") };
            text.push_str(&range);
        }
        text.push('\n');
    }
    out.verbatim(&text);
}

/// `CLUSTER REPLICAS`: the nodes that have copies of slots that the one at `of` owns.
pub fn replicas(nodes: &[Node], runs: &[Run], of: usize, epoch: u64, out: &mut Reply<'_>) {
    let own = runs.iter().filter(|run| run.owner == of);
    let copies: BTreeSet<usize> = own.flat_map(|run| run.copies.iter().copied()).collect();
    let Some(master) = nodes.get(of) else { return out.array(0) };
    out.array(copies.len());
    for node in copies.into_iter().filter_map(|at| nodes.get(at)) {
        out.bulk(line(node, Some(&master.id), epoch).as_bytes());
    }
}

/// `CLUSTER INFO`. `served`: as far as who answers knows, requests are served.
pub fn info(nodes: &[Node], epoch: u64, served: bool, out: &mut Reply<'_>) {
    let assigned: u32 = nodes.iter().flat_map(|n| &n.ranges).map(|(a, b)| u32::from(b - a) + 1).sum();
    let state = if served && assigned == u32::from(SLOTS) { "ok" } else { "fail" };
    let size = nodes.iter().filter(|n| !n.ranges.is_empty()).count();
    // Who is no member of the view that it knows has none of its own.
    let mine = if nodes.iter().any(|n| n.myself) { epoch } else { 0 };
    out.verbatim(&format!(
        "cluster_state:{state}\r\ncluster_slots_assigned:{assigned}\r\n\
         cluster_slots_ok:{assigned}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n\
         cluster_known_nodes:{}\r\ncluster_size:{size}\r\ncluster_current_epoch:{epoch}\r\n\
         cluster_my_epoch:{mine}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        nodes.len(),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Copies, Member, NodeId};

    fn view(owners: &[u16], copies: &[&[(u16, bool)]]) -> View {
        let member =
            |n: u64| Member { resp_port: 7000 + n as u16, ..Member::sample(NodeId { node: n, boot: n }) };
        let of = |all: &&[(u16, bool)]| {
            let mut copies = Copies::default();
            all.iter().for_each(|(at, synced)| copies.add(*at, *synced));
            copies
        };
        let copies: Vec<Copies> = copies.iter().map(of).collect();
        View::new(1, 1, (1..=3).map(member).collect(), owners).with_copies(&copies)
    }

    fn rows(runs: &[Run]) -> Vec<(u16, u16, usize, &[usize])> {
        runs.iter().map(|run| (run.first, run.last, run.owner, run.copies.as_slice())).collect()
    }

    #[test]
    fn copies_in_sync_are_listed_and_owners_are_met_as_owners_first() {
        let synced: &[(u16, bool)] = &[(1, true)];
        let all = view(
            &[0, 0, 0, 1, 1, 2],
            &[synced, synced, &[(1, false)], &[(2, true)], &[(2, true)], &[(0, true)]],
        );
        let runs = runs_of(&all);
        // The third is met as an owner with the only slot it has, the first with the one whose copy is not in sync.
        let expected: [(u16, u16, usize, &[usize]); 5] =
            [(2, 2, 0, &[]), (3, 3, 1, &[]), (5, 5, 2, &[]), (0, 1, 0, &[1]), (4, 4, 1, &[2])];
        assert_eq!(rows(&runs), expected);
        let mut met = BTreeSet::new();
        for run in &runs {
            met.insert(run.owner);
            assert!(run.copies.iter().all(|copy| met.contains(copy)), "{runs:?}");
        }
        let moving = all.with_targets(&[2, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY]);
        assert!(
            runs_of(&moving).iter().all(|run| run.first != 0 || run.copies.is_empty()),
            "it is read at its owner"
        );
    }

    #[test]
    fn without_copies_runs_are_ranges() {
        let all = view(&[0, 0, 1, 2, 2, 0], &[]);
        assert_eq!(
            rows(&runs_of(&all)),
            [(0, 1, 0, &[][..]), (2, 2, 1, &[]), (3, 4, 2, &[]), (5, 5, 0, &[])]
        );
        let nodes = nodes_of(&all, Some(0));
        assert_eq!(
            rows(&uncopied(&nodes)),
            [(0, 1, 0, &[][..]), (5, 5, 0, &[]), (2, 2, 1, &[]), (3, 4, 2, &[])]
        );
    }
}
