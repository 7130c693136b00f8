//! Leaving the cluster: hand over all slots, wait for a view without us, tell gossip.

use std::time::Duration;

use shoal_proto::bus::{Latest, Leave, Push, Since, Verb};
use shoal_proto::view::{Member, NodeId, View};
use tokio::sync::oneshot;

use super::super::shared::Command;
use super::{CALL, NotHandedOver, Task, count, send_view};
use crate::address::HostPort;
use crate::bus;

/// How often the log says how much is left.
const TELL: Duration = Duration::from_secs(15);

/// A wish to leave that is under way.
pub(super) struct Leaving {
    pub done: Vec<oneshot::Sender<Result<(), NotHandedOver>>>,
    /// The least that was left to be done so far: see [`Task::left_to_leave`].
    least: usize,
    /// Not to go on without progress after this.
    deadline: Duration,
    attempt: usize,
    /// When people were told how far it is.
    told: Duration,
}

impl Task {
    pub(super) fn start_leaving(&mut self, done: oneshot::Sender<Result<(), NotHandedOver>>) {
        let view = self.shared.view.load();
        let me = self.membership.me().id();
        let alone = view.members.len() <= 1 || view.place(me).is_none();
        if self.left {
            // A caller that is gone needs no answer.
            let _ = done.send(Ok(()));
            return;
        }
        let now = self.now();
        let (deadline, least) = (now + self.settings.leave_limit, usize::MAX);
        match &mut self.leaving {
            Some(leaving) => leaving.done.push(done),
            None => {
                self.leaving = Some(Leaving { done: vec![done], least, deadline, attempt: 0, told: now });
            }
        }
        self.core.on_leave(now, me);
        if alone {
            self.finish_leaving(Ok(()));
        } else {
            self.go_on_leaving();
        }
    }

    /// An operator wants this node to leave: it does, and the process ends when it has.
    pub(super) fn forgotten(&mut self) {
        if self.leaving.is_some() || self.left {
            return;
        }
        tracing::warn!(node = self.settings.name, "told to leave by CLUSTER FORGET");
        // Nobody waits for this one; whoever ends the process asks again.
        self.start_leaving(oneshot::channel().0);
        (self.settings.on_forgotten)();
    }

    /// Tells a member to leave. If it does not answer, whoever makes views leaves it out.
    pub(super) fn forget(&self, id: NodeId) {
        let view = self.core.view();
        let Some(address) = view.members.iter().find(|m| m.id == id).map(|m| self.address(m)) else { return };
        let (shared, leave) = (self.shared.clone(), Leave { cluster: view.cluster, id });
        tokio::spawn(async move {
            for addr in address.resolve().await.unwrap_or_default() {
                match bus::call::<Latest>(addr, Verb::Leave, &leave, CALL).await {
                    Ok(_) => return,
                    Err(error) => tracing::warn!(%addr, %error, "a node that is to leave does not answer"),
                }
            }
            let _ = shared.commands.send(Command::LeaveOut(id)).await;
        });
    }

    /// Slots that others need us for: those that we have, and those of which the view lists a copy here.
    fn left_to_leave(&self) -> usize {
        let (view, handoff) = (self.core.view(), self.core.handoff());
        let mine = view.place(self.membership.me().id()).map(|place| place as u16);
        let copies = view.all_copies().iter().filter(|c| mine.and_then(|mine| c.has(mine)).is_some()).count();
        (0..view.slots()).filter(|slot| handoff.owns(*slot)).count() + copies
    }

    /// Asks the oldest for a view without us, every other time the next one; gives up when nothing moves for long.
    pub(super) fn go_on_leaving(&mut self) {
        let now = self.now();
        let me = self.membership.me().id();
        let left = self.left_to_leave();
        let Some(leaving) = &mut self.leaving else { return };
        let view = self.core.view();
        if view.members.iter().all(|m| view.leaving.contains(&m.id)) {
            // All go: there is nobody to hand over to.
            self.finish_leaving(Ok(()));
            return;
        }
        if left < leaving.least {
            (leaving.least, leaving.deadline) = (left, now + self.settings.leave_limit);
        }
        if now >= leaving.told + TELL {
            leaving.told = now;
            let lacking = self.core.handoff().lacks_room().values().map(count).sum::<usize>();
            tracing::info!(
                node = self.settings.name,
                left,
                waiting_for_room = lacking,
                "leaving: slots are handed over"
            );
        }
        if now >= leaving.deadline {
            tracing::error!(
                node = self.settings.name,
                left,
                "no slot could be handed over for {} s: leaving as if crashed; what has no copies is lost",
                self.settings.leave_limit.as_secs()
            );
            let slots = (0..view.slots()).filter(|slot| self.core.handoff().owns(*slot)).count() as u16;
            self.finish_leaving(Err(NotHandedOver::Stuck { slots }));
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

    pub(super) fn finish_leaving(&mut self, handed_over: Result<(), NotHandedOver>) {
        let now = self.now();
        self.membership.leave(now);
        self.left = true;
        self.outputs();
        match &handed_over {
            Ok(()) => tracing::info!(node = self.settings.name, "left the cluster"),
            Err(why) => tracing::error!(node = self.settings.name, "left the cluster: {why}"),
        }
        let done = self.leaving.take().map(|l| l.done).unwrap_or_default();
        // The process may end at once: nobody may still take us for the owner of a slot then. A majority of the
        // view before agreed, which need not be all of those who are left.
        let mut pushes = std::mem::take(&mut self.pushes);
        let view = self.core.view();
        if view.place(self.membership.me().id()).is_none() {
            for member in &view.members {
                pushes.spawn(see_installed(self.address(member), view.as_ref().clone()));
            }
        }
        tokio::spawn(async move {
            while pushes.join_next().await.is_some() {}
            for done in done {
                let _ = done.send(handed_over);
            }
        });
    }
}

/// Returns when a member has a view in force, or does not answer.
async fn see_installed(address: HostPort, view: View) {
    let before = Since { cluster: view.cluster, epoch: view.epoch.saturating_sub(1) };
    send_view(address.clone(), Push { view }).await;
    for addr in address.resolve().await.unwrap_or_default() {
        match bus::call::<Latest>(addr, Verb::Watch, &before, CALL).await {
            Ok(_) => return,
            Err(error) => tracing::debug!(%addr, %error, "it is not known whether a view is in force"),
        }
    }
}
