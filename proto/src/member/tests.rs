//! Membership on virtual time: several members, a network that loses and delays, no real clock.

use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};

use rand::RngExt;

use super::*;
use crate::cluster::lease::LEASE;
use crate::cluster::{Core, Message};

fn identity(n: u64) -> Identity {
    Identity {
        node: node_of(&format!("node-{n}")),
        boot: 1_760_000_000_000 + n,
        renew: 0,
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        gossip_port: 1000 + n as u16,
        resp_port: 2000 + n as u16,
        role: Role::Node,
        weight: 100,
        version: crate::version::own(),
    }
}

/// A datagram under way: when it arrives, its number, to whom.
type Flight = std::cmp::Reverse<(Duration, u64, usize)>;

struct World {
    members: Vec<Membership>,
    crashed: Vec<bool>,
    now: Duration,
    rng: StdRng,
    loss: f64,
    flights: BinaryHeap<Flight>,
    datagrams: BTreeMap<u64, Vec<u8>>,
    sent: u64,
    bytes: usize,
    rejoins: usize,
    downs: Vec<(usize, u64)>,
    /// Share of datagrams in which a byte or several are changed on the way.
    damage: f64,
    /// Datagrams that were refused.
    dropped: usize,
}

impl World {
    /// `n` members that know only the first one.
    fn new(n: u64, loss: f64, seed: u64) -> Self {
        let members = (0..n).map(|i| Membership::new(7, identity(i), Profile::Fast, seed ^ i)).collect();
        let mut world = Self {
            members,
            crashed: vec![false; n as usize],
            now: Duration::ZERO,
            rng: StdRng::seed_from_u64(seed),
            loss,
            flights: BinaryHeap::new(),
            datagrams: BTreeMap::new(),
            sent: 0,
            bytes: 0,
            rejoins: 0,
            downs: Vec::new(),
            damage: 0.0,
            dropped: 0,
        };
        for member in &mut world.members[1..] {
            member.expect(vec![identity(0)]);
        }
        world
    }

    /// As of a view.
    fn all_are_expected(&mut self) {
        let all: Vec<Identity> = self.members.iter().map(|m| m.me().clone()).collect();
        for member in &mut self.members {
            let me = member.me().node;
            member.expect(all.iter().filter(|i| i.node != me).cloned().collect());
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for i in 0..self.members.len() {
                self.outputs(i);
            }
            let flight = self.flights.peek().map(|f| f.0.0);
            let live = (0..self.members.len()).filter(|i| !self.crashed[*i]);
            let (timeout, i) =
                live.map(|i| (self.members[i].poll_timeout(), i)).min().expect("somebody lives");
            let next = flight.map_or(timeout, |at| at.min(timeout));
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            if flight.is_some_and(|at| at <= timeout) {
                let std::cmp::Reverse((_, number, to)) = self.flights.pop().expect("just peeked");
                let datagram = self.datagrams.remove(&number).expect("in flight");
                if !self.crashed[to] {
                    let taken = self.members[to].on_datagram(self.now, &datagram);
                    assert!(self.damage > 0.0 || taken == Ok(None), "{taken:?}");
                    self.dropped += usize::from(taken.is_err());
                }
            } else {
                self.members[i].on_timeout(self.now);
            }
        }
    }

    fn outputs(&mut self, i: usize) {
        while let Some(output) = self.members[i].poll_output() {
            match output {
                Output::Doubted(identity) => {
                    // Asked at once, over TCP.
                    let other = usize::from(identity.gossip_port).checked_sub(1000);
                    let other = other.filter(|at| self.crashed.get(*at) == Some(&false));
                    let said = other.map(|at| self.members[at].me().clone());
                    if let Some(said) = said.filter(|said| said.id() == identity.id()) {
                        self.members[i].vouch(self.now, said);
                    }
                }
                Output::Send { to, mut datagram, .. } => {
                    assert!(datagram.len() <= MAX_DATAGRAM);
                    if self.crashed[i] || self.rng.random::<f64>() < self.loss {
                        continue;
                    }
                    self.sent += 1;
                    self.bytes += datagram.len();
                    let delay = Duration::from_micros(100 + self.rng.random_range(0..600));
                    if self.rng.random::<f64>() < self.damage {
                        for _ in 0..self.rng.random_range(1..4) {
                            let at = self.rng.random_range(0..datagram.len());
                            datagram[at] ^= self.rng.random_range(1..=255u8);
                        }
                    }
                    // Nobody is elsewhere.
                    let to = usize::from(to.port()).checked_sub(1000);
                    let Some(to) = to.filter(|at| *at < self.members.len()) else { continue };
                    self.flights.push(std::cmp::Reverse((self.now + delay, self.sent, to)));
                    self.datagrams.insert(self.sent, datagram);
                }
                Output::Down(id) => self.downs.push((i, id.node)),
                Output::Rejoined { me, by } => {
                    assert!(by.is_some_and(|by| by.node != me.node), "{by:?}");
                    self.rejoins += 1;
                }
                Output::Up(_) => {}
            }
        }
    }

