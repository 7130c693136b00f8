//! Membership: who is up, by SWIM. Hints only: what nodes serve is decided by views, never by this.
//!
//! [`Membership`] wraps foca, which is a state machine without clock or socket, and adds what a driver would
//! otherwise have to know: a timer queue, the identity's rules, and work-arounds for foca 2.0.0. Called by the
//! cluster task of every node. `now` is the time since the driver's own start, from a clock that never goes back.

pub mod datagram;
mod identity;
pub mod rival;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{AccumulatingRuntime, Config, Foca, NoCustomBroadcast, OwnedNotification, PeriodicParams};
use foca::{PostcardCodec, State, Timer};
use rand::SeedableRng;
use rand::rngs::StdRng;

pub use datagram::Along;
pub use identity::{Identity, Role, node_of};
use trust::Trust;

use crate::view::NodeId;

/// Largest datagram sent or accepted, all that goes along included: below every usual path MTU.
pub const MAX_DATAGRAM: usize = 1400;

/// The largest boot that a process may have, a time in ms that never comes. One more can always be had of a name.
pub const MAX_BOOT: u64 = 1 << 62;

/// How often news are told, while there are some.
const GOSSIP: Duration = Duration::from_millis(100);

/// How often missing members are called while membership is incomplete.
const REANNOUNCE: Duration = Duration::from_secs(1);

/// How many missing members are called each time.
const REANNOUNCE_TO: usize = 3;

/// How soon a failure is noticed, and at what price in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Of three members, one learns of a crash after 0.9 s (median) to 1.4 s (p99), for 9 packets/s and 0.7 kB/s each.
    #[default]
    Fast,
    /// 1.1 s to 2.2 s, for networks or machines that pause longer.
    Calm,
}

impl Profile {
    fn config(self) -> Config {
        let (probe, rtt, suspect) = match self {
            Profile::Fast => (220, 70, 540),
            Profile::Calm => (250, 80, 700),
        };
        let every = |frequency, members| {
            let num_members = NonZeroUsize::new(members).expect("the counts below are not zero");
            Some(PeriodicParams { frequency, num_members })
        };
        Config {
            probe_period: Duration::from_millis(probe),
            probe_rtt: Duration::from_millis(rtt),
            suspect_to_down_after: Duration::from_millis(suspect),
            // What foca computes for small clusters (2 for three members) loses updates at 1 % packet loss.
            max_transmissions: NonZeroU8::new(8).expect("not zero"),
            max_packet_size: NonZeroUsize::new(MAX_DATAGRAM - datagram::HEAD - datagram::MOST_ALONG)
                .expect("not zero"),
            num_indirect_probes: NonZeroUsize::new(3).expect("not zero"),
            notify_down_members: true,
            // One entry per node name, so never forgetting costs nothing and keeps the dead from coming back.
            remove_down_after: None,
            periodic_announce: every(Duration::from_secs(30), 1),
            periodic_announce_to_down_members: every(Duration::from_secs(2), 2),
            periodic_gossip: every(GOSSIP, 3),
        }
    }
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Answers.
    Alive,
    /// Did not answer a probe; counts as alive until it had time to object.
    Suspect,
    /// Crashed, unreachable or left.
    Down,
}

/// What the driver must do or may want to know.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// Where to.
        to: SocketAddr,
        /// To whom.
        peer: NodeId,
        /// What its packet is.
        kind: Kind,
        /// All of it, unless something shall go along: [`datagram::with`].
        datagram: Vec<u8>,
    },
    /// A member is up that was not; also when it was restarted without having been noticed down.
    Up(Identity),
    /// A member is down that was up.
    Down(Identity),
    /// A packet says this of a member that is known otherwise. If the process at that address says so itself, [`Membership::vouch`] is to be
    /// called with what it says.
    Doubted(Identity),
    /// We had been declared down and came back. Same process, same boot.
    Rejoined {
        /// Who we are now.
        me: Identity,
        /// Who told us: it held us for down itself, or had heard so.
        by: Option<NodeId>,
    },
}

/// What a packet is, as far as that matters to what goes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is answered with [`Ack`](Self::Ack) at once.
    Ping,
    /// The answer.
    Ack,
    /// Anything else; nothing goes along.
    Other,
}

