//! Dropping large values where nobody waits for it: one thread behind a bounded queue.
//!
//! Whoever takes a value out of the store while holding a shard's lock hands it over here: freeing a million
//! elements takes longer than any command may. The memory is no longer charged from the moment the value left the
//! store, so what waits is bounded in bytes as well. Never loses anything: when the queue is full or the thread cannot be
//! started, the caller drops in place.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    Flushed,
    pool::{LARGEST_POOLED, OWNER},
};
use crate::{heap, value::Value};

/// Values with less memory than this are dropped at once: that is cheaper than handing them over.
const SMALL: usize = 16 << 10;
/// The same for strings, which are one piece of memory and mostly go back to the pool.
const SMALL_STRING: usize = LARGEST_POOLED + OWNER + 1;
/// Bytes of values that may wait while another one comes.
const MOST_BYTES: usize = 8 << 20;
/// Values that may wait. Beyond that, those who delete pay for it themselves, which slows them down.
const QUEUE: usize = 4096;
/// Longer nobody waits for what was flushed each time he has taken a part of the limit.
const MOST_WAITED: Duration = Duration::from_millis(20);

/// What waits to be dropped. The fields are only held.
#[derive(Debug)]
enum Garbage {
    Value(Value),
    Keys(Flushed),
    /// Nothing is dropped: what was is given back to the system.
    Free,
    /// The same, if more is resident than the limit and what goes with it.
    Above(u64),
}

impl Garbage {
    /// Objects as INFO counts them.
    fn objects(&self) -> u64 {
        match self {
            Self::Value(_) => 1,
            Self::Keys(flushed) => flushed.held() as u64,
            Self::Free | Self::Above(_) => 0,
        }
    }

    /// Bytes that were accounted for until they were flushed.
    fn flushed(&self) -> usize {
        match self {
            Self::Keys(flushed) => flushed.bytes(),
            Self::Value(_) | Self::Free | Self::Above(_) => 0,
        }
    }

    /// Bytes that count against [`MOST_BYTES`].
    fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.memory(),
            Self::Keys(_) | Self::Free | Self::Above(_) => 0,
        }
    }
}

/// Counters that INFO shows, and what the thread shares with those who ask.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pending: AtomicU64,
    pending_bytes: AtomicUsize,
    freed: AtomicU64,
    /// Bytes of flushed keys that wait; who waits for them is told through the others.
    flushed: AtomicUsize,
    turn: Mutex<()>,
    progress: Condvar,
    /// Keys that flushes left in their shards.
    left: AtomicUsize,
    /// Whether somebody has asked to trim what is above a limit, and it was not begun.
    asked: AtomicBool,
    trims: Mutex<heap::Trims>,
    /// What could not be given back the last time, until somebody has seen that.
    excess: AtomicU64,
}

impl Counters {
    fn trim(&self, limit: u64) {
        let excess = self.trims.lock().request(limit);
        self.excess.store(excess, Ordering::Relaxed);
    }

    /// So many bytes of what was flushed are back.
    fn back(&self, bytes: usize) {
        self.flushed.fetch_sub(bytes, Ordering::Relaxed);
        // Whoever has just seen that they were not waits already, or sees now that they are.
        drop(self.turn.lock());
        self.progress.notify_all();
    }

    /// A flush left so many keys to be removed.
    pub(super) fn waiting(&self, keys: usize) {
        self.left.fetch_add(keys, Ordering::Relaxed);
    }

