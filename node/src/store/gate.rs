//! Gates: whether a slot's keys may be touched here, decided under the lock of the slot's shard.
//!
//! The check before the lock ([`Ownership`](crate::server::Ownership)) is a hint that gives the address for `MOVED`; this one
//! is the truth: when [`Store::set_gate`] has returned, nobody executes on the slot under the old gate.

use parking_lot::Mutex;
pub use shoal_proto::cluster::Gate;
use shoal_proto::{Error, error::Result};

use super::{SHARDS, SLOTS_PER_SHARD, Store, keyspace::local, shard::Shard, shard_of, whole::Taken};

/// A slot's gate and whether its changes are watched, in a byte; the usual state is zero, so that the usual check is
/// one comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State(u8);

const GATE: u8 = 3;
const TAPPED: u8 = 4;

impl State {
    /// Open, and nobody listens.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn gate(self) -> Gate {
        match self.0 & GATE {
            0 => Gate::Open,
            1 => Gate::Held,
            _ => Gate::Away,
        }
    }

    /// Whether somebody listens to its changes.
    #[inline]
    pub(super) fn is_tapped(self) -> bool {
        self.0 & TAPPED != 0
    }

    pub(super) fn set_tapped(&mut self, tapped: bool) {
        self.0 = self.0 & !TAPPED | if tapped { TAPPED } else { 0 };
    }

    fn set_gate(&mut self, gate: Gate) {
        let bits = match gate {
            Gate::Open => 0,
            Gate::Held => 1,
            Gate::Away => 2,
        };
        self.0 = self.0 & !GATE | bits;
    }
}

/// The states of one shard's slots.
#[derive(Debug)]
pub(super) struct Gates {
    states: [State; SLOTS_PER_SHARD],
    /// How many are away: whether anything in the shard may be invisible.
    away: u16,
}

impl Default for Gates {
    fn default() -> Self {
        Self { states: [State::default(); SLOTS_PER_SHARD], away: 0 }
    }
}

impl Gates {
    #[inline]
    pub(super) fn state(&self, slot: u16) -> State {
        self.states[local(slot)]
    }

    pub(super) fn state_mut(&mut self, slot: u16) -> &mut State {
        &mut self.states[local(slot)]
    }

    /// The gate of the shard's `i`th slot.
    #[inline]
    pub(super) fn gate_at(&self, i: usize) -> Gate {
        self.states[i].gate()
    }

    /// Whether somebody listens to changes of the shard's `i`th slot.
    #[inline]
    pub(super) fn tapped_at(&self, i: usize) -> bool {
        self.states[i].is_tapped()
    }

    /// Whether some slots are not served here.
    #[inline]
    pub(super) fn any_away(&self) -> bool {
        self.away > 0
    }

    fn any(&self, gate: Gate) -> bool {
        self.states.iter().any(|state| state.gate() == gate)
    }

    /// Checks that no slot is held.
    pub(super) fn check_none_held(&self) -> Result {
        if self.any(Gate::Held) { Err(Error::Held) } else { Ok(()) }
    }

    fn set(&mut self, slot: u16, gate: Gate) {
        let state = self.state_mut(slot);
        let was = state.gate();
        state.set_gate(gate);
        self.away += u16::from(gate == Gate::Away);
        self.away -= u16::from(was == Gate::Away);
    }
}

impl Shard {
    /// Whether commands see the keys of the shard's `i`th slot.
    #[inline]
    pub(super) fn shows(&self, i: usize) -> bool {
        !self.gates.any_away() || self.gates.gate_at(i) != Gate::Away
    }

    /// Whether the slot's keys may expire and be evicted here.
    #[inline]
    pub(super) fn rules(&self, slot: u16) -> bool {
        self.gates.state(slot).gate() == Gate::Open
    }

    fn set_gate(&mut self, slot: u16, gate: Gate) {
        self.gates.set(slot, gate);
        if gate != Gate::Open {
            return;
        }
        // The sweep has passed by: what the slot holds may be due.
        for space in self.used_spaces() {
            if let Some(keys) = self.keyspace_mut(space) {
                keys.min_expiry = keys.min_expiry.min(keys.slot(slot).min_expiry);
            }
        }
    }

    /// Keys of a database that commands see, and how many of them have an expiry.
    pub(super) fn visible(&self, db: u8) -> (usize, usize) {
        let Some(keys) = self.keyspace(self.space(db)) else { return (0, 0) };
        if !self.gates.any_away() {
            return (keys.len, keys.expires);
        }
        let shown = (0..SLOTS_PER_SHARD).filter(|i| self.shows(*i)).map(|i| &keys.slots[i]);
        shown.fold((0, 0), |(len, expires), slot| (len + slot.len(), expires + slot.expires()))
    }
}

impl Store {
    /// Sets a slot's gate. When this returns, nobody executes on the slot under the old one.
    pub fn set_gate(&self, slot: u16, gate: Gate) {
        self.shards[shard_of(slot)].lock().set_gate(slot, gate);
    }

    /// Sets the gates that `gate` names, one shard at a time.
    pub fn set_gates(&self, gate: impl Fn(u16) -> Option<Gate>) {
        for (i, shard) in self.shards.iter().enumerate() {
            let mut shard = shard.lock();
            for slot in (0..SLOTS_PER_SHARD).map(|k| (k * SHARDS + i) as u16) {
                if let Some(gate) = gate(slot) {
                    shard.set_gate(slot, gate);
                }
            }
        }
    }

    /// A slot's gate.
    pub fn gate(&self, slot: u16) -> Gate {
        self.shards[shard_of(slot)].lock().gates.state(slot).gate()
    }

    /// Drops everything, whatever the gates.
    pub fn clear(&self) {
        let mut taken: Vec<Taken> = Vec::new();
        self.each_shard(|_, shard| taken.push(shard.take_all()));
    }
}

/// Locks all shards, in ascending order.
pub(super) fn lock_all(shards: &[Mutex<Shard>]) -> Vec<parking_lot::MutexGuard<'_, Shard>> {
    shards.iter().map(Mutex::lock).collect()
}
