//! Slots from one peer: records are put into effect as they come, what the peer says is passed on in between.

use std::{collections::BTreeSet, net::TcpStream as StdStream, sync::Arc};

use parking_lot::Mutex;
use shoal_net::cluster::SlotEvent;
use shoal_proto::{cluster::Transfer, view::NodeId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedReadHalf},
    sync::mpsc,
};

use super::{Mover, Receiver, settling::Settling, wire};
use crate::{
    handoff::{Applied, Applier, ApplyError, Event, MOST_AHEAD, Record, record},
    server::clock,
    store::SlotSet,
};

/// Bytes read at once.
const READ: usize = 256 << 10;

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
    let (answers, frames) = mpsc::unbounded_channel();
    let allowed: Arc<Mutex<SlotSet>> = Arc::new(Mutex::new([0; 256]));
    let incoming = Incoming {
        mover: mover.clone(),
        from,
        allowed: allowed.clone(),
        applier: Applier::new(),
        answers: answers.clone(),
        settling: Arc::default(),
        begun: BTreeSet::new(),
        told: 0,
        bytes: rest,
        position: 0,
        ahead: false,
    };
    let mut state = mover.state.lock();
    state.incoming.insert(from, allowed);
    let task = mover.thread.spawn(incoming.serve(stream, frames));
    state.receivers.insert(from, Receiver { task, answers });
}

/// A stream has ended: what came is worth nothing, the peer begins anew; unless it has done so already.
async fn end(mover: Arc<Mover>, from: NodeId, answers: mpsc::UnboundedSender<Vec<u8>>) {
    let _turn = mover.accepting.lock().await;
    let is_ours = |receiver: &mut Receiver| receiver.answers.same_channel(&answers);
    if mover.state.lock().receivers.get_mut(&from).is_some_and(is_ours) {
        mover.state.lock().receivers.remove(&from);
        mover.event(SlotEvent::SourceLost(from)).await;
    }
}

/// A slot that was emptied, in one database or all.
type Emptied = Option<(u16, Option<u8>)>;

/// Leaves out one record; unless it says that a slot was emptied, which may be ours by now.
fn skip(bytes: &[u8]) -> Result<(Applied<'_>, Emptied), String> {
    let record = record::read(bytes).map_err(|error| error.to_string())?;
    let Some((slot, record, consumed)) = record else {
        return Ok((Applied { consumed: 0, event: None }, None));
    };
    let emptied = if let Record::Clear(db) = record { Some((slot, db)) } else { None };
    Ok((Applied { consumed, event: None }, emptied))
}

struct Incoming {
    mover: Arc<Mover>,
    from: NodeId,
    /// Slots that may come, as the core has it.
    allowed: Arc<Mutex<SlotSet>>,
    applier: Applier,
    answers: mpsc::UnboundedSender<Vec<u8>>,
    settling: Arc<Settling>,
    /// Slots of which not all keys have come: meanwhile the peer has to know whether commands take long here.
    begun: BTreeSet<u16>,
    /// The last window of turns of which the peer was told that they took long.
    told: u64,
    bytes: Vec<u8>,
    /// How much of the stream was put into effect.
    position: u64,
    /// Whether people were told that the peer's clock is ahead.
    ahead: bool,
}

impl Incoming {
    async fn serve(mut self, stream: TcpStream, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
        let _ = stream.set_nodelay(true);
        let (reader, mut writer) = stream.into_split();
        let answer = async {
            while let Some(frame) = frames.recv().await {
                if writer.write_all(&frame).await.is_err() {
                    return;
                }
            }
        };
        let (settling, answers) = (self.settling.clone(), self.answers.clone());
        let settle = async {
            // Until the stream ends.
            while answers.send(wire::settled(settling.next().await)).is_ok() {}
        };
        let ended = tokio::select! {
            ended = self.take_in(reader) => ended,
            () = answer => Ok(()),
            () = settle => Ok(()),
        };
        if let Err(reason) = ended {
            tracing::warn!(node = self.mover.name, from = %self.from.hex(), reason, "a stream of slots ended");
        }
        self.mover.thread.spawn(end(self.mover.clone(), self.from, self.answers));
    }

    async fn take_in(&mut self, mut reader: OwnedReadHalf) -> Result<(), String> {
        loop {
            self.apply().await?;
            self.bytes.reserve(READ);
            match reader.read_buf(&mut self.bytes).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Ok(()),
            }
        }
    }

    /// A slot that may be ours by now was emptied at the peer; that stands before this position of the stream.
    ///
    /// # Errors
    /// It has gone on to somebody else, who keeps what it held: the peer must not count it as emptied.
    fn empty(&self, slot: u16, db: Option<u8>, position: u64) -> Result<(), String> {
        let gone = || format!("slot {slot} was emptied after it had gone on from here");
        let waits = self.mover.emptied(self.from, slot, db).ok_or_else(gone)?;
        if !waits.is_empty() {
            let _ = self.answers.send(wire::pending(position));
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
    async fn apply(&mut self) -> Result<(), String> {
        self.keep_time();
        let mut done = 0;
        loop {
            let Mover { shared, .. } = &*self.mover;
            let (consumed, message, emptied) = {
                // Held meanwhile: what is refused from now on is not put into effect any more.
                let allowed = self.allowed.lock();
                let bytes = &self.bytes[done..];
                let (Applied { consumed, event }, emptied) =
                    match self.applier.apply(&shared.store, &shared.dispatch, &allowed, bytes) {
                        // Sent before the peer heard that the slot goes elsewhere now.
                        Err(ApplyError::Unasked(_) | ApplyError::Served(_)) => skip(bytes)?,
                        applied => (applied.map_err(|error| error.to_string())?, None),
                    };
                let message = match event {
                    Some(Event::Message(body)) => {
                        let message = wire::parse(body).map_err(|error| error.to_string())?;
                        if let Some(Transfer::Stop { slot }) = message {
                            self.begun.remove(&slot);
                        }
                        if message.is_none() {
                            self.mover.count("shoal_handoff_unknown_total", "in", 1);
                        }
                        message
                    }
                    Some(Event::Begun(slot)) => {
                        self.begun.insert(slot);
                        None
                    }
                    Some(Event::Through(slot)) => {
                        self.begun.remove(&slot);
                        None
                    }
                    None => None,
                };
                (consumed, message, emptied)
            };
            if consumed == 0 {
                break;
            }
            done += consumed;
            if let Some((slot, db)) = emptied {
                self.empty(slot, db, self.position + done as u64)?;
            }
            match message {
                // The data behind depends on what the core says to it.
                Some(message) => self.mover.event(SlotEvent::Transfer { from: self.from, message }).await,
                None => tokio::task::yield_now().await,
            }
        }
        if done > 0 {
            self.bytes.drain(..done);
            self.position += done as u64;
            self.mover.count("shoal_handoff_bytes_total", "in", done as u64);
            // The peer that does not read it is gone.
            let _ = self.answers.send(wire::applied(self.position));
            self.tell_if_slow();
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
            let _ = self.answers.send(wire::slow());
        }
    }
}
