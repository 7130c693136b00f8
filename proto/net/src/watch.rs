//! How routers follow the cluster: watches on two nodes at once, the view with the highest epoch in force.
//!
//! A router is not a gossip member: routers come and go by the hundred. It learns addresses from views and asks
//! the seeds, whose names it resolves anew each time, whenever the nodes it knows do not answer; so it survives
//! all of them being replaced. Never decides anything: the nodes' views are copied.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use shoal_proto::bus::{Hello, Latest, Members, Since, Verb};
use shoal_proto::cluster::quorum;
use shoal_proto::view::{Member, NodeId, View};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::address::HostPort;
use crate::bus::{self, CallError, Connection};
use crate::shutdown::Shutdown;

/// How many nodes are watched: one may hang without our noticing.
const WATCHES: usize = 2;

/// How long a node may take to connect and to answer a plain question.
const LIMIT: Duration = Duration::from_millis(1500);

/// How long a watch may take: the node answers after 30 s at the latest.
const WATCH_LIMIT: Duration = Duration::from_secs(35);

/// How long nobody of a cluster must have answered before another cluster's view is taken.
const REPLACED: Duration = Duration::from_secs(2);

/// First and longest pause after a failure.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How many nodes are asked at once when the view in force is doubted.
const ASKED: usize = 2;

/// Shortest and longest pause between such questions. It grows while nobody has anything newer.
const ASK_PAUSE: Duration = Duration::from_millis(100);
const MAX_ASK_PAUSE: Duration = Duration::from_secs(1);

/// How often it is counted who of those that vote answers: while nothing is amiss, and while too few do or somebody doubts the view.
const COUNT: Duration = Duration::from_secs(10);
const COUNT_AGAIN: Duration = Duration::from_secs(1);

/// So many counts in a row must find too few: a busy machine may be late once.
const COUNTS: u32 = 2;

/// Starts following a cluster. See [`ViewWatch::start`].
#[derive(Debug, Clone)]
pub struct ViewWatch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seeds: Vec<HostPort>,
    view: ArcSwap<View>,
    views: watch::Sender<Arc<View>>,
    /// Taken while a view is compared and stored.
    install: Mutex<()>,
    /// Addresses that are being watched, so that the watches are on different nodes.
    watched: Mutex<BTreeSet<SocketAddr>>,
    /// Watches that are connected to a node of our cluster.
    live: AtomicUsize,
    /// When the last of them ended.
    last_live: Mutex<Instant>,
    /// Whether failing has been logged.
    lost: AtomicBool,
    /// Why the last watch ended, and whose it was.
    failed: ArcSwapOption<String>,
    /// Somebody doubts the view in force.
    doubted: Notify,
    /// And who answers.
    count: Notify,
    /// Why the cluster cannot serve, or not those that can be reached from here.
    minority: ArcSwapOption<String>,
}

impl ViewWatch {
    /// Returns the handle and the task, which the control thread must run. Works without any node at first.
    pub fn start(
        seeds: Vec<HostPort>,
        shutdown: Shutdown,
    ) -> (ViewWatch, impl Future<Output = ()> + Send + 'static) {
        let empty = Arc::new(View::empty());
        let shared = Arc::new(Shared {
            seeds,
            view: ArcSwap::new(empty.clone()),
            views: watch::Sender::new(empty),
            install: Mutex::new(()),
            watched: Mutex::new(BTreeSet::new()),
            live: AtomicUsize::new(0),
            last_live: Mutex::new(Instant::now()),
            lost: AtomicBool::new(false),
            failed: ArcSwapOption::empty(),
            doubted: Notify::new(),
            count: Notify::new(),
            minority: ArcSwapOption::empty(),
        });
        let handle = ViewWatch { shared: shared.clone() };
        let task = async move {
            let watches: [_; WATCHES] = std::array::from_fn(|i| follow(shared.clone(), i));
            tokio::select! {
                () = join_all(watches) => {}
                () = ask_around(&shared) => {}
                () = count_voters(&shared) => {}
                () = shutdown.wait() => {}
            }
        };
        (handle, task)
    }

    /// The view in force; [`View::empty`] before the first one. Lock-free.
    pub fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// Every view as it arrives; the latest wins.
    pub fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.shared.views.subscribe()
    }

    /// Asks for a newer view, because something does not fit the one in force: a node refuses, or cannot be reached. The
    /// watched nodes may hang, or be cut off from those that have it. Costs nothing if called often.
    pub fn refresh(&self) {
        self.shared.doubted.notify_one();
        self.shared.count.notify_one();
    }

    /// Whether there is a view that gives every slot an owner, and a majority of its voters answers: fewer let nobody serve.
    ///
    /// # Errors
    /// What is missing, for `/readyz` and for people.
    pub fn ready(&self) -> Result<(), String> {
        self.knows()?;
        self.shared.minority.load().as_ref().map_or(Ok(()), |why| Err(why.as_ref().clone()))
    }

    /// Whether there is a view that gives every slot an owner, whoever answers.
    ///
    /// # Errors
    /// What is missing, as of [`ready`](Self::ready).
    pub fn knows(&self) -> Result<(), String> {
        let view = self.view();
        if view.epoch == 0 {
            let seeds: Vec<String> = self.shared.seeds.iter().map(ToString::to_string).collect();
            let last = self.shared.failed.load().as_ref().map_or(String::new(), |why| format!("; {why}"));
            return Err(format!("no node has answered yet ({}){last}", seeds.join(", ")));
        }
        if !view.covers_all() {
            return Err("some slots have no owner".to_owned());
        }
        Ok(())
    }

    /// How many nodes are being watched at present.
    pub fn watching(&self) -> usize {
        self.shared.live.load(Ordering::Relaxed)
    }
}

