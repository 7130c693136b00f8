//! Finding a cluster at the start, or founding one.
//!
//! A node without seeds, or whose seeds all are itself, founds a cluster of one. With other seeds it joins the
//! first that has a view. If all of them answer and none has one (a whole cluster starts at once), the one with
//! the lowest number founds, and the others join it. It never founds while a seed is silent: that might be the
//! cluster. Nor does it found while fewer new nodes are there than are expected: where a name stands for all of them,
//! those that are not listed yet might be the cluster.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use shoal_proto::bus::{Join, Joined, Members, Verb};
use shoal_proto::member::{Identity, Role, rival};
use shoal_proto::version;
use shoal_proto::view::{Member, NodeId, View};

use super::Settings;
use super::seeds::{self, Round};
use super::shared::Shared;
use crate::bus;

/// First pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Longest pause between two attempts: newcomers find a cluster that comes back soon enough, and a thousand of
/// them ask it no more than a thousand times in two seconds.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Where everything is that cannot be reached from elsewhere.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// In how many rounds all seeds must be fresh before we found a cluster: one of them may just be founding.
const FRESH_ROUNDS: u32 = 3;

/// By how many ms the boot of a process may be later than its clock.
const SPREAD: u64 = 1000;

/// How long a node may take to answer a join.
const LIMIT: Duration = Duration::from_secs(2);

/// Where a node starts from.
#[derive(Debug)]
pub(super) struct Start {
    /// Ourselves, boot included.
    pub identity: Identity,
    /// The first view we know; we are in it only if we founded it.
    pub view: View,
    /// Who is up.
    pub up: Vec<Identity>,
    /// Whether the cluster is new.
    pub founded: bool,
}

/// Tries until it has one. To be dropped to give up.
///
/// # Errors
/// Another process has our name: why, for people.
pub(super) async fn join(settings: &Settings, shared: &Shared) -> Result<Start, String> {
    let expected = usize::from(settings.bootstrap_expect);
    if settings.seeds.is_empty() && expected <= 1 {
        return Ok(found(settings, shared));
    }
    let mut pause = PAUSE;
    let (mut fresh, mut twins) = (0, 0);
    loop {
        let mut round = seeds::ask_all(&settings.seeds, shared, settings.resp).await;
        if let Some(start) = join_any(&mut round, settings, shared).await? {
            return Ok(start);
        }
        if round.silent.is_empty() && round.answers.is_empty() && expected <= 1 {
            return Ok(found(settings, shared));
        }
        let own = shared.me.load().id.node;
        let is_twin = |m: &Members| (m.me.id.node, m.cluster) == (own, 0);
        let twin =
            round.answers.iter().find(|(_, m)| is_twin(m) && rival::gives_up(shared.process, m.process));
        // One that is ending may answer once more.
        twins = if twin.is_some() { twins + 1 } else { 0 };
        if let Some((addr, _)) = twin.filter(|_| twins == FRESH_ROUNDS) {
            return Err(in_use(&settings.name, &addr.to_string()));
        }
        let lowest = round.answers.iter().all(|(_, m)| m.cluster == 0 && own < m.me.id.node);
        let enough = others(&round) + 1 >= expected;
        fresh = if round.silent.is_empty() && lowest && enough { fresh + 1 } else { 0 };
        if fresh == FRESH_ROUNDS {
            return Ok(found(settings, shared));
        }
        report(&round, settings, shared);
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 3 / 2).min(MAX_PAUSE);
    }
}

/// How many nodes answered; a node may have several addresses among the seeds.
fn others(round: &Round) -> usize {
    round.answers.iter().map(|(_, m)| m.me.id.node).collect::<HashSet<_>>().len()
}

/// What we are waiting for, for people.
fn awaited(round: &Round, expected: usize, own: u64) -> String {
    let there = others(round) + 1;
    let lowest = round.answers.iter().map(|(_, m)| &m.me).min_by_key(|m| m.id.node);
    match lowest.filter(|lowest| lowest.id.node < own) {
        _ if !round.silent.is_empty() => format!("waiting for seeds: {}", round.silent.join(", ")),
        _ if there < expected => format!("{there} of {expected} new nodes are there to found a cluster"),
        Some(lowest) => {
            format!("{there} new nodes are there; waiting for {} to found the cluster", lowest.name)
        }
        None => format!("{there} new nodes are there; this one is to found the cluster"),
    }
}

/// Says once per change what we are waiting for.
fn report(round: &Round, settings: &Settings, shared: &Shared) {
    let state = awaited(round, settings.bootstrap_expect.into(), shared.me.load().id.node);
    if shared.state.load().as_str() != state {
        tracing::info!(node = settings.name, "{state}");
        shared.state.store(state.into());
    }
}

/// That another process has the name, for people.
pub(super) fn in_use(name: &str, at: &str) -> String {
    format!(
        "another process of the name '{name}' is in the cluster, at {at}: each node needs a --name of its own; \
         if this is to replace it, stop it first"
    )
}

/// The reason if a node does not let us join for good.
fn for_good(error: &bus::CallError) -> Option<String> {
    let bus::CallError::Refused(text) = error else { return None };
    text.strip_prefix(rival::NAME_IN_USE).map(|why| why.trim_start().to_owned())
}

