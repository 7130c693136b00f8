//! The cluster at one member: agreed views, leases, slots that change hands. A state machine without I/O.
//!
//! ```text
//! gossip's opinion, newcomers, wishes to leave --> wanted members --> Proposer: promises, reports --> plan --> Accept --> Commit
//! messages --> Acceptor, Voter (leases), Handoff (slots) --> messages, views to install, actions on slots
//! ```
//! Gossip only hints. Views are agreed: one Paxos decision for each epoch among the voters of the epoch before. Slots move
//! inside a view from owner to target, without anybody else. Whoever serves holds a lease of a majority. `now` is time
//! since the driver's own start, of a clock that also counts sleep. The driver carries out every [`Output`] in order.

mod acceptor;
mod action;
mod gate;
pub mod handoff;
mod intake;
pub mod lease;
pub mod message;
#[cfg(feature = "mutants")]
pub mod mutant;
#[cfg(not(feature = "mutants"))]
#[allow(unreachable_pub, reason = "tests can name it when they can switch it")]
mod mutant;
pub mod plan;
mod proposer;
pub mod quorum;
mod readable;
pub mod rounds;
mod slots;
mod states;
mod want;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::view::{Member, NodeId, View};
use acceptor::Acceptor;
pub use gate::{Emptying, Gate, is_emptied_alone, is_settled};
use handoff::Handoff;
pub use handoff::{Action, IN_FLIGHT, Unhanded};
pub use intake::{Fate, Intake};
pub use message::{Ballot, Copied, Message, Report, Transfer};
use mutant::Mutant;
use proposer::{Proposer, Step};
pub use readable::Readable;
pub use rounds::{Rounds, Told};
pub use slots::Slots;
use want::{Progress, Want};

/// What the driver must do, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// Send a message. It may get lost.
    Send {
        /// To whom; a member of this view or the last one, or somebody who is to become one.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// A view is in force.
    Install(Arc<View>),
    /// Until when, in the driver's time, this member may serve.
    Lease(Duration),
    /// Something is to be done with a slot.
    Slot(Action),
    /// Copies that may be read here from now on.
    Readable(Arc<Readable>),
    /// The cluster went on without this process: nothing is kept, and it must come back as a new one.
    Excluded(Unhanded),
}

/// How often what may have got lost is looked at.
const TICK: Duration = Duration::from_millis(100);

/// The same while there is nothing that may have got lost.
const CALM_TICK: Duration = Duration::from_millis(500);

/// How often members that may have missed the view are told of it again.
const INFORM: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug, Clone, Hash)]
pub struct Core {
    me: NodeId,
    view: Arc<View>,
    want: Want,
    acceptor: Acceptor,
    proposer: Option<Proposer>,
    holder: lease::Holder,
    voter: lease::Voter,
    handoff: Handoff,
    outputs: VecDeque<Output>,
    /// The last look.
    ticked: Duration,
    /// The highest ballot heard of for the next view.
    highest: u64,
    /// Members that are known to have the view in force.
    informed: BTreeSet<NodeId>,
    /// When those who are not are told again.
    inform_at: Duration,
}

