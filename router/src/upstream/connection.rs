//! The task of one connection to a node: connects when somebody needs it, agrees on how it is used, reads replies.

use std::{io, rc::Rc, time::Duration};

use bytes::{Buf, BytesMut};
use rand::RngExt;
use shoal_proto::{
    resp::{
        frame::{self, Frames},
        request::OwnedArgs,
    },
    view::NodeId,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedReadHalf},
};

use crate::{settings::Settings, worker::Worker};

/// Bytes read at once.
const READ: usize = 64 << 10;

/// Most that is read ahead for a large reply at once, beyond what has arrived.
const READ_AHEAD: usize = 4 << 20;

/// A read buffer that grew beyond this is given back when it is empty.
const KEEP: usize = 1 << 20;

/// How many times a request's patience a node's machine may take to acknowledge bytes, or to make room for more.
#[cfg(target_os = "linux")]
const SILENCE: u32 = 4;

/// The part of a request's patience for which a node may hold it before it says that it cannot serve it now: the router asks again
/// then, perhaps somebody else, and ends it when its time is up. Less, and requests would be sent to and fro while a slot changes hands; more,
/// and they would be late by that, and with them what is behind them on the connection.
const HOLD: u32 = 10;

fn hold(settings: &Settings) -> Duration {
    settings.patience / HOLD
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The node refused the handshake with this line.
    #[error("the node refused: {0}")]
    Refused(String),
}

/// Starts the task of the connection at `place`.
pub(crate) fn spawn(worker: Rc<Worker>, place: u32) {
    tokio::task::spawn_local(async move {
        let mut failures = 0;
        while needed(&worker, place).await {
            match open(&worker, place).await {
                Ok(reader) => {
                    failures = 0;
                    read(&worker, place, reader).await;
                    let mut desk = worker.desk.borrow_mut();
                    let clean = desk.is_clean();
                    desk.tick();
                    desk.lost(place);
                    worker.touched(&desk, clean);
                }
                Err(error) => {
                    report(&worker, place, &error, failures);
                    failures += 1;
                    worker.shared.refresh();
                    tokio::time::sleep(pause(&worker.shared.settings, failures)).await;
                }
            }
        }
    });
}

/// Waits until there is something to send. `false` when the connection will not be needed again: it is forgotten then.
async fn needed(worker: &Worker, place: u32) -> bool {
    loop {
        let wake = {
            let mut desk = worker.desk.borrow_mut();
            let upstream = &desk.upstreams[place as usize];
            if !upstream.log.is_empty() || upstream.curious {
                return true;
            }
            if upstream.retired.is_some() {
                desk.forget(place);
                return false;
            }
            upstream.wake.clone()
        };
        wake.notified().await;
    }
}

/// The pause before the next attempt: doubling, half of it chance, so that many routers do not knock together.
fn pause(settings: &Settings, failures: u32) -> Duration {
    let doubled = settings.backoff_min.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let bounded = doubled.min(settings.backoff_max);
    bounded.div_f64(2.0) + bounded.div_f64(2.0).mul_f64(rand::rng().random_range(0.0..1.0))
}

fn report(worker: &Worker, place: u32, error: &ConnectError, failures: u32) {
    let mut desk = worker.desk.borrow_mut();
    desk.tally.connect_failures += 1;
    desk.upstreams[place as usize].stuck = true;
    let node = &desk.nodes[desk.upstreams[place as usize].node as usize];
    if failures == 0 {
        tracing::warn!(node = %format_args!("{}:{}", node.host, node.port), %error, "cannot connect to a node");
    } else {
        tracing::debug!(node = %format_args!("{}:{}", node.host, node.port), %error, failures, "still cannot connect");
    }
}

