//! Slots to one peer: a connection that is made again and again, the copying of slots into it, what comes back.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use shoal_net::{HostPort, bus::Connection, cluster::SlotEvent};
use shoal_proto::{
    bus::{self, Granted, Verb},
    view::Member,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    task::JoinHandle,
};

use super::{
    Mover,
    pace::{Bounds, Pace},
    wire::{self, Back},
};
use crate::{
    handoff::{LIMIT, Outbox},
    store::Copied,
};

/// Bytes copied under one hold of a lock.
const BUDGET: usize = 64 << 10;

/// A slot is as good as through when no more than this is not applied at the target: what is left when clients have to wait.
const LAG: u64 = 64 << 10;

/// How long a peer may take to grant a stream.
const OPEN: Duration = Duration::from_secs(1);

/// How long to wait for a peer to get on before looking again.
const LONG: Duration = Duration::from_secs(1);

/// Pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes that may be under way when replies wait for this stream: what a snapshot adds to the time that they wait.
const WINDOW: u64 = 1 << 20;

/// A peer that replies wait for must have applied what it was sent within this time, or it counts as gone. Looked at
/// as often as [`SAMPLE`] says.
const STALL: Duration = Duration::from_secs(2);
const SAMPLE: Duration = Duration::from_millis(250);

/// How much longer that may take a peer that nobody waits for: copies there must not be read for ever.
const UNWAITED: usize = 5;

/// A slot to be copied.
#[derive(Debug)]
pub(super) struct Job {
    pub slot: u16,
    /// If the copy shall stay: whether replies are to wait for it.
    pub lasting: Option<bool>,
    /// Of [`shoal_proto::cluster::Action::Export`].
    pub copy: u64,
    pub outbox: Arc<Outbox>,
    /// There was no room for the next piece when the peer had got so far.
    pub blocked: Option<u64>,
}

#[derive(Debug)]
enum Task {
    Copy(Job),
    /// What a frozen slot has left: the slot, and the freeze's name.
    Drain(u16, u64),
}

/// The way to a sender. Dropping it ends the stream; but what was put into it last may be waited for, so it goes on for a while until the peer
/// has applied that.
#[derive(Debug)]
pub(super) struct Handle {
    /// Of the stream that stands.
    outbox: Arc<ArcSwapOption<Outbox>>,
    /// Nothing that happens to the stream is of interest any more.
    over: Arc<AtomicBool>,
    tasks: mpsc::UnboundedSender<Task>,
    running: JoinHandle<()>,
    mover: Arc<Mover>,
    peer: Member,
}

impl Handle {
    /// Where to put what goes to the peer; none while there is no stream.
    pub(super) fn outbox(&self) -> Option<Arc<Outbox>> {
        self.outbox.load_full()
    }

    /// Copies a slot that is tapped.
    pub(super) fn copy(&self, job: Job) {
        // The task ends with the handle only.
        let _ = self.tasks.send(Task::Copy(job));
    }

    /// Puts what is left of a frozen slot into the stream, if it goes there.
    pub(super) fn drain(&self, slot: u16, id: u64) {
        let _ = self.tasks.send(Task::Drain(slot, id));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        let (mover, peer) = (self.mover.clone(), self.peer.id);
        self.mover.thread.spawn(async move { mover.event(SlotEvent::Disconnected(peer)).await });
        let (outbox, running) = (self.outbox.swap(None), self.running.abort_handle());
        // Without it the sender would end.
        let tasks = self.tasks.clone();
        self.mover.thread.spawn(async move {
            if let Some(outbox) = outbox {
                // In vain if the peer does not keep up.
                let _ = tokio::time::timeout(STALL, settled(&outbox)).await;
                outbox.break_off();
            }
            running.abort();
            drop(tasks);
        });
    }
}

/// Waits until the peer has put all into effect, and its copies have what they need of it, or the stream is broken.
async fn settled(outbox: &Outbox) {
    loop {
        let seen = outbox.acks().seen();
        if outbox.is_broken() || outbox.is_settled(outbox.appended()) {
            return;
        }
        outbox.acks().after(seen, LONG).await;
    }
}