impl Core {
    /// For the process `me`, which has seen no view.
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            view: Arc::new(View::empty()),
            want: Want::new(me),
            acceptor: Acceptor::default(),
            proposer: None,
            holder: lease::Holder::new(me),
            voter: lease::Voter::default(),
            handoff: Handoff::default(),
            outputs: VecDeque::new(),
            ticked: Duration::ZERO,
            highest: 0,
            informed: BTreeSet::new(),
            inform_at: Duration::ZERO,
        }
    }

    /// This process is another one now, after it was excluded.
    pub fn rename(&mut self, me: NodeId) {
        let (view, outputs) = (self.view.clone(), std::mem::take(&mut self.outputs));
        let (now, want) = (self.ticked, Want::of_another(me, &self.want));
        *self = Self { outputs, want, ..Self::new(me) };
        self.learn(now, &view);
    }

    /// Takes over a view that was chosen: from a peer, or the first one.
    pub fn learn(&mut self, now: Duration, view: &View) {
        let other = self.view.epoch > 0 && view.cluster != self.view.cluster;
        if view.epoch > self.view.epoch && !other {
            self.install(now, view.clone());
        }
    }

    /// The view in force.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// What this member does with its slots.
    pub fn handoff(&self) -> &Handoff {
        &self.handoff
    }

    /// Whether we are a member.
    pub fn inside(&self) -> bool {
        self.view.place(self.me).is_some()
    }

    /// Until when this member may serve.
    pub fn lease(&self) -> Duration {
        self.holder.until()
    }

    /// Whether somebody is making the next view.
    pub fn wedged(&self) -> bool {
        self.acceptor.wedged()
    }

    /// Members that are up, the one that leads first.
    pub fn line(&self) -> impl Iterator<Item = &Member> {
        self.view.members.iter().filter(|m| self.want.is_up(m.id))
    }

    /// Whether it is our turn to make views.
    pub fn leads(&self) -> bool {
        self.line().next().is_some_and(|m| m.id == self.me)
    }

    /// Processes that are up but cannot be taken in, because they have not said who they are.
    pub fn strangers(&self) -> impl Iterator<Item = NodeId> {
        self.want.strangers(&self.view)
    }

    /// Gossip holds these to be up, without us.
    pub fn on_up(&mut self, now: Duration, up: BTreeSet<NodeId>) {
        self.want.on_up(now, up, &self.view);
        self.go_on(now);
    }

    /// What a process said about itself, and whether it was ever in a view.
    pub fn on_record(&mut self, now: Duration, member: Member, admitted: bool) {
        self.want.on_record(member, admitted, &self.view);
        self.go_on(now);
    }

    /// A member wants to go.
    pub fn on_leave(&mut self, now: Duration, id: NodeId) {
        self.want.on_leave(id, &self.view);
        self.go_on(now);
    }

    /// An operator says that the majority is gone for ever: a view of those who are up, whatever their number.
    /// What the others kept is lost, and should they come back, so is what they did since.
    pub fn force(&mut self, now: Duration) {
        if self.inside() {
            self.highest += 1;
            let ballot = Ballot { round: self.highest, proposer: self.me };
            let wanted = self.want.wanted(&self.view, &self.want.not_up(&self.view));
            self.proposer = Some(Proposer::new(&self.view, ballot, wanted, &BTreeSet::new(), now).forced());
            self.go_on(now);
        }
    }

    /// A message came.
    pub fn on_message(&mut self, now: Duration, from: NodeId, message: Message) {
        if message.epoch_in_force() == Some(self.view.epoch) {
            self.informed.insert(from);
        }
        match message {
            Message::Prepare { epoch, ballot, suspects } => {
                self.on_prepare(now, from, epoch, ballot, &suspects)
            }
            Message::Promise { epoch, ballot, accepted, report, lease_left } => {
                if self.is_mine(epoch, ballot)
                    && let Some(proposer) = &mut self.proposer
                {
                    let accepted = accepted.map(|(ballot, view)| (ballot, *view));
                    let left = Duration::from_millis(lease_left.into());
                    proposer.on_promise(now, from, accepted, report, left);
                }
            }
            Message::Nack { epoch, promised } => {
                if epoch == self.view.epoch + 1 {
                    self.highest = self.highest.max(promised.round);
                    if self.proposer.as_ref().is_some_and(|p| p.ballot() < promised) {
                        self.proposer = None;
                        self.want.on_outbid(now, &self.view);
                    }
                }
            }
            Message::Accept { ballot, view } => self.on_accept(now, from, ballot, *view),
            Message::Accepted { epoch, ballot } => {
                if self.is_mine(epoch, ballot)
                    && let Some(proposer) = &mut self.proposer
                {
                    proposer.on_accepted(from);
                }
            }
            Message::Commit { view } => self.learn(now, &view),
            Message::Behind { epoch } => self.inform(from, epoch),
            Message::LastCall => self.send(from, Message::Present),
            Message::Present => self.want.on_present(now, from),
            Message::LeaseAsk { epoch, round } => self.on_lease_ask(now, from, epoch, round),
            Message::LeaseGrant { epoch, round } => {
                if epoch == self.view.epoch && quorum::votes(&self.view, from) {
                    self.holder.on_grant(now, &self.view, from, round);
                    self.tell_lease();
                }
            }
            Message::Progress { epoch, moved, left, copying, copied, broken } => {
                if epoch == self.view.epoch {
                    self.want.on_progress(from, Progress { moved, left, copying, copied, broken });
                }
            }
        }
        self.go_on(now);
    }

    /// The other end of a stream says something; all data before it was dealt with.
    pub fn on_transfer(&mut self, from: NodeId, message: Transfer) {
        self.handoff.on_transfer(&self.view, self.me, from, message);
        self.actions();
    }

    /// What the driver says about streams and slots; see [`Handoff`].
    pub fn on_slots(&mut self, change: impl FnOnce(&mut Handoff)) {
        change(&mut self.handoff);
        self.actions();
    }

    /// Does what is due.
    pub fn on_timeout(&mut self, now: Duration) {
        if self.tick_at() <= now {
            self.ticked = now;
            self.handoff.retry(now);
            self.tell_progress();
            self.tell_view(now);
        }
        if self.inside() && self.holder.ask_at() <= now {
            self.ask_lease(now);
        }
        self.go_on(now);
    }

    /// Something is about to go to `voter` that is answered at once: what to ask along with it. Nothing if the lease was
    /// just renewed, or one voter besides ourselves is not enough.
    pub fn ask_along(&mut self, now: Duration, voter: NodeId) -> Option<Message> {
        let enough = || quorum::decides(&self.view, &BTreeSet::from([self.me, voter]));
        if voter == self.me || !self.inside() || !self.holder.is_stale(now) || !enough() {
            return None;
        }
        let (epoch, round) = (self.view.epoch, self.holder.ask(now));
        self.on_lease_ask(now, self.me, epoch, round);
        self.go_on(now);
        Some(Message::LeaseAsk { epoch, round })
    }

    /// When [`on_timeout`](Self::on_timeout) has something to do.
    pub fn poll_timeout(&self) -> Duration {
        let mut at = self.tick_at();
        if self.inside() {
            at = at.min(self.holder.ask_at());
        }
        match &self.proposer {
            Some(proposer) => at.min(proposer.poll_timeout(&self.view)),
            None => at,
        }
    }

    fn tick_at(&self) -> Duration {
        let calm = self.inside()
            && self.proposer.is_none()
            && !self.wedged()
            && self.want.is_calm(self.ticked)
            && self.handoff.is_calm()
            && (!self.leads()
                || self.view.members.iter().all(|m| m.id == self.me || self.informed.contains(&m.id)));
        self.ticked + if calm { CALM_TICK } else { TICK }
    }

    /// What is to be done, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        pop(&mut self.outputs)
    }

    /// The next of that, if it is something to be done with a slot: while many move there is much of it at once.
    pub fn poll_action(&mut self) -> Option<Action> {
        match self.outputs.front() {
            Some(Output::Slot(action)) => {
                let action = *action;
                pop(&mut self.outputs);
                Some(action)
            }
            _ => None,
        }
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.outputs.push_back(Output::Send { to, message });
    }

    /// Tells a peer that is behind.
    fn inform(&mut self, to: NodeId, epoch: u64) {
        if epoch < self.view.epoch {
            let view = Box::new(self.view.as_ref().clone());
            self.send(to, Message::Commit { view });
        }
    }

    /// Whether a message about the view `epoch` can be dealt with; if not, whoever is behind is helped.
    fn is_next(&mut self, from: NodeId, epoch: u64) -> bool {
        if epoch > self.view.epoch + 1 {
            self.send(from, Message::Behind { epoch: self.view.epoch });
        } else if epoch <= self.view.epoch {
            self.inform(from, epoch.saturating_sub(1));
        }
        epoch == self.view.epoch + 1 && self.inside()
    }

    fn is_mine(&self, epoch: u64, ballot: Ballot) -> bool {
        epoch == self.view.epoch + 1 && self.proposer.as_ref().is_some_and(|p| p.ballot() == ballot)
    }

    fn on_prepare(&mut self, now: Duration, from: NodeId, epoch: u64, ballot: Ballot, suspects: &[NodeId]) {
        if !self.is_next(from, epoch) {
            return;
        }
        if suspects.contains(&self.me) {
            // Whoever gets this knows better.
            self.send(from, Message::Present);
            return;
        }
        self.highest = self.highest.max(ballot.round);
        let new = self.acceptor.promised() != Some(ballot);
        match self.acceptor.prepare(ballot, suspects) {
            Err(promised) => self.send(from, Message::Nack { epoch, promised }),
            Ok(accepted) => {
                self.handoff.wedge();
                self.actions();
                if new {
                    self.want.on_wedged(now);
                }
                let accepted = accepted.map(|(ballot, view)| (ballot, Box::new(view)));
                let lease_left = self.voter.left(now, suspects).as_millis() as u32 + 1;
                let lease_left = if suspects.is_empty() { 0 } else { lease_left };
                let report = self.handoff.report();
                self.send(from, Message::Promise { epoch, ballot, accepted, report, lease_left });
            }
        }
    }

    fn on_accept(&mut self, now: Duration, from: NodeId, ballot: Ballot, view: View) {
        let epoch = view.epoch;
        if !self.is_next(from, epoch) || view.cluster != self.view.cluster {
            return;
        }
        self.highest = self.highest.max(ballot.round);
        let new = self.acceptor.promised() != Some(ballot);
        match self.acceptor.accept(ballot, view) {
            Err(promised) => self.send(from, Message::Nack { epoch, promised }),
            Ok(()) => {
                self.handoff.wedge();
                self.actions();
                if new {
                    self.want.on_wedged(now);
                }
                self.send(from, Message::Accepted { epoch, ballot });
            }
        }
    }

    fn on_lease_ask(&mut self, now: Duration, from: NodeId, epoch: u64, round: u64) {
        if epoch != self.view.epoch {
            self.inform(from, epoch);
            if epoch > self.view.epoch {
                self.send(from, Message::Behind { epoch: self.view.epoch });
            }
            return;
        }
        let member = self.view.place(from).is_some() && quorum::votes(&self.view, self.me);
        if member && self.acceptor.grants(from) {
            self.voter.grant(now, from);
            self.send(from, Message::LeaseGrant { epoch, round });
        }
    }

    fn ask_lease(&mut self, now: Duration) {
        let round = self.holder.ask_all(now);
        let epoch = self.view.epoch;
        let voters: Vec<NodeId> = quorum::voters(&self.view).collect();
        for voter in voters {
            self.send(voter, Message::LeaseAsk { epoch, round });
        }
    }

    fn tell_lease(&mut self) {
        let for_ever = mutant::off(Mutant::NoLease) && self.inside();
        let until = if for_ever { Duration::from_secs(1_000_000) } else { self.holder.until() };
        self.outputs.push_back(Output::Lease(until));
    }

    /// Says to who leads how far our slots have come.
    fn tell_progress(&mut self) {
        let (copying, copied, broken) = self.handoff.copying();
        let news = self.view.moves() || self.view.has_copies() && (copying || copied > 0 || broken);
        if !news || !self.inside() {
            return;
        }
        let (moved, left) = self.handoff.progress();
        let epoch = self.view.epoch;
        let leader = self.line().next().map_or(self.me, |m| m.id);
        self.send(leader, Message::Progress { epoch, moved, left, copying, copied, broken });
    }

    /// Who leads tells the view again to members that have not shown to have it. One that has just been taken in and
    /// missed it cannot ask: it does not know that it is a member.
    fn tell_view(&mut self, now: Duration) {
        if now < self.inform_at || !self.leads() {
            return;
        }
        self.inform_at = now + INFORM;
        let unsure = self.view.members.iter().map(|m| m.id);
        let unsure: Vec<NodeId> = unsure.filter(|id| *id != self.me && !self.informed.contains(id)).collect();
        for to in unsure {
            self.send(to, Message::Commit { view: Box::new(self.view.as_ref().clone()) });
        }
    }

    fn actions(&mut self) {
        if let Some(readable) = self.handoff.poll_readable() {
            self.outputs.push_back(Output::Readable(readable));
        }
        while let Some(action) = self.handoff.poll() {
            self.outputs.push_back(Output::Slot(action));
        }
    }

    /// Messages to ourselves are dealt with at once, then whatever follows from the new state.
    fn go_on(&mut self, now: Duration) {
        self.propose(now);
        self.step(now);
        self.actions();
        self.hear_ourselves(now);
    }

    fn hear_ourselves(&mut self, now: Duration) {
        let me = self.me;
        let is_own = |o: &Output| matches!(o, Output::Send { to, .. } if *to == me);
        if let Some(at) = self.outputs.iter().position(is_own)
            && let Some(Output::Send { message, .. }) = self.outputs.remove(at)
        {
            self.on_message(now, me, message);
        }
    }

    /// Begins an attempt to make the next view if one is wanted, or gives up one that has become pointless.
    fn propose(&mut self, now: Duration) {
        if !self.inside() {
            self.proposer = None;
            return;
        }
        if let Some(proposer) = &self.proposer
            && !self.want.is_outdated(now, &self.view, proposer)
        {
            return;
        }
        self.proposer = None;
        for id in self.want.last_calls(now, &self.view) {
            self.send(id, Message::LastCall);
        }
        let busy = self.acceptor.promised().is_some_and(|ballot| ballot.proposer != self.me);
        let Some(wanted) = self.want.poll(now, &self.view, self.acceptor.wedged(), busy) else { return };
        self.highest += 1;
        let ballot = Ballot { round: self.highest, proposer: self.me };
        let dead = self.want.proven_dead(&self.view);
        self.proposer = Some(Proposer::new(&self.view, ballot, wanted, &dead, now));
    }

    fn step(&mut self, now: Duration) {
        let Some(proposer) = &mut self.proposer else { return };
        let step = proposer.step(&self.view, now);
        if let Step::Chosen(view) = step {
            let everyone: BTreeSet<NodeId> = self
                .view
                .members
                .iter()
                .chain(&view.members)
                .map(|m| m.id)
                .filter(|id| *id != self.me)
                .collect();
            for to in everyone {
                self.send(to, Message::Commit { view: Box::new(view.clone()) });
            }
            self.install(now, view);
            return;
        }
        for (to, message) in proposer.poll(&self.view, now) {
            self.send(to, message);
        }
    }

    fn install(&mut self, now: Duration, view: View) {
        let was_inside = self.inside();
        self.view = Arc::new(view);
        self.acceptor = Acceptor::default();
        self.proposer = None;
        self.highest = 0;
        self.informed.clear();
        self.inform_at = now + INFORM;
        self.voter.on_view(now, &self.view);
        self.want.on_view(now, &self.view);
        self.outputs.push_back(Output::Install(self.view.clone()));
        if self.inside() {
            self.holder.on_view(now);
            let (view, me) = (self.view.clone(), self.me);
            self.handoff.on_view(&view, me);
        } else {
            if mutant::off(Mutant::StayExcluded) {
                return;
            }
            self.holder.end();
            if was_inside {
                let unhanded = self.handoff.unhanded(&self.view);
                self.handoff.end();
                self.outputs.push_back(Output::Excluded(unhanded));
            } else {
                self.handoff.wait();
            }
        }
        self.tell_lease();
        self.actions();
    }
}

/// The first of a queue. What a view of thousands of slots made it hold is given back when the last one is out.
fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front();
    if queue.is_empty() && queue.capacity() > 256 {
        *queue = VecDeque::new();
    }
    first
}
