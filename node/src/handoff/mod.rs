//! A slot on its way to another node: what is sent, how it is sent, how it is taken in.
//!
//! The pieces, in the order in which whoever moves a slot uses them:
//!
//! 1. [`Outbox`]: the stream to one peer. [`Store::tap`](crate::store::Store::tap) makes every later change of the slot
//!    go into it as a [`Record`].
//! 2. [`Store::copy_slot`](crate::store::Store::copy_slot), again and again: the keys that are there, a bounded piece
//!    under each hold of the lock.
//! 3. [`Applier`] at the other end: puts records into effect in a slot whose gate is [`Away`](crate::store::Gate::Away).
//! 4. When it answers that all is through, the slot is held ([`Shared::set_gate`](crate::server::Shared::set_gate)),
//!    [`Store::copy_slot`](crate::store::Store::copy_slot) sends what is left, and when the peer has applied up to
//!    [`Store::tapped_to`](crate::store::Store::tapped_to), both hold the same keys.
//! 5. The target opens its gate, the source shuts its own and drops what it holds
//!    ([`Store::drop_slot`](crate::store::Store::drop_slot)).
//!
//! A replica's stream is the same and never ends: when all is through, [`Store::guard_tap`](crate::store::Store::guard_tap) makes
//! its tap one that replies wait for, and it is in sync when the peer has applied up to there. Who decides when is not
//! this module's business: it knows no view, no lease and no socket.

mod apply;
mod builder;
pub(crate) mod codec;
pub mod mover;
pub mod mutants;
mod outbox;
pub mod record;
mod turn;

pub use apply::{Applied, Applier, ApplyError, Event, MOST_AHEAD};
pub use codec::Form;
pub use outbox::{Broken, LIMIT, NEVER, Outbox};
pub use record::Record;
pub(crate) use turn::Round;