/// Starts sending to a peer.
pub(super) fn start(mover: &Arc<Mover>, peer: Member) -> Handle {
    let (tasks, inbox) = mpsc::unbounded_channel();
    let outbox = Arc::new(ArcSwapOption::empty());
    let over = Arc::default();
    let sender = Sender {
        mover: mover.clone(),
        peer: peer.clone(),
        outbox: outbox.clone(),
        over: Arc::clone(&over),
        inbox,
    };
    let running = mover.thread.spawn(sender.run());
    Handle { outbox, over, tasks, running, mover: mover.clone(), peer }
}

struct Sender {
    mover: Arc<Mover>,
    peer: Member,
    outbox: Arc<ArcSwapOption<Outbox>>,
    over: Arc<AtomicBool>,
    inbox: mpsc::UnboundedReceiver<Task>,
}

impl Sender {
    async fn run(mut self) {
        loop {
            if let Some((connection, rest)) = self.open().await {
                let outbox = Outbox::new(LIMIT, self.mover.shared.changes.clone());
                self.outbox.store(Some(outbox.clone()));
                self.mover.event(SlotEvent::Connected(self.peer.id)).await;
                let (reader, writer) = connection.into_split();
                let slow = AtomicBool::new(false);
                let ended = tokio::select! {
                    ended = write(&self.mover, writer, &outbox) => ended,
                    ended = read(&self.mover, &self.peer, reader, rest, (&outbox, &slow)) => ended,
                    () = copy(&self.mover, &self.peer, &mut self.inbox, &outbox, &slow) => "this node stops",
                    () = stalls(&self.mover, &self.peer, &outbox) => "the peer does not keep up, and clients wait",
                };
                outbox.break_off();
                if self.over.load(Relaxed) {
                    return;
                }
                self.outbox.store(None);
                tracing::info!(
                    node = self.mover.name,
                    peer = self.peer.name,
                    reason = ended,
                    "a stream of slots ended"
                );
                self.mover.event(SlotEvent::Disconnected(self.peer.id)).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn open(&self) -> Option<(tokio::net::TcpStream, Vec<u8>)> {
        let (from, cluster) = {
            let state = self.mover.state.lock();
            (state.me?, state.view.as_ref()?.cluster)
        };
        let hello = bus::Stream { cluster, from, to: self.peer.id };
        let address = HostPort::new(self.peer.host.clone(), self.peer.gossip_port);
        for addr in address.resolve().await.unwrap_or_default() {
            let Ok(mut connection) = Connection::open(addr, OPEN).await else { continue };
            match connection.call::<Granted>(Verb::Stream, &hello, OPEN).await {
                Ok(Granted { version }) => {
                    tracing::debug!(peer = self.peer.name, version, "a stream of slots begins");
                    return Some(connection.into_stream());
                }
                Err(error) => tracing::debug!(peer = self.peer.name, %error, "no stream of slots yet"),
            }
        }
        None
    }
}

/// Writes what is put into the outbox.
async fn write(mover: &Mover, mut writer: OwnedWriteHalf, outbox: &Outbox) -> &'static str {
    let mut bytes = Vec::new();
    loop {
        outbox.filled().await;
        if outbox.take(&mut bytes).is_err() {
            return "the peer did not keep up";
        }
        if writer.write_all(&bytes).await.is_err() {
            return "the connection broke";
        }
        mover.count("shoal_handoff_bytes_total", "out", bytes.len() as u64);
    }
}

/// Reads what comes back.
async fn read(
    mover: &Mover,
    peer: &Member,
    mut reader: OwnedReadHalf,
    mut bytes: Vec<u8>,
    (outbox, slow): (&Outbox, &AtomicBool),
) -> &'static str {
    loop {
        let mut done = 0;
        loop {
            match wire::next(&bytes[done..]) {
                Ok(Some((back, len))) => {
                    done += len;
                    match back {
                        Back::Applied(position) => outbox.ack(position),
                        Back::Pending(position) => outbox.pend(position),
                        Back::Settled(position) => outbox.settle(position),
                        Back::Slow => slow.store(true, Relaxed),
                        Back::Unknown => mover.count("shoal_handoff_unknown_total", "out", 1),
                        Back::Answer(message) => {
                            mover.event(SlotEvent::Transfer { from: peer.id, message }).await;
                        }
                    }
                }
                Ok(None) => break,
                Err(wire::Malformed) => return "the peer does not keep to the protocol",
            }
        }
        bytes.drain(..done);
        match reader.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return "the connection broke",
        }
    }
}

