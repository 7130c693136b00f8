//! A running router: its worker threads, the one task that accepts clients, and the handle that stops it.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use shoal_proto::view::View;
use tokio::sync::{mpsc, watch};

use crate::{
    routing::Routing,
    settings::Settings,
    shared::{Hook, Shared},
    worker::{self, Errand, Start},
};

/// Pause after an accept that failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Where views come from.
pub struct Views {
    /// The view in force, and each newer one.
    pub current: watch::Receiver<Arc<View>>,
    /// Asks for a newer one, because a node says that this one is out of date. Must not block.
    pub refresh: Hook,
    /// Whether the cluster can serve, as far as that is known. Must not block.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Starts routers.
#[derive(Debug)]
pub struct Router;

/// A running router. Dropping it stops it.
pub struct RouterHandle {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Router {
    /// Serves clients that come to the listeners until the handle is stopped. `on_shutdown` is called when a client
    /// sends `SHUTDOWN`; it should end the process in order.
    ///
    /// # Errors
    /// When threads or sockets are refused by the system.
    pub fn start(
        settings: Settings,
        listeners: Vec<TcpListener>,
        views: Views,
        on_shutdown: Hook,
    ) -> io::Result<RouterHandle> {
        let addr = listeners.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?;
        let threads = settings.threads.max(1);
        let shared = Arc::new(Shared::new(settings, addr, (views.refresh, views.ready), on_shutdown));
        let first = Arc::new(Routing::new(views.current.borrow().clone()));
        let (routing, routings) = watch::channel(first);
        let (stop, stopped) = watch::channel(false);
        let mut doors = Vec::new();
        let mut starts = Vec::new();
        for index in 0..threads {
            let (errands, inbox) = mpsc::unbounded_channel();
            let clients = Arc::new(AtomicUsize::new(0));
            doors.push((errands.clone(), clients.clone()));
            let routing = routings.clone();
            starts.push(Start { shared: shared.clone(), index, routing, errands, inbox, clients });
        }
        // The first worker also accepts clients and follows views: both are rare.
        let mut reception =
            Some(Reception { listeners, doors, shared: shared.clone(), views: views.current, routing });
        let threads = starts.into_iter().map(|start| spawn(start, reception.take(), stopped.clone()));
        let threads = threads.collect::<io::Result<Vec<_>>>()?;
        Ok(RouterHandle { addr, stop, threads, shared })
    }
}

impl RouterHandle {
    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Hands all counters and gauges to the process's metrics recorder; to be called on each scrape.
    pub fn record_metrics(&self) {
        for (worker, totals) in self.shared.totals.iter().enumerate() {
            totals.record(worker);
        }
        let rejected = self.shared.rejected.load(Ordering::Relaxed);
        metrics::counter!("shoal_router_connections_rejected_total").absolute(rejected);
        metrics::gauge!("shoal_router_clients").set(self.shared.registry.len() as f64);
        metrics::gauge!("shoal_router_cluster_ok").set(f64::from(u8::from(self.shared.is_ready())));
    }

    /// Stops accepting, closes all connections and waits for the threads.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl Drop for RouterHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// Accepts clients and hands them to the worker with the fewest.
struct Reception {
    listeners: Vec<TcpListener>,
    doors: Vec<(mpsc::UnboundedSender<Errand>, Arc<AtomicUsize>)>,
    shared: Arc<Shared>,
    views: watch::Receiver<Arc<View>>,
    routing: watch::Sender<Arc<Routing>>,
}

fn spawn(
    start: Start,
    reception: Option<Reception>,
    stopped: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let name = format!("router-{}", start.index);
    std::thread::Builder::new().name(name).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            if let Some(reception) = reception {
                reception.open();
            }
            let mut stopped = stopped;
            // The handle being gone means stop as well.
            worker::run(start, async move { drop(stopped.wait_for(|stop| *stop).await) }).await;
        });
        runtime.shutdown_background();
    })
}

impl Reception {
    fn open(self) {
        let Self { listeners, doors, shared, mut views, routing } = self;
        let doors = Arc::new(doors);
        for listener in listeners {
            tokio::task::spawn_local(accept(listener, doors.clone(), shared.clone()));
        }
        tokio::task::spawn_local(async move {
            // When the source ends, the last view stays in force.
            while views.changed().await.is_ok() {
                let view = views.borrow_and_update().clone();
                tracing::info!(epoch = view.epoch, members = view.members.len(), "following a new view");
                routing.send_replace(Arc::new(Routing::new(view)));
            }
            std::future::pending::<()>().await;
            drop(routing);
        });
    }
}

type Doors = Vec<(mpsc::UnboundedSender<Errand>, Arc<AtomicUsize>)>;

async fn accept(listener: TcpListener, doors: Arc<Doors>, shared: Arc<Shared>) {
    let listener =
        match listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener)) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "cannot accept clients"),
        };
    let complained = AtomicBool::new(false);
    loop {
        let socket = match listener.accept().await.and_then(|(socket, _)| socket.into_std()) {
            Ok(socket) => socket,
            Err(error) => {
                if !complained.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "cannot accept a client; trying on");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        complained.store(false, Ordering::Relaxed);
        let total: usize = doors.iter().map(|(_, clients)| clients.load(Ordering::Relaxed)).sum();
        if total >= shared.settings.max_clients {
            refuse(&socket, &shared);
            continue;
        }
        let fewest = doors.iter().min_by_key(|(_, clients)| clients.load(Ordering::Relaxed));
        let (door, clients) = fewest.expect("a router has at least one worker");
        clients.fetch_add(1, Ordering::Relaxed);
        // A worker that is gone takes its clients with it.
        let _ = door.send(Errand::Serve(socket));
    }
}

/// Tells a client that there are too many, as Redis does.
fn refuse(mut socket: &std::net::TcpStream, shared: &Shared) {
    use std::io::Write;
    shared.refused();
    // A fresh socket takes a line at once; if it does not, closing says enough.
    let _ = socket.write(b"-ERR max number of clients reached\r\n");
}