impl Kind {
    fn of<T>(message: &foca::Message<T>) -> Self {
        match message {
            foca::Message::Ping(_) => Self::Ping,
            foca::Message::Ack(_) => Self::Ack,
            _ => Self::Other,
        }
    }
}

/// Why a datagram was dropped. None of these changes any state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// From a process of another cluster.
    #[error("a datagram of another cluster")]
    OtherCluster,
    /// Not from a Shoal process, or damaged.
    #[error("a malformed datagram")]
    Malformed,
    /// From a process of another version, one that is not next to ours.
    #[error("a datagram of version {0}")]
    Version(u32),
}

/// SWIM membership of one process. See the module's documentation.
pub struct Membership {
    foca: Foca<Identity, PostcardCodec, StdRng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Identity>,
    cluster: u64,
    timers: BTreeMap<(Duration, u64), Timer<Identity>>,
    timers_made: u64,
    /// The regular gossip while there is nothing to tell.
    parked: Option<Timer<Identity>>,
    outputs: VecDeque<Output>,
    expected: Vec<Identity>,
    reannounce_at: Duration,
    left: bool,
    left_out: u64,
    /// Whose packet is being taken in.
    hearing: Option<NodeId>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("me", self.me()).field("timers", &self.timers.len()).finish()
    }
}

impl Membership {
    /// A member that knows nobody yet. `seed` feeds the choice of whom to probe.
    pub fn new(cluster: u64, me: Identity, profile: Profile, seed: u64) -> Self {
        Self {
            foca: Foca::new(me, profile.config(), StdRng::seed_from_u64(seed), PostcardCodec),
            runtime: AccumulatingRuntime::new(),
            cluster,
            timers: BTreeMap::new(),
            timers_made: 0,
            parked: None,
            outputs: VecDeque::new(),
            expected: Vec::new(),
            reannounce_at: Duration::ZERO,
            left: false,
            left_out: 0,
            hearing: None,
        }
    }

    /// Who we are at present: `renew` may have grown since [`new`](Self::new).
    pub fn me(&self) -> &Identity {
        self.foca.identity()
    }

    /// Takes in a datagram. The driver empties the socket before it calls [`on_timeout`](Self::on_timeout):
    /// after a pause of the process, answers that wait there must count before time-outs do. Returns what went along,
    /// and who says it.
    ///
    /// # Errors
    /// When it was not for us; nothing has changed then.
    pub fn on_datagram(
        &mut self,
        now: Duration,
        datagram: &[u8],
    ) -> Result<Option<(NodeId, Along)>, Dropped> {
        let (along, packet) = datagram::open(self.cluster, datagram)?;
        if self.left {
            return Ok(None);
        }
        let Some(header) = header(packet) else { return Err(Dropped::Malformed) };
        let screened = trust::screen(packet, &header, |identity| self.trust(identity))?;
        self.left_out += screened.left_out;
        self.outputs.extend(screened.ask.into_iter().map(Output::Doubted));
        let foca::Header { src, dst, message, .. } = header;
        if self.trust(&src) == Trust::Ask {
            self.left_out += 1;
            self.outputs.push_back(Output::Doubted(src));
            return Ok(None);
        }
        // Meant for this process and no former one; of gossip foca sees to that.
        let heard = along.filter(|_| dst.id() == self.me().id()).map(|along| (src.id(), along));
        let packet = screened.packet.as_deref().unwrap_or(packet);
        let result = self.foca.handle_data(packet, &mut self.runtime);
        self.hearing = Some(src.id());
        self.drain(now);
        self.hearing = None;
        if Kind::of(&message) == Kind::Ack {
            self.answered(now, &src);
        }
        match result {
            // From a former self, or an answer that went astray: harmless.
            Ok(()) | Err(foca::Error::DataFromOurselves | foca::Error::IndirectForOurselves) => Ok(heard),
            Err(_) => Err(Dropped::Malformed),
        }
    }

    /// When [`on_timeout`](Self::on_timeout) has something to do.
    pub fn poll_timeout(&self) -> Duration {
        let timer = self.timers.keys().next().map(|(at, _)| *at);
        timer.map_or(self.reannounce_at, |at| at.min(self.reannounce_at))
    }