    /// So many of them are gone.
    pub(super) fn dropped(&self, keys: usize) {
        self.left.fetch_sub(keys, Ordering::Relaxed);
        self.freed.fetch_add(keys as u64, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Worker {
    /// `None` only while being dropped.
    queue: Option<SyncSender<Garbage>>,
    thread: Option<JoinHandle<()>>,
}

/// The dropper of one store. Its thread starts with the first large value.
#[derive(Debug, Default)]
pub struct Reclaim {
    worker: OnceLock<Option<Worker>>,
    counters: Arc<Counters>,
}

impl Reclaim {
    /// Drops a value: now if it is small, else in the background.
    #[inline]
    pub(super) fn discard(&self, value: Value) {
        let small = if matches!(value, Value::Str(_)) { SMALL_STRING } else { SMALL };
        if value.memory() >= small && self.counters.pending_bytes.load(Ordering::Relaxed) < MOST_BYTES {
            self.hand_over(Garbage::Value(value));
        }
    }

    /// Drops flushed keys in the background.
    pub fn flushed(&self, flushed: Flushed) {
        if flushed.held() > 0 {
            self.hand_over(Garbage::Keys(flushed));
        }
    }

    /// Lets the allocator give free memory back to the system, once what waits has been dropped.
    pub fn trim(&self) {
        self.hand_over(Garbage::Free);
    }

    /// The same if the process is above a node's limit. Whoever asks while the one before still waits has to see to it at once,
    /// and so to wait for a trim that goes on: nobody takes memory faster than it comes back. What could not be given back
    /// since the last call, as [`Trims::request`](heap::Trims::request) says.
    pub(super) fn trim_above(&self, limit: u64) -> u64 {
        if self.counters.asked.swap(true, Ordering::Relaxed) {
            self.counters.trim(limit);
        } else {
            self.hand_over(Garbage::Above(limit));
        }
        self.counters.excess.swap(0, Ordering::Relaxed)
    }

    /// Bytes that nothing accounts for any more and that will come back.
    pub(super) fn coming_back(&self) -> u64 {
        let bytes = &self.counters.pending_bytes;
        (self.flushed_bytes() + bytes.load(Ordering::Relaxed)) as u64
    }

    /// Those of them that were flushed.
    #[inline]
    pub(super) fn flushed_bytes(&self) -> usize {
        self.counters.flushed.load(Ordering::Relaxed)
    }

    /// Waits, but not for long, until so many bytes of what was flushed are back.
    pub(super) fn wait_for_flushed(&self, bytes: usize) {
        let goal = self.flushed_bytes().saturating_sub(bytes);
        let until = Instant::now() + MOST_WAITED;
        let mut turn = self.counters.turn.lock();
        while self.flushed_bytes() > goal && !self.counters.progress.wait_until(&mut turn, until).timed_out()
        {
        }
    }

    /// Objects that wait to be dropped (`lazyfree_pending_objects`).
    pub fn pending(&self) -> u64 {
        self.counters.pending.load(Ordering::Relaxed) + self.counters.left.load(Ordering::Relaxed) as u64
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Whether flushes left keys that are still to be removed.
    #[inline]
    pub(super) fn has_left(&self) -> bool {
        self.counters.left.load(Ordering::Relaxed) > 0
    }

    /// Objects dropped in the background (`lazyfreed_objects`).
    pub fn freed(&self) -> u64 {
        self.counters.freed.load(Ordering::Relaxed)
    }

    /// Sets the counter of dropped objects to zero (`CONFIG RESETSTAT`).
    pub fn reset_freed(&self) {
        self.counters.freed.store(0, Ordering::Relaxed);
    }

    #[cold]
    fn hand_over(&self, garbage: Garbage) {
        let worker = self.worker.get_or_init(|| Worker::start(Arc::clone(&self.counters)).ok());
        let Some(queue) = worker.as_ref().and_then(|w| w.queue.as_ref()) else { return };
        let (objects, bytes, flushed) = (garbage.objects(), garbage.bytes(), garbage.flushed());
        self.counters.pending.fetch_add(objects, Ordering::Relaxed);
        self.counters.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counters.flushed.fetch_add(flushed, Ordering::Relaxed);
        if let Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) =
            queue.try_send(garbage)
        {
            self.counters.pending.fetch_sub(objects, Ordering::Relaxed);
            self.counters.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counters.flushed.fetch_sub(flushed, Ordering::Relaxed);
            drop(refused);
        }
    }
}

impl Worker {
    fn start(counters: Arc<Counters>) -> std::io::Result<Self> {
        let (queue, garbage) = sync_channel(QUEUE);
        let work = move || drop_all(&garbage, &counters);
        let thread = thread::Builder::new().name("reclaim".to_owned()).spawn(work)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing the queue ends the thread once it has emptied it.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It can only have failed in a value's drop, about which nothing can be done any more.
            let _ = thread.join();
        }
    }
}

fn drop_all(garbage: &Receiver<Garbage>, counters: &Counters) {
    while let Ok(one) = garbage.recv() {
        let (objects, bytes) = (one.objects(), one.bytes());
        match one {
            Garbage::Free => heap::trim(),
            Garbage::Above(limit) => {
                counters.asked.store(false, Ordering::Relaxed);
                counters.trim(limit);
            }
            Garbage::Keys(flushed) => flushed.drop_each(|bytes| counters.back(bytes)),
            Garbage::Value(value) => drop(value),
        }
        counters.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
        counters.freed.fetch_add(objects, Ordering::Relaxed);
        counters.pending.fetch_sub(objects, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{Expiry, Settings, Store},
        value::Str,
    };

    fn large() -> Value {
        Str::new(vec![0; SMALL_STRING]).into()
    }

    /// Everything handed over has been dropped when the worker is gone.
    fn finish(reclaim: Reclaim) -> (u64, u64) {
        let counters = Arc::clone(&reclaim.counters);
        drop(reclaim);
        (counters.pending.load(Ordering::Relaxed), counters.freed.load(Ordering::Relaxed))
    }

    #[test]
    fn small_values_never_wait() {
        let reclaim = Reclaim::default();
        reclaim.discard(Str::new("small").into());
        assert!(reclaim.worker.get().is_none());
    }

    #[test]
    fn large_values_are_dropped_by_the_thread() {
        let reclaim = Reclaim::default();
        (0..3).for_each(|_| reclaim.discard(large()));
        assert_eq!(finish(reclaim), (0, 3));
    }

    #[test]
    fn few_bytes_wait() {
        let (queue, garbage) = sync_channel(QUEUE);
        let worker = Worker { queue: Some(queue), thread: None };
        let reclaim = Reclaim { worker: OnceLock::from(Some(worker)), ..Reclaim::default() };
        (0..100).for_each(|_| reclaim.discard(large()));
        assert_eq!(
            reclaim.pending(),
            MOST_BYTES.div_ceil(SMALL_STRING) as u64,
            "the others were dropped in place"
        );
        drop(garbage);
    }

    /// Whoever refills what was flushed waits until as much is back, but not for ever.
    #[test]
    fn flushed_bytes_are_waited_for() {
        let store = Store::new(Settings::default());
        for i in 0..1000u32 {
            let name = i.to_le_bytes();
            let key = [store.locate(&name)];
            store.lock(0, &key, 1).set_str(key[0].bytes, &[7; 20_000], Expiry::Never);
        }
        let flushed = store.flush(None, |_, _| ()).expect("nothing holds it");
        let bytes = flushed.bytes();
        assert!(bytes >= 20_000_000, "{bytes}");
        let (queue, garbage) = sync_channel(QUEUE);
        let worker = Worker { queue: Some(queue), thread: None };
        let reclaim = Arc::new(Reclaim { worker: OnceLock::from(Some(worker)), ..Reclaim::default() });
        reclaim.flushed(flushed);
        reclaim.wait_for_flushed(1);
        assert_eq!(
            (reclaim.flushed_bytes(), reclaim.coming_back()),
            (bytes, bytes as u64),
            "nobody drops anything"
        );
        let waiting = Arc::clone(&reclaim);
        let waits = thread::spawn(move || {
            while waiting.flushed_bytes() > bytes / 2 {
                waiting.wait_for_flushed(bytes / 2);
            }
        });
        let counters = Arc::clone(&reclaim.counters);
        let drops = thread::spawn(move || drop_all(&garbage, &counters));
        waits.join().expect("it ends");
        drop(reclaim);
        drops.join().expect("the queue is closed");
        assert_eq!(store.pooled_memory().0, 0);
    }

    #[test]
    fn one_request_to_trim_waits_at_most() {
        let (queue, garbage) = sync_channel(QUEUE);
        let worker = Worker { queue: Some(queue), thread: None };
        let reclaim = Reclaim { worker: OnceLock::from(Some(worker)), ..Reclaim::default() };
        // No node is looked after here, so nobody is to blame.
        assert_eq!([reclaim.trim_above(1 << 40), reclaim.trim_above(1 << 40)], [0, 0]);
        assert!(matches!(garbage.try_recv(), Ok(Garbage::Above(_))) && garbage.try_recv().is_err());
    }

    #[test]
    fn a_full_queue_is_no_loss() {
        let (queue, garbage) = sync_channel(1);
        let worker = Worker { queue: Some(queue), thread: None };
        let reclaim = Reclaim { worker: OnceLock::from(Some(worker)), ..Reclaim::default() };
        reclaim.discard(large());
        assert_eq!((reclaim.pending(), reclaim.freed()), (1, 0));
        reclaim.discard(large());
        assert_eq!((reclaim.pending(), reclaim.freed()), (1, 0), "dropped in place");
        drop(garbage.recv());
    }
}