/// Returns when the peer has not applied within [`STALL`] what it was sent and replies wait for it, or within [`UNWAITED`] times
/// that.
async fn stalls(mover: &Mover, peer: &Member, outbox: &Outbox) {
    let mut sent: VecDeque<u64> = VecDeque::new();
    let few = (STALL.as_millis() / SAMPLE.as_millis()) as usize;
    let labels = [("node", mover.name.clone()), ("peer", peer.name.clone())];
    let lag = metrics::gauge!("shoal_stream_lag_bytes", &labels);
    loop {
        tokio::time::sleep(SAMPLE).await;
        lag.set(outbox.lag() as f64);
        let late = |then: Option<&u64>| then.is_some_and(|then| outbox.acked() < *then);
        let shortly = sent.len().checked_sub(few).and_then(|at| sent.get(at));
        if late(shortly) && outbox.is_waited_for() {
            return;
        }
        if sent.len() == UNWAITED * few && late(sent.pop_front().as_ref()) {
            return;
        }
        sent.push_back(outbox.appended());
    }
}

/// What was copied and is on its way to being synced: the position at which the next step is due.
#[derive(Debug, Default)]
struct Through {
    /// Nearly there.
    nearly: VecDeque<(u64, Job)>,
    /// Replies wait for these; they are in sync when everything before is applied.
    guarded: VecDeque<(u64, Job)>,
}

impl Through {
    /// Takes the next steps of all that are due; a slot that has more to be copied by now.
    async fn go_on(&mut self, mover: &Mover, outbox: &Arc<Outbox>) -> Option<Job> {
        while let Some((_, job)) = self.nearly.pop_front_if(|(at, _)| outbox.acked() + LAG >= *at) {
            let Some(wait) = job.lasting else {
                mover.event(SlotEvent::Synced { slot: job.slot, copy: job.copy }).await;
                continue;
            };
            match mover.shared.store.guard_tap(job.slot, outbox, wait) {
                Some(position) => self.guarded.push_back((position, job)),
                None => return Some(job),
            }
        }
        while let Some((_, job)) = self.guarded.pop_front_if(|(at, _)| outbox.acked() >= *at) {
            mover.event(SlotEvent::Synced { slot: job.slot, copy: job.copy }).await;
        }
        None
    }

    fn is_empty(&self) -> bool {
        self.nearly.is_empty() && self.guarded.is_empty()
    }
}

/// Copies slots one after the other, and says of each when nearly all of it is applied at the target, or when it is in
/// sync.
async fn copy(
    mover: &Mover,
    peer: &Member,
    inbox: &mut mpsc::UnboundedReceiver<Task>,
    outbox: &Arc<Outbox>,
    slow: &AtomicBool,
) {
    let mut copying = Copying {
        queue: VecDeque::new(),
        through: Through::default(),
        pacer: Pacer::new(mover, peer, slow),
        mover,
        outbox,
    };
    loop {
        let seen = outbox.acks().seen();
        if let Some(job) = copying.through.go_on(mover, outbox).await {
            copying.queue.push_front(job);
        }
        let due = copying.due();
        let task = tokio::select! {
            biased;
            // Clients wait for what is to be drained, so it is looked for between any two pieces.
            task = inbox.recv() => task,
            () = due.wait(outbox, seen) => {
                copying.step();
                // Others have their turn.
                tokio::task::yield_now().await;
                continue;
            }
        };
        match task {
            Some(task) => copying.begin(task).await,
            None => return,
        }
    }
}

/// When there is something to do besides tasks.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// The next piece, after a pause.
    In(Duration),
    /// When the peer has got on, or to be looked at then.
    Acked,
    Never,
}

impl Due {
    async fn wait(self, outbox: &Outbox, seen: u64) {
        match self {
            Self::In(Duration::ZERO) => {}
            Self::In(pause) => tokio::time::sleep(pause).await,
            Self::Acked => outbox.acks().after(seen, LONG).await,
            Self::Never => std::future::pending().await,
        }
    }
}

/// The slots that are copied into one stream.
struct Copying<'a> {
    /// The first is under way.
    queue: VecDeque<Job>,
    through: Through,
    pacer: Pacer<'a>,
    mover: &'a Mover,
    outbox: &'a Arc<Outbox>,
}