    fn all_see(&self, n: usize) -> bool {
        (0..self.members.len()).filter(|i| !self.crashed[*i]).all(|i| self.members[i].up().count() == n)
    }
}

#[test]
fn members_find_each_other_through_one() {
    let mut world = World::new(8, 0.0, 1);
    world.run(Duration::from_secs(2));
    assert!(world.all_see(7));
}

#[test]
fn a_crash_is_noticed_by_all_within_two_seconds() {
    for seed in 0..20 {
        let mut world = World::new(5, 0.01, seed);
        world.run(Duration::from_secs(5));
        assert!(world.all_see(4), "seed {seed}");
        world.crashed[0] = true;
        world.run(Duration::from_secs(2));
        assert!(world.all_see(3), "seed {seed}");
        let node = identity(0).node;
        assert!(world.members[1].members().any(|(i, h)| i.node == node && h == Health::Down));
    }
}

#[test]
fn who_was_held_for_down_learns_who_said_so() {
    let mut world = World::new(5, 0.0, 1);
    world.run(Duration::from_secs(5));
    world.crashed[0] = true;
    world.run(Duration::from_secs(3));
    // It had only been stopped; `outputs` sees that another one is named.
    world.crashed[0] = false;
    world.run(Duration::from_secs(5));
    assert!(world.rejoins > 0 && world.all_see(4));
}

/// How long it takes until the first of the others holds a crashed member for down, and until all do: median and 99 %.
fn detection(n: u64, loss: f64, runs: u64) -> [[Duration; 2]; 2] {
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for seed in 0..runs {
        let mut world = World::new(n, loss, seed);
        world.run(Duration::from_micros(10_000_000 + seed * 7919));
        world.downs.clear();
        let (begin, node) = (world.now, identity(0).node);
        world.crashed[0] = true;
        while world.downs.iter().filter(|(_, down)| *down == node).count() < n as usize - 1 {
            world.run(Duration::from_millis(1));
            if first.len() == all.len() && !world.downs.is_empty() {
                first.push(world.now - begin);
            }
        }
        all.push(world.now - begin);
    }
    [first, all].map(|mut times| {
        times.sort_unstable();
        [times[times.len() / 2], times[times.len() * 99 / 100]]
    })
}

#[test]
fn a_crash_is_noticed_after_a_second() {
    let ms = Duration::from_millis;
    for (n, loss) in [(3, 0.0), (3, 0.05), (8, 0.0)] {
        let [first, all] = detection(n, loss, 200);
        println!("{n} members, {loss} loss: the first after {first:?}, all after {all:?}");
        assert!(
            first < [ms(1000), ms(1300)] && all[0] < ms(1050),
            "{n} members, {loss} loss: {first:?} {all:?}"
        );
    }
}

#[test]
fn loss_makes_nobody_rejoin() {
    for seed in 0..4 {
        let mut world = World::new(3, 0.05, seed);
        world.run(Duration::from_secs(300));
        assert!(world.all_see(2), "seed {seed}");
        assert_eq!((world.rejoins, world.downs.len()), (0, 0), "seed {seed}");
    }
}

/// The time that the issue of agreed views asks for. `HOURS` runs more of them, each from a seed of its own.
#[test]
fn an_hour_of_five_percent_loss_brings_nobody_down() {
    let hours = std::env::var("HOURS").map_or(1, |text| text.parse().expect("a number"));
    for seed in 100..100 + hours {
        let mut world = World::new(3, 0.05, seed);
        world.run(Duration::from_secs(3600));
        assert!(world.all_see(2), "seed {seed}");
        assert_eq!((world.rejoins, world.downs.len()), (0, 0), "seed {seed}");
    }
}

