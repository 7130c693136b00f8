//! The control thread: gossip, views, admin HTTP and signals run here, apart from the data plane.
//!
//! One thread with a current-thread runtime per process. Requests of clients never run on it, so a busy data
//! plane does not make the node look dead to others.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Time since the machine's start, with what it slept: what leases are reckoned in.
pub fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}

/// The thread and the way to give it work. Dropping it ends the thread with everything that runs there.
#[derive(Debug)]
pub struct Control {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts a thread of the given name (Linux shows 15 bytes of it).
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Sent or dropped: both mean the end.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    /// The runtime, for those that bind sockets in its context.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a task on the thread.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.runtime.spawn(task)
    }

    /// Runs a task on the thread and waits for it. Not for callers inside a runtime.
    ///
    /// # Errors
    /// When the thread has ended or the task panicked.
    pub fn run<F>(&self, task: F) -> io::Result<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let (done, result) = std::sync::mpsc::sync_channel(1);
        self.spawn(async move {
            let _ = done.send(task.await);
        });
        result.recv().map_err(|_| io::Error::other("the control thread has ended"))
    }

    /// Ends the thread: what runs there is dropped at its next await.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.take();
        let own = self.thread.as_ref().is_some_and(|t| t.thread().id() == std::thread::current().id());
        if let Some(thread) = self.thread.take().filter(|_| !own) {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_tasks_on_its_own_thread() {
        let control = Control::start("test-control").unwrap();
        let name = control.run(async { std::thread::current().name().map(str::to_owned) }).unwrap();
        assert_eq!(name.as_deref(), Some("test-control"));
        control.stop();
    }
}
