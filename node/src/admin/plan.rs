//! `SHOAL CLUSTER`, `SHOAL PLAN`, `SHOAL FORCE` and `CLUSTER FORGET`: what the cluster does with slots, for operators.

use std::collections::BTreeMap;
use std::fmt::Write;

use shoal_net::ClusterHandle;
use shoal_proto::{
    Error,
    error::Result,
    member::Health,
    resp::{Args, Reply},
    slot::SLOTS,
    view::{Member, NOBODY, NodeId, View},
};

use super::Cx;
use crate::{
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
    let lease = match until.saturating_sub(uptime_ms()) {
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

/// `SHOAL PLAN`: what is on the move, and which copies are being made. `SHOAL PLAN JOIN [count]`, `SHOAL PLAN LEAVE name...`: what would be.
/// Keys and bytes are those of this node's slots.
pub(super) fn plan(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let view = cluster(cx)?.view();
    let ownership = cx.shared.ownership();
    let view = ownership.view().cloned().unwrap_or(view);
    let owners = view.owners();
    let (members, shares) = match args.get(2) {
        None => (view.members.clone(), view.targets()),
        Some(_) => {
            let members = imagined(&view, args)?;
            let shares = view.shares(&members);
            (members, shares)
        }
    };
    let imagined = args.get(2).is_some();
    let homes: Vec<u16> =
        owners.iter().zip(&shares).map(|(o, s)| if *s == NOBODY { *o } else { *s }).collect();
    let copies = if imagined { view.copies_among(&members, &homes) } else { view.all_copies() };
    let (mut moves, mut made) = (Transfers::default(), Transfers::default());
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
struct Transfers(BTreeMap<(String, String), (usize, SlotStats)>);

impl Transfers {
    fn add(&mut self, from: &Member, to: &Member, held: SlotStats) {
        let (count, sum) = self.0.entry((from.name.clone(), to.name.clone())).or_default();
        *count += 1;
        sum.keys += held.keys;
        sum.bytes += held.bytes;
    }

    fn count(&self) -> usize {
        self.0.values().map(|(count, _)| count).sum()
    }

    /// `rate`: bytes a second.
    fn write(&self, rate: f64, arrow: &str, what: &str, text: &mut String) {
        for ((from, to), (count, held)) in &self.0 {
            let seconds = (held.bytes as f64 / rate).max(*count as f64 / SLOTS_PER_SECOND);
            let _ = write!(text, "{from} {arrow} {to}: {count} {what}");
            if held.keys > 0 {
                let _ = write!(text, ", {} keys, {} bytes", held.keys, held.bytes);
            }
            let _ = writeln!(text, ", about {seconds:.1} s");
        }
    }
}

/// The members as they would be.
fn imagined(view: &View, args: Args<'_>) -> Result<Vec<Member>> {
    let mut members = view.members.clone();
    if args.is(2, "join") && args.len() <= 4 {
        let count = args.get(3).map_or(Some(1), |n| std::str::from_utf8(n).ok()?.parse::<u16>().ok());
        let count = count.filter(|n| (1..=256).contains(n)).ok_or(Error::NotInteger)?;
        let weight = members.first().map_or(100, |m| m.weight);
        members.extend((1..=count).map(|i| Member {
            id: NodeId { node: u64::MAX - u64::from(i), boot: u64::MAX },
            name: format!("new-{i}"),
            host: String::new(),
            resp_port: 0,
            gossip_port: 0,
            weight,
            zone: String::new(),
            replication: Default::default(),
        }));
        return Ok(members);
    }
    if args.is(2, "leave") && args.len() >= 4 {
        for i in 3..args.len() {
            let at = members.iter().position(|m| m.name.as_bytes() == args.at(i));
            members.remove(at.ok_or_else(|| {
                Error::owned(format!("ERR no member is called '{}'", String::from_utf8_lossy(args.at(i))))
            })?);
        }
        if members.is_empty() {
            return Err(Error::text("ERR somebody has to stay"));
        }
        return Ok(members);
    }
    Err(Error::Syntax)
}

/// `SHOAL FORCE`: a view of those who are up, without a majority.
pub(super) fn force(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    cluster(cx)?.force().map_err(Error::owned)?;
    out.ok();
    Ok(())
}

/// `CLUSTER FORGET node-id`: the node hands over what it has and is left out of the view.
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
    cluster.forget(member.id).map_err(Error::owned)?;
    out.ok();
    Ok(())
}
