//! A client's task: reads its socket, passes the bytes to its [`Intake`], and sees to its end.

use std::{future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Duration};

use bytes::{Buf, BytesMut};
use shoal_proto::session::Session;
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    net::{TcpStream, tcp::OwnedReadHalf},
    sync::Notify,
};

use super::{
    Wait,
    intake::{Go, Intake},
};
use crate::{
    shared::now_ms,
    worker::{Errand, Worker},
};

/// Most that is read ahead for a large request at once, beyond what has arrived.
const READ_AHEAD: usize = 1 << 20;

/// A pause ends early when somebody says so: it is looked at this often.
const PAUSE_STEP: Duration = Duration::from_millis(50);

/// How long a client that is being closed may take to read its last replies.
const FAREWELL: Duration = Duration::from_secs(5);

/// Starts serving a socket on this worker.
pub(crate) fn spawn(worker: Rc<Worker>, socket: TcpStream) {
    let (addr, laddr) = (socket.peer_addr(), socket.local_addr());
    let text = |a: std::io::Result<std::net::SocketAddr>| a.map(|a| a.to_string()).unwrap_or_default();
    // Replies are written whole; Nagle's algorithm would only delay them.
    let _ = socket.set_nodelay(true);
    let (reader, writer) = socket.into_split();
    let shared = worker.shared.clone();
    let record = shared.registry.add(text(addr), text(laddr), now_ms());
    let session = Session::new(record.clone(), &shared.access);
    let (place, generation, resume) = {
        let mut desk = worker.desk.borrow_mut();
        let (place, generation) = desk.admit(Rc::new(writer));
        desk.tally.connections += 1;
        (place, generation, desk.clients[place as usize].resume.clone())
    };
    let errands = worker.errands.clone();
    record.on_kill(move || {
        // A worker that has stopped has no clients.
        let _ = errands.send(Errand::Kill { place, generation });
    });
    let intake = Intake::new(place, generation, session, shared);
    tokio::task::spawn_local(async move {
        let mut connection = Connection { worker, reader, resume, intake, partial: BytesMut::new() };
        connection.serve().await;
        connection.end();
    });
}

struct Connection {
    worker: Rc<Worker>,
    reader: OwnedReadHalf,
    /// Wakes this task when the client may go on.
    resume: Rc<Notify>,
    intake: Intake,
    /// Bytes that are not a complete request yet, or not taken yet. Usually empty: requests are taken
    /// straight out of the worker's one buffer.
    partial: BytesMut,
}

impl Connection {
    async fn serve(&mut self) {
        loop {
            let Some(mut go) = self.read().await else { return self.farewell().await };
            loop {
                match go {
                    Go::Read => break,
                    Go::Wait => self.resume.notified().await,
                    Go::Pause(until) => {
                        let left = Duration::from_millis(until.saturating_sub(now_ms()));
                        tokio::time::sleep(left.min(PAUSE_STEP)).await;
                    }
                    Go::Close => return self.farewell().await,
                }
                if self.is_dead() {
                    return;
                }
                go = self.take_partial();
            }
        }
    }

    /// Reads once and takes what came. `None` at the end of the stream.
    async fn read(&mut self) -> Option<Go> {
        if !self.partial.is_empty() {
            let wanted = self.intake.wanted(self.partial.len());
            self.partial.reserve(wanted.clamp(16 << 10, READ_AHEAD));
            let n = self.reader.read_buf(&mut self.partial).await.ok().filter(|n| *n > 0)?;
            self.worker.desk.borrow_mut().tally.bytes_in += n as u64;
            return Some(self.take_partial());
        }
        // The buffer is borrowed only while the socket is polled, so all clients can share it.
        let (worker, reader) = (&self.worker, &mut self.reader);
        let n = poll_fn(|cx| {
            let mut scratch = worker.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *reader).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => Poll::Ready(buffer.filled().len()),
                Poll::Ready(Err(_)) => Poll::Ready(0),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        if n == 0 {
            return None;
        }
        let scratch = worker.scratch.borrow();
        let mut desk = worker.desk.borrow_mut();
        let clean = desk.is_clean();
        desk.tick();
        desk.tally.bytes_in += n as u64;
        let (used, go) = self.intake.take(&mut desk, &scratch[..n]);
        self.partial.extend_from_slice(&scratch[used..n]);
        worker.touched(&desk, clean);
        Some(go)
    }

    fn take_partial(&mut self) -> Go {
        let mut desk = self.worker.desk.borrow_mut();
        let clean = desk.is_clean();
        desk.tick();
        let (used, go) = self.intake.take(&mut desk, &self.partial);
        self.partial.advance(used);
        if self.partial.is_empty() {
            self.partial = BytesMut::new();
        }
        self.worker.touched(&desk, clean);
        go
    }

    fn is_dead(&self) -> bool {
        self.worker.desk.borrow_mut().client(self.intake.place, self.intake.generation).is_none_or(|c| c.dead)
    }

    /// Waits until everything is answered and sent. What the client sends meanwhile is not looked at.
    async fn farewell(&mut self) {
        loop {
            let blocked = {
                let mut desk = self.worker.desk.borrow_mut();
                let Some(client) = desk.client(self.intake.place, self.intake.generation) else { return };
                if client.dead || (client.tickets.is_empty() && client.owed() == 0) {
                    return;
                }
                client.wait = Wait::Finished;
                client.tickets.is_empty()
            };
            // Nodes answer or are given up in bounded time; only the client itself could keep us here.
            if !blocked {
                self.resume.notified().await;
            } else if tokio::time::timeout(FAREWELL, self.resume.notified()).await.is_err() {
                return;
            }
        }
    }

    fn end(&mut self) {
        let mut desk = self.worker.desk.borrow_mut();
        desk.dismiss(self.intake.place, self.intake.generation);
        self.worker.shared.registry.remove(self.intake.session.record.id);
        self.worker.left();
    }
}
