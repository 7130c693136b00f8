//! The proposer's half of agreeing on the next view. Anybody may propose at any time; safety never depends on who does.
//!
//! It asks all members to promise and report. When a majority of voters has promised, everyone who stays has reported, and
//! no lease of a suspect can still run, it puts the view together and asks the voters to accept. A majority makes it the view.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::message::{Ballot, Message, Report};
use super::mutant::{self, Mutant};
use super::plan::{self, Wanted};
use super::quorum;
use crate::view::{NodeId, View};

/// How often unanswered messages are sent again.
pub(super) const RESEND: Duration = Duration::from_millis(100);

/// How many epochs a view leaps that was made without a majority.
const FORCED: u64 = 1 << 32;

/// One attempt to make the view after `view`.
#[derive(Debug, Clone, Hash)]
pub(super) struct Proposer {
    ballot: Ballot,
    wanted: Wanted,
    suspects: Vec<NodeId>,
    promised: BTreeSet<NodeId>,
    reports: BTreeMap<NodeId, Report>,
    accepted: Option<(Ballot, View)>,
    /// Until when leases of suspects may run.
    wait: Duration,
    /// What is to be accepted, and by whom it was.
    proposal: Option<(View, BTreeSet<NodeId>)>,
    /// Operator's word that the others will never come back: who is there decides.
    forced: bool,
    resend_at: Duration,
    begun: Duration,
}

/// What an attempt wants done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// The view is chosen.
    Chosen(View),
}

impl Proposer {
    /// Begins an attempt. `proven_dead` among those who are left out need not be waited for: they are gone.
    pub(super) fn new(
        view: &View,
        ballot: Ballot,
        wanted: Wanted,
        proven_dead: &BTreeSet<NodeId>,
        now: Duration,
    ) -> Self {
        let out = view.members.iter().map(|m| m.id).filter(|id| !wanted.keep.contains(id));
        Self {
            ballot,
            suspects: out.filter(|id| !proven_dead.contains(id)).collect(),
            wanted,
            promised: BTreeSet::new(),
            reports: BTreeMap::new(),
            accepted: None,
            wait: now,
            proposal: None,
            forced: false,
            resend_at: now,
            begun: now,
        }
    }

    /// Without a majority, on an operator's word.
    pub(super) fn forced(mut self) -> Self {
        self.forced = true;
        self
    }

    /// When this attempt began.
    pub(super) fn begun(&self) -> Duration {
        self.begun
    }

    /// Of this attempt.
    pub(super) fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Who shall be in the view.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Who is to stay but has not reported.
    pub(super) fn silent(&self) -> impl Iterator<Item = NodeId> {
        self.wanted.keep.iter().filter(|id| !self.reports.contains_key(id)).copied()
    }

    /// Whether it waits for reports.
    pub(super) fn collects(&self) -> bool {
        self.proposal.is_none()
    }

    /// A member promised.
    pub(super) fn on_promise(
        &mut self,
        now: Duration,
        from: NodeId,
        accepted: Option<(Ballot, View)>,
        report: Report,
        lease_left: Duration,
    ) {
        self.promised.insert(from);
        self.reports.insert(from, report);
        self.wait = self.wait.max(now + lease_left);
        if let Some((ballot, view)) = accepted
            && self.accepted.as_ref().is_none_or(|(b, _)| *b < ballot)
            // Who is given up may be in it, and decide it.
            && !self.forced
            && !mutant::off(Mutant::ForgetAccepted)
        {
            self.accepted = Some((ballot, view));
        }
    }

    /// A voter accepted.
    pub(super) fn on_accepted(&mut self, from: NodeId) {
        if let Some((_, who)) = &mut self.proposal {
            who.insert(from);
        }
    }

    /// Goes on as far as possible.
    pub(super) fn step(&mut self, view: &View, now: Duration) -> Step {
        if self.proposal.is_none() && self.may_propose(view, now) {
            let next = match &self.accepted {
                Some((_, accepted)) => accepted.clone(),
                None => plan::next(view, &self.reports, &self.wanted),
            };
            self.proposal = Some((next, BTreeSet::new()));
            self.resend_at = now;
        }
        match &self.proposal {
            Some((next, who)) if self.decides(view, who) => {
                // Those who are given up may have agreed on views of their own: ours is newer than any of them.
                Step::Chosen(next.clone().later(if self.forced { FORCED } else { 0 }))
            }
            _ => Step::Wait,
        }
    }

    fn may_propose(&self, view: &View, now: Duration) -> bool {
        self.decides(view, &self.promised)
            // What was accepted before was ready then.
            && (self.accepted.is_some() || (self.all_reported() && self.all_leases_over(now)))
    }

    fn all_reported(&self) -> bool {
        self.silent().next().is_none() || mutant::off(Mutant::NoReports)
    }

    fn all_leases_over(&self, now: Duration) -> bool {
        now >= self.wait || mutant::off(Mutant::NoLeaseWait)
    }

    fn decides(&self, view: &View, who: &BTreeSet<NodeId>) -> bool {
        quorum::decides(view, who) || (self.forced && self.wanted.keep.is_subset(who))
    }

    /// What is to be sent now, and to whom.
    pub(super) fn poll(&mut self, view: &View, now: Duration) -> Vec<(NodeId, Message)> {
        if now < self.resend_at {
            return Vec::new();
        }
        self.resend_at = now + RESEND;
        match &self.proposal {
            None => {
                let message = Message::Prepare {
                    epoch: view.epoch + 1,
                    ballot: self.ballot,
                    suspects: self.suspects.clone(),
                };
                // Those who shall not be in it may still be asked to vote: they are voters of this view.
                let all = view.members.iter().map(|m| m.id).filter(|id| !self.promised.contains(id));
                all.map(|id| (id, message.clone())).collect()
            }
            Some((next, who)) => {
                let message = Message::Accept { ballot: self.ballot, view: Box::new(next.clone()) };
                let forced = self.forced.then(|| self.wanted.keep.iter().copied()).into_iter().flatten();
                let all: BTreeSet<NodeId> =
                    quorum::voters(view).chain(forced).filter(|id| !who.contains(id)).collect();
                all.into_iter().map(|id| (id, message.clone())).collect()
            }
        }
    }

    /// When [`poll`](Self::poll) or [`step`](Self::step) have something to do.
    pub(super) fn poll_timeout(&self, view: &View) -> Duration {
        let only_waits = self.proposal.is_none()
            && self.accepted.is_none()
            && self.silent().next().is_none()
            && self.decides(view, &self.promised);
        if only_waits { self.resend_at.min(self.wait) } else { self.resend_at }
    }
}
