//! `SHOAL CLUSTER`, `SHOAL PLAN`, `SHOAL FORCE` and `CLUSTER FORGET`: what the cluster does with slots, for operators.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use shoal_net::ClusterHandle;
use shoal_proto::{
    Error,
    cluster::plan::imagined as imagine,
    error::Result,
    member::Health,
    number,
    resp::{Args, Reply},
    slot::SLOTS,
    view::{Member, NOBODY, NodeId, View},
};

use super::Cx;
use crate::{
    flags::MAX_WEIGHT,
    server::uptime_ms,
    store::{Gate, SlotStats},
};

/// What a pair of nodes hands over in a second at full pace, as measured on one machine (docs/benchmarks): bytes, and slots with next
/// to nothing in them. A limit that is set counts, too; slow commands or a slow network may make it less.
const BYTES_PER_SECOND: f64 = 150e6;
const SLOTS_PER_SECOND: f64 = 8000.0;

fn cluster<'a>(cx: &'a Cx<'_>) -> Result<&'a ClusterHandle> {
    cx.shared.wiring.cluster.get().ok_or_else(|| Error::text("ERR this node has no cluster"))
}

/// `SHOAL CLUSTER`: the view, who is up, and how far slots have come on their way.
pub(super) fn state(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let cluster = cluster(cx)?;
    let (view, me) = (cluster.view(), cluster.me());
    let ownership = cx.shared.ownership();
    let owners = ownership.view().map(|view| view.owners()).unwrap_or_default();
    let (targets, members) = (view.targets(), cluster.members());
    let until = cx.shared.lease.until();
    let is_member = me.is_some_and(|me| view.place(me).is_some());
    let lease = match until.saturating_sub(uptime_ms()) {
        // It waits to be taken in.
        _ if !is_member => "ended".to_owned(),
        _ if until == u64::MAX => "not needed".to_owned(),
        0 => "ended".to_owned(),
        left => format!("{left} ms"),
    };
    let (copies, replicas) = (view.all_copies(), view.replication().replicas);
    let mut text = format!(
        "cluster {:016x} epoch {} lease {lease} held {}\n",
        view.cluster,
        view.epoch,
        (0..SLOTS).filter(|slot| cx.shared.store.gate(*slot) == Gate::Held).count()
    );
    for (place, member) in view.members.iter().enumerate() {
        let place = place as u16;
        let count = |of: &dyn Fn(usize) -> bool| (0..usize::from(SLOTS)).filter(|slot| of(*slot)).count();
        let health = members.iter().find(|m| m.identity.id() == member.id).map(|m| m.health);
        let _ = writeln!(
            text,
            "{}{} {}:{} {} slots {} in {} out {}{}",
            if Some(member.id) == me { "* " } else { "" },
            member.name,
            member.host,
            member.resp_port,
            match health {
                Some(Health::Alive) => "up",
                Some(Health::Suspect) => "suspected",
                Some(Health::Down) | None => "down",
            },
            count(&|slot| owners.get(slot) == Some(&place)),
            count(&|slot| targets[slot] == place && owners.get(slot) != Some(&place)),
            count(&|slot| owners.get(slot) == Some(&place) && ![NOBODY, place].contains(&targets[slot])),
            if view.leaving.contains(&member.id) { " leaving" } else { "" },
        );
        if replicas > 0 {
            let synced = count(&|slot| copies[slot].has(place) == Some(true));
            let others = count(&|slot| copies[slot].has(place) == Some(false));
            text.pop();
            let _ = writeln!(text, " copies {synced} syncing {others}");
        }
    }
    for (to, count, slots) in cluster.lacks_room() {
        let _ = writeln!(text, "{count} slots stay here until {to} has memory for them: {slots}");
    }
    out.bulk(text.as_bytes());
    Ok(())
}