impl Copying<'_> {
    async fn begin(&mut self, task: Task) {
        match task {
            Task::Copy(job) if Arc::ptr_eq(&job.outbox, self.outbox) => self.queue.push_back(job),
            // Of a stream before this one.
            Task::Copy(_) => {}
            Task::Drain(slot, id) => {
                if drain(self.mover, slot, self.outbox).await {
                    self.mover.event(SlotEvent::Frozen { slot, id }).await;
                }
            }
        }
    }

    fn due(&mut self) -> Due {
        match self.queue.front() {
            None if self.through.is_empty() => Due::Never,
            None => Due::Acked,
            Some(job) => {
                let full = self.outbox.is_waited_for() && self.outbox.lag() > WINDOW;
                let room = job.blocked.is_none_or(|acked| self.outbox.acked() > acked);
                if full || !room { Due::Acked } else { Due::In(self.pacer.pause().min(SAMPLE)) }
            }
        }
    }

    /// Copies the next piece, if it is due.
    fn step(&mut self) {
        if !matches!(self.due(), Due::In(Duration::ZERO)) {
            return;
        }
        let Some(job) = self.queue.front_mut() else { return };
        let before = self.outbox.appended();
        let copied = self.mover.shared.store.copy_slot(job.slot, self.outbox, BUDGET);
        // With whatever changed meanwhile, which is little.
        self.pacer.spend(self.outbox.appended() - before);
        job.blocked = None;
        match copied {
            Copied::More => {}
            Copied::NoRoom => job.blocked = Some(self.outbox.acked()),
            Copied::Nothing => drop(self.queue.pop_front()),
            Copied::All => {
                if let Some(job) = self.queue.pop_front() {
                    self.through.nearly.push_back((self.outbox.appended(), job));
                }
            }
        }
    }
}

/// The pace of one stream by the clock and by both ends' commands.
struct Pacer<'a> {
    mover: &'a Mover,
    pace: Pace,
    start: Instant,
    /// The last window of turns that counted.
    window: u64,
    /// The peer said that commands take long there.
    slow: &'a AtomicBool,
    gauge: metrics::Gauge,
}

impl<'a> Pacer<'a> {
    fn new(mover: &'a Mover, peer: &Member, slow: &'a AtomicBool) -> Self {
        let labels = [("node", mover.name.clone()), ("peer", peer.name.clone())];
        let pace = Pace::new(Duration::ZERO, bounds(mover));
        let gauge = metrics::gauge!("shoal_handoff_rate_bytes", &labels);
        Self { mover, pace, start: Instant::now(), window: 0, slow, gauge }
    }

    fn spend(&mut self, bytes: u64) {
        self.pace.spend(bytes);
    }

    /// How long the next piece has to wait.
    fn pause(&mut self) -> Duration {
        let now = self.start.elapsed();
        if self.pace.is_due(now) {
            let turns = self.mover.shared.look_at_turns();
            let ours = turns.slow && turns.window > self.window;
            self.window = turns.window;
            let theirs = self.slow.swap(false, Relaxed);
            self.pace.sample(now, ours || theirs, bounds(self.mover));
            self.gauge.set(self.pace.rate() as f64);
        }
        self.pace.pause(now)
    }
}

fn bounds(mover: &Mover) -> Bounds {
    let (least, most) = mover.shared.config.handoff_rates();
    Bounds::new(least, most)
}