async fn join_all<F: Future<Output = ()>>(watches: [F; WATCHES]) {
    let [one, two] = watches;
    tokio::join!(one, two);
}

/// One of the watches: follows a node until it fails, then another.
async fn follow(shared: Arc<Shared>, number: usize) {
    let mut pause = PAUSE;
    let mut attempt = number;
    loop {
        let before = tokio::time::Instant::now();
        for addr in shared.candidates(attempt).await {
            if let Err(error) = shared.watch(addr).await {
                tracing::debug!(%addr, %error, "a watch ended");
                shared.failed.store(Some(format!("{addr}: {error}").into()));
            }
        }
        attempt += 1;
        // A watch that held for a while was good: begin again with a short pause.
        pause = if before.elapsed() > 2 * MAX_PAUSE { PAUSE } else { (pause * 2).min(MAX_PAUSE) };
        shared.report_loss();
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}

/// Asks nodes that are not being watched for a newer view, as often as somebody doubts the one in force.
async fn ask_around(shared: &Shared) {
    let mut pause = ASK_PAUSE;
    loop {
        shared.doubted.notified().await;
        let before = shared.epoch();
        let mut others = shared.candidates(0).await;
        let watched = shared.watched.lock().clone();
        others.sort_by_key(|addr| watched.contains(addr));
        let mut asked = [None; ASKED];
        asked.iter_mut().zip(others).for_each(|(place, addr)| *place = Some(addr));
        let [one, two] = asked;
        tokio::join!(shared.ask(one), shared.ask(two));
        pause = if shared.epoch() > before { ASK_PAUSE } else { (pause * 2).min(MAX_ASK_PAUSE) };
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}

/// Counts, now and then, who of those that vote answers.
async fn count_voters(shared: &Shared) {
    let mut few = 0;
    loop {
        let rest = if few == 0 { COUNT } else { COUNT_AGAIN };
        // In time or not, it is counted now.
        let _ = tokio::time::timeout(rest, shared.count.notified()).await;
        let view = shared.view.load_full();
        let who = answering(&view).await;
        few = if view.epoch == 0 || quorum::decides(&view, &who) { 0 } else { few + 1 };
        let why = (few >= COUNTS).then(|| {
            let all = quorum::voters(&view).count();
            Arc::new(format!(
                "only {} of the {all} nodes that vote can be reached, which is no majority",
                who.len()
            ))
        });
        if why.is_some() != shared.minority.load().is_some() {
            match &why {
                Some(why) => tracing::warn!("the cluster cannot serve: {why}"),
                None => tracing::info!("a majority of the nodes that vote answers again"),
            }
        }
        shared.minority.store(why);
        tokio::time::sleep(COUNT_AGAIN.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}

/// The voters of a view that answer.
async fn answering(view: &View) -> BTreeSet<NodeId> {
    let voters: BTreeSet<NodeId> = quorum::voters(view).collect();
    let mut questions = JoinSet::new();
    for voter in view.members.iter().filter(|member| voters.contains(&member.id)).cloned() {
        questions.spawn(async move {
            tokio::time::timeout(LIMIT, answers(&voter)).await.is_ok_and(|a| a).then_some(voter.id)
        });
    }
    let mut who = BTreeSet::new();
    while let Some(answer) = questions.join_next().await {
        who.extend(answer.ok().flatten());
    }
    who
}

/// Whether a member answers: it, and not a later process at its address.
async fn answers(member: &Member) -> bool {
    let hello = Hello { epoch: u64::MAX, ..Hello::default() };
    let bus = HostPort::new(member.host.clone(), member.gossip_port);
    for addr in bus.resolve().await.unwrap_or_default() {
        if let Ok(members) = bus::call::<Members>(addr, Verb::Members, &hello, LIMIT).await
            && members.me.id == member.id
        {
            return true;
        }
    }
    false
}

/// Holds an address among the watched ones, and counts as live once it answered.
struct Watched<'a> {
    shared: &'a Shared,
    addr: SocketAddr,
    live: bool,
}

impl Watched<'_> {
    fn set_live(&mut self, live: bool) {
        if live == self.live {
            return;
        }
        self.live = live;
        if live {
            self.shared.live.fetch_add(1, Ordering::Relaxed);
            self.shared.lost.store(false, Ordering::Relaxed);
        } else {
            *self.shared.last_live.lock() = Instant::now();
            self.shared.live.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.shared.watched.lock().remove(&self.addr);
        self.set_live(false);
    }
}

impl Shared {
    /// Where to look: the nodes of the view and the seeds, the seeds first every other time, otherwise in random
    /// order.
    async fn candidates(&self, attempt: usize) -> Vec<SocketAddr> {
        let view = self.view.load_full();
        let nodes = view.members.iter().map(|m| HostPort::new(m.host.clone(), m.gossip_port));
        let nodes = resolve(nodes.collect()).await;
        let seeds = resolve(self.seeds.clone()).await;
        let mut all = if attempt.is_multiple_of(2) { [nodes, seeds] } else { [seeds, nodes] }.concat();
        let mut seen = BTreeSet::new();
        all.retain(|addr| seen.insert(*addr));
        all
    }

    /// Watches the node behind `addr`, which may be its RESP port, as long as it answers.
    async fn watch(&self, addr: SocketAddr) -> Result<(), CallError> {
        let mut connection = Connection::open(addr, LIMIT).await?;
        let hello = Hello { epoch: self.epoch(), ..Hello::default() };
        let members: Members = connection.call(Verb::Members, &hello, LIMIT).await?;
        let gossip = SocketAddr::new(addr.ip(), members.me.gossip_port);
        if gossip != addr {
            connection = Connection::open(gossip, LIMIT).await?;
        }
        if !self.watched.lock().insert(gossip) {
            return Ok(());
        }
        let mut watched = Watched { shared: self, addr: gossip, live: false };
        if members.cluster == 0 || !self.accepts(members.cluster) {
            return Ok(());
        }
        if let Some(view) = members.view {
            self.install(view);
        }
        let (cluster, node) = (members.cluster, members.me.id.node);
        // A node that left hears of no further views.
        let lacks = |v: &Arc<View>| v.cluster == cluster && v.members.iter().all(|m| m.id.node != node);
        let mut views = self.views.subscribe();
        loop {
            let ours = self.view.load().cluster;
            watched.set_live(members.cluster == ours);
            // A node of another cluster answers this at once, with its view.
            let since = Since { cluster: ours, epoch: self.epoch() };
            let latest: Latest = tokio::select! {
                latest = connection.call(Verb::Watch, &since, WATCH_LIMIT) => latest?,
                _ = views.wait_for(lacks) => return Ok(()),
            };
            if latest.cluster != members.cluster || !self.accepts(latest.cluster) {
                return Ok(());
            }
            if let Some(view) = latest.view {
                self.install(view);
            }
        }
    }

    /// Takes the view that a node has, if it is of our cluster and newer.
    async fn ask(&self, addr: Option<SocketAddr>) {
        let (Some(addr), ours) = (addr, self.view.load().cluster) else { return };
        let question = async {
            let since = Since { cluster: ours, epoch: self.epoch() };
            Connection::open(addr, LIMIT).await?.call::<Latest>(Verb::View, &since, LIMIT).await
        };
        match question.await {
            Ok(Latest { cluster, view: Some(view), .. }) if cluster == ours && view.cluster == ours => {
                self.install(view);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%addr, %error, "a node does not say which view it has"),
        }
    }

    fn epoch(&self) -> u64 {
        self.view.load().epoch
    }

    /// Another cluster counts only if nobody of ours has answered for a while: then ours was replaced as a whole.
    fn accepts(&self, cluster: u64) -> bool {
        let ours = self.view.load().cluster;
        ours == 0
            || ours == cluster
            || (self.live.load(Ordering::Relaxed) == 0 && self.last_live.lock().elapsed() > REPLACED)
    }

    fn install(&self, view: View) {
        let _guard = self.install.lock();
        let current = self.view.load();
        if current.cluster != 0 && current.cluster != view.cluster {
            if !self.accepts(view.cluster) {
                return;
            }
            tracing::warn!(
                old = %format_args!("{:016x}", current.cluster),
                new = %format_args!("{:016x}", view.cluster),
                "the cluster was replaced by another one"
            );
        } else if view.epoch <= current.epoch {
            return;
        }
        tracing::info!(epoch = view.epoch, members = view.members.len(), "view installed");
        let view = Arc::new(view);
        self.view.store(view.clone());
        self.views.send_replace(view);
    }

    fn report_loss(&self) {
        if self.live.load(Ordering::Relaxed) == 0 && !self.lost.swap(true, Ordering::Relaxed) {
            let seeds: Vec<String> = self.seeds.iter().map(ToString::to_string).collect();
            let goes_on = if self.epoch() > 0 { "going on with the last view, " } else { "" };
            tracing::warn!(seeds = seeds.join(","), "no node answers; {goes_on}asking again");
        }
    }
}

/// All addresses of all names, in random order; names that do not resolve are skipped.
async fn resolve(names: Vec<HostPort>) -> Vec<SocketAddr> {
    let mut addrs = Vec::new();
    for name in names {
        for addr in name.resolve().await.unwrap_or_default() {
            addrs.insert(rand::random_range(0..=addrs.len()), addr);
        }
    }
    addrs
}
