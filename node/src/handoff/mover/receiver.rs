//! Slots from one peer: records are put into effect as they come, what the peer says is passed on in between.

use std::{
    collections::BTreeSet,
    net::TcpStream as StdStream,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use shoal_net::cluster::SlotEvent;
use shoal_proto::{
    cluster::{Fate, Transfer},
    view::NodeId,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    Mover, Receiver,
    answers::{Answers, Next},
    ending::Ending,
    settling::Settling,
    wire,
};
use crate::{
    handoff::{Applied, Applier, ApplyError, Broken, Event, MOST_AHEAD, Record, record},
    server::clock,
    store::Charge,
};

/// Bytes read at once.
const READ: usize = 256 << 10;

/// A longer buffer is given back when the long record is through, and counts as memory of the data until then.
const LONG: usize = 4 * READ;

/// Records are put into effect for so long before others have their turn.
const SLICE: Duration = Duration::from_micros(500);

/// How long the last words of a stream may take.
const LAST: Duration = Duration::from_secs(1);

/// Takes over from the stream that the peer had before, then serves this one until it ends.
pub(super) async fn run(mover: Arc<Mover>, from: NodeId, stream: StdStream, rest: Vec<u8>) {
    // One after the other: a peer may try again before it was served.
    let _turn = mover.accepting.lock().await;
    let before = mover.state.lock().receivers.remove(&from);
    if let Some(before) = before {
        before.task.abort();
        // Aborted or ended: it applies nothing any more.
        let _ = before.task.await;
    }
    mover.event(SlotEvent::SourceLost(from)).await;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let answers: Arc<Answers> = Arc::default();
    let incoming = Incoming {
        mover: mover.clone(),
        from,
        applier: Applier::new(),
        answers: answers.clone(),
        settling: Arc::default(),
        begun: BTreeSet::new(),
        told: 0,
        unsaid: Unsaid::default(),
        bytes: Bytes { bytes: rest, charge: mover.shared.store.charge() },
        position: 0,
        ahead: false,
        counted: mover.counter("shoal_handoff_bytes_total", "in"),
    };
    let mut state = mover.state.lock();
    mover.intake.lock().on_stream(from);
    let task = mover.thread.spawn(incoming.serve(stream));
    state.receivers.insert(from, Receiver { task, answers });
}

/// A stream has ended: what came is worth nothing, the peer begins anew; unless it has done so already.
async fn end(mover: Arc<Mover>, from: NodeId, answers: Arc<Answers>) {
    let _turn = mover.accepting.lock().await;
    let is_ours = |receiver: &mut Receiver| Arc::ptr_eq(&receiver.answers, &answers);
    if mover.state.lock().receivers.get_mut(&from).is_some_and(is_ours) {
        mover.state.lock().receivers.remove(&from);
        mover.event(SlotEvent::SourceLost(from)).await;
    }
}

/// A slot that was emptied, in one database or all.
type Emptied = Option<(u16, Option<u8>)>;

/// Leaves out one record; unless it says that a slot was emptied, which may be ours by now.
fn skip(bytes: &[u8]) -> Result<(Applied<'_>, Emptied), ApplyError> {
    let Some((slot, record, consumed)) = record::read(bytes)? else {
        return Ok((Applied { consumed: 0, event: None }, None));
    };
    let emptied = if let Record::Clear(db) = record { Some((slot, db)) } else { None };
    Ok((Applied { consumed, event: None }, emptied))
}

/// Why a stream cannot go on: for metrics, and in words.
type Failure = (Ending, String);

/// What was emptied for the peer may still be where it is not known.
fn lost(what: &str) -> Failure {
    (Ending::Protocol, format!("a slot was emptied, but {what} it"))
}

fn failure(error: &ApplyError) -> Failure {
    let ending = if let ApplyError::NoRoom(_) = error { Ending::Full } else { Ending::Protocol };
    (ending, error.to_string())
}

/// What came and is not yet put into effect.
struct Bytes {
    bytes: Vec<u8>,
    charge: Charge,
}

impl Bytes {
    /// Makes room to read more, for as much as is known to come of a long record, but never for much more than came.
    fn reserve(&mut self) {
        let more = record::lacks(&self.bytes).min(self.bytes.len()).max(READ);
        self.bytes.reserve_exact(more);
        self.charge.set(if self.bytes.capacity() > LONG { self.bytes.capacity() } else { 0 });
    }

    fn remove(&mut self, done: usize) {
        self.bytes.drain(..done);
        if self.bytes.capacity() > LONG && self.bytes.len() < READ {
            self.bytes.shrink_to(2 * READ);
        }
    }
}

/// What the peer said that the core has not heard, and the slots that are to be begun when it has.
#[derive(Default)]
struct Unsaid {
    messages: Vec<SlotEvent>,
    begins: Vec<u16>,
    /// Those that any of it is about.
    slots: BTreeSet<u16>,
}

impl Unsaid {
    fn add(&mut self, from: NodeId, message: Transfer) {
        self.slots.insert(wire::slot(&message));
        self.messages.push(SlotEvent::Transfer { from, message });
    }
}

/// What was done with the next records.
enum Step {
    /// So many bytes of them were put into effect.
    Done(usize),
    /// None: there is no memory for more of this slot.
    NoRoom(u16),
}

struct Incoming {
    mover: Arc<Mover>,
    from: NodeId,
    applier: Applier,
    answers: Arc<Answers>,
    settling: Arc<Settling>,
    /// Slots of which not all keys have come: meanwhile the peer has to know whether commands take long here.
    begun: BTreeSet<u16>,
    /// The last window of turns of which the peer was told that they took long.
    told: u64,
    unsaid: Unsaid,
    bytes: Bytes,
    /// How much of the stream was put into effect.
    position: u64,
    /// Whether people were told that the peer's clock is ahead.
    ahead: bool,
    counted: metrics::Counter,
}

/// Writes what is to go back: until the peer is gone, leaves too much of it unread, or was told that no memory is left.
async fn answer(mut writer: OwnedWriteHalf, answers: &Answers) -> Result<(), Failure> {
    let mut frames = Vec::new();
    loop {
        answers.added().await;
        let next = answers.take(&mut frames);
        if next == Next::TooMuch {
            return Err((Ending::Protocol, "the peer reads no answers".to_owned()));
        }
        if writer.write_all(&frames).await.is_err() || next == Next::Last {
            return Ok(());
        }
    }
}

impl Mover {
    fn incoming_ended(&self, from: NodeId, failure: Option<Failure>) {
        let ending = failure.as_ref().map_or(Ending::Connection, |(ending, _)| *ending);
        self.count_ended("in", ending);
        let mut state = self.state.lock();
        let Some((ending, reason)) = failure else {
            state.failed.remove(&from);
            return;
        };
        // The peer tries again and again.
        if state.failed.insert(from, ending) == Some(ending) {
            tracing::debug!(node = self.name, from = %from.hex(), reason, "a stream of slots ended again");
        } else {
            tracing::warn!(node = self.name, from = %from.hex(), reason, "a stream of slots ended");
        }
    }
}

impl Incoming {
    async fn serve(mut self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (mut reader, writer) = stream.into_split();
        let (settling, answers) = (self.settling.clone(), self.answers.clone());
        let (shared, resets) = (self.mover.shared.clone(), self.mover.shared.resets());
        let mut answering = pin!(answer(writer, &answers));
        let settle = async {
            loop {
                let position = settling
                    .next()
                    .await
                    .map_err(|Broken| lost("whom it was handed on to cannot be told of"))?;
                if shared.resets() != resets {
                    // Copies are not waited for any more because nothing here counts, not because they have it.
                    return Err(lost("the cluster went on without us before all copies had"));
                }
                answers.settled(position);
            }
        };
        let ended = tokio::select! {
            ended = self.take_in(&mut reader) => ended,
            ended = &mut answering => ended,
            ended = settle => ended,
        };
        if let Err((Ending::Full, _)) = &ended {
            answers.full();
            // Read to the end, or the peer might never see it.
            let last = async {
                let _ = answering.await;
                while matches!(reader.read(&mut [0; 4096]).await, Ok(1..)) {}
            };
            let _ = tokio::time::timeout(LAST, last).await;
        }
        self.mover.incoming_ended(self.from, ended.err());
        self.mover.thread.spawn(end(self.mover.clone(), self.from, self.answers));
    }

    async fn take_in(&mut self, reader: &mut OwnedReadHalf) -> Result<(), Failure> {
        loop {
            self.apply().await?;
            self.bytes.reserve();
            match reader.read_buf(&mut self.bytes.bytes).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Ok(()),
            }
        }
    }

    /// A slot that was taken over from the peer was emptied there; that stands before this position of the stream.
    ///
    /// # Errors
    /// It has gone on to somebody else, who keeps what it held: the peer must not count it as emptied.
    fn empty(&self, slot: u16, db: Option<u8>, position: u64) -> Result<(), Failure> {
        let gone = || (Ending::Protocol, format!("slot {slot} was emptied after it had gone on from here"));
        let waits = self.mover.emptied(slot, db).ok_or_else(gone)?;
        if !waits.is_empty() {
            self.answers.pending(position);
            self.settling.add(position, waits);
        }
        Ok(())
    }

    /// A peer whose clock is far ahead is not followed: keys here would not expire until ours is as late.
    fn keep_time(&mut self) {
        let ahead = self.applier.keep_time(clock::now_ms());
        if ahead > 0 && !std::mem::replace(&mut self.ahead, true) {
            tracing::warn!(
                node = self.mover.name,
                from = %self.from.hex(),
                ms = ahead + MOST_AHEAD,
                "the clock of a node that slots come from is ahead of ours: their keys expire by ours from now on"
            );
        }
    }

    /// Puts all complete records into effect.
    async fn apply(&mut self) -> Result<(), Failure> {
        self.keep_time();
        let (mut done, mut since) = (0, Instant::now());
        loop {
            if !self.unsaid.slots.is_empty()
                && let Some((slot, begins)) = record::head(&self.bytes.bytes[done..])
                && self.unsaid.slots.contains(&slot)
            {
                if begins {
                    self.unsaid.begins.push(slot);
                    done += record::HEAD;
                    continue;
                }
                // What follows depends on what the core says.
                self.say().await?;
            }
            match self.step(done)? {
                Step::Done(0) => break,
                Step::Done(consumed) => done += consumed,
                Step::NoRoom(slot) => self.give_up(slot).await?,
            }
            if since.elapsed() >= SLICE {
                tokio::task::yield_now().await;
                since = Instant::now();
            }
        }
        self.say().await?;
        if done > 0 {
            self.bytes.remove(done);
            self.position += done as u64;
            self.counted.increment(done as u64);
            self.answers.applied(self.position);
            self.tell_if_slow();
        }
        Ok(())
    }

    /// Puts the next records into effect, as many as fit into one hold of a lock.
    fn step(&mut self, done: usize) -> Result<Step, Failure> {
        let bytes = &self.bytes.bytes[done..];
        let (applied, emptied) = {
            // Held meanwhile: what is refused from now on is not put into effect any more.
            let intake = self.mover.intake.lock();
            let allowed = |slot| intake.fate(slot, self.from) == Fate::Take;
            let Mover { shared, .. } = &*self.mover;
            match self.applier.apply(&shared.store, &shared.dispatch, allowed, bytes) {
                // Sent before the peer heard that the slot goes elsewhere now.
                Err(ApplyError::Unasked(_) | ApplyError::Served(_)) => {
                    let (applied, emptied) = skip(bytes).map_err(|error| failure(&error))?;
                    let taken = |(slot, _): &(u16, _)| intake.fate(*slot, self.from) == Fate::Taken;
                    (applied, emptied.filter(taken))
                }
                Err(ApplyError::NoRoom(slot)) => return Ok(Step::NoRoom(slot)),
                applied => (applied.map_err(|error| failure(&error))?, None),
            }
        };
        match applied.event {
            Some(Event::Message(body)) => {
                let message = wire::parse(body).map_err(|error| (Ending::Protocol, error.to_string()))?;
                match message {
                    Some(message) => self.unsaid.add(self.from, message),
                    None => self.mover.count("shoal_handoff_unknown_total", "in", 1),
                }
                if let Some(Transfer::Stop { slot }) = message {
                    self.begun.remove(&slot);
                }
            }
            Some(Event::Begun(slot)) => drop(self.begun.insert(slot)),
            Some(Event::Through(slot)) => drop(self.begun.remove(&slot)),
            None => {}
        }
        let consumed = applied.consumed;
        if let Some((slot, db)) = emptied {
            self.empty(slot, db, self.position + (done + consumed) as u64)?;
        }
        Ok(Step::Done(consumed))
    }

    /// There is no memory for more of a slot: what came of it is dropped, the peer told, and the rest left out.
    ///
    /// # Errors
    /// It is a copy that answers wait for. Then the stream has to end.
    async fn give_up(&mut self, slot: u16) -> Result<(), Failure> {
        self.say().await?;
        self.mover.event(SlotEvent::NoRoom { slot, from: self.from }).await;
        if self.mover.intake.lock().fate(slot, self.from) == Fate::Take {
            return Err(failure(&ApplyError::NoRoom(slot)));
        }
        self.applier.give_up(slot);
        self.begun.remove(&slot);
        Ok(())
    }

    /// Tells the core what the peer said, all at once, and begins the slots that it allows.
    async fn say(&mut self) -> Result<(), Failure> {
        if self.unsaid.messages.is_empty() {
            return Ok(());
        }
        let Unsaid { messages, begins, .. } = std::mem::take(&mut self.unsaid);
        self.mover.events(messages).await;
        let Mover { shared, .. } = &*self.mover;
        for slot in begins {
            let mut record = Vec::with_capacity(record::HEAD);
            Record::Begin.write(slot, &mut record);
            let intake = self.mover.intake.lock();
            let allowed = |slot| intake.fate(slot, self.from) == Fate::Take;
            match self.applier.apply(&shared.store, &shared.dispatch, allowed, &record) {
                Err(ApplyError::Unasked(_) | ApplyError::Served(_)) => {}
                Err(error) => return Err(failure(&error)),
                Ok(_) => drop(self.begun.insert(slot)),
            }
        }
        Ok(())
    }

    /// Says it once for each time that was looked at.
    fn tell_if_slow(&mut self) {
        if self.begun.is_empty() {
            return;
        }
        let turns = self.mover.shared.look_at_turns();
        if turns.slow && turns.window > self.told {
            self.told = turns.window;
            self.answers.slow();
        }
    }
}
