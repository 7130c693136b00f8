//! One word to a peer's stream for all that a worker's round puts into it.
//!
//! Who sends what is in an [`Outbox`] sleeps while that is empty. A worker that told it of each change would wake it for the first, and
//! it would send that alone. So while a thread has a [`Round`], it is told at its end.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use super::Outbox;

thread_local! {
    static IN_ROUND: Cell<bool> = const { Cell::new(false) };
    /// Streams that have to be told.
    static FILLED: RefCell<Vec<Arc<Outbox>>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, this thread tells no stream that there is something to send. Dropped, it tells all that are concerned.
#[derive(Debug)]
pub(crate) struct Round(());

impl Round {
    /// Begins one. There is one at a time on a thread.
    pub(crate) fn begin() -> Self {
        IN_ROUND.set(true);
        Self(())
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        IN_ROUND.set(false);
        FILLED.with_borrow_mut(|filled| filled.drain(..).for_each(|outbox| outbox.tell_filled()));
    }
}

/// Something was put into the stream: it is told now, or when this thread's round ends.
pub(super) fn filled(outbox: &Arc<Outbox>) {
    if !IN_ROUND.get() {
        return outbox.tell_filled();
    }
    FILLED.with_borrow_mut(|filled| {
        if !filled.iter().any(|known| Arc::ptr_eq(known, outbox)) {
            filled.push(outbox.clone());
        }
    });
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn streams_are_told_at_the_end_of_a_round() {
        let outboxes = [(); 2].map(|()| Outbox::new(100, Arc::default()));
        let [one, other] = &outboxes;
        let mut told = [one, other].map(|outbox| Box::pin(outbox.filled()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut waits = |at: usize| told[at].as_mut().poll(&mut cx).is_pending();
        assert!(waits(0) && waits(1));
        let round = Round::begin();
        one.append(b"change");
        drop(round);
        assert!(!waits(0) && waits(1));
        other.append(b"change");
        assert!(!waits(1), "there is no round");
    }
}
