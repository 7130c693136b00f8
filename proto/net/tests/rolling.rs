//! A rolling update: nodes of two versions in one cluster, over real loopback sockets. Each node has a thread of its own,
//! and the thread says what it speaks: this version, or the next one, which has a field more everywhere.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shoal_net::bus::{CallError, Connection};
use shoal_net::cluster::Settings;
use shoal_net::shutdown::{self, Trigger};
use shoal_net::{Cluster, ClusterHandle, HostPort, ViewWatch};
use shoal_proto::bus::{self, Hello, Latest, Members, Since, TELL, Verb};
use shoal_proto::cluster::Message;
use shoal_proto::member::Profile;
use shoal_proto::version::{VERSION, speak};
use shoal_proto::view::View;

mod support;
use support::{Data, World};

const NEXT: u32 = VERSION + 1;

struct Node {
    name: &'static str,
    handle: ClusterHandle,
    trigger: Trigger,
    thread: std::thread::JoinHandle<()>,
    excluded: Arc<AtomicUsize>,
    data: Arc<Data>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Node {
    fn start(world: &Arc<World>, name: &'static str, version: u32, seeds: &[HostPort], gossip: &str) -> Self {
        let (trigger, shutdown) = shutdown::channel();
        let excluded = Arc::new(AtomicUsize::new(0));
        let (count, data) = (excluded.clone(), Data::new(world.clone()));
        let resp: SocketAddr = "127.0.0.1:7000".parse().unwrap();
        let settings = Settings {
            on_excluded: Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
            profile: Profile::Calm,
            ..Settings::new(name, resp, gossip.parse().unwrap(), seeds.to_vec(), data.clone())
        };
        let (started, handle) = std::sync::mpsc::channel();
        let owner = data.clone();
        let thread = std::thread::spawn(move || {
            speak(version);
            runtime().block_on(async {
                let (handle, task) = Cluster::start(settings, shutdown).unwrap();
                owner.belongs_to(handle.clone());
                started.send(handle).unwrap();
                // Ended, or told to end.
                let _ = task.await;
            });
        });
        Self { name, handle: handle.recv().unwrap(), trigger, thread, excluded, data }
    }

    fn seed(&self) -> HostPort {
        self.handle.gossip_addr().into()
    }

    /// Hands everything over and ends.
    fn leave(self) {
        assert_eq!(runtime().block_on(self.handle.leave()), Ok(()), "{} hands over", self.name);
        // Unless the machine stood still so long that the others went on without it.
        let excluded = self.excluded.load(Ordering::SeqCst) > 0;
        assert!(excluded || self.data.lost() == 0, "{} has lost nothing", self.name);
        self.trigger.fire();
        self.thread.join().unwrap();
    }
}

fn until(what: &str, seconds: u64, mut test: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !test() {
        assert!(Instant::now() < deadline, "in vain after {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until all nodes have the same view, of exactly these nodes, and each serves what it has by it.
fn agree(nodes: &[Node]) -> Arc<View> {
    let mut wanted: Vec<&str> = nodes.iter().map(|n| n.name).collect();
    wanted.sort_unstable();
    let served = |node: &Node, view: &View| {
        let place = node.handle.me().and_then(|me| view.place(me));
        place.is_some_and(|place| {
            let owned: usize = view.ranges(place).iter().map(|(x, y)| usize::from(y - x) + 1).sum();
            node.data.served().len() == owned && node.data.may_serve()
        })
    };
    until(&format!("a view of {wanted:?}"), 60, || {
        let first = nodes[0].handle.view();
        let mut names: Vec<&str> = first.members.iter().map(|m| m.name.as_str()).collect();
        names.sort_unstable();
        first.covers_all()
            && names == wanted
            && !first.moves()
            && nodes.iter().all(|n| *n.handle.view() == *first && served(n, &first))
    });
    nodes[0].handle.view()
}

/// Says to those of these that speak this version, again and again until told to stop, what only the next one knows: a verb, kinds of messages over
/// TCP and as a datagram, a longer request. All is well answered.
fn chatter(addresses: Vec<SocketAddr>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        speak(NEXT);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut said = 0;
        runtime().block_on(async {
            while !stop.load(Ordering::SeqCst) {
                for address in &addresses {
                    let id = shoal_proto::view::NodeId { node: 1, boot: 1 };
                    let limit = Duration::from_secs(2);
                    let hello = Hello::default();
                    // A node that is being restarted answers nothing.
                    let Ok(mut open) = Connection::open(*address, limit).await else { continue };
                    let Ok(members) = open.call::<Members>(Verb::Members, &hello, limit).await else {
                        continue;
                    };
                    let itself = members.up.iter().find(|identity| identity.id() == members.me.id);
                    if itself.is_none_or(|identity| identity.version == NEXT) {
                        continue;
                    }
                    let message = (members.cluster, id, id, Message::KINDS, 1u8);
                    match open.ask::<Latest>(Verb::View, &dance(), limit).await {
                        Err(CallError::Refused(line)) => assert_eq!(line, "ERR unknown SHOAL verb"),
                        _ => continue,
                    }
                    // On the same connection: a kind that is not known does no harm.
                    let heard = open.call::<bus::Heard>(Verb::Tell, &message, limit).await;
                    assert!(!matches!(heard, Err(CallError::Refused(_) | CallError::Malformed)), "{heard:?}");
                    let since = Since { cluster: 0, epoch: 0 };
                    let latest = open.call::<Latest>(Verb::View, &since, limit).await;
                    assert!(
                        !matches!(latest, Err(CallError::Refused(_) | CallError::Malformed)),
                        "{latest:?}"
                    );
                    if heard.is_err() || latest.is_err() {
                        continue;
                    }
                    let datagram = [&TELL[..], &[NEXT as u8], &bus::encode(&message)].concat();
                    socket.send_to(&datagram, address).unwrap();
                    said += 1;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        said
    })
}

/// A request with a verb that nobody knows yet.
fn dance() -> Vec<u8> {
    format!("*4\r\n$5\r\nSHOAL\r\n$5\r\nDANCE\r\n$1\r\n{NEXT}\r\n$1\r\nx\r\n").into_bytes()
}

#[test]
fn nodes_are_updated_one_by_one_and_back() {
    let world = Arc::new(World::default());
    let mut nodes = vec![Node::start(&world, "a", VERSION, &[], "127.0.0.1:0")];
    let seed = nodes[0].seed();
    nodes.push(Node::start(&world, "b", VERSION, std::slice::from_ref(&seed), "127.0.0.1:0"));
    nodes.push(Node::start(&world, "c", NEXT, &[seed], "127.0.0.1:0"));
    agree(&nodes);
    let (_stop_watch, shutdown) = shutdown::channel();
    let seeds: Vec<HostPort> = nodes.iter().map(Node::seed).collect();
    // A router of this version follows nodes of both.
    let (watch, task) = ViewWatch::start(seeds, shutdown);
    let router = std::thread::spawn(move || runtime().block_on(task));
    let stop = Arc::new(AtomicBool::new(false));
    let talking = chatter(nodes.iter().map(|n| n.handle.gossip_addr()).collect(), stop.clone());
    // Each node leaves and comes back with the other version; the first two go forward, the third goes back.
    for version in [NEXT, NEXT, VERSION] {
        let node = nodes.remove(0);
        let (name, address) = (node.name, node.handle.gossip_addr().to_string());
        node.leave();
        let seeds: Vec<HostPort> = nodes.iter().map(Node::seed).collect();
        agree(&nodes);
        until("the port is free", 10, || {
            shoal_net::listen::tcp_and_udp(&address.parse().unwrap(), "--gossip").is_ok()
        });
        nodes.push(Node::start(&world, name, version, &seeds, &address));
        let view = agree(&nodes);
        until("the router has the view", 20, || *watch.view() == *view);
    }
    // One crashes: the others, of both versions, notice and go on.
    let crashed = nodes.remove(0);
    crashed.trigger.fire();
    crashed.thread.join().unwrap();
    let view = agree(&nodes);
    until("the router has the view", 20, || *watch.view() == *view);
    stop.store(true, Ordering::SeqCst);
    assert!(talking.join().unwrap() > 0);
    drop(router);
}
