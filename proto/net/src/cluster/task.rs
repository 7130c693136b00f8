//! The task that drives membership and views of one node: the only place where their state changes.
//!
//! One loop: take in what arrived (datagrams before time-outs), ask the state machines what follows, do it. Calls
//! to peers run as tasks of their own and come back as commands, so the loop never waits for anybody.

mod exchange;
mod gossip;
mod handoff;
mod lease;
mod leave;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shoal_proto::bus::{Latest, Members, Push, Tell, Verb};
use shoal_proto::cluster::{self, Core, Unhanded};
use shoal_proto::member::{Identity, Membership};
use shoal_proto::view::{Member, NOBODY, NodeId, View};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::join::{self, Start};
use super::shared::{Command, Shared};
use super::tell::{self, Peers};
use super::{NotHandedOver, Settings, SlotEvent};
use crate::address::HostPort;
use crate::bus;
use crate::control::uptime;
use crate::shutdown::Shutdown;
pub(super) use handoff::{brief, count};
use leave::Leaving;

/// How often loose ends are looked at: strangers, leaving, missing members.
const TICK: Duration = Duration::from_millis(250);

/// Every so many ticks, members and views are exchanged with one peer: 1 s, or 30 s while all is as it should be.
const EXCHANGE_TICKS: u64 = 4;
const EXCHANGE_TICKS_CALM: u64 = 120;

/// Every so many ticks, the seeds are asked whether they belong to our cluster: 30 s, or 2 s while alone.
const SEED_TICKS: u64 = 120;
const SEED_TICKS_ALONE: u64 = 8;

/// How long a peer may take to take a view or a wish to leave.
const CALL: Duration = Duration::from_secs(1);

/// State of the loop. See the module's documentation.
pub(super) struct Task {
    settings: Settings,
    shared: Arc<Shared>,
    udp: UdpSocket,
    /// Start of our time, in time since the machine's start.
    started: Duration,
    membership: Membership,
    core: Core,
    peers: Peers,
    /// A lease that somebody asked for along with gossip.
    answer: lease::Answer,
    /// The tick at which the view came.
    viewed_at: u64,
    /// Newest identity known of each node, for addresses.
    book: BTreeMap<u64, Identity>,
    /// Strangers that are being asked.
    asking: BTreeSet<NodeId>,
    /// Processes that gossip told something doubtful of, and the ticks at which they were asked.
    doubted: BTreeMap<NodeId, u64>,
    pushes: JoinSet<()>,
    ticks: u64,
    leaving: Option<Leaving>,
    left: bool,
    excluded: Exclusion,
    /// Why this process cannot be a member any more.
    failed: Option<String>,
    /// Other clusters that were met.
    warned: BTreeSet<u64>,
    rejoins: gossip::Rejoins,
    /// Whether foreign and malformed datagrams were seen.
    warned_dropped: [bool; 2],
}

/// Whether the cluster went on without us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exclusion {
    No,
    /// A new boot is to be asked for.
    Noticed,
    /// It is being asked for.
    Rejoining,
}

