//! Whole clusters in one process, over real loopback sockets on free ports. Nothing sleeps a fixed time: each
//! step waits for what it expects, with a deadline.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shoal_net::cluster::{NotHandedOver, Settings};
use shoal_net::shutdown::{self, Trigger};
use shoal_net::{Cluster, ClusterHandle, HostPort, ViewWatch};
use shoal_proto::bus::{Hello, Members, Verb, decode, encode};
use shoal_proto::cluster::IN_FLIGHT;
use shoal_proto::member::{Health, Identity, MAX_BOOT, Membership, Output, Profile};
use shoal_proto::view::View;

mod support;
use support::{Data, World};

thread_local! {
    /// Where the nodes of one test, which runs on one thread, find each other's data.
    static WORLD: Arc<World> = Arc::default();
}

struct Node {
    name: String,
    handle: ClusterHandle,
    trigger: Trigger,
    excluded: Arc<AtomicUsize>,
    data: Arc<Data>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Node {
    fn start(name: &str, seeds: &[HostPort]) -> Self {
        Self::start_at(name, seeds, "127.0.0.1:0")
    }

    fn start_at(name: &str, seeds: &[HostPort], gossip: &str) -> Self {
        Self::expecting(1, name, seeds, gossip)
    }

    fn expecting(bootstrap_expect: u16, name: &str, seeds: &[HostPort], gossip: &str) -> Self {
        Self::with(name, seeds, gossip, |settings| settings.bootstrap_expect = bootstrap_expect)
    }

    fn with(name: &str, seeds: &[HostPort], gossip: &str, change: impl FnOnce(&mut Settings)) -> Self {
        // What the nodes of a test that fails have logged is shown with it.
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init();
        let (trigger, shutdown) = shutdown::channel();
        let resp: SocketAddr = "127.0.0.1:7000".parse().unwrap();
        let excluded = Arc::new(AtomicUsize::new(0));
        let count = excluded.clone();
        let data = Data::new(WORLD.with(Arc::clone));
        let mut settings = Settings {
            on_excluded: Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
            ..Settings::new(name, resp, gossip.parse().unwrap(), seeds.to_vec(), data.clone())
        };
        change(&mut settings);
        let (handle, task) = Cluster::start(settings, shutdown).unwrap();
        data.belongs_to(handle.clone());
        let task = tokio::spawn(task);
        Self { name: name.to_owned(), handle, trigger, excluded, data, task }
    }

    fn seed(&self) -> HostPort {
        self.handle.gossip_addr().into()
    }

    /// Ends without a word, as a crash does.
    fn crash(self) {
        self.trigger.fire();
    }
}

/// Starts a node where another one listened: as soon as that has let go of its port.
async fn restart_at(name: &str, seeds: &[HostPort], address: &str) -> Node {
    let free = || shoal_net::listen::tcp_and_udp(&address.parse().unwrap(), "--gossip").is_ok();
    until("the port is free", free).await;
    Node::start_at(name, seeds, address)
}

fn names(view: &View) -> Vec<&str> {
    let mut names: Vec<&str> = view.members.iter().map(|m| m.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// How long anything may take that must happen at last: machines are busy at times.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether that became true in time.
async fn comes_true(mut test: impl FnMut() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !test() {
        if tokio::time::Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

async fn until(what: &str, test: impl FnMut() -> bool) {
    assert!(comes_true(test).await, "in vain: {what}");
}

/// Waits until all nodes have the same view, of exactly these nodes.
async fn agree(nodes: &[&Node]) -> Arc<View> {
    let mut wanted: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
    wanted.sort_unstable();
    let agreed = || {
        let first = nodes[0].handle.view();
        first.covers_all()
            && names(&first) == wanted
            && !first.moves()
            && nodes.iter().all(|n| *n.handle.view() == *first && n.handle.ready().is_ok())
    };
    if !comes_true(agreed).await {
        for node in nodes {
            let (view, ready) = (node.handle.view(), node.handle.ready());
            println!(
                "{}: view {} of {:?}, moves: {}, {ready:?}",
                node.name,
                view.epoch,
                names(&view),
                view.moves()
            );
        }
        panic!("no view of {wanted:?}");
    }
    nodes[0].handle.view()
}

#[tokio::test]
async fn nodes_find_each_other_and_outlive_one_another() {
    let a = Node::start("a", &[]);
    let alone = agree(&[&a]).await;
    assert_eq!(alone.epoch, 1);
    let begun = tokio::time::Instant::now();
    let b = Node::start("b", &[a.seed()]);
    let c = Node::start("c", &[a.seed()]);
    let three = agree(&[&a, &b, &c]).await;
    let most = 5 + begun.elapsed().as_secs();
    assert!(three.epoch <= most, "newcomers are batched, what has moved goes into one more view a second");
    for (place, _) in three.members.iter().enumerate() {
        assert!(three.ranges(place).iter().map(|(x, y)| y - x + 1).sum::<u16>().abs_diff(5461) <= 1);
    }

    // The leader itself falls silent: the others go on without it.
    let before = tokio::time::Instant::now();
    a.crash();
    agree(&[&b, &c]).await;
    assert!(before.elapsed() < Duration::from_secs(3), "took {:?}", before.elapsed());

    // A late joiner through any node.
    let d = Node::start("d", &[c.seed()]);
    let four = agree(&[&b, &c, &d]).await;

    // One leaves: the others have a view without it when it is done.
    assert_eq!(c.handle.leave().await, Ok(()));
    assert_eq!(names(&b.handle.view()), ["b", "d"]);
    agree(&[&b, &d]).await;
    assert!(b.handle.view().epoch > four.epoch);
    assert_eq!(c.excluded.load(Ordering::SeqCst), 0, "who leaves is not excluded");

    // The leader leaves, too.
    assert_eq!(b.handle.leave().await, Ok(()));
    agree(&[&d]).await;
    assert_eq!(d.handle.leave().await, Ok(()), "the last one has nobody to tell");
}

#[tokio::test]
async fn a_whole_cluster_may_start_at_once() {
    // All have the same list of seeds, themselves included, and nobody is told to be the first.
    let free = |_| std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let held: Vec<_> = (0..3).map(free).collect();
    let seeds: Vec<HostPort> = held.iter().map(|l| l.local_addr().unwrap().into()).collect();
    drop(held);
    let nodes: Vec<Node> = seeds
        .iter()
        .enumerate()
        .map(|(i, s)| Node::start_at(&format!("n{i}"), &seeds, &s.to_string()))
        .collect();
    let nodes: Vec<&Node> = nodes.iter().collect();
    agree(&nodes).await;
}

#[tokio::test]
async fn fewer_new_nodes_than_expected_found_nothing() {
    let free = |_| std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let held: Vec<_> = (0..3).map(free).collect();
    let all: Vec<HostPort> = held.iter().map(|l| l.local_addr().unwrap().into()).collect();
    drop(held);
    let start =
        |i: usize, seeds: &[HostPort]| Node::expecting(3, &format!("n{i}"), seeds, &all[i].to_string());
    // The name that stands for all of them does not list the third one yet, and only itself at first.
    let (a, b) = (start(0, &all[..1]), start(1, &all[..2]));
    until("it says how many are there", || {
        b.handle.ready().is_err_and(|why| why.contains("2 of 3 new nodes"))
    })
    .await;
    until("the first one as well", || a.handle.ready().is_err_and(|why| why.contains("1 of 3 new nodes")))
        .await;
    assert_eq!([a.handle.view().epoch, b.handle.view().epoch], [0, 0]);
    a.crash();
    b.crash();
    let nodes: Vec<Node> = {
        let mut nodes = Vec::new();
        for i in 0..3 {
            let free =
                || shoal_net::listen::tcp_and_udp(&all[i].to_string().parse().unwrap(), "--gossip").is_ok();
            until("the port is free", free).await;
            nodes.push(start(i, &all));
        }
        nodes
    };
    agree(&nodes.iter().collect::<Vec<_>>()).await;
    // Whoever comes later joins, whatever it expects.
    let late = Node::expecting(9, "late", &all, "127.0.0.1:0");
    let mut everybody: Vec<&Node> = nodes.iter().collect();
    everybody.push(&late);
    agree(&everybody).await;
}

#[tokio::test]
async fn seeds_by_name_and_seeds_that_come_late() {
    let only_itself = Node::start("a", &[]);
    let port = only_itself.handle.gossip_addr().port();
    let by_name = Node::start("b", &[HostPort::new("localhost", port), HostPort::new("localhost", 1)]);
    agree(&[&only_itself, &by_name]).await;

    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let late: HostPort = held.local_addr().unwrap().into();
    drop(held);
    let waiting = Node::start("w", std::slice::from_ref(&late));
    until("it says what it waits for", || {
        waiting.handle.ready().is_err_and(|why| why.contains("waiting for seeds"))
    })
    .await;
    assert_eq!(waiting.handle.view().epoch, 0);
    let first = Node::start_at("f", std::slice::from_ref(&late), &late.to_string());
    agree(&[&waiting, &first]).await;
}

#[tokio::test]
async fn nodes_that_listen_on_all_addresses_find_one_that_others_can_reach() {
    let a = Node::start_at("a", &[], "0.0.0.0:0");
    let local = |node: &Node| vec![HostPort::new("127.0.0.1", node.handle.gossip_addr().port())];
    let b = Node::start_at("b", &local(&a), "0.0.0.0:0");
    agree(&[&a, &b]).await;
    assert!(a.handle.members().iter().all(|m| !m.identity.ip.is_unspecified()));
}

#[tokio::test]
async fn a_restarted_node_is_a_new_process_and_gets_its_slots_back() {
    let a = Node::start("a", &[]);
    let b = Node::start("b", &[a.seed()]);
    let before = agree(&[&a, &b]).await;
    let old = b.handle.me().unwrap();
    let address = b.handle.gossip_addr().to_string();
    b.crash();
    let b = restart_at("b", &[a.seed()], &address).await;
    let after = agree(&[&a, &b]).await;
    let new = b.handle.me().unwrap();
    assert_eq!(old.node, new.node);
    assert!(new.boot > old.boot);
    assert!(after.place(new).is_some() && after.place(old).is_none());
    let owners = |view: &View| -> Vec<String> {
        view.runs().map(|(x, y, m)| format!("{x}-{y} {}", m.unwrap().name)).collect()
    };
    assert_eq!(owners(&before), owners(&after));
}

#[tokio::test]
async fn an_excluded_node_flushes_and_comes_back_as_a_new_process() {
    let a = Node::start("a", &[]);
    let b = Node::start("b", &[a.seed()]);
    let view = agree(&[&a, &b]).await;
    let old = b.handle.me().unwrap();
    // A view without b, as if a had held it for dead and a majority had agreed.
    let without = view.next(view.members.iter().filter(|m| m.id != old).cloned().collect());
    let push = shoal_proto::bus::Push { view: without.clone() };
    for node in [&a, &b] {
        let addr = node.handle.gossip_addr();
        let limit = Duration::from_secs(5);
        shoal_net::bus::call::<shoal_proto::bus::Latest>(addr, Verb::Push, &push, limit).await.unwrap();
    }
    until("it comes back as another process", || {
        b.handle.me().is_some_and(|me| me != old) && b.handle.ready().is_ok()
    })
    .await;
    agree(&[&a, &b]).await;
    assert_eq!(b.excluded.load(Ordering::SeqCst), 1);
    assert_eq!(a.excluded.load(Ordering::SeqCst), 0);
    assert!(a.handle.view().epoch > without.epoch);
}

#[tokio::test]
async fn who_joins_gets_its_share_slot_by_slot_and_who_leaves_gives_it_back() {
    let a = Node::start("a", &[]);
    agree(&[&a]).await;
    let b = Node::start("b", &[a.seed()]);
    let both = agree(&[&a, &b]).await;
    for node in [&a, &b] {
        let place = both.place(node.handle.me().unwrap()).unwrap();
        let owned: Vec<u16> = both.ranges(place).iter().flat_map(|(x, y)| *x..=*y).collect();
        assert_eq!(node.data.served(), owned);
        assert_eq!(owned.len(), 8192);
    }
    assert_eq!(a.data.given_away(), 8192, "no slot moved without need");
    assert_eq!(a.handle.leave().await, Ok(()));
    agree(&[&b]).await;
    assert_eq!(b.data.served().len(), 16384);
    assert_eq!(a.data.given_away(), 16384);
    assert_eq!((a.data.lost(), b.data.lost()), (0, 0));
}

/// Whoever is asked knows of none of them when they ask at the same time; if they do not, the later one is refused.
#[tokio::test]
async fn of_two_processes_of_one_name_one_stays() {
    let a = Node::start("a", &[]);
    agree(&[&a]).await;
    let c = Node::start("c", &[a.seed()]);
    agree(&[&a, &c]).await;
    let two = [Node::start("b", &[a.seed()]), Node::start("b", &[c.seed()])];
    until("one has ended", || two.iter().filter(|b| b.task.is_finished()).count() == 1).await;
    let [one, other] = two;
    let (stays, ended) = if one.task.is_finished() { (other, one) } else { (one, other) };
    let why = ended.task.await.unwrap().unwrap_err().to_string();
    assert!(why.starts_with("another process of the name 'b' is in the cluster, at 127.0.0.1:"), "{why}");
    agree(&[&a, &c, &stays]).await;
    // Nor do two that have no cluster yet.
    let free = |_| std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let held: Vec<_> = (0..2).map(free).collect();
    let all: Vec<HostPort> = held.iter().map(|l| l.local_addr().unwrap().into()).collect();
    drop(held);
    let two: Vec<Node> = all.iter().map(|at| Node::start_at("h", &all, &at.to_string())).collect();
    until("one has ended", || two.iter().filter(|h| h.task.is_finished()).count() == 1).await;
}

/// The older one of two nodes may only be cut off: it is a majority by itself.
#[tokio::test]
async fn nobody_gets_the_name_of_a_silent_node_without_which_no_view_can_be_made() {
    let a = Node::start("a", &[]);
    agree(&[&a]).await;
    let b = Node::start("b", &[a.seed()]);
    agree(&[&a, &b]).await;
    a.crash();
    until("a is down", || b.handle.members().iter().any(|m| m.health == shoal_proto::member::Health::Down))
        .await;
    let again = Node::start("a", &[b.seed()]);
    let waits = || again.handle.ready().is_err_and(|why| why.contains("no view can be made without it"));
    until("it is not let in", waits).await;
    b.handle.force().unwrap();
    agree(&[&b, &again]).await;
}

#[tokio::test]
async fn who_is_forgotten_hands_over_and_stays_out() {
    let a = Node::start("a", &[]);
    agree(&[&a]).await;
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let b = Node::with("b", &[a.seed()], "127.0.0.1:0", |settings| {
        settings.on_forgotten = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
    });
    agree(&[&a, &b]).await;
    a.handle.forget(b.handle.me().unwrap()).unwrap();
    agree(&[&a]).await;
    assert_eq!((a.data.served().len(), a.data.lost(), b.data.lost()), (16384, 0, 0));
    assert_eq!(b.handle.leave().await, Ok(()), "it has left already");
    assert_eq!((told.load(Ordering::SeqCst), b.excluded.load(Ordering::SeqCst)), (1, 0));
    let c = Node::start("c", &[a.seed()]);
    agree(&[&a, &c]).await;
    // It may be the one who is asked, too.
    a.handle.forget(a.handle.me().unwrap()).unwrap();
    agree(&[&c]).await;
    assert_eq!(c.data.served().len(), 16384);
}

/// It cannot be told, so it is left out as one that crashed, with what it had.
#[tokio::test]
async fn who_is_forgotten_and_gone_does_not_hold_up_the_others() {
    let a = Node::start("a", &[]);
    agree(&[&a]).await;
    let b = Node::start("b", &[a.seed()]);
    agree(&[&a, &b]).await;
    let id = b.handle.me().unwrap();
    b.crash();
    a.handle.forget(id).unwrap();
    agree(&[&a]).await;
}

/// What takes long is waited for, what does not move is not.
#[tokio::test]
async fn leaving_ends_when_nothing_moves_any_more() {
    const LIMIT: Duration = Duration::from_secs(2);
    let a = Node::start("a", &[]);
    agree(&[&a]).await;
    let slow = |name| Node::with(name, &[a.seed()], "127.0.0.1:0", |settings| settings.leave_limit = LIMIT);
    let (b, c) = (slow("b"), slow("c"));
    agree(&[&a, &b, &c]).await;
    // To two others, so many at a time.
    let rounds = 16384 / 3 / (2 * IN_FLIGHT) as u32;
    b.data.take(2 * LIMIT / rounds);
    let begun = tokio::time::Instant::now();
    assert_eq!(b.handle.leave().await, Ok(()), "all was handed over");
    assert!(begun.elapsed() > LIMIT, "after {:?} it was no matter of the limit", begun.elapsed());
    agree(&[&a, &c]).await;
    c.data.take(Duration::from_secs(3600));
    assert!(matches!(c.handle.leave().await, Err(NotHandedOver::Stuck { slots: 1.. })), "something was left");
}

#[tokio::test]
async fn a_minority_makes_no_views_and_its_lease_ends() {
    let a = Node::start("a", &[]);
    let b = Node::start("b", &[a.seed()]);
    let c = Node::start("c", &[a.seed()]);
    let three = agree(&[&a, &b, &c]).await;
    until("leases", || c.data.may_serve()).await;
    b.crash();
    a.crash();
    until("the lease ends", || !c.data.may_serve()).await;
    until("it knows that it is alone", || {
        c.handle.members().iter().filter(|m| m.health == shoal_proto::member::Health::Down).count() == 2
    })
    .await;
    assert_eq!(c.handle.view().epoch, three.epoch);
    // An operator says that the others will never come back.
    c.handle.force().unwrap();
    agree(&[&c]).await;
    until("it serves again", || c.data.may_serve()).await;
    assert_eq!(c.data.served().len(), 16384);
}

#[tokio::test]
async fn a_watcher_accepts_that_the_whole_cluster_was_replaced() {
    let a = Node::start("a", &[]);
    let address = a.seed();
    let (_trigger, shutdown) = shutdown::channel();
    let (watch, task) = ViewWatch::start(vec![address.clone()], shutdown);
    tokio::spawn(task);
    until("the first cluster", || names(&watch.view()) == ["a"]).await;
    a.crash();
    let b = restart_at("b", &[], &address.to_string()).await;
    until("the second cluster", || *watch.view() == *b.handle.view()).await;
}

/// Whoever can send datagrams to the cluster says that a member is another process by now, or has come back ever so often.
#[tokio::test]
async fn forged_gossip_excludes_nobody() {
    let a = Node::start("a", &[]);
    agree(&[&a]).await;
    let (b, c) = (Node::start("b", &[a.seed()]), Node::start("c", &[a.seed()]));
    let view = agree(&[&a, &b, &c]).await;
    let is_up = |at: &Node| {
        let members = at.handle.members();
        let of_c = members.iter().find(|m| Some(m.identity.id()) == c.handle.me());
        of_c.is_some_and(|m| m.health == Health::Alive)
    };
    until("all are up", || is_up(&a) && is_up(&b)).await;
    let true_one = a.handle.members().into_iter().find(|m| Some(m.identity.id()) == c.handle.me()).unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let absurd = |n: u64| {
        let (boot, renew) = [
            (true_one.identity.boot + n, 0),
            (u64::MAX - n, 0),
            (MAX_BOOT, n as u16),
            (true_one.identity.boot, u16::MAX - n as u16),
        ][n as usize % 4];
        Identity { boot, renew, ..true_one.identity.clone() }
    };
    for n in 1..200 {
        for to in [&a, &b] {
            let target = to.handle.members()[0].identity.clone();
            let mut forger = Membership::new(view.cluster, absurd(n), Profile::Fast, n);
            forger.announce(Duration::ZERO, target);
            while let Some(output) = forger.poll_output() {
                if let Output::Send { to, datagram, .. } = output {
                    udp.send_to(&datagram, to).unwrap();
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(is_up(&a) && is_up(&b), "datagram {n}");
    }
    // It leads its life as before, and others still come and go.
    let d = Node::start("d", &[c.seed()]);
    let after = agree(&[&a, &b, &c, &d]).await;
    assert!(after.place(true_one.identity.id()).is_some() && is_up(&a) && is_up(&b));
    assert_eq!((c.excluded.load(Ordering::SeqCst), c.data.lost()), (0, 0));
    assert!(c.data.may_serve());
}

#[tokio::test]
async fn clusters_do_not_merge() {
    let a = Node::start("a", &[]);
    let b = Node::start("b", &[]);
    agree(&[&a]).await;
    agree(&[&b]).await;
    let push = shoal_proto::bus::Push { view: a.handle.view().next(a.handle.view().members.clone()) };
    let limit = Duration::from_secs(5);
    let addr = b.handle.gossip_addr();
    let answer = shoal_net::bus::call::<shoal_proto::bus::Latest>(addr, Verb::Push, &push, limit).await;
    assert!(answer.unwrap_err().to_string().contains("another cluster"));
    assert_eq!(names(&b.handle.view()), ["b"]);
}

#[tokio::test]
async fn the_resp_port_answers_who_is_there_and_nothing_else() {
    let a = Node::start("a", &[]);
    agree(&[&a]).await;
    let blob = a.handle.answer(b"members", b"3", &encode(&Hello::default())).unwrap();
    let members: Members = decode(Verb::Members, &blob).unwrap();
    assert_eq!(members.me.gossip_port, a.handle.gossip_addr().port());
    assert_eq!(names(&members.view.unwrap()), ["a"]);
    for (verb, version, blob) in
        [("JOIN", "3", ""), ("MEMBERS", "9", ""), ("MEMBERS", "3", "x"), ("X", "3", "")]
    {
        let answer = a.handle.answer(verb.as_bytes(), version.as_bytes(), blob.as_bytes());
        assert!(answer.unwrap_err().starts_with("ERR "));
    }
}

#[tokio::test]
async fn a_watcher_follows_until_every_node_was_replaced() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let missing: HostPort = held.local_addr().unwrap().into();
    drop(held);
    let a = Node::start("a", &[]);
    let (_trigger, shutdown) = shutdown::channel();
    let (watch, task) = ViewWatch::start(vec![missing, a.seed()], shutdown);
    tokio::spawn(task);
    let follows = async |nodes: &[&Node]| {
        let view = agree(nodes).await;
        until("the watcher has the view", || *watch.view() == *view && watch.ready().is_ok()).await;
    };
    follows(&[&a]).await;
    let b = Node::start("b", &[a.seed()]);
    let c = Node::start("c", &[a.seed()]);
    follows(&[&a, &b, &c]).await;
    until("two nodes are watched", || watch.watching() == 2).await;
    a.crash();
    follows(&[&b, &c]).await;
    let d = Node::start("d", &[b.seed()]);
    follows(&[&b, &c, &d]).await;
    assert_eq!(b.handle.leave().await, Ok(()));
    follows(&[&c, &d]).await;
    assert_eq!(c.handle.leave().await, Ok(()));
    follows(&[&d]).await;
    // Both are still there, but have left: a view that they no longer hear of arrives all the same.
    let e = Node::start("e", &[d.seed()]);
    follows(&[&d, &e]).await;
}

/// Who follows a cluster says that it cannot serve when those that vote are out of reach, though the view gives every slot an owner.
#[tokio::test]
async fn a_watch_that_reaches_a_minority_is_not_ready() {
    let a = Node::start("a", &[]);
    let b = Node::start("b", &[a.seed()]);
    let c = Node::start("c", &[a.seed()]);
    agree(&[&a, &b, &c]).await;
    let (trigger, shutdown) = shutdown::channel();
    let (watch, task) = ViewWatch::start(vec![a.seed()], shutdown);
    let task = tokio::spawn(task);
    let becomes = async |ready: bool| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while watch.ready().is_ok() != ready {
            assert!(tokio::time::Instant::now() < deadline, "{:?}", watch.ready());
            watch.refresh();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    becomes(true).await;
    for node in [&a, &c] {
        node.trigger.fire();
    }
    becomes(false).await;
    let why = watch.ready().unwrap_err();
    assert!(why.starts_with("only 1 of the 3 nodes that vote"), "{why}");
    trigger.fire();
    task.await.unwrap();
}