async fn open(worker: &Worker, place: u32) -> Result<OwnedReadHalf, ConnectError> {
    let (host, port, lane) = {
        let desk = worker.desk.borrow();
        let upstream = &desk.upstreams[place as usize];
        let node = &desk.nodes[upstream.node as usize];
        (node.host.clone(), node.port, upstream.lane)
    };
    let settings = &worker.shared.settings;
    let connect = async {
        let mut socket = TcpStream::connect((&*host, port)).await?;
        socket.set_nodelay(true)?;
        // Where packets vanish on the way, nothing else would ever tell. A node that is merely slow acknowledges them.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(settings.patience * SILENCE))?;
        let process = shake_hands(&mut socket, settings, lane).await?;
        Ok((socket, process))
    };
    let (socket, process) = tokio::time::timeout(settings.connect_timeout, connect)
        .await
        .unwrap_or(Err(ConnectError::Timeout))?;
    let (reader, writer) = socket.into_split();
    let mut desk = worker.desk.borrow_mut();
    let clean = desk.is_clean();
    desk.tally.connects += 1;
    desk.opened(place, Rc::new(writer), process);
    worker.touched(&desk, clean);
    tracing::debug!(node = %format_args!("{host}:{port}"), lane, "connected to a node");
    Ok(reader)
}

/// Tells the node who is there and what the connection is for; all in one write. Returns which process answers, if it
/// was asked and says so.
pub(crate) async fn shake_hands(
    socket: &mut TcpStream,
    settings: &Settings,
    lane: u8,
) -> Result<Option<NodeId>, ConnectError> {
    let (db, resp3) = (lane >> 1, lane & 1 == 1);
    let mut words: Vec<Vec<Vec<u8>>> = Vec::new();
    let line = |text: &str| text.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
    if let Some(password) = &settings.upstream_password {
        words.push(vec![b"AUTH".to_vec(), password.clone()]);
    }
    if settings.upstream_handshake {
        words.push(line(&format!("SHOAL UPSTREAM 1 {}", hold(settings).as_millis())));
    }
    if resp3 {
        words.push(line("HELLO 3"));
    }
    if db > 0 {
        words.push(line(&format!("SELECT {db}")));
    }
    if settings.upstream_handshake {
        words.push(line("CLUSTER MYID"));
    }
    if words.is_empty() {
        return Ok(None);
    }
    let requests: Vec<u8> = words.iter().flat_map(|w| OwnedArgs::new(w).args().raw().to_vec()).collect();
    socket.write_all(&requests).await?;
    let mut buffer = BytesMut::new();
    let mut frames = Frames::new();
    let mut process = None;
    for _ in 0..words.len() {
        let len = loop {
            match frames.next(&buffer) {
                Ok(Some(len)) => break len,
                Ok(None) if socket.read_buf(&mut buffer).await? == 0 => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Ok(None) => {}
                Err(error) => return Err(ConnectError::Refused(error.to_string())),
            }
        };
        if crate::merge::is_error(&buffer[..len]) {
            let text = frame::text(&buffer[..len]).unwrap_or_default();
            return Err(ConnectError::Refused(String::from_utf8_lossy(text).into_owned()));
        }
        // The last answer counts.
        process = frame::text(&buffer[..len]).and_then(NodeId::from_hex);
        buffer.advance(len);
    }
    // Nothing else was asked.
    if buffer.is_empty() {
        Ok(process)
    } else {
        Err(ConnectError::Refused("it said more than it was asked".to_owned()))
    }
}

/// Reads replies until the connection ends.
async fn read(worker: &Worker, place: u32, mut reader: OwnedReadHalf) {
    let mut buffer = BytesMut::with_capacity(READ);
    let mut frames = Frames::new();
    loop {
        let wanted = frames.wanted(buffer.len());
        buffer.reserve(wanted.clamp(READ, READ_AHEAD));
        let n = match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => n,
        };
        let mut desk = worker.desk.borrow_mut();
        let clean = desk.is_clean();
        desk.tick();
        desk.tally.node_bytes_in += n as u64;
        match desk.replies(place, &mut frames, &buffer) {
            Ok(used) => buffer.advance(used),
            Err(error) => {
                tracing::warn!(%error, "a node does not speak RESP as expected; closing the connection");
                desk.distrust(place);
                worker.touched(&desk, clean);
                return;
            }
        }
        worker.touched(&desk, clean);
        drop(desk);
        if buffer.is_empty() && buffer.capacity() > KEEP {
            buffer = BytesMut::with_capacity(READ);
        }
    }
}
