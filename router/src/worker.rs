//! A worker: one thread that owns its clients and its connections to nodes, and shares nothing with other workers but
//! what [`Shared`] holds.
//!
//! Each socket has a task that reads; what a batch of reads produced is written by one flusher that
//! runs once per turn, so that each socket is written once however many replies or requests it gets.

use std::{
    cell::RefCell,
    io::ErrorKind,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::{Notify, mpsc, watch},
    task::spawn_local,
};

use crate::{client, desk::Desk, pace::Pace, routing::Routing, shared::Shared, stats::Totals, upstream};

/// Bytes read from a client at once.
const SCRATCH: usize = 64 << 10;

/// Something that others ask of a worker.
pub(crate) enum Errand {
    /// Serve this client.
    Serve(std::net::TcpStream),
    /// End this client.
    Kill { place: u32, generation: u32 },
}

/// What a worker's tasks share.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) desk: RefCell<Desk>,
    /// Clients' bytes are read here and usually leave before the next client is read.
    pub(crate) scratch: RefCell<Vec<u8>>,
    /// Wakes the flusher; to be notified when the desk was clean and no longer is.
    pub(crate) wake: Notify,
    /// Wakes the look at deadlines.
    waiting: Notify,
    pub(crate) errands: mpsc::UnboundedSender<Errand>,
    /// How many clients this worker has or is about to have.
    clients: Arc<AtomicUsize>,
    totals: Arc<Totals>,
}

/// What a worker is started with.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
    pub(crate) routing: watch::Receiver<Arc<Routing>>,
    pub(crate) errands: mpsc::UnboundedSender<Errand>,
    pub(crate) inbox: mpsc::UnboundedReceiver<Errand>,
    pub(crate) clients: Arc<AtomicUsize>,
}

/// Runs a worker until its inbox is closed or `stop` resolves.
pub(crate) async fn run(start: Start, stop: impl Future<Output = ()>) {
    let Start { shared, index, mut routing, errands, mut inbox, clients } = start;
    let desk = Desk::new(shared.clone(), routing.borrow_and_update().clone());
    let worker = Rc::new(Worker {
        desk: RefCell::new(desk),
        scratch: RefCell::new(vec![0; SCRATCH]),
        wake: Notify::new(),
        waiting: Notify::new(),
        errands,
        clients,
        totals: shared.totals[index].clone(),
        shared,
    });
    spawn_local(flush(worker.clone()));
    spawn_local(expire(worker.clone()));
    spawn_local(follow(worker.clone(), routing));
    tokio::pin!(stop);
    loop {
        let errand = tokio::select! {
            errand = inbox.recv() => errand,
            () = &mut stop => None,
        };
        match errand {
            Some(Errand::Serve(socket)) => match TcpStream::from_std(socket) {
                Ok(socket) => client::connection::spawn(worker.clone(), socket),
                Err(error) => {
                    tracing::warn!(%error, "cannot serve a client");
                    worker.left();
                }
            },
            Some(Errand::Kill { place, generation }) => worker.desk.borrow_mut().kill(place, generation),
            None => return,
        }
    }
}

impl Worker {
    /// To be called after a batch: wakes the flusher if there is something to write that it does not know of, and the
    /// look at deadlines if something waits.
    #[inline]
    pub(crate) fn touched(&self, desk: &Desk, was_clean: bool) {
        if was_clean && !desk.is_clean() {
            self.wake.notify_one();
        }
        if desk.waiting {
            self.waiting.notify_one();
        }
    }