#[test]
fn when_nothing_happens_gossip_costs_little() {
    let mut world = World::new(3, 0.0, 1);
    world.run(Duration::from_secs(60));
    (world.sent, world.bytes) = (0, 0);
    world.run(Duration::from_secs(600));
    let (packets, bytes) = (world.sent as f64 / 3.0 / 600.0, world.bytes as f64 / 3.0 / 600.0);
    assert!(packets < 9.3 && bytes < 700.0, "{packets} packets/s, {bytes} bytes/s from each");
}

#[test]
fn a_leaver_is_down_at_once_and_silent() {
    let mut world = World::new(3, 0.0, 3);
    world.run(Duration::from_secs(2));
    let now = world.now;
    world.members[2].leave(now);
    world.outputs(2);
    world.run(Duration::from_millis(500));
    assert_eq!(world.members[0].up().count(), 1);
    assert_eq!(world.members[1].up().count(), 1);
    assert_eq!(world.rejoins, 0);
}

#[test]
fn a_healed_partition_ends_even_if_each_side_was_alone() {
    let mut world = World::new(2, 0.0, 4);
    world.run(Duration::from_secs(2));
    assert!(world.all_see(1));
    world.loss = 1.0;
    world.run(Duration::from_secs(5));
    assert!(world.all_see(0));
    world.loss = 0.0;
    world.run(Duration::from_secs(5));
    assert!(world.all_see(1));
    assert_eq!(world.members[0].me().boot, identity(0).boot, "the same process");
}

#[test]
fn a_reboot_replaces_the_old_identity() {
    let mut world = World::new(3, 0.0, 5);
    world.run(Duration::from_secs(2));
    let boot = identity(1).boot + 5;
    let now = world.now;
    world.members[1].reboot(now, boot);
    world.run(Duration::from_secs(2));
    assert!(world.all_see(2));
    assert!(world.members[0].up().any(|i| i.boot == boot));
}

#[test]
fn other_clusters_and_noise_are_dropped() {
    let mut one = Membership::new(1, identity(1), Profile::Calm, 1);
    let mut two = Membership::new(2, identity(2), Profile::Calm, 2);
    one.announce(Duration::ZERO, identity(2));
    let Some(Output::Send { mut datagram, .. }) = one.poll_output() else { panic!("no announcement") };
    assert_eq!(two.on_datagram(Duration::ZERO, &datagram), Err(Dropped::OtherCluster));
    assert_eq!(two.on_datagram(Duration::ZERO, b"short"), Err(Dropped::Malformed));
    datagram[..8].copy_from_slice(&2u64.to_be_bytes());
    datagram.truncate(14);
    assert_eq!(two.on_datagram(Duration::ZERO, &datagram), Err(Dropped::Malformed));
    assert!(two.poll_output().is_none());
}

/// Whatever is damaged: all are up again soon, as the processes that they were.
#[test]
fn damaged_datagrams_exclude_nobody_for_long() {
    for seed in 0..20 {
        let mut world = World::new(4, 0.0, seed);
        world.all_are_expected();
        world.run(Duration::from_secs(2));
        world.damage = 0.3;
        world.run(Duration::from_secs(30));
        assert!(world.dropped > 100, "seed {seed}: {} dropped", world.dropped);
        // What is on its way yet.
        let damaged = world.flights.len();
        world.damage = f64::MIN_POSITIVE;
        world.run(Duration::from_secs(30));
        assert!(world.all_see(3), "seed {seed}, {damaged} under way");
        for (i, member) in world.members.iter().enumerate() {
            assert_eq!(member.me().id(), identity(i as u64).id(), "seed {seed}");
            assert!(member.members().count() < 3 + trust::MOST_DOWN + 30, "one packet more than is bearable");
            let true_ones = |other: &&Identity| (0..4).any(|n| world.members[n].me() == *other);
            assert!(
                member.up().all(|other| true_ones(&other)),
                "seed {seed}: {:?}",
                member.up().collect::<Vec<_>>()
            );
        }
    }
}

