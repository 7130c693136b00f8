//! Leases: a member serves only while a majority of voters lets it.
//!
//! A member asks voters again and again; what a majority grants counts for [`LEASE`] from when it was asked for. All voters
//! are asked when only [`MARGIN`] is left, then every [`RENEW`] until enough have granted. While nothing is amiss that does
//! not happen: where one voter and the member itself are enough, the question goes along with a packet that gossip sends
//! to a voter anyway ([`Core::ask_along`](super::Core::ask_along)). A
//! voter remembers when it granted last, and for how long that may count at worst (clocks run at different speeds),
//! so that whoever excludes a member knows how long to wait. A minority, and a process that was frozen, thus stop by
//! themselves. Times are of a clock that goes on while the machine sleeps.
//!
//! Questions and grants are datagrams, which may come late and damaged. Rounds are named so that a damaged name is that of no other round,
//! and no other member's: a late grant of an early round must not count for one that was asked for since, nor a question for a grant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::mutant::{self, Mutant};
use super::quorum;
use crate::view::{NodeId, View};

/// How long a lease counts, from when it was asked for. Below the time in which gossip notices a crash, so that it
/// delays no failover.
pub const LEASE: Duration = Duration::from_millis(800);

/// How often voters are asked if they do not answer.
pub const RENEW: Duration = Duration::from_millis(200);

/// What is left of a lease when all voters are asked: time to ask twice more if messages get lost.
pub const MARGIN: Duration = Duration::from_millis(500);

/// A lease that was renewed so recently needs no question that goes along with something.
const FRESH: Duration = Duration::from_millis(150);

/// How long a voter holds a lease for possible: longer by what a holder's clock that is 5 % slow and a voter's that is
/// 5 % fast make of it (0.8 s x 1.05 / 0.95 = 0.884 s).
pub const GRANTED: Duration = Duration::from_millis(900);

/// The holder's side. See the module's documentation.
#[derive(Debug, Clone, Hash)]
pub struct Holder {
    /// The names of our rounds begin with this.
    seed: u64,
    /// How many rounds there were.
    count: u64,
    /// When each round that may still count was asked, and who has granted it.
    rounds: BTreeMap<u64, (Duration, BTreeSet<NodeId>)>,
    until: Duration,
    ask_at: Duration,
}

impl Holder {
    /// For `me`, which has asked for nothing.
    pub fn new(me: NodeId) -> Self {
        Self {
            seed: mix(me.node ^ mix(me.boot)),
            count: 0,
            rounds: BTreeMap::new(),
            until: Duration::ZERO,
            ask_at: Duration::ZERO,
        }
    }

    /// When to ask next.
    pub fn ask_at(&self) -> Duration {
        self.ask_at
    }

    /// Until when we may serve.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// Whether it may be asked for though that is not due.
    pub fn is_stale(&self, now: Duration) -> bool {
        self.until + FRESH < now + LEASE
    }

    /// Begins a round that all voters are asked; its name.
    pub fn ask_all(&mut self, now: Duration) -> u64 {
        self.ask_at = now + RENEW;
        self.ask(now)
    }

    /// Begins a round; its name.
    pub fn ask(&mut self, now: Duration) -> u64 {
        self.count += 1;
        let round = mix(self.seed.wrapping_add(self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        self.rounds.retain(|_, (asked, _)| *asked + LEASE > now);
        self.rounds.insert(round, (now, BTreeSet::new()));
        round
    }

    /// A voter of `view` grants a round.
    pub fn on_grant(&mut self, now: Duration, view: &View, voter: NodeId, round: u64) {
        let Some((asked, who)) = self.rounds.get_mut(&round) else { return };
        who.insert(voter);
        if quorum::decides(view, who) {
            let from = if mutant::off(Mutant::LeaseFromGrant) { now } else { *asked };
            self.until = self.until.max(from + LEASE);
            self.ask_at = self.ask_at.max(self.until.saturating_sub(MARGIN));
        }
    }

    /// Another view is in force: grants of the old one's voters count no more for new rounds. What a majority has
    /// granted stays, as those who made the view knew of it.
    pub fn on_view(&mut self, now: Duration) {
        self.rounds.clear();
        self.ask_at = now;
    }

    /// We are nobody any more.
    pub fn end(&mut self) {
        self.rounds.clear();
        self.until = Duration::ZERO;
    }
}

/// A number for each number; of two of them about half of the bits differ (SplitMix64, Steele et al. 2014).
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The voter's side. See the module's documentation.
#[derive(Debug, Default, Clone, Hash)]
pub struct Voter {
    granted: BTreeMap<NodeId, Duration>,
    /// When the view in force was learnt: whoever holds a lease of an older view may have got it until then.
    learnt: Option<Duration>,
}

impl Voter {
    /// We grant a lease.
    pub fn grant(&mut self, now: Duration, to: NodeId) {
        self.granted.insert(to, now);
    }

    /// We learnt a view.
    pub fn on_view(&mut self, now: Duration, view: &View) {
        self.granted.retain(|id, _| view.place(*id).is_some());
        self.learnt = Some(now);
    }

    /// The longest time that leases of `suspects` may still run.
    pub fn left(&self, now: Duration, suspects: &[NodeId]) -> Duration {
        let granted = suspects.iter().filter_map(|id| self.granted.get(id)).copied();
        let learnt = self.learnt.filter(|_| !mutant::off(Mutant::NoOlderLeases));
        let latest = if suspects.is_empty() { None } else { granted.chain(learnt).max() };
        let length = if mutant::off(Mutant::NoDrift) { LEASE } else { GRANTED };
        latest.map_or(Duration::ZERO, |at| (at + length).saturating_sub(now))
    }
}