    /// Runs everything that is due.
    pub fn on_timeout(&mut self, now: Duration) {
        // Timers that a timer sets are due later than `now`, so this ends.
        while let Some(entry) = self.timers.first_entry().filter(|e| e.key().0 <= now) {
            let timer = entry.remove();
            if matches!(timer, Timer::PeriodicGossip(_)) && self.foca.updates_backlog() == 0 {
                // It would do nothing but to come again.
                self.parked = Some(timer);
            } else if !self.is_stale(&timer) {
                // The one error there is, an incomplete probe cycle after a pause, mends itself.
                let _ = self.foca.handle_timer(timer, &mut self.runtime);
                self.drain(now);
            }
        }
        if self.reannounce_at <= now {
            self.reannounce_at = now + REANNOUNCE;
            self.call_missing(now);
        }
    }

    /// A member answered its ping, so asking others to ping it has nothing to do when it is due: it is done with now.
    fn answered(&mut self, now: Duration, member: &Identity) {
        let of_member = |(at, timer): (&(Duration, u64), &Timer<Identity>)| match timer {
            Timer::SendIndirectProbe { probed_id, .. } if probed_id == member => Some(*at),
            _ => None,
        };
        if let Some(timer) = self.timers.iter().find_map(of_member).and_then(|at| self.timers.remove(&at)) {
            let _ = self.foca.handle_timer(timer, &mut self.runtime);
            self.drain(now);
        }
    }

    /// foca 2.0.0 tells a member that it is down when the timer of a suspicion fires, even if the member has
    /// refuted the suspicion by then; the member then renews its identity for nothing. So such a timer is only
    /// handed over while the suspicion stands.
    fn is_stale(&self, timer: &Timer<Identity>) -> bool {
        let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = timer else { return false };
        !self
            .foca
            .iter_members()
            .any(|m| m.id() == member_id && m.state() == State::Suspect && m.incarnation() == *incarnation)
    }

    /// foca stops all periodic work while it knows of nobody who is up, and never calls members it has not
    /// heard of. So members that should be there are called until they are.
    fn call_missing(&mut self, now: Duration) {
        if self.left {
            return;
        }
        let mut missing: Vec<Identity> =
            self.expected.iter().filter(|i| !self.is_up(i.node)).cloned().collect();
        if self.foca.num_members() == 0 {
            let down = self.foca.iter_membership_state().filter(|m| m.state() == State::Down);
            missing.extend(down.map(|m| m.id().clone()));
        }
        if missing.is_empty() {
            return;
        }
        // Each time others, in turn.
        let turn = (now.as_secs() as usize).wrapping_mul(REANNOUNCE_TO) % missing.len();
        missing.rotate_left(turn);
        for identity in missing.into_iter().take(REANNOUNCE_TO) {
            self.announce(now, identity);
        }
    }

    fn is_up(&self, node: u64) -> bool {
        node == self.me().node || self.foca.iter_members().any(|m| m.id().node == node)
    }

    /// Says hello to a process; only its `node` and address need to be right.
    pub fn announce(&mut self, now: Duration, to: Identity) {
        let _ = self.foca.announce(to, &mut self.runtime);
        self.drain(now);
    }

    /// Who should be up: members of the view. They are called until they answer.
    pub fn expect(&mut self, identities: Vec<Identity>) {
        self.expected = identities;
    }

    /// Learns from a peer, over TCP, who it holds alive. Whom we know to be down stays down, and of whom we know, little is believed: see
    /// [`Output::Doubted`].
    pub fn learn(&mut self, now: Duration, alive: Vec<Identity>) {
        let me = self.me().node;
        for identity in alive.into_iter().filter(|i| i.node != me && trust::is_sound(i)) {
            match self.trust(&identity) {
                Trust::Take => self.apply(now, identity, false),
                Trust::Ask => self.outputs.push_back(Output::Doubted(identity)),
                Trust::Drop => {}
            }
        }
    }