    /// A client is gone.
    pub(crate) fn left(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes what each turn produced, requests first.
async fn flush(worker: Rc<Worker>) {
    let (mut clients, mut upstreams) = (Vec::new(), Vec::new());
    let mut pace = Pace::new();
    loop {
        worker.wake.notified().await;
        pace.wrote(rest(&worker, &pace).await);
        let mut desk = worker.desk.borrow_mut();
        std::mem::swap(&mut desk.dirty_clients, &mut clients);
        std::mem::swap(&mut desk.dirty_upstreams, &mut upstreams);
        for place in upstreams.drain(..) {
            flush_upstream(&worker, &mut desk, place);
        }
        for place in clients.drain(..) {
            flush_client(&worker, &mut desk, place);
        }
        desk.tally.publish(&worker.totals);
    }
}

/// Lets more come together when that is worth it. Returns the time.
async fn rest(worker: &Worker, pace: &Pace) -> Instant {
    let now = Instant::now();
    let rest = {
        let desk = worker.desk.borrow();
        pace.rest(&desk.crowd, desk.dirty_clients.len() + desk.dirty_upstreams.len(), now)
    };
    let Some(rest) = rest else { return now };
    // The runtime's timers are too coarse. The thread has nothing else to do: whatever comes meanwhile is taken below.
    std::thread::sleep(rest);
    tokio::task::yield_now().await;
    Instant::now()
}

fn flush_upstream(worker: &Rc<Worker>, desk: &mut Desk, place: u32) {
    let Some(upstream) = desk.upstreams.get_mut(place as usize) else { return };
    upstream.dirty = false;
    let writer = match &upstream.state {
        upstream::State::New => {
            upstream.state = upstream::State::Down;
            return upstream::connection::spawn(worker.clone(), place);
        }
        upstream::State::Down => return upstream.wake.notify_one(),
        upstream::State::Ready(writer) => writer,
    };
    if upstream.blocked || upstream.log.unwritten().is_empty() {
        return;
    }
    match writer.try_write(upstream.log.unwritten()) {
        Ok(n) => {
            upstream.log.wrote(n);
            desk.tally.node_bytes_out += n as u64;
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        // The reading side ends the connection and decides about its requests.
        Err(_) => return crate::desk::shut(writer),
    }
    if !upstream.log.unwritten().is_empty() {
        upstream.blocked = true;
        let (writer, generation) = (writer.clone(), upstream.generation);
        await_room(worker.clone(), writer, move |desk| {
            if let Some(upstream) = desk.upstreams.get_mut(place as usize)
                && upstream.generation == generation
            {
                upstream.blocked = false;
                desk.touch_upstream(place);
            }
        });
    }
}

fn flush_client(worker: &Rc<Worker>, desk: &mut Desk, place: u32) {
    let settings = &worker.shared.settings;
    let Some(client) = desk.clients.get_mut(place as usize) else { return };
    client.dirty = false;
    if client.blocked || client.owed() == 0 {
        return;
    }
    match client.writer.try_write(&client.out[client.written..]) {
        Ok(n) => {
            client.wrote(n);
            desk.tally.bytes_out += n as u64;
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => {
            let generation = client.generation;
            return desk.kill(place, generation);
        }
    }
    client.check_wait(settings.max_outstanding, settings.client_output_soft);
    if client.owed() > 0 {
        client.blocked = true;
        let (writer, generation) = (client.writer.clone(), client.generation);
        await_room(worker.clone(), writer, move |desk| {
            if let Some(client) = desk.client(place, generation) {
                client.blocked = false;
                desk.touch_client(place);
            }
        });
    } else {
        desk.recycle(place);
    }
}

/// Calls `then` when the socket takes bytes again.
fn await_room(worker: Rc<Worker>, writer: Rc<OwnedWriteHalf>, then: impl FnOnce(&mut Desk) + 'static) {
    spawn_local(async move {
        // An error shows at the next write.
        let _ = writer.writable().await;
        drop(writer);
        let mut desk = worker.desk.borrow_mut();
        let clean = desk.is_clean();
        then(&mut desk);
        worker.touched(&desk, clean);
    });
}

/// Looks after deadlines while something waits.
async fn expire(worker: Rc<Worker>) {
    let mut next: Option<Duration> = None;
    loop {
        match next {
            None => worker.waiting.notified().await,
            // Something new may be due earlier.
            Some(pause) => drop(tokio::time::timeout(pause, worker.waiting.notified()).await),
        }
        let mut desk = worker.desk.borrow_mut();
        let clean = desk.is_clean();
        desk.tick();
        next = desk.expire().map(|ms| Duration::from_millis(ms.into()));
        desk.waiting = false;
        worker.touched(&desk, clean);
    }
}

/// Installs new views.
async fn follow(worker: Rc<Worker>, mut routing: watch::Receiver<Arc<Routing>>) {
    while routing.changed().await.is_ok() {
        let next = routing.borrow_and_update().clone();
        let mut desk = worker.desk.borrow_mut();
        let clean = desk.is_clean();
        desk.tick();
        desk.adopt(next);
        worker.touched(&desk, clean);
    }
}
