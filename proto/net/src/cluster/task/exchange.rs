//! Members and views exchanged over TCP: with strangers, with a peer now and then, with the seeds.

use std::collections::BTreeSet;

use shoal_proto::bus::Members;
use shoal_proto::member::{Identity, Role};
use shoal_proto::view::{Member, NodeId};

use super::super::shared::Command;
use super::super::{join, seeds};
use super::{EXCHANGE_TICKS_CALM, Task};
use crate::address::HostPort;

/// For so many ticks, a second, the same process is not asked again.
const DOUBTED_TICKS: u64 = 4;

/// Most processes that are asked in that time: whoever makes packets up decides how many there seem to be.
const MOST_DOUBTED: usize = 256;

impl Task {
    /// Whether all is as the view says, and has been for a while.
    pub(super) fn is_calm(&self) -> bool {
        let view = self.core.view();
        let nodes = self.membership.up().filter(|i| i.role == Role::Node);
        let up: BTreeSet<NodeId> = nodes.map(Identity::id).collect();
        let me = self.membership.me().id();
        let all_up = view.members.iter().all(|m| m.id == me || up.contains(&m.id));
        let known = up.iter().all(|id| view.place(*id).is_some());
        let fresh = self.ticks < self.viewed_at + EXCHANGE_TICKS_CALM;
        self.core.inside() && all_up && known && !fresh && !view.moves() && !self.core.wedged()
    }

    /// The leader asks those who are up but not in the view who they are.
    pub(super) fn ask_strangers(&mut self) {
        if !self.core.leads() || self.left {
            return;
        }
        let strangers: Vec<NodeId> = self.core.strangers().filter(|id| !self.asking.contains(id)).collect();
        for id in strangers {
            let Some(identity) = self.membership.up().find(|i| i.id() == id) else { continue };
            let addr = identity.gossip_addr();
            self.asking.insert(id);
            self.exchange_with(Some(id), addr.into());
        }
    }

    /// Exchanges members and views with one peer: one that should be up and is not, else any.
    pub(super) fn exchange(&mut self) {
        let me = self.membership.me().node;
        let up: BTreeSet<u64> = self.membership.up().map(|i| i.node).collect();
        let view = self.shared.view.load();
        let others: Vec<&Member> = view.members.iter().filter(|m| m.id.node != me).collect();
        let missing: Vec<&Member> = others.iter().copied().filter(|m| !up.contains(&m.id.node)).collect();
        let choice = if missing.is_empty() || rand::random() { &others } else { &missing };
        if choice.is_empty() {
            return;
        }
        let addr = self.address(choice[rand::random_range(0..choice.len())]);
        self.exchange_with(None, addr);
    }

    /// Asks a process itself of which gossip says that it took the place of one that is known. If nobody is there that says so, nothing changes.
    pub(super) fn ask_doubted(&mut self, identity: Identity) {
        let since = self.ticks.saturating_sub(DOUBTED_TICKS);
        self.doubted.retain(|_, asked| *asked > since);
        let id = identity.id();
        if self.doubted.len() >= MOST_DOUBTED || self.doubted.contains_key(&id) || self.left {
            return;
        }
        self.doubted.insert(id, self.ticks + 1);
        let shared = self.shared.clone();
        tokio::spawn(async move {
            if let Some(members) = join::exchange(identity.gossip_addr(), &shared).await {
                let _ = shared.commands.send(Command::Vouched(id, Box::new(members))).await;
            }
        });
    }

    /// What it said.
    pub(super) fn vouched(&mut self, asked: NodeId, members: Members) {
        let ours = members.cluster == self.core.view().cluster;
        let own = members.up.iter().find(|i| i.id() == members.me.id).cloned();
        if let Some(own) = own.filter(|own| ours && own.id() == asked) {
            let now = self.now();
            self.membership.vouch(now, own);
            self.outputs();
            self.learn(members);
        }
    }

    fn exchange_with(&self, asked: Option<NodeId>, address: HostPort) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let mut members = None;
            for addr in address.resolve().await.unwrap_or_default() {
                members = members.or(join::exchange(addr, &shared).await);
            }
            let _ = shared.commands.send(Command::Learned(asked, members.map(Box::new))).await;
        });
    }

    /// Seeds may have been started meanwhile, or have another cluster.
    pub(super) fn ask_seeds(&self) {
        if self.settings.seeds.is_empty() {
            return;
        }
        let (seeds, shared, resp) = (self.settings.seeds.clone(), self.shared.clone(), self.settings.resp);
        tokio::spawn(async move {
            for (_, members) in seeds::ask_all(&seeds, &shared, resp).await.answers {
                let _ = shared.commands.send(Command::Learned(None, Some(Box::new(members)))).await;
            }
        });
    }
}