/// `SHOAL PLAN`: what is on the move, and which copies are being made. With `JOIN [count] [WEIGHT weight] [ZONE zone]` and `LEAVE name...`, as
/// often as one likes: what would be if all of that was done at once. Keys and bytes are those of this node's slots.
pub(super) fn plan(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let view = cluster(cx)?.view();
    let ownership = cx.shared.ownership();
    let view = ownership.view().cloned().unwrap_or(view);
    let owners = view.owners();
    let imagined = args.get(2).is_some();
    let next = if imagined {
        let Wishes { join, leave } = wishes(&view, args)?;
        Arc::new(imagine(&view, join, &leave))
    } else {
        view.clone()
    };
    let (members, copies) = (&next.members, next.all_copies());
    let homes: Vec<u16> = (next.owners().into_iter().zip(next.targets()))
        .map(|(owner, target)| if target == NOBODY { owner } else { target })
        .collect();
    let mut moves =
        Transfers { own: cx.shared.wiring.cluster.get().and_then(ClusterHandle::me), ..Transfers::default() };
    let mut made = Transfers { own: moves.own, ..Transfers::default() };
    for slot in 0..SLOTS {
        let at = usize::from(slot);
        let Some(owner) = view.members.get(usize::from(owners[at])) else { continue };
        let held =
            || if ownership.owns(slot) { cx.shared.store.slot_stats(slot) } else { SlotStats::default() };
        let home = members.get(usize::from(homes[at])).filter(|home| home.id != owner.id);
        if let Some(home) = home {
            moves.add(owner, home, held());
        }
        let has = |member: &Member| {
            let place = view.place(member.id).map(|place| place as u16);
            member.id == owner.id || place.is_some_and(|at| view.copies(slot).has(at) == Some(true))
        };
        let wanted = copies[at].iter().filter_map(|(at, _)| members.get(usize::from(at)));
        // Whoever gives a slot away has its copy already.
        wanted
            .filter(|member| !has(member))
            .for_each(|member| made.add(home.unwrap_or(owner), member, held()));
    }
    let mut text =
        format!("{} of {SLOTS} slots {}\n", moves.count(), if imagined { "would move" } else { "move" });
    let rate = match cx.shared.config.handoff_rates() {
        (_, 0) => BYTES_PER_SECOND,
        (_, most) => BYTES_PER_SECOND.min(most as f64),
    };
    moves.write(rate, "->", "slots", &mut text);
    if view.replication().replicas > 0 {
        let _ = writeln!(
            text,
            "{} copies {} made",
            made.count(),
            if imagined { "would be" } else { "are being" }
        );
        made.write(rate, "=>", "copies", &mut text);
    }
    out.bulk(text.as_bytes());
    Ok(())
}

/// What goes from whom to whom: how many slots, and what is known of what they hold.
#[derive(Debug, Default)]
struct Transfers {
    /// The node that answers: what others have it does not know.
    own: Option<NodeId>,
    pairs: BTreeMap<(String, String), (usize, SlotStats, bool)>,
}

impl Transfers {
    fn add(&mut self, from: &Member, to: &Member, held: SlotStats) {
        let (count, sum, known) = self.pairs.entry((from.name.clone(), to.name.clone())).or_default();
        *known = self.own == Some(from.id);
        *count += 1;
        sum.keys += held.keys;
        sum.bytes += held.bytes;
    }

    fn count(&self) -> usize {
        self.pairs.values().map(|(count, ..)| count).sum()
    }

    /// `rate`: bytes a second.
    fn write(&self, rate: f64, arrow: &str, what: &str, text: &mut String) {
        for ((from, to), (count, held, known)) in &self.pairs {
            let seconds = (held.bytes as f64 / rate).max(*count as f64 / SLOTS_PER_SECOND);
            let _ = write!(text, "{from} {arrow} {to}: {count} {what}");
            if held.keys > 0 {
                let _ = write!(text, ", {} keys, {} bytes", held.keys, held.bytes);
            }
            let _ = match known {
                true => writeln!(text, ", about {seconds:.1} s"),
                false => writeln!(text, ", at least {seconds:.1} s: {from} knows what is in them"),
            };
        }
    }
}

/// Most new members that are imagined.
const MOST_NEW: usize = 256;

/// Largest weight that is imagined: `--weight` takes no more.
const MOST_WEIGHT: i64 = MAX_WEIGHT as i64;

/// What stands behind `SHOAL PLAN`.
const EXPECTED: Error = Error::text(
    "ERR syntax error, expected [JOIN [count] [WEIGHT weight] [ZONE zone] | LEAVE name [name ...]] ...",
);

/// Who would come and who would go.
#[derive(Debug, Default)]
struct Wishes {
    join: Vec<Member>,
    leave: BTreeSet<NodeId>,
}

/// Reads `JOIN [count] [WEIGHT weight] [ZONE zone]` and `LEAVE name...` from the third argument on.
///
/// # Errors
/// When they are none, name somebody who is not there or twice, have numbers out of range, or leave nobody.
fn wishes(view: &View, args: Args<'_>) -> Result<Wishes> {
    let mut wishes = Wishes::default();
    let mut at = 2;
    while at < args.len() {
        if args.is(at, "join") {
            at = join(view, args, at + 1, &mut wishes.join)?;
        } else if args.is(at, "leave") {
            at = leave(view, args, at + 1, &mut wishes.leave)?;
        } else {
            return Err(EXPECTED);
        }
    }
    let stays = |m: &Member| !wishes.leave.contains(&m.id) && !view.leaving.contains(&m.id);
    if wishes.join.is_empty() && !view.members.iter().any(stays) {
        return Err(Error::text("ERR somebody has to stay"));
    }
    Ok(wishes)
}

