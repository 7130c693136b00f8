//! What was emptied here on behalf of a slot's former owner, and is not yet with all copies of the slot.
//!
//! The former owner's client has to wait for them as it would for those of the owner. How far the stream was applied
//! cannot tell that: acknowledgements that waited for those of other streams could wait for each other in a circle. So a
//! receiver says of such a place in its stream that it is pending, and later that it is settled. Whoever does not know these
//! words waits less.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{command::Wait, handoff::Broken};

/// How long to wait for a copy before looking again.
const LONG: Duration = Duration::from_secs(1);

/// The copies that must get on, and up to where. Each stream is there once.
type Waits = Vec<Wait>;

/// Of one stream. What comes while something is waited for is waited for next, all at once, so this stays as small
/// as the number of copies.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// Up to where in the stream, and what that needs.
    next: Mutex<Option<(u64, Waits)>>,
    added: Notify,
}

impl Settling {
    /// What was done at `position` of the stream is settled when these copies have got so far. Positions only grow.
    pub(super) fn add(&self, position: u64, waits: Waits) {
        {
            let mut next = self.next.lock();
            let (last, all) = next.get_or_insert_default();
            *last = position;
            for wait in waits {
                match all.iter_mut().find(|known| Arc::ptr_eq(&known.outbox, &wait.outbox)) {
                    Some(known) => {
                        known.position = known.position.max(wait.position);
                        known.strict |= wait.strict;
                    }
                    None => all.push(wait),
                }
            }
        }
        self.added.notify_one();
    }

    /// Waits for the copies, and says up to where the stream is settled.
    ///
    /// # Errors
    /// Whoever may have the slot by now cannot be told.
    pub(super) async fn next(&self) -> Result<u64, Broken> {
        loop {
            let next = self.next.lock().take();
            let Some((position, waits)) = next else {
                self.added.notified().await;
                continue;
            };
            for wait in waits {
                has(&wait).await?;
            }
            return Ok(position);
        }
    }
}

/// Waits until a copy has what it must have, or nobody waits for it any more. Who may be the owner by now must have it, and its own copies.
async fn has(Wait { outbox, position, strict }: &Wait) -> Result<(), Broken> {
    loop {
        let seen = outbox.acks().seen();
        if (*strict && outbox.is_settled(*position)) || (!strict && outbox.is_safe(*position)) {
            return Ok(());
        }
        if *strict && outbox.is_broken() {
            return Err(Broken);
        }
        outbox.acks().after(seen, LONG).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Waker},
    };

    use super::*;
    use crate::handoff::Outbox;

    fn wait(outbox: &Arc<Outbox>, position: u64) -> Wait {
        Wait { outbox: outbox.clone(), position, strict: false }
    }

    fn waits<T>(future: &mut Pin<Box<impl Future<Output = T>>>) -> bool {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn what_comes_meanwhile_is_settled_together() {
        let outboxes = [(); 2].map(|()| Outbox::new(100, Arc::default()));
        let [first, second] = &outboxes;
        outboxes.iter().for_each(|outbox| {
            outbox.append(&[0; 30]);
        });
        let settling = Settling::default();
        settling.add(5, vec![wait(first, 10)]);
        let mut next = Box::pin(settling.next());
        assert!(waits(&mut next));
        settling.add(7, vec![wait(first, 20), wait(second, 5)]);
        settling.add(9, vec![wait(first, 15), wait(second, 8)]);
        first.ack(10);
        assert_eq!(next.await, Ok(5));
        let mut next = Box::pin(settling.next());
        first.ack(19);
        second.ack(8);
        assert!(waits(&mut next));
        first.ack(20);
        assert_eq!(next.await, Ok(9));
        assert!(waits(&mut Box::pin(settling.next())), "nothing more was added");
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_no_copy_any_more() {
        let outbox = Outbox::new(100, Arc::default());
        outbox.append(&[0; 30]);
        let settling = Settling::default();
        settling.add(5, vec![wait(&outbox, 30)]);
        outbox.break_off();
        assert_eq!(settling.next().await, Ok(5));
    }

    /// It may be the owner by now, with what was there before.
    #[tokio::test]
    async fn a_target_has_to_have_it_and_its_copies_too() {
        let outbox = Outbox::new(100, Arc::default());
        outbox.append(&[0; 30]);
        let settling = Settling::default();
        let strict = Wait { strict: true, ..wait(&outbox, 30) };
        settling.add(5, vec![wait(&outbox, 30), strict]);
        outbox.pend(30);
        outbox.ack(30);
        let mut next = Box::pin(settling.next());
        assert!(waits(&mut next));
        outbox.settle(30);
        assert_eq!(next.await, Ok(5));
        outbox.append(&[0; 30]);
        settling.add(6, vec![Wait { strict: true, ..wait(&outbox, 60) }]);
        outbox.break_off();
        assert_eq!(settling.next().await, Err(Broken));
    }
}