/// Puts what is left of a frozen slot into the stream, a piece under each hold of its shard's lock; whether it is still to go
/// there. Clients wait for it, so nothing holds it back but a peer that does not keep up.
async fn drain(mover: &Mover, slot: u16, outbox: &Arc<Outbox>) -> bool {
    loop {
        let seen = outbox.acks().seen();
        if outbox.is_waited_for() && outbox.lag() > WINDOW {
            outbox.acks().after(seen, LONG).await;
            continue;
        }
        match mover.shared.store.copy_slot(slot, outbox, BUDGET) {
            Copied::All => return true,
            Copied::Nothing => return false,
            Copied::More => tokio::task::yield_now().await,
            Copied::NoRoom => outbox.acks().after(seen, LONG).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::{slot::key_slot, view::NodeId};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{
        config::Config,
        handoff::{Record, record},
        server::{Shared, Wiring},
        store::Expiry,
    };

    fn mover(settings: &[(&str, &str)]) -> Arc<Mover> {
        let config = Config::default();
        settings.iter().for_each(|(name, value)| config.set_at_start(name, value).unwrap());
        let shared = Shared::new(config.store_settings(), config, Wiring::none(), false);
        Mover::new(shared, "source").unwrap()
    }

    fn peer() -> Member {
        Member {
            id: NodeId { node: 2, boot: 1 },
            name: "target".into(),
            host: "127.0.0.1".into(),
            resp_port: 1,
            gossip_port: 2,
            weight: 100,
            zone: String::new(),
            replication: Default::default(),
        }
    }

    #[tokio::test]
    async fn what_comes_back_is_noted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        // The other end is gone when all of it is read.
        drop(listener.accept().await.unwrap());
        let outbox = Outbox::new(LIMIT, Arc::default());
        outbox.append(&[0; 100]);
        let slow = AtomicBool::new(false);
        let bytes = [wire::pending(90), wire::applied(100), wire::slow()].concat();
        let (mover, reader) = (mover(&[]), stream.into_split().0);
        assert_eq!(read(&mover, &peer(), reader, bytes, (&outbox, &slow)).await, "the connection broke");
        assert!(outbox.acked() == 100 && !outbox.is_settled(95) && slow.load(Relaxed));
        assert!(!outbox.is_settled(101), "it was not even applied");
        outbox.settle(90);
        assert!(outbox.is_settled(95));
    }

    /// The last slot that goes to a peer may have been emptied behind its offer: the offer's answer is no end of that.
    #[test]
    fn a_stream_that_is_not_needed_any_more_ends_when_all_is_applied() {
        let mover = mover(&[]);
        for applied in [true, false] {
            let outbox = Outbox::new(LIMIT, Arc::default());
            let position = outbox.append(&[0; 100]);
            let handle = Handle {
                outbox: Arc::new(ArcSwapOption::from(Some(outbox.clone()))),
                over: Arc::default(),
                tasks: mpsc::unbounded_channel().0,
                running: mover.thread.spawn(std::future::pending()),
                mover: mover.clone(),
                peer: peer(),
            };
            let begun = Instant::now();
            drop(handle);
            if applied {
                assert!(!outbox.is_broken());
                outbox.ack(position);
            }
            while !outbox.is_broken() {
                std::thread::yield_now();
            }
            assert!(outbox.is_settled(position) == applied && (applied || begun.elapsed() >= STALL));
        }
    }

    /// However slowly others are copied: its clients wait.
    #[tokio::test]
    async fn a_frozen_slot_waits_for_no_other_slot() {
        let mover = mover(&[("cluster-handoff-min-rate", "1"), ("cluster-handoff-max-rate", "1")]);
        let (store, outbox) = (&mover.shared.store, Outbox::new(LIMIT, Arc::default()));
        let [large, frozen] = [&b"{a}"[..], b"{b}"].map(key_slot);
        for (slot, tag, keys) in [(large, "{a}", 3000), (frozen, "{b}", 5)] {
            for k in 0..keys {
                let key = format!("{tag}{k}");
                store.lock_slot(0, slot, 1).set_str(key.as_bytes(), &[7; 1000], Expiry::Never);
            }
            store.tap(slot, &outbox, false);
        }
        let (tasks, mut inbox) = mpsc::unbounded_channel();
        let job = Job { slot: large, lasting: None, copy: 1, outbox: outbox.clone(), blocked: None };
        let (peer, slow) = (peer(), AtomicBool::new(false));
        let taken = async {
            let (mut bytes, mut through) = (Vec::new(), Vec::new());
            tasks.send(Task::Copy(job)).unwrap();
            let mut begun = false;
            while through.is_empty() {
                outbox.filled().await;
                outbox.take(&mut bytes).unwrap();
                let mut at = 0;
                while let Some((slot, said, len)) = record::read(&bytes[at..]).unwrap() {
                    at += len;
                    if slot == large
                        && matches!(said, Record::Put(..))
                        && !std::mem::replace(&mut begun, true)
                    {
                        tasks.send(Task::Drain(frozen, 1)).unwrap();
                    }
                    if said == Record::Through {
                        through.push(slot);
                    }
                }
            }
            through
        };
        tokio::select! {
            () = copy(&mover, &peer, &mut inbox, &outbox, &slow) => panic!("it ends with its inbox"),
            through = taken => assert_eq!(through, [frozen]),
        }
    }
}
