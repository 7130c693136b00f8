//! Slots to one peer: a connection that is made again and again, what is written to it, what comes back.

use std::{
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
    copying::{Job, Pacer, Task, copy},
    ending::{Attempts, Ending},
    flow::{Progress, STALL},
    wire::{self, Back},
};
use crate::handoff::{LIMIT, Outbox};

/// How long a peer may take to grant a stream.
const OPEN: Duration = Duration::from_secs(1);

/// Pause before the next attempt to open one.
const PAUSE: Duration = Duration::from_millis(100);

/// How long to wait for a peer to get on before looking again.
const LONG: Duration = Duration::from_secs(1);

/// How often it is looked whether the peer gets on.
const SAMPLE: Duration = Duration::from_millis(250);

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
    let (gauges, slow) = (Gauges::new(mover, &peer), Arc::new(AtomicBool::new(false)));
    let sender = Sender {
        mover: mover.clone(),
        peer: peer.clone(),
        outbox: outbox.clone(),
        over: Arc::clone(&over),
        inbox,
        pacer: Pacer::new(mover, slow.clone(), gauges.rate.clone()),
        slow,
        gauges,
        attempts: Attempts::default(),
    };
    let running = mover.thread.spawn(sender.run());
    Handle { outbox, over, tasks, running, mover: mover.clone(), peer }
}

/// What is shown of a stream; nothing of one that is gone.
struct Gauges {
    lag: metrics::Gauge,
    rate: metrics::Gauge,
}

impl Gauges {
    fn new(mover: &Mover, peer: &Member) -> Self {
        let labels = [("node", mover.name.clone()), ("peer", peer.name.clone())];
        let lag = metrics::gauge!("shoal_stream_lag_bytes", &labels);
        Self { lag, rate: metrics::gauge!("shoal_handoff_rate_bytes", &labels) }
    }

    fn clear(&self) {
        self.lag.set(0.0);
        self.rate.set(0.0);
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.clear();
    }
}

struct Sender {
    mover: Arc<Mover>,
    peer: Member,
    outbox: Arc<ArcSwapOption<Outbox>>,
    over: Arc<AtomicBool>,
    inbox: mpsc::UnboundedReceiver<Task>,
    /// What was learned of the pace outlives a stream.
    pacer: Pacer,
    /// The peer said that commands take long there.
    slow: Arc<AtomicBool>,
    gauges: Gauges,
    attempts: Attempts,
}