impl Task {
    /// Runs until the shutdown.
    ///
    /// # Errors
    /// The sockets are of no use, or another process has our name.
    pub(super) async fn run(
        settings: Settings,
        shared: Arc<Shared>,
        mut inbox: mpsc::Receiver<Command>,
        tcp: std::net::TcpListener,
        udp: std::net::UdpSocket,
        shutdown: Shutdown,
    ) -> io::Result<()> {
        let udp = UdpSocket::from_std(udp)?;
        tokio::spawn(bus::serve(TcpListener::from_std(tcp)?, shared.clone(), shutdown.clone()));
        let start = tokio::select! {
            start = join::join(&settings, &shared) => start.map_err(io::Error::other)?,
            () = left_before_joining(&mut inbox) => return Ok(()),
            () = shutdown.wait() => return Ok(()),
        };
        let mut task = Self::new(settings, shared, udp, start);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            task.settle();
            let wait = task.wake().saturating_sub(task.now());
            tokio::select! {
                _ = task.udp.readable() => {}
                () = tokio::time::sleep(wait) => {}
                Some(command) = inbox.recv() => task.command(command),
                _ = tick.tick() => task.tick(),
                () = shutdown.wait() => return Ok(()),
            }
            if let Some(why) = task.failed.take() {
                return Err(io::Error::other(why));
            }
            // Answers that wait in the socket count before time-outs do, also after a pause of the process.
            task.receive();
            let now = task.now();
            if task.membership.poll_timeout() <= now {
                task.membership.on_timeout(now);
            }
            if task.core.poll_timeout() <= now {
                task.core.on_timeout(now);
            }
        }
    }

    fn new(settings: Settings, shared: Arc<Shared>, udp: UdpSocket, start: Start) -> Self {
        let Start { identity, view, up, founded } = start;
        let what = if founded { "founded a cluster" } else { "joined a cluster" };
        let cluster = format_args!("{:016x}", view.cluster);
        tracing::info!(node = settings.name, %cluster, epoch = view.epoch, "{what}");
        let me = identity.id();
        let membership = Membership::new(view.cluster, identity, settings.profile, rand::random());
        let mut task = Self {
            settings,
            shared,
            udp,
            started: uptime(),
            membership,
            core: Core::new(me),
            peers: Peers::default(),
            answer: lease::Answer::None,
            viewed_at: 0,
            book: BTreeMap::new(),
            asking: BTreeSet::new(),
            doubted: BTreeMap::new(),
            pushes: JoinSet::new(),
            ticks: 0,
            leaving: None,
            left: false,
            excluded: Exclusion::No,
            failed: None,
            warned: BTreeSet::new(),
            rejoins: gossip::Rejoins::default(),
            warned_dropped: [false; 2],
        };
        task.publish_members();
        task.offer(view);
        task.meet(up);
        task
    }

    fn now(&self) -> Duration {
        uptime().saturating_sub(self.started)
    }

    fn wake(&self) -> Duration {
        self.membership.poll_timeout().min(self.core.poll_timeout())
    }

    /// Learns of members from a peer and says hello to them: they do not know us yet.
    fn meet(&mut self, up: Vec<Identity>) {
        let now = self.now();
        self.note(&up);
        self.membership.learn(now, up.clone());
        let me = self.membership.me().node;
        for identity in up.into_iter().filter(|i| i.node != me).take(8) {
            self.membership.announce(now, identity);
        }
    }

    fn note(&mut self, identities: &[Identity]) {
        for identity in identities.iter().filter(|i| self.membership.trusts(i)) {
            let newer = self
                .book
                .get(&identity.node)
                .is_none_or(|known| (known.boot, known.renew) < (identity.boot, identity.renew));
            if newer {
                self.book.insert(identity.node, identity.clone());
            }
        }
        self.expect();
        // Two processes of one name were let in at the same time, by two members. The newer one has it; nobody has asked the other yet.
        let me = self.membership.me().id();
        let newer = |i: &Identity| i.node == me.node && i.boot > me.boot;
        if identities.iter().any(newer) && !self.core.inside() && !self.left {
            self.notice_exclusion();
        }
    }

    /// Members of the view should be up; gossip calls them until they are.
    fn expect(&mut self) {
        let view = self.shared.view.load();
        let me = self.membership.me().node;
        // Only nodes of the view and those that are up keep their place in the book.
        let up: BTreeSet<u64> = self.membership.up().map(|i| i.node).collect();
        let inside: BTreeSet<u64> = view.members.iter().map(|m| m.id.node).collect();
        self.book.retain(|node, _| up.contains(node) || inside.contains(node));
        let expected = self.book.values().filter(|i| i.node != me && inside.contains(&i.node));
        self.membership.expect(expected.cloned().collect());
    }

    /// Does what the state machines want done, until they want nothing more.
    fn settle(&mut self) {
        while self.pushes.try_join_next().is_some() {}
        self.outputs();
        self.carry_out_all();
        // What gossip sends may begin a round of the lease, and views may change what gossip is to do.
        self.outputs();
        self.carry_out_all();
        self.shared.slots.peers(self.stream_peers());
    }

    fn carry_out_all(&mut self) {
        while let Some(output) = self.core.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: cluster::Output) {
        match output {
            cluster::Output::Send { to, message } => self.tell(to, message),
            cluster::Output::Install(view) => self.adopt(view),
            cluster::Output::Lease(until) => self.shared.slots.lease(self.started + until),
            cluster::Output::Slot(action) => self.act(action),
            cluster::Output::Readable(readable) => self.shared.slots.readable(&readable),
            cluster::Output::Excluded(unhanded) => self.excluded_now(unhanded),
        }
    }

    /// Does something with a slot, and with it all that is to be done with slots behind it.
    fn act(&mut self, first: cluster::Action) {
        let mut actions = vec![first];
        actions.extend(std::iter::from_fn(|| self.core.poll_action()));
        let said = self.shared.slots.act(actions);
        said.into_iter().for_each(|event| self.on_slots(event));
    }

    /// Members that slots are to be sent to.
    fn stream_peers(&self) -> Vec<Member> {
        let view = self.core.view();
        let wanted = self.core.handoff().peers();
        view.members.iter().filter(|m| wanted.contains(&m.id)).cloned().collect()
    }

    /// Sends a message of the core.
    fn tell(&mut self, to: NodeId, message: cluster::Message) {
        if self.keep_for_answer(to, &message) {
            return;
        }
        let brief = tell::is_brief(&message);
        let tell = Tell { cluster: self.core.view().cluster, from: self.membership.me().id(), to, message };
        if brief {
            if let Some(identity) = self.book.get(&to.node).filter(|i| i.id() == to) {
                let address = self.reachable(identity.gossip_addr());
                let sent = self.udp.try_send_to(&tell::datagram(&tell), address).is_ok();
                self.count_datagram(if sent { "sent" } else { "unsent" });
            }
            return;
        }
        let view = self.core.view().clone();
        let member = view.members.iter().find(|m| m.id == to);
        let identity = self.book.get(&to.node).filter(|i| i.id() == to);
        let address = match (identity, member) {
            (Some(identity), _) => identity.gossip_addr().into(),
            (None, Some(member)) => HostPort::new(member.host.clone(), member.gossip_port),
            // It is in neither this view nor in gossip: it will ask.
            (None, None) => return,
        };
        self.peers.tell(|| address, &tell);
    }

    /// A message of another member's core.
    fn hear(&mut self, tell: Tell) {
        let ours = tell::is_for(&tell, self.core.view().cluster, self.membership.me().id());
        if ours && !self.left {
            let now = self.now();
            self.core.on_message(now, tell.from, tell.message);
        }
    }

    fn on_slots(&mut self, event: SlotEvent) {
        match event {
            SlotEvent::Synced { slot, copy } => self.core.on_slots(|slots| slots.on_synced(slot, copy)),
            SlotEvent::Frozen { slot, id } => self.core.on_slots(|slots| slots.on_frozen(slot, id)),
            SlotEvent::EmptiedAlone(slot) => self.core.on_slots(|slots| slots.on_emptied_alone(slot)),
            SlotEvent::NoRoom { slot, from } => self.core.on_slots(|slots| slots.on_no_room(slot, from)),
            SlotEvent::Connected(peer) => self.core.on_slots(|slots| slots.on_connected(peer)),
            SlotEvent::Disconnected(peer) => self.core.on_slots(|slots| slots.on_disconnected(peer)),
            SlotEvent::SourceLost(peer) => self.core.on_slots(|slots| slots.on_source_lost(peer)),
            SlotEvent::Transfer { from, message } => self.core.on_transfer(from, message),
        }
    }

    /// Takes a view that somebody sent, if it is newer.
    fn offer(&mut self, view: View) {
        let current = self.core.view();
        if current.epoch > 0 && view.cluster != current.cluster {
            self.warn_other(view.cluster);
        } else if view.check().is_ok() {
            let now = self.now();
            self.core.learn(now, &view);
        }
    }

    /// A view is in force.
    fn adopt(&mut self, view: Arc<View>) {
        let me = self.membership.me().id();
        let inside = view.place(me).is_some();
        let members: Vec<&str> = view.members.iter().map(|m| m.name.as_str()).collect();
        tracing::info!(
            node = self.settings.name,
            epoch = view.epoch,
            members = members.join(","),
            moving = view.targets().iter().filter(|t| **t != NOBODY).count(),
            "view installed"
        );
        let node = self.settings.name.clone();
        metrics::gauge!("shoal_view_epoch", "node" => node.clone()).set(view.epoch as f64);
        metrics::gauge!("shoal_view_members", "node" => node).set(view.members.len() as f64);
        self.shared.slots.install(&view, me);
        self.shared.view.store(view.clone());
        self.shared.views.send_replace(view.clone());
        self.peers.keep(|id| view.place(id).is_some());
        self.viewed_at = self.ticks;
        self.expect();
        if inside {
            self.shared.admitted.store(true, Ordering::Relaxed);
        }
        if view.leaving.contains(&me) && self.leaving.is_none() {
            self.forgotten();
        }
    }

    /// The view in force lacks us, who were in the one before.
    fn excluded_now(&mut self, unhanded: Unhanded) {
        if self.leaving.is_some() {
            let Unhanded { slots, lost } = unhanded;
            let handed_over = if slots == 0 { Ok(()) } else { Err(NotHandedOver::Excluded { slots, lost }) };
            self.finish_leaving(handed_over);
        } else if !self.left {
            self.notice_exclusion();
        }
    }

    /// Others own our slots now and may have changed what we hold. A new boot says that we hold nothing.
    fn notice_exclusion(&mut self) {
        if self.excluded == Exclusion::No {
            tracing::warn!(
                node = self.settings.name,
                "the cluster went on without this node: flushing, joining anew"
            );
            (self.settings.on_excluded)();
            self.excluded = Exclusion::Noticed;
        }
        if self.excluded == Exclusion::Noticed {
            self.excluded = Exclusion::Rejoining;
            let members = self.shared.view.load().members.clone();
            let known = self.membership.up().map(Identity::gossip_addr).collect();
            let shared = self.shared.clone();
            tokio::spawn(async move {
                let command = match join::rejoin(members, known, &shared).await {
                    Ok(joined) => Command::Rejoined(joined.map(Box::new)),
                    Err(why) => Command::NameTaken(why),
                };
                let _ = shared.commands.send(command).await;
            });
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::View(view) => self.offer(view),
            Command::Heard(hello) => {
                if hello.cluster == self.shared.view.load().cluster {
                    self.note(&hello.up);
                    let now = self.now();
                    self.membership.learn(now, hello.up);
                }
            }
            Command::Learned(asked, members) => {
                if let Some(asked) = asked {
                    self.asking.remove(&asked);
                }
                if let Some(members) = members {
                    self.learn(*members);
                }
            }
            Command::Vouched(asked, members) => self.vouched(asked, *members),
            Command::Leave(id) | Command::Forget(id) if id == self.membership.me().id() => self.forgotten(),
            Command::Forget(id) => self.forget(id),
            Command::Leave(id) | Command::LeaveOut(id) => {
                let now = self.now();
                self.core.on_leave(now, id);
            }
            Command::LeaveSelf(done) => self.start_leaving(done),
            Command::Tell(tell) => self.hear(*tell),
            Command::Slots(events, done) => {
                events.into_iter().for_each(|event| self.on_slots(event));
                // What follows must have been done before the sender goes on.
                self.settle();
                // Whoever asked may be gone.
                let _ = done.send(());
            }
            Command::Force => {
                let now = self.now();
                tracing::warn!(
                    node = self.settings.name,
                    "making a view without a majority, on an operator's word"
                );
                self.core.force(now);
            }
            Command::NameTaken(why) => self.failed = Some(why),
            Command::Rejoined(None) => self.excluded = Exclusion::Noticed,
            Command::Rejoined(Some(joined)) => {
                let now = self.now();
                self.excluded = Exclusion::No;
                self.shared.admitted.store(false, Ordering::Relaxed);
                self.membership.reboot(now, joined.boot);
                let identity = self.membership.me().clone();
                self.core.rename(identity.id());
                let mut me = self.shared.me.load().as_ref().clone();
                me.id = identity.id();
                self.shared.me.store(me.into());
                self.shared.identity.store(Some(identity.into()));
                self.publish_members();
                self.offer(joined.view);
                self.meet(joined.up);
            }
        }
    }

    fn learn(&mut self, members: Members) {
        let (cluster, epoch) = {
            let view = self.shared.view.load();
            (view.cluster, view.epoch)
        };
        if members.cluster != cluster {
            if members.cluster != 0 {
                self.warn_other(members.cluster);
            }
            return;
        }
        let now = self.now();
        self.note(&members.up);
        self.membership.learn(now, members.up);
        self.outputs();
        let id = members.me.id;
        if members.epoch < epoch
            && let Some(identity) = self.book.get(&id.node)
        {
            let addr = identity.gossip_addr();
            self.push_to(addr.into());
        }
        if id.boot != 0 {
            let now = self.now();
            self.core.on_record(now, members.me, members.admitted);
        }
        if let Some(view) = members.view {
            self.offer(view);
        }
    }

    fn warn_other(&mut self, cluster: u64) {
        if self.warned.insert(cluster) {
            let own = self.shared.view.load().cluster;
            tracing::warn!(
                node = self.settings.name,
                own = %format_args!("{own:016x}"),
                other = %format_args!("{cluster:016x}"),
                "met a node of another cluster; clusters do not merge: check --join, restart one side"
            );
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        self.publish_members();
        self.report_handoff();
        if self.leaving.is_some() {
            self.go_on_leaving();
        }
        if self.left {
            return;
        }
        if self.excluded == Exclusion::Noticed {
            self.notice_exclusion();
        }
        self.ask_strangers();
        let every = if self.is_calm() { EXCHANGE_TICKS_CALM } else { EXCHANGE_TICKS };
        if self.ticks.is_multiple_of(every) {
            self.exchange();
        }
        let alone = self.membership.up().next().is_none();
        let seed_ticks = if alone { SEED_TICKS_ALONE } else { SEED_TICKS };
        if self.ticks.is_multiple_of(seed_ticks) && (alone || self.core.leads()) {
            self.ask_seeds();
        }
    }

    /// Where a member's bus is: as gossip knows it, else by its host.
    fn address(&self, member: &Member) -> HostPort {
        match self.book.get(&member.id.node).filter(|i| i.id() == member.id) {
            Some(identity) => identity.gossip_addr().into(),
            None => HostPort::new(member.host.clone(), member.gossip_port),
        }
    }

    fn push_to(&mut self, address: HostPort) {
        let view = self.shared.view.load().as_ref().clone();
        self.pushes.spawn(send_view(address, Push { view }));
    }
}

/// Sends a view to one member, once; who misses it gets it at the next exchange.
async fn send_view(address: HostPort, message: Push) {
    for addr in address.resolve().await.unwrap_or_default() {
        match bus::call::<Latest>(addr, Verb::Push, &message, CALL).await {
            Ok(_) => return,
            Err(error) => tracing::debug!(%addr, %error, epoch = message.view.epoch, "a view was not taken"),
        }
    }
}

/// Returns when the node is to leave before it joined: there is nothing to leave.
async fn left_before_joining(inbox: &mut mpsc::Receiver<Command>) {
    while let Some(command) = inbox.recv().await {
        if let Command::LeaveSelf(done) = command {
            let _ = done.send(Ok(()));
            return;
        }
    }
}