/// A number between 1 and `most`.
fn number(what: &str, text: &[u8], most: i64) -> Result<i64> {
    let number = number::parse_i64(text).filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| {
        let text = String::from_utf8_lossy(text);
        Error::owned(format!("ERR {what} '{text}' is no number between 1 and {most}"))
    })
}

fn is_clause(args: Args<'_>, at: usize) -> bool {
    args.is(at, "join") || args.is(at, "leave")
}

/// What stands behind `JOIN`; where it ends.
fn join(view: &View, args: Args<'_>, mut at: usize, all: &mut Vec<Member>) -> Result<usize> {
    let first = view.members.first();
    let (mut count, mut weight, mut zone) = (1, first.map_or(100, |m| m.weight), String::new());
    if at < args.len() && !is_clause(args, at) && !args.is(at, "weight") && !args.is(at, "zone") {
        count = number("count", args.at(at), MOST_NEW as i64)? as usize;
        at += 1;
    }
    while at < args.len() && !is_clause(args, at) {
        let value = args.get(at + 1).ok_or(EXPECTED)?;
        if args.is(at, "weight") {
            weight = number("weight", value, MOST_WEIGHT)? as u16;
        } else if args.is(at, "zone") {
            zone = String::from_utf8_lossy(value).into_owned();
        } else {
            return Err(EXPECTED);
        }
        at += 2;
    }
    if all.len() + count > MOST_NEW {
        return Err(Error::owned(format!("ERR no more than {MOST_NEW} new members can be imagined")));
    }
    for _ in 0..count {
        let number = all.len() as u64 + 1;
        all.push(Member {
            // Younger than anybody, the first the oldest of them.
            id: NodeId { node: u64::MAX - (MOST_NEW as u64 - number), boot: u64::MAX },
            name: format!("new-{number}"),
            host: String::new(),
            resp_port: 0,
            gossip_port: 0,
            weight,
            zone: zone.clone(),
            replication: first.map(|m| m.replication).unwrap_or_default(),
        });
    }
    Ok(at)
}

/// The names or ids behind `LEAVE`; where they end.
fn leave(view: &View, args: Args<'_>, mut at: usize, all: &mut BTreeSet<NodeId>) -> Result<usize> {
    if at >= args.len() || is_clause(args, at) {
        return Err(EXPECTED);
    }
    while at < args.len() && !is_clause(args, at) {
        let named = |m: &&Member| [m.name.as_bytes(), m.id.hex().as_bytes()].contains(&args.at(at));
        let text = || String::from_utf8_lossy(args.at(at));
        let member = view.members.iter().find(named);
        let member = member.ok_or_else(|| Error::owned(format!("ERR no member is called '{}'", text())))?;
        if !all.insert(member.id) {
            return Err(Error::owned(format!("ERR '{}' is named twice", text())));
        }
        at += 1;
    }
    Ok(at)
}

/// `SHOAL FORCE`: a view of those who are up, without a majority.
pub(super) fn force(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    let cluster = cluster(cx)?;
    if cx.shared.lease.is_valid() {
        return Err(Error::text(
            "ERR a majority of the nodes is up: there is nothing to force, and what those who are down have would be lost",
        ));
    }
    cluster.force().map_err(Error::owned)?;
    out.ok();
    Ok(())
}

/// `CLUSTER FORGET node-id`: the node leaves, and its process ends.
pub(super) fn forget(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let cluster = cluster(cx)?;
    let view = cluster.view();
    let named = |m: &&Member| m.id.hex().as_bytes() == args.at(2) || m.name.as_bytes() == args.at(2);
    let Some(member) = view.members.iter().find(named) else {
        return Err(Error::owned(format!("ERR Unknown node {}", String::from_utf8_lossy(args.at(2)))));
    };
    if view.members.len() == 1 {
        return Err(Error::text("ERR the last node cannot be forgotten"));
    }
    // Who is to leave hands over what it has, and is left out, by a view that a majority agrees to.
    if !cx.shared.lease.is_valid() {
        return Err(Error::text("CLUSTERDOWN this node does not hear from a majority: nobody can leave"));
    }
    cluster.forget(member.id).map_err(Error::owned)?;
    out.ok();
    Ok(())
}