/// A datagram of gossip from the first member to another one, with one update.
fn forged(world: &World, to: usize, update: &foca::Member<Identity>) -> Vec<u8> {
    let header = foca::Header {
        src: world.members[0].me().clone(),
        src_incarnation: 0,
        dst: world.members[to].me().clone(),
        message: foca::Message::Gossip,
    };
    let mut packet = postcard::to_allocvec(&header).unwrap();
    packet.extend_from_slice(&1u16.to_be_bytes());
    packet.extend(postcard::to_allocvec(update).unwrap());
    datagram::wrap(7, &packet)
}

#[test]
fn absurd_numbers_exclude_nobody() {
    let victim = identity(2);
    let absurd = [
        victim.clone(),
        Identity { boot: u64::MAX, ..victim.clone() },
        Identity { boot: MAX_BOOT, ..victim.clone() },
        Identity { boot: victim.boot + 1, ..victim.clone() },
        Identity { renew: u16::MAX, ..victim.clone() },
        Identity { renew: 60, ..victim.clone() },
        Identity { gossip_port: 0, ..victim.clone() },
        Identity { gossip_port: 1001, ..victim.clone() },
        Identity { ip: "224.0.0.1".parse().unwrap(), renew: 1, ..victim.clone() },
        Identity { weight: 0, ..victim.clone() },
    ];
    for identity in absurd {
        for state in [State::Alive, State::Suspect, State::Down] {
            for incarnation in [0, 1, u16::MAX - 1, u16::MAX] {
                let mut world = World::new(3, 0.0, 9);
                world.all_are_expected();
                world.run(Duration::from_secs(2));
                assert!(world.all_see(2));
                let update = foca::Member::new(identity.clone(), incarnation, state);
                for to in [1, 2] {
                    let datagram = forged(&world, to, &update);
                    // Whether it is refused does not matter.
                    let _ = world.members[to].on_datagram(world.now, &datagram);
                }
                world.run(Duration::from_secs(5));
                assert!(world.all_see(2), "{update:?}");
                assert_eq!(world.members[2].me().boot, victim.boot, "{update:?}");
                let now = world.now;
                world.downs.clear();
                world.run(Duration::from_secs(20));
                assert!(world.downs.is_empty(), "{update:?}: not calm after {now:?}");
            }
        }
    }
}

/// A former process of the name, or what was made up as one, is no obstacle, whatever its number.
#[test]
fn a_name_outlives_an_absurd_boot() {
    let mut world = World::new(3, 0.0, 9);
    world.run(Duration::from_secs(1));
    // Before the others have met it.
    let absurd = Identity { boot: MAX_BOOT - 1, ..identity(9) };
    for to in [1, 2] {
        let datagram = forged(&world, to, &foca::Member::new(absurd.clone(), 0, State::Alive));
        assert_eq!(world.members[to].on_datagram(world.now, &datagram), Ok(None));
    }
    world.run(Duration::from_secs(5));
    assert!(world.all_see(2));
    let now = world.now;
    world.members.push(Membership::new(7, Identity { gossip_port: 1003, ..identity(9) }, Profile::Fast, 4));
    world.crashed.push(false);
    // As the answer to its wish to join says.
    world.members[3].reboot(now, MAX_BOOT);
    world.members[3].expect(vec![identity(0)]);
    world.run(Duration::from_secs(5));
    assert!(world.all_see(3));
}

#[test]
fn what_goes_along_is_for_the_process_that_is_meant() {
    let along = Along { epoch: 4, ask: Some(9), grant: None };
    let now = Duration::from_secs(1);
    let pings = |member: &mut Membership| loop {
        match member.poll_output() {
            Some(Output::Send { peer, kind: Kind::Ping, datagram, .. }) => return (peer, datagram),
            Some(_) => {}
            None => member.on_timeout(member.poll_timeout()),
        }
    };
    let mut one = Membership::new(7, identity(1), Profile::Fast, 1);
    let mut two = Membership::new(7, identity(2), Profile::Fast, 2);
    one.learn(now, vec![identity(2)]);
    let (peer, datagram) = pings(&mut one);
    assert_eq!(peer, identity(2).id());
    assert_eq!(two.on_datagram(now, &datagram), Ok(None), "nothing went along");
    while two.poll_output().is_some() {}
    let datagram = datagram::with(&datagram, &along);
    assert_eq!(two.on_datagram(now, &datagram), Ok(Some((identity(1).id(), along))));
    let answers = std::iter::from_fn(|| two.poll_output());
    let kinds: Vec<Kind> =
        answers.filter_map(|o| if let Output::Send { kind, .. } = o { Some(kind) } else { None }).collect();
    assert_eq!(kinds, [Kind::Ack]);
    two.reboot(now, identity(2).boot + 1);
    assert_eq!(two.on_datagram(now, &datagram), Ok(None), "for its former self");
}

