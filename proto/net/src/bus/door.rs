//! Who may have a connection to the bus: a bounded number, and where there are too many, who keeps others waiting for nothing goes.
//!
//! A connection is at work, or it waits for its peer's next request, or for the rest of it. When all places are taken and somebody
//! comes, the one that has waited for longest is turned out: of those that have never asked anything, if there are such.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::MAX_LARGE;

/// Places for connections. See the module's documentation.
#[derive(Debug)]
pub(super) struct Door {
    limit: usize,
    inside: Mutex<Inside>,
    /// Requests that may be large.
    large: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Inside {
    /// All connections, those that were turned out not counted.
    count: usize,
    /// Counts waits.
    next: u64,
    /// Those that wait: whether it has ever asked, since which wait.
    waiting: BTreeMap<(bool, u64), Arc<Notify>>,
}

impl Inside {
    /// Someone waits from now on; the number of that.
    fn wait(&mut self, asked: bool, out: &Arc<Notify>) -> u64 {
        self.next += 1;
        self.waiting.insert((asked, self.next), out.clone());
        self.next
    }
}

impl Door {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, inside: Mutex::default(), large: Arc::new(Semaphore::new(MAX_LARGE)) }
    }

    /// A place for a connection; none if there are too many, and all are at work.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut inside = self.inside.lock();
        if inside.count >= self.limit {
            let (_, out) = inside.waiting.pop_first()?;
            out.notify_one();
        } else {
            inside.count += 1;
        }
        let out = Arc::default();
        let wait = Some(inside.wait(false, &out));
        drop(inside);
        Some(Place { door: self.clone(), asked: false, wait, out, large: None })
    }
}

/// One connection's place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    door: Arc<Door>,
    asked: bool,
    /// The number of its wait.
    wait: Option<u64>,
    out: Arc<Notify>,
    large: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Whether a request has come.
    pub(super) fn has_asked(&self) -> bool {
        self.asked
    }

    /// A request was answered.
    pub(super) fn asked(&mut self) {
        self.asked = true;
        self.large = None;
    }

    /// It waits for its peer from now on, or goes on doing so.
    pub(super) fn waits(&mut self) {
        if self.wait.is_none() {
            self.wait = Some(self.door.inside.lock().wait(self.asked, &self.out));
        }
    }

    /// A request is there.
    pub(super) fn is_at_work(&mut self) {
        if let Some(number) = self.wait.take()
            && self.door.inside.lock().waiting.remove(&(self.asked, number)).is_none()
        {
            // Its place is another's already, so it goes with its next wait.
            self.wait = Some(number);
        }
    }

    /// Returns when its place is another's.
    pub(super) async fn turned_out(&self) {
        self.out.notified().await;
    }

    /// Waits until a large request may arrive.
    pub(super) async fn take_large(&mut self) {
        if self.large.is_none() {
            self.large = self.door.large.clone().acquire_owned().await.ok();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.inside.lock();
        let had = match self.wait {
            Some(number) => inside.waiting.remove(&(self.asked, number)).is_some(),
            None => true,
        };
        inside.count -= usize::from(had);
    }
}