async fn join_any(round: &mut Round, settings: &Settings, shared: &Shared) -> Result<Option<Start>, String> {
    for (addr, members) in round.answers.iter().filter(|(_, m)| m.cluster != 0) {
        // The seed may be a RESP port; joining happens on the gossip port of the same host.
        let gossip = SocketAddr::new(addr.ip(), members.me.gossip_port);
        match ask(gossip, shared).await {
            Ok(joined) => return Ok(Some(take(joined, settings, shared))),
            Err(error) => match for_good(&error) {
                Some(why) => return Err(why),
                None => round.silent.push(format!("{gossip} does not let us join: {error}")),
            },
        }
    }
    Ok(None)
}

/// Asks a node to let us join.
pub(super) async fn ask(gossip: SocketAddr, shared: &Shared) -> Result<Joined, bus::CallError> {
    let mut member = shared.me.load().as_ref().clone();
    if member.id.boot == 0 {
        // Two processes of one name that start at the same time must not be taken for one.
        member.id.boot = unix_ms() + rand::random_range(0..SPREAD);
    }
    bus::call(gossip, Verb::Join, &Join { member }, LIMIT).await
}

fn take(joined: Joined, settings: &Settings, shared: &Shared) -> Start {
    let identity = identity(settings, shared, joined.boot, joined.you);
    publish(settings, shared, &identity);
    Start { identity, view: joined.view, up: joined.up, founded: false }
}

fn found(settings: &Settings, shared: &Shared) -> Start {
    let identity = identity(settings, shared, unix_ms(), LOCAL);
    let me = publish(settings, shared, &identity);
    let view = View::first(rand::random::<u64>().max(1), vec![me]);
    Start { identity, view, up: Vec::new(), founded: true }
}

/// Our identity; `seen` is the address by which a seed sees us, used if we listen on all.
fn identity(settings: &Settings, shared: &Shared, boot: u64, seen: IpAddr) -> Identity {
    let listening = shared.gossip.ip();
    let given = settings.host.as_ref().and_then(|h| h.parse().ok());
    let ip = match given {
        _ if !listening.is_unspecified() => listening,
        Some(given) => given,
        // A seed on the same machine sees us where no other machine does.
        None if seen.is_loopback() => outgoing().unwrap_or(LOCAL),
        None => seen.to_canonical(),
    };
    Identity {
        node: shared.me.load().id.node,
        boot,
        renew: 0,
        ip,
        gossip_port: shared.gossip.port(),
        resp_port: settings.resp.port(),
        role: Role::Node,
        weight: settings.weight,
        version: version::own(),
    }
}

/// The address this machine would use to reach another one. Sends nothing: the destination is a documentation
/// address, and connecting a datagram socket only looks up the route.
fn outgoing() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

/// Makes our boot and address known to those who ask.
fn publish(settings: &Settings, shared: &Shared, identity: &Identity) -> Member {
    let mut me = shared.me.load().as_ref().clone();
    me.id = NodeId { node: identity.node, boot: identity.boot };
    if settings.host.is_none() && settings.resp.ip().is_unspecified() {
        me.host = identity.ip.to_string();
    }
    shared.me.store(me.clone().into());
    shared.identity.store(Some(identity.clone().into()));
    me
}

/// Joins the cluster anew through any of its members, after it went on without us. None: nobody lets us in at present.
///
/// # Errors
/// Another process has our name: why, for people.
pub(super) async fn rejoin(
    members: Vec<Member>,
    known: Vec<SocketAddr>,
    shared: &Shared,
) -> Result<Option<Joined>, String> {
    let mut addrs = known;
    for member in members {
        let host = crate::address::HostPort::new(member.host, member.gossip_port);
        addrs.extend(host.resolve().await.unwrap_or_default());
    }
    addrs.dedup();
    let before = shared.me.load().id.boot;
    for addr in addrs {
        match ask(addr, shared).await {
            Ok(joined) => {
                let boot = joined.boot.max(unix_ms()).max(before.saturating_add(1));
                return Ok(Some(Joined { boot, ..joined }));
            }
            Err(error) => {
                if let Some(why) = for_good(&error) {
                    return Err(why);
                }
            }
        }
    }
    Ok(None)
}

/// Exchanges members and views with one peer.
pub(super) async fn exchange(addr: SocketAddr, shared: &Shared) -> Option<Members> {
    bus::call(addr, Verb::Members, &shared.hello(), LIMIT).await.ok()
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who answers that has no cluster.
    fn new_node(node: u64, name: &str) -> (SocketAddr, Members) {
        let me = Member {
            id: NodeId { node, boot: 0 },
            name: name.to_owned(),
            host: String::new(),
            resp_port: 0,
            gossip_port: 0,
            weight: 100,
            zone: String::new(),
            replication: Default::default(),
        };
        let (process, up) = (node, Vec::new());
        let members = Members { me, process, admitted: false, cluster: 0, epoch: 0, up, view: None };
        (SocketAddr::new(LOCAL, 7000 + node as u16), members)
    }

    #[test]
    fn what_is_awaited_changes_with_each_that_comes() {
        let mut round = Round::default();
        round.silent.push("b:1: refused".to_owned());
        let said = |round: &Round| awaited(round, 3, 5);
        assert_eq!(said(&round), "waiting for seeds: b:1: refused");
        round.silent.clear();
        assert_eq!(said(&round), "1 of 3 new nodes are there to found a cluster");
        round.answers.push(new_node(7, "b"));
        assert_eq!(said(&round), "2 of 3 new nodes are there to found a cluster");
        round.answers.push(new_node(9, "c"));
        assert_eq!(said(&round), "3 new nodes are there; this one is to found the cluster");
        round.answers.push(new_node(2, "d"));
        assert_eq!(said(&round), "4 new nodes are there; waiting for d to found the cluster");
    }
}