/// As with the datagrams that carry nothing but leases: the answer to the first of several pings comes late, with any one byte of it
/// changed.
#[test]
fn a_damaged_grant_that_went_along_counts_for_no_later_round() {
    let member = |n: u64| crate::view::Member::sample(identity(n).id());
    let mut now = Duration::from_secs(10);
    let view = crate::view::View::first(7, (1..4).map(member).collect());
    let mut holder = Core::new(identity(1).id());
    holder.learn(now, &view);
    let mut rounds = Vec::new();
    for _ in 0..4 {
        rounds.push((now, holder.ask_along(now, identity(2).id()).expect("it has none")));
        now += Duration::from_millis(100);
    }
    let (asked, Message::LeaseAsk { epoch, round }) = rounds[0].clone() else { panic!("{rounds:?}") };
    let mut two = Membership::new(7, identity(2), Profile::Fast, 2);
    two.learn(now, vec![identity(1)]);
    let answer = std::iter::from_fn(|| {
        two.on_timeout(two.poll_timeout());
        Some(two.poll_output())
    });
    let answer = answer.flatten().find_map(|output| match output {
        Output::Send { datagram, .. } => Some(datagram),
        _ => None,
    });
    let whole = datagram::with(&answer.unwrap(), &Along { epoch, ask: None, grant: Some(round) });
    let until = |bytes: &[u8]| {
        let mut one = Membership::new(7, identity(1), Profile::Fast, 1);
        one.learn(now, vec![identity(2)]);
        let mut holder = holder.clone();
        if let Ok(Some((from, Along { epoch, grant: Some(round), .. }))) = one.on_datagram(now, bytes) {
            holder.on_message(now, from, Message::LeaseGrant { epoch, round });
        }
        holder.lease()
    };
    assert_eq!(until(&whole), asked + LEASE);
    for at in 0..whole.len() {
        for by in 1..=255 {
            let mut damaged = whole.clone();
            damaged[at] ^= by;
            assert!(until(&damaged) <= asked + LEASE, "byte {at} with {by}");
        }
    }
}

/// Suspects a member, lets it refute, and hands over the suspicion's timer: says whether the member was then
/// told that it is down. `checked` goes through [`Membership`], else straight to foca.
fn told_down_after_refuting(checked: bool) -> bool {
    let mut member = Membership::new(7, identity(1), Profile::Fast, 1);
    let other = identity(2);
    let now = Duration::from_secs(1);
    member.learn(now, vec![other.clone()]);
    for (incarnation, state) in [(0, State::Suspect), (1, State::Alive)] {
        let update = foca::Member::new(other.clone(), incarnation, state);
        member.foca.apply_many([update].into_iter(), true, &mut member.runtime).unwrap();
    }
    member.drain(now);
    member.timers.clear();
    member.reannounce_at = now * 100;
    while member.poll_output().is_some() {}
    let timer = Timer::ChangeSuspectToDown { member_id: other.clone(), incarnation: 0, token: 0 };
    if checked {
        member.timers.insert((now, 0), timer);
        member.on_timeout(now);
    } else {
        member.foca.handle_timer(timer, &mut member.runtime).unwrap();
        member.drain(now);
    }
    assert_eq!(member.up().collect::<Vec<_>>(), [&other], "it is up all the time");
    member.poll_output().is_some()
}

#[test]
fn refuted_suspicions_have_no_effect() {
    assert!(!told_down_after_refuting(true));
}

/// If this fails, foca has mended it: drop `Membership::is_stale`.
#[test]
fn foca_alone_still_has_the_defect() {
    assert!(told_down_after_refuting(false));
}
