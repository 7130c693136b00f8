//! Slots to one peer: a connection that is made again and again, the copying of slots into it, what comes back.

use std::{collections::VecDeque, sync::Arc, time::Duration};

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
}

#[derive(Debug)]
enum Task {
    Copy(Job),
    /// What a frozen slot has left: the slot, and the freeze's name.
    Drain(u16, u64),
}

/// The way to a sender. Dropping it ends the stream.
#[derive(Debug)]
pub(super) struct Handle {
    /// Of the stream that stands.
    outbox: Arc<ArcSwapOption<Outbox>>,
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
        self.running.abort();
        if let Some(outbox) = self.outbox.swap(None) {
            outbox.break_off();
        }
        let (mover, peer) = (self.mover.clone(), self.peer.id);
        self.mover.thread.spawn(async move { mover.event(SlotEvent::Disconnected(peer)).await });
    }
}

/// Starts sending to a peer.
pub(super) fn start(mover: &Arc<Mover>, peer: Member) -> Handle {
    let (tasks, inbox) = mpsc::unbounded_channel();
    let outbox = Arc::new(ArcSwapOption::empty());
    let sender = Sender { mover: mover.clone(), peer: peer.clone(), outbox: outbox.clone(), inbox };
    let running = mover.thread.spawn(sender.run());
    Handle { outbox, tasks, running, mover: mover.clone(), peer }
}

struct Sender {
    mover: Arc<Mover>,
    peer: Member,
    outbox: Arc<ArcSwapOption<Outbox>>,
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
                let ended = tokio::select! {
                    ended = write(&self.mover, writer, &outbox) => ended,
                    ended = read(&self.mover, &self.peer, reader, rest, &outbox) => ended,
                    () = copy(&self.mover, &mut self.inbox, &outbox) => "this node stops",
                    () = stalls(&self.mover, &self.peer, &outbox) => "the peer does not keep up, and clients wait",
                };
                outbox.break_off();
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
    outbox: &Outbox,
) -> &'static str {
    loop {
        let mut done = 0;
        loop {
            match wire::next(&bytes[done..]) {
                Ok(Some((back, len))) => {
                    done += len;
                    match back {
                        Back::Applied(position) => outbox.ack(position),
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
async fn copy(mover: &Mover, inbox: &mut mpsc::UnboundedReceiver<Task>, outbox: &Arc<Outbox>) {
    let mut through = Through::default();
    loop {
        let seen = outbox.acks().seen();
        let task = match through.go_on(mover, outbox).await {
            Some(job) => Some(Task::Copy(job)),
            None => tokio::select! {
                biased;
                task = inbox.recv() => task,
                () = outbox.acks().after(seen, LONG), if !through.is_empty() => continue,
            },
        };
        match task {
            // Of a stream before this one.
            Some(Task::Copy(job)) if !Arc::ptr_eq(&job.outbox, outbox) => {}
            Some(Task::Copy(job)) => {
                if copy_all(mover, job.slot, outbox).await {
                    through.nearly.push_back((outbox.appended(), job));
                }
            }
            Some(Task::Drain(slot, id)) => {
                if copy_all(mover, slot, outbox).await {
                    mover.event(SlotEvent::Frozen { slot, id }).await;
                }
            }
            None => return,
        }
    }
}

/// Puts all of a slot into the stream, a piece under each hold of its shard's lock; whether it is still to go there.
async fn copy_all(mover: &Mover, slot: u16, outbox: &Arc<Outbox>) -> bool {
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