impl Sender {
    async fn run(mut self) {
        loop {
            let pause = match self.open().await {
                Some((connection, rest)) => match self.serve(connection, rest).await {
                    Some(pause) => pause,
                    None => return,
                },
                None => PAUSE,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One stream, until it ends. How long to wait then; `None` if there is to be no other.
    async fn serve(&mut self, connection: tokio::net::TcpStream, rest: Vec<u8>) -> Option<Duration> {
        let (begun, outbox) = (Instant::now(), Outbox::new(LIMIT, self.mover.shared.changes.clone()));
        self.outbox.store(Some(outbox.clone()));
        self.mover.event(SlotEvent::Connected(self.peer.id)).await;
        let (reader, writer) = connection.into_split();
        let ending = tokio::select! {
            // What the peer said last tells more than that it is gone.
            biased;
            ending = read(&self.mover, &self.peer, reader, rest, (&outbox, &self.slow)) => ending,
            ending = write(&self.mover, writer, &outbox) => ending,
            () = copy(&self.mover, &mut self.inbox, &outbox, &mut self.pacer) => Ending::Stops,
            () = stalls(&outbox, &self.gauges.lag) => Ending::Stalled,
        };
        outbox.break_off();
        if self.over.load(Relaxed) {
            return None;
        }
        self.outbox.store(None);
        self.gauges.clear();
        self.mover.count_ended("out", ending);
        let (pause, news) = self.attempts.ended(ending, begun.elapsed());
        let (node, peer, reason) = (&self.mover.name, &self.peer.name, ending.text());
        if news {
            tracing::info!(node, peer, reason, "a stream of slots ended");
        } else {
            tracing::debug!(node, peer, reason, "a stream of slots ended again");
        }
        self.mover.event(SlotEvent::Disconnected(self.peer.id)).await;
        // Clients wait until it is known whether the peer has what it was offered.
        Some(if self.mover.is_offered(self.peer.id) { PAUSE } else { pause })
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
async fn write(mover: &Mover, mut writer: OwnedWriteHalf, outbox: &Outbox) -> Ending {
    let (mut bytes, counted) = (Vec::new(), mover.counter("shoal_handoff_bytes_total", "out"));
    loop {
        outbox.filled().await;
        if outbox.take(&mut bytes).is_err() {
            return Ending::Overflow;
        }
        if writer.write_all(&bytes).await.is_err() {
            return Ending::Connection;
        }
        counted.increment(bytes.len() as u64);
    }
}

/// Reads what comes back.
async fn read(
    mover: &Mover,
    peer: &Member,
    mut reader: OwnedReadHalf,
    mut bytes: Vec<u8>,
    (outbox, slow): (&Outbox, &AtomicBool),
) -> Ending {
    // Answers that the core has not heard: it is told several at once, but of all that stand before what else is said.
    let mut unsaid = Vec::new();
    loop {
        let mut done = 0;
        loop {
            let (back, len) = match wire::next(&bytes[done..]) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(wire::Malformed) => return Ending::Protocol,
            };
            done += len;
            if !matches!(back, Back::Answer(_)) {
                mover.events(std::mem::take(&mut unsaid)).await;
            }
            match back {
                Back::Answer(message) => unsaid.push(SlotEvent::Transfer { from: peer.id, message }),
                Back::Applied(position) => outbox.ack(position),
                Back::Pending(position) => outbox.pend(position),
                Back::Settled(position) => outbox.settle(position),
                Back::Slow => slow.store(true, Relaxed),
                Back::Full => return Ending::Full,
                Back::Unknown => mover.count("shoal_handoff_unknown_total", "out", 1),
            }
        }
        mover.events(std::mem::take(&mut unsaid)).await;
        bytes.drain(..done);
        match reader.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Ending::Connection,
        }
    }
}

/// Returns when the peer does not get on, see [`Progress`].
async fn stalls(outbox: &Outbox, lag: &metrics::Gauge) {
    let (begun, mut progress) = (Instant::now(), Progress::default());
    loop {
        tokio::time::sleep(SAMPLE).await;
        lag.set(outbox.lag() as f64);
        let (appended, acked) = (outbox.appended(), outbox.acked());
        if progress.stalls(begun.elapsed(), appended, acked, outbox.is_waited_for()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_proto::view::NodeId;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{
        config::Config,
        server::{Shared, Wiring},
    };

    fn mover() -> Arc<Mover> {
        let config = Config::default();
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
        let (mover, reader) = (mover(), stream.into_split().0);
        assert_eq!(read(&mover, &peer(), reader, bytes, (&outbox, &slow)).await, Ending::Connection);
        assert!(outbox.acked() == 100 && !outbox.is_settled(95) && slow.load(Relaxed));
        assert!(!outbox.is_settled(101), "it was not even applied");
        outbox.settle(90);
        assert!(outbox.is_settled(95));
    }

    /// The last slot that goes to a peer may have been emptied behind its offer: the offer's answer is no end of that.
    #[test]
    fn a_stream_that_is_not_needed_any_more_ends_when_all_is_applied() {
        let mover = mover();
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

    #[tokio::test]
    async fn a_peer_without_memory_says_so_last() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        drop(listener.accept().await.unwrap());
        let (outbox, slow) = (Outbox::new(LIMIT, Arc::default()), AtomicBool::new(false));
        let (mover, reader) = (mover(), stream.into_split().0);
        assert_eq!(read(&mover, &peer(), reader, wire::full(), (&outbox, &slow)).await, Ending::Full);
    }
}
