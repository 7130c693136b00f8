//! The wish to stop, as a value that is handed down: from signals in a daemon, from the test in a test.

use tokio::sync::watch;

use crate::Control;

/// Resolves when the process shall stop. Clones resolve together.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Makes its [`Shutdown`]s resolve. Dropping it does so too.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// A trigger and what it triggers.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Stops everything that holds a clone of the [`Shutdown`].
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Waits for the wish to stop.
    pub async fn wait(&self) {
        // An error means that the trigger is gone, which is a wish to stop as well.
        let _ = self.0.clone().wait_for(|fired| *fired).await;
    }

    /// Whether the wish has been uttered.
    pub fn is_fired(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// Fires at SIGINT or SIGTERM, from now on. A second one ends the process at once with status 130, for a user whose patience
/// with a clean end is over. To be called before others can see the process: until then a signal ends it as a crash does.
///
/// # Errors
/// When the system refuses signal handlers.
pub fn on_signals(control: &Control, trigger: Trigger) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = {
        let _inside = control.runtime().enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    control.spawn(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        tracing::info!(signal = name, "stopping; once more stops at once");
        trigger.fire();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        crate::telemetry::flush_logs();
        std::process::exit(130);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clones_resolve_together() {
        let (trigger, shutdown) = channel();
        let clone = shutdown.clone();
        assert!(!shutdown.is_fired());
        trigger.fire();
        shutdown.wait().await;
        clone.wait().await;
        assert!(clone.is_fired());
    }

    #[tokio::test]
    async fn a_dropped_trigger_stops_too() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        shutdown.wait().await;
        assert!(shutdown.is_fired());
    }
}
