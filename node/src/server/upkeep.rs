//! What is done in the background, a little at a time: expired keys go, so does what flushes left and slots that went elsewhere,
//! and what is above a limit that was lowered.
//!
//! A thread of its own does it, in short slices with a rest behind each: a worker that shares its core with this thread waits
//! for a slice at most, usually 0.3 ms and rarely 0.9 (large values take longer to free), whatever the system's scheduler does, and one
//! that waits for a shard's lock waits for one hold. It never touches a socket.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Shared, worker::join};
use crate::store::{Easing, Sweep};

/// How long it works without a rest, give or take one call of [`Work::step`].
const SLICE: Duration = Duration::from_micros(200);
/// The rest after a slice that did not come to an end.
const REST: Duration = Duration::from_micros(300);
/// After so many slices in a row the rest is half as long, and again after as many more: a node on which more expires than
/// this can remove has to spend more on it.
const PATIENCE: u32 = 8192;
const MOST_HALVINGS: u32 = 3;
/// Holds of a shard's lock between two looks at the clock.
const HOLDS: usize = 4;
/// The rest when there is nothing to do.
const TICK: Duration = Duration::from_millis(10);
/// The same while nothing is executed either.
const IDLE_TICK: Duration = Duration::from_millis(200);

/// The thread. Dropping this ends and joins it.
#[derive(Debug)]
pub(super) struct Upkeep {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Upkeep {
    /// Starts it.
    ///
    /// # Errors
    /// When a thread cannot be had.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let run = move || {
            let mut work = Work::default();
            while !stopped.load(Ordering::Acquire) {
                thread::park_timeout(work.slice(&shared));
            }
        };
        let thread = thread::Builder::new().name("node-upkeep".into()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            join(thread);
        }
    }
}

/// What there is to do, and how far it is.
#[derive(Debug, Default)]
struct Work {
    walk: Sweep,
    easing: Easing,
    /// Whether anything was done since there was nothing to do.
    active: bool,
    /// Slices since there was nothing to do.
    slices: u32,
    /// Commands executed when there was nothing to do.
    commands: u64,
}

impl Work {
    /// Does some of it; how long to rest then.
    fn slice(&mut self, shared: &Shared) -> Duration {
        let began = Instant::now();
        while self.step(shared) {
            if began.elapsed() >= SLICE {
                self.slices = self.slices.saturating_add(1);
                return REST / (1 << (self.slices / PATIENCE).min(MOST_HALVINGS));
            }
        }
        self.slices = 0;
        let commands = shared.totals.commands();
        let served = std::mem::replace(&mut self.commands, commands) != commands;
        let active = std::mem::take(&mut self.active);
        if served || active { TICK } else { IDLE_TICK }
    }

    /// A few holds of a shard's lock; whether there is more to do.
    fn step(&mut self, shared: &Shared) -> bool {
        let (removed, more) = if shared.sweeping.load(Ordering::Relaxed) {
            shared.store.sweep(&mut self.walk, shared.now_ms(), HOLDS)
        } else {
            (0, false)
        };
        let left = shared.store.drop_left(1);
        let above = shared.store.ease(&mut self.easing, shared.now_ms());
        self.active |= left || above || removed > 0;
        more || left || above
    }
}
