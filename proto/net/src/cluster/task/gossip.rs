//! Gossip: datagrams come in, what it wants done is done, and what it says of members is made known.

use std::net::SocketAddr;

use shoal_proto::member::{Dropped, Health, Identity, Output, Role};
use shoal_proto::view::NodeId;

use super::super::{MemberState, tell};
use super::Task;
use crate::bus::Service;

/// Most datagrams taken in before timers get their turn.
const DATAGRAMS: usize = 1024;

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
                Output::Rejoined(identity) => {
                    let renew = identity.renew;
                    tracing::warn!(
                        node = self.settings.name,
                        renew,
                        "others held this node for down; it is back"
                    );
                    self.shared.identity.store(Some(identity.into()));
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
        let name = self.name_of(identity.id());
        let (address, version) = (identity.gossip_addr(), identity.version);
        tracing::info!(node = self.settings.name, member = name, %address, version, "member {direction}");
    }

    /// For people.
    pub(super) fn name_of(&self, id: NodeId) -> String {
        let view = self.shared.view.load();
        let member = view.members.iter().find(|m| m.id.node == id.node);
        member.map_or_else(|| format!("{:016x}", id.node), |m| m.name.clone())
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
