//! Gossip: datagrams come in, what it wants done is done, and what it says of members is made known.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_proto::member::{Dropped, Health, Identity, Output, Role};
use shoal_proto::view::NodeId;

use super::super::{MemberState, tell};
use super::Task;
use crate::bus::Service;

/// Most datagrams taken in before timers get their turn.
const DATAGRAMS: usize = 1024;

/// How often at most the log says that others held this node for down: on a bad network that may be every second.
const REJOINS: Duration = Duration::from_secs(15);

/// How often others held this node for down.
#[derive(Debug, Default)]
pub(super) struct Rejoins {
    /// Since it was told last.
    untold: u32,
    told: Option<Duration>,
}

impl Rejoins {
    /// Once more. Returns how often it has been since it was told last, if it is to be told now.
    fn count(&mut self, now: Duration) -> Option<u32> {
        self.untold += 1;
        if self.told.is_some_and(|told| now < told + REJOINS) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl Task {
    /// Takes in the datagrams that wait.
    pub(super) fn receive(&mut self) {
        let mut buffer = [0; 2048];
        for _ in 0..DATAGRAMS {
            let Ok((len, from)) = self.udp.try_recv_from(&mut buffer) else { return };
            let now = self.now();
            if let Some(tell) = tell::parse(&buffer[..len]) {
                match tell {
                    Ok(tell) => self.hear(tell),
                    Err(refusal) => {
                        // A datagram has no connection to close.
                        let _ = self.shared.refused(from, &refusal);
                    }
                }
                self.count_datagram("received");
                continue;
            }
            let outcome = match self.membership.on_datagram(now, &buffer[..len]) {
                Ok(None) => "received",
                Ok(Some((from, along))) => {
                    if !self.left {
                        self.hear_along(from, along);
                        // At once, so that what was granted goes with the answer.
                        self.outputs();
                        self.end_answer();
                    }
                    "received"
                }
                Err(dropped) => {
                    self.report_dropped(dropped, from);
                    "dropped"
                }
            };
            self.count_datagram(outcome);
            (0..self.membership.left_out()).for_each(|_| self.count_datagram("doubted"));
        }
    }

    pub(super) fn count_datagram(&self, outcome: &'static str) {
        let node = self.settings.name.clone();
        metrics::counter!("shoal_gossip_datagrams_total", "node" => node, "outcome" => outcome).increment(1);
    }

    fn report_dropped(&mut self, dropped: Dropped, from: SocketAddr) {
        // Once is enough: whoever sends it will not stop.
        let kind = match dropped {
            Dropped::OtherCluster => 0,
            Dropped::Malformed => 1,
            Dropped::Version(theirs) => return self.shared.refuse_version(from, &theirs.to_string()),
        };
        if !std::mem::replace(&mut self.warned_dropped[kind], true) {
            tracing::warn!(node = self.settings.name, %from, "gossip: {dropped}; further ones are only counted");
        }
    }

    /// Does what gossip wants done.
    pub(super) fn outputs(&mut self) {
        let mut changed = false;
        while let Some(output) = self.membership.poll_output() {
            match output {
                Output::Send { to, peer, kind, datagram } => {
                    let datagram = self.with_lease(peer, kind, datagram);
                    // A full buffer is a lost datagram; gossip copes.
                    let sent = self.udp.try_send_to(&datagram, self.reachable(to)).is_ok();
                    self.count_datagram(if sent { "sent" } else { "unsent" });
                    continue;
                }
                Output::Up(identity) => {
                    self.report(&identity, "up");
                    self.note(&[identity]);
                }
                Output::Down(identity) => self.report(&identity, "down"),
                Output::Doubted(identity) => {
                    self.ask_doubted(identity);
                    continue;
                }
                Output::Rejoined { me, by } => {
                    if let Some(times) = self.rejoins.count(self.now()) {
                        let by = by.map_or_else(|| "somebody".to_owned(), |id| self.name_of(id));
                        let node = &self.settings.name;
                        tracing::warn!(node, by, times, "held for down by another node; this one is back");
                    }
                    self.shared.identity.store(Some(me.into()));
                }
            }
            changed = true;
        }
        if changed {
            self.publish_members();
            self.ask_strangers();
        }
    }

    /// A socket that listens on IPv6 sends to IPv4 by mapped addresses only.
    pub(super) fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.shared.gossip.is_ipv6() => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            other => other,
        }
    }

    fn report(&self, identity: &Identity, direction: &'static str) {
        let node = self.settings.name.clone();
        metrics::counter!("shoal_member_changes_total", "node" => node, "direction" => direction)
            .increment(1);
        // A newcomer's name comes with the view that takes it in.
        let resp = SocketAddr::new(identity.ip, identity.resp_port);
        let name = self.known_name(identity.id()).unwrap_or_else(|| resp.to_string());
        let (address, version) = (identity.gossip_addr(), identity.version);
        tracing::info!(node = self.settings.name, member = name, %address, version, "member {direction}");
    }

    fn known_name(&self, id: NodeId) -> Option<String> {
        let view = self.shared.view.load();
        view.members.iter().find(|m| m.id.node == id.node).map(|m| m.name.clone())
    }

    /// For people.
    pub(super) fn name_of(&self, id: NodeId) -> String {
        self.known_name(id).unwrap_or_else(|| format!("{:016x}", id.node))
    }

    /// Makes known who there is, if that changed.
    pub(super) fn publish_members(&mut self) {
        let mut members: Vec<MemberState> = self
            .membership
            .members()
            .map(|(identity, health)| MemberState { identity: identity.clone(), health })
            .collect();
        members.sort_by_key(|m| (m.identity.boot, m.identity.node));
        members.insert(0, MemberState { identity: self.membership.me().clone(), health: Health::Alive });
        if *self.shared.members.load().as_ref() == members {
            return;
        }
        let up = self.membership.up().filter(|i| i.role == Role::Node).map(Identity::id).collect();
        let now = self.now();
        self.core.on_up(now, up);
        let up = members.iter().filter(|m| m.health != Health::Down).count();
        metrics::gauge!("shoal_members_up", "node" => self.settings.name.clone()).set(up as f64);
        self.shared.members.store(members.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_now_and_then() {
        let mut rejoins = Rejoins::default();
        let mut at = |seconds| rejoins.count(Duration::from_secs(seconds));
        assert_eq!([1, 2, 15, 16, 17, 40].map(&mut at), [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