    /// A process has said itself, over TCP, that it is this one.
    pub fn vouch(&mut self, now: Duration, identity: Identity) {
        if identity.node != self.me().node && trust::is_sound(&identity) {
            // Others may not have heard of it, since we did not pass it on.
            self.apply(now, identity, true);
        }
    }

    fn apply(&mut self, now: Duration, identity: Identity, tell: bool) {
        if !self.left {
            let alive = [foca::Member::alive(identity)];
            let _ = self.foca.apply_many(alive.into_iter(), tell, &mut self.runtime);
            self.drain(now);
        }
    }

    /// Whether an identity is as we know it, or may be believed.
    pub fn trusts(&self, identity: &Identity) -> bool {
        trust::is_sound(identity) && self.trust(identity) == Trust::Take
    }

    /// How much was left out of packets, because it was not believed, since this was asked last.
    pub fn left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn trust(&self, identity: &Identity) -> Trust {
        let all = || self.foca.iter_membership_state();
        let known = all().map(foca::Member::id).find(|i| i.node == identity.node);
        let crowded = || all().filter(|m| m.state() == State::Down).count() >= trust::MOST_DOWN;
        match trust::judge(self.me(), known, identity) {
            Trust::Take if known.is_none() && identity.node != self.me().node && crowded() => Trust::Ask,
            trust => trust,
        }
    }

    /// Becomes a new process in the eyes of the others: a newer boot, after the old one was excluded.
    pub fn reboot(&mut self, now: Duration, boot: u64) {
        let me = Identity { boot, renew: 0, ..self.me().clone() };
        let _ = self.foca.change_identity(me, &mut self.runtime);
        self.drain(now);
    }

    /// Tells some members that we are down; from then on nothing is sent or taken in.
    pub fn leave(&mut self, now: Duration) {
        if !self.left {
            let _ = self.foca.leave_cluster(&mut self.runtime);
            self.drain(now);
            self.left = true;
            self.timers.clear();
            self.parked = None;
        }
    }

    /// Everyone known, without us.
    pub fn members(&self) -> impl Iterator<Item = (&Identity, Health)> {
        self.foca.iter_membership_state().filter(|m| m.id().node != self.me().node).map(|m| {
            let health = match m.state() {
                State::Alive => Health::Alive,
                State::Suspect => Health::Suspect,
                State::Down => Health::Down,
            };
            (m.id(), health)
        })
    }

    /// Everyone who is up, without us.
    pub fn up(&self) -> impl Iterator<Item = &Identity> {
        self.foca.iter_members().map(foca::Member::id)
    }

    /// What is to be done, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn schedule(&mut self, at: Duration, timer: Timer<Identity>) {
        self.timers_made += 1;
        self.timers.insert((at, self.timers_made), timer);
    }

    fn drain(&mut self, now: Duration) {
        while let Some((to, packet)) = self.runtime.to_send() {
            let kind = header(&packet).map_or(Kind::Other, |header| Kind::of(&header.message));
            let datagram = datagram::wrap(self.cluster, &packet);
            self.outputs.push_back(Output::Send { to: to.gossip_addr(), peer: to.id(), kind, datagram });
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.schedule(now + after, timer);
        }
        if self.foca.updates_backlog() > 0
            && let Some(timer) = self.parked.take()
        {
            self.schedule(now + GOSSIP / 2, timer);
        }
        while let Some(notification) = self.runtime.to_notify() {
            match notification {
                OwnedNotification::MemberUp(id) => self.outputs.push_back(Output::Up(id)),
                OwnedNotification::MemberDown(id) => self.outputs.push_back(Output::Down(id)),
                // A restart quicker than its detection: up again is all there is to say.
                OwnedNotification::Rename(old, new) if old.boot != new.boot => {
                    self.outputs.push_back(Output::Up(new));
                }
                OwnedNotification::Rejoin(me) => {
                    self.outputs.push_back(Output::Rejoined { me, by: self.hearing });
                }
                OwnedNotification::Rename(..)
                | OwnedNotification::Active
                | OwnedNotification::Idle
                | OwnedNotification::Defunct => {}
            }
        }
    }
}

/// What a packet begins with.
fn header(packet: &[u8]) -> Option<foca::Header<Identity>> {
    postcard::take_from_bytes(packet).ok().map(|(header, _)| header)
}
