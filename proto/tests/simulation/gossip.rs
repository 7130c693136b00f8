//! A model of membership: who hears whom, late, sometimes wrongly. What it says is only a hint.

use std::collections::BTreeSet;

use crate::history::Time;
use crate::world::{Event, MS, World};

impl World {
    /// What gossip tells a process; regular.
    pub(crate) fn gossip(&mut self, p: usize) {
        self.after(100 * MS, Event::Gossip(p));
        if self.processes[p].left {
            return;
        }
        let now = self.now;
        for q in self.live() {
            if q == p || self.processes[q].paused_until > now || !self.hears(p, q) {
                continue;
            }
            let (me, id) = (self.processes[p].id, self.processes[q].id);
            if id.node == me.node {
                // Of its own name each knows best, but who is not in the cluster gives way to who came later.
                if id.boot > me.boot && !self.processes[p].core.inside() {
                    self.note(|| format!("{p} ends: {q} has its name"));
                    return self.crash(p);
                }
                continue;
            }
            let heard = &mut self.processes[p].heard;
            // A newer boot of a node is the end of the older one.
            if heard.keys().all(|other| other.node != id.node || other.boot <= id.boot) {
                heard.retain(|other, _| other.node != id.node || *other == id);
                heard.insert(id, now);
            }
        }
        let detection = self.scale.detection;
        let gone: BTreeSet<_> = self.processes.iter().filter(|q| q.left).map(|q| q.id).collect();
        let process = &mut self.processes[p];
        process.doubted.retain(|_, until| *until > now);
        let up: BTreeSet<_> = process
            .heard
            .iter()
            .filter(|(id, at)| **at + detection > now && !gone.contains(id))
            .map(|(id, _)| *id)
            .filter(|id| !process.doubted.contains_key(id))
            .collect();
        if up != process.up {
            process.up = up.clone();
            self.note(|| format!("{p} holds up {up:?}"));
            let now = self.local(p);
            self.processes[p].core.on_up(now, up);
            self.drain(p);
        }
        self.records(p);
        self.exchange(p);
        self.ping(p);
    }

    /// Gossip pings somebody, and the lease goes along; its answer is as any other message.
    fn ping(&mut self, p: usize) {
        let up: Vec<_> = self.processes[p].up.iter().copied().collect();
        let Some(to) = self.dice.pick(&up).copied() else { return };
        let now = self.local(p);
        if let Some(ask) = self.processes[p].core.ask_along(now, to) {
            self.send(p, to, ask);
            self.drain(p);
        }
    }

    /// Now and then a newer view is asked for, of anybody who can be reached.
    fn exchange(&mut self, p: usize) {
        let live = self.live();
        if let Some(q) = self.dice.pick(&live).copied()
            && self.dice.permille(100)
            && !self.is_cut(p, q)
            && !self.is_cut(q, p)
            && self.processes[q].paused_until <= self.now
        {
            let (view, now) = (self.processes[q].core.view().clone(), self.local(p));
            self.processes[p].core.learn(now, &view);
            self.drain(p);
        }
    }

    /// Directly, or through somebody else.
    fn hears(&mut self, p: usize, q: usize) -> bool {
        let both = |w: &World, a: usize, b: usize| !w.is_cut(a, b) && !w.is_cut(b, a);
        if both(self, p, q) {
            return !self.dice.permille(self.network.loss / 2);
        }
        let live = self.live();
        live.into_iter().any(|k| k != p && k != q && both(self, p, k) && both(self, k, q))
            && self.dice.permille(700)
    }

    /// Asks those who are up but not known who they are.
    fn records(&mut self, p: usize) {
        let strangers: Vec<_> = self.processes[p].core.strangers().collect();
        for id in strangers {
            let Some(q) = self.process_of(id).filter(|q| !self.processes[*q].left) else { continue };
            if self.is_cut(p, q) || self.is_cut(q, p) || self.dice.permille(200) {
                continue;
            }
            let (member, now) = (self.processes[q].member.clone(), self.local(p));
            let admitted = self.processes[q].core.inside();
            self.processes[p].core.on_record(now, member, admitted);
            self.drain(p);
        }
    }

    /// A process wrongly holds another for dead for a while.
    pub(crate) fn doubt(&mut self, p: usize, q: usize, time: Time) {
        let (id, until) = (self.processes[q].id, self.now + time);
        self.processes[p].doubted.insert(id, until);
    }
}
