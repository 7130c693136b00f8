//! Leaving the cluster: hand over all slots, wait for a view without us, tell gossip.

use std::time::Duration;

use shoal_proto::bus::{Latest, Leave, Verb};
use shoal_proto::view::Member;
use tokio::sync::oneshot;

use super::{CALL, Task};
use crate::bus;

/// A wish to leave that is under way.
pub(super) struct Leaving {
    pub done: Vec<oneshot::Sender<bool>>,
    pub deadline: Duration,
    pub attempt: usize,
}

impl Task {
    pub(super) fn start_leaving(&mut self, done: oneshot::Sender<bool>) {
        let view = self.shared.view.load();
        let me = self.membership.me().id();
        let alone = view.members.len() <= 1 || view.place(me).is_none();
        if self.left {
            // A caller that is gone needs no answer.
            let _ = done.send(true);
            return;
        }
        let deadline = self.now() + self.settings.leave_limit;
        match &mut self.leaving {
            Some(leaving) => leaving.done.push(done),
            None => self.leaving = Some(Leaving { done: vec![done], deadline, attempt: 0 }),
        }
        let now = self.now();
        self.core.on_leave(now, me);
        if alone {
            self.finish_leaving(true);
        } else {
            self.go_on_leaving();
        }
    }

    /// Asks the oldest for a view without us, every other time the next one; gives up after a while.
    pub(super) fn go_on_leaving(&mut self) {
        let now = self.now();
        let me = self.membership.me().id();
        let Some(leaving) = &mut self.leaving else { return };
        let view = self.core.view();
        if view.members.iter().all(|m| view.leaving.contains(&m.id)) {
            // All go: there is nobody to hand over to.
            self.finish_leaving(true);
            return;
        }
        if now >= leaving.deadline {
            tracing::warn!(
                node = self.settings.name,
                "not all slots were handed over in time; leaving as if crashed"
            );
            self.finish_leaving(false);
            return;
        }
        let attempt = leaving.attempt;
        leaving.attempt += 1;
        if self.core.leads() {
            return;
        }
        let line: Vec<&Member> = self.core.line().filter(|m| m.id != me).take(2).collect();
        if line.is_empty() {
            return;
        }
        let address = self.address(line[attempt % line.len()]);
        let leave = Leave { cluster: self.shared.view.load().cluster, id: me };
        tokio::spawn(async move {
            for addr in address.resolve().await.unwrap_or_default() {
                // Unanswered: the next tick asks again.
                let _ = bus::call::<Latest>(addr, Verb::Leave, &leave, CALL).await;
            }
        });
    }

    pub(super) fn finish_leaving(&mut self, known: bool) {
        let now = self.now();
        self.membership.leave(now);
        self.left = true;
        self.outputs();
        tracing::info!(node = self.settings.name, "left the cluster");
        let done = self.leaving.take().map(|l| l.done).unwrap_or_default();
        // If we led, the others must have the view before the process ends.
        let mut pushes = std::mem::take(&mut self.pushes);
        tokio::spawn(async move {
            while pushes.join_next().await.is_some() {}
            for done in done {
                let _ = done.send(known);
            }
        });
    }
}
