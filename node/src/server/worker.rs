//! Worker threads, and the accept loop that hands sockets to them.

use std::{
    io,
    net::TcpListener as StdListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::{
    Shared,
    mailbox::{Mail, Mailbox},
    turn::Worker,
    upkeep::Upkeep,
};

/// A running data plane. Dropping it stops accepting, closes all connections and joins the threads.
#[derive(Debug)]
pub struct Node {
    /// The shared state.
    pub shared: Arc<Shared>,
    accepting: Option<oneshot::Sender<()>>,
    acceptor: Option<thread::JoinHandle<()>>,
    workers: Vec<Arc<Mailbox>>,
    threads: Vec<thread::JoinHandle<()>>,
    upkeep: Option<Upkeep>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.workers.iter().for_each(|worker| worker.send(Mail::Stop));
        self.threads.drain(..).for_each(join);
        self.upkeep = None;
        // Its runtime drives the workers' timers, so it goes last.
        self.accepting = None;
        self.acceptor.take().into_iter().for_each(join);
    }
}

pub(super) fn join(thread: thread::JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the node's data plane had panicked");
    }
}

/// One worker as the accept loop sees it.
struct Slot {
    mailbox: Arc<Mailbox>,
    clients: Arc<AtomicUsize>,
}

/// Serves `listener` with `threads` workers.
///
/// # Errors
/// When threads or sockets cannot be had.
pub fn start(shared: Arc<Shared>, listener: StdListener, threads: usize) -> io::Result<Node> {
    listener.set_nonblocking(true)?;
    shared.set_port(listener.local_addr()?.port());
    let (accepting, stopped) = oneshot::channel();
    let mut node = Node {
        shared: shared.clone(),
        accepting: Some(accepting),
        acceptor: None,
        workers: Vec::new(),
        threads: Vec::new(),
        upkeep: None,
    };
    let runtime = runtime();
    let mut slots = Vec::new();
    for i in 0..threads.max(1) {
        let poll = mio::Poll::new()?;
        let mailbox = Arc::new(Mailbox::new(&poll)?);
        let clients = Arc::new(AtomicUsize::new(0));
        slots.push(Slot { mailbox: mailbox.clone(), clients: clients.clone() });
        node.workers.push(mailbox.clone());
        let shared = shared.clone();
        let timers = runtime.handle().clone();
        let run = move || {
            let _context = timers.enter();
            Worker::new(shared, poll, mailbox, clients).run();
        };
        node.threads.push(thread::Builder::new().name(format!("node-{i}")).spawn(run)?);
    }
    node.upkeep = Some(Upkeep::start(shared.clone())?);
    let accept = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = stopped => {}
                () = accept(&shared, listener, slots) => {}
            }
        });
    };
    node.acceptor = Some(thread::Builder::new().name("node-accept".into()).spawn(accept)?);
    Ok(node)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a current-thread runtime needs only an epoll descriptor")
}

async fn accept(shared: &Arc<Shared>, listener: StdListener, slots: Vec<Slot>) {
    let listener =
        TcpListener::from_std(listener).expect("the listener is non-blocking and this is a runtime");
    loop {
        match listener.accept().await {
            Ok((socket, _)) => hand_over(shared, socket, &slots).await,
            Err(error) => {
                // Out of descriptors, most likely: existing clients go on, new ones wait.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn hand_over(shared: &Arc<Shared>, socket: TcpStream, slots: &[Slot]) {
    shared.totals.connections.fetch_add(1, Ordering::Relaxed);
    // Those that are on their way to a worker count as well: it looks at them later.
    let total: usize = slots.iter().map(|slot| slot.clients.load(Ordering::Relaxed)).sum();
    if total >= shared.config.max_clients() {
        shared.totals.rejected.fetch_add(1, Ordering::Relaxed);
        // Best effort, as in Redis: whoever cannot take 40 bytes does not get them.
        let _ = socket.try_write(b"-ERR max number of clients reached\r\n");
        return;
    }
    let Some(slot) = slots.iter().min_by_key(|s| s.clients.load(Ordering::Relaxed)) else { return };
    let Ok(socket) = socket.into_std() else { return };
    slot.clients.fetch_add(1, Ordering::Relaxed);
    slot.mailbox.send(Mail::Socket(socket));
}
