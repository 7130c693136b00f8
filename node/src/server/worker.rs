//! Worker threads, and the accept loop that hands sockets to them.

use std::{
    cell::RefCell,
    io,
    net::TcpListener as StdListener,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::LocalSet,
};

use super::{Shared, connection, lookahead::Lookahead};
use crate::{stats::Counters, store::Sweep};

/// Bytes read at once; also the largest batch of small requests executed between two flushes.
const READ_SIZE: usize = 64 << 10;

/// Holds of a lock for which slots that went elsewhere are dropped, every 10 ms.
const DROPS_PER_TICK: usize = 16;

/// What the connections of one worker share. Borrowed only between two awaits.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    pub(super) ahead: Lookahead,
}

/// A worker's own state.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    pub(super) scratch: RefCell<Scratch>,
}

/// A running data plane. Dropping it stops accepting, closes all connections and joins the threads.
#[derive(Debug)]
pub struct Node {
    /// The shared state.
    pub shared: Arc<Shared>,
    stops: Vec<oneshot::Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stops.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread of the node had panicked");
            }
        }
    }
}

/// One worker as the accept loop sees it.
struct Slot {
    sockets: mpsc::UnboundedSender<std::net::TcpStream>,
    clients: Arc<AtomicUsize>,
}

/// Serves `listener` with `threads` workers.
///
/// # Errors
/// When threads or sockets cannot be had.
pub fn start(shared: Arc<Shared>, listener: StdListener, threads: usize) -> io::Result<Node> {
    listener.set_nonblocking(true)?;
    shared.set_port(listener.local_addr()?.port());
    let mut node = Node { shared: shared.clone(), stops: Vec::new(), threads: Vec::new() };
    let mut slots = Vec::new();
    for i in 0..threads.max(1) {
        let (sockets, incoming) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let clients = Arc::new(AtomicUsize::new(0));
        slots.push(Slot { sockets, clients: clients.clone() });
        let shared = shared.clone();
        let run = move || work(&shared, incoming, &clients, stopped);
        node.threads.push(thread::Builder::new().name(format!("node-{i}")).spawn(run)?);
        node.stops.push(stop);
    }
    let (stop, stopped) = oneshot::channel();
    node.stops.push(stop);
    let accept = move || {
        let runtime = runtime();
        runtime.block_on(async {
            tokio::select! {
                _ = stopped => {}
                () = accept(&shared, listener, slots) => {}
            }
        });
    };
    node.threads.push(thread::Builder::new().name("node-accept".into()).spawn(accept)?);
    Ok(node)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Look for new events after each round of ready connections: batches stay large, latency low.
        .event_interval(61)
        .build()
        .expect("a current-thread runtime needs only an epoll descriptor")
}

async fn accept(shared: &Arc<Shared>, listener: StdListener, slots: Vec<Slot>) {
    let listener =
        TcpListener::from_std(listener).expect("the listener is non-blocking and this is a runtime");
    let mut sweep = tokio::time::interval(std::time::Duration::from_millis(10));
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut walk = Sweep::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => hand_over(shared, socket, &slots).await,
                Err(error) => {
                    // Out of descriptors, most likely: existing clients go on, new ones wait.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            _ = sweep.tick() => {
                if shared.sweeping.load(Ordering::Relaxed) {
                    shared.store.sweep(&mut walk, shared.now_ms(), 2 * crate::store::SHARDS);
                }
                shared.store.drop_doomed(DROPS_PER_TICK);
            }
        }
    }
}

async fn hand_over(shared: &Arc<Shared>, socket: TcpStream, slots: &[Slot]) {
    shared.totals.connections.fetch_add(1, Ordering::Relaxed);
    if shared.registry.len() >= shared.config.max_clients() {
        shared.totals.rejected.fetch_add(1, Ordering::Relaxed);
        // Best effort, as in Redis: whoever cannot take 40 bytes does not get them.
        let _ = socket.try_write(b"-ERR max number of clients reached\r\n");
        return;
    }
    let Some(slot) = slots.iter().min_by_key(|s| s.clients.load(Ordering::Relaxed)) else { return };
    let Ok(socket) = socket.into_std() else { return };
    slot.clients.fetch_add(1, Ordering::Relaxed);
    // A worker only ends with the node.
    let _ = slot.sockets.send(socket);
}

/// The life of one worker thread.
fn work(
    shared: &Arc<Shared>,
    mut incoming: mpsc::UnboundedReceiver<std::net::TcpStream>,
    clients: &Arc<AtomicUsize>,
    mut stopped: oneshot::Receiver<()>,
) {
    let worker = Rc::new(Worker {
        shared: shared.clone(),
        counters: shared.totals.worker(),
        scratch: RefCell::new(Scratch {
            input: vec![0; READ_SIZE],
            output: Vec::with_capacity(READ_SIZE),
            ahead: Lookahead::default(),
        }),
    });
    let tasks = LocalSet::new();
    tasks.block_on(&runtime(), async {
        loop {
            let socket = tokio::select! {
                _ = &mut stopped => return,
                socket = incoming.recv() => socket,
            };
            let Some(socket) = socket else { return };
            match TcpStream::from_std(socket) {
                Ok(socket) => connection::spawn(worker.clone(), socket, clients.clone()),
                Err(error) => tracing::warn!(%error, "cannot serve a connection"),
            }
        }
    });
}
