//! Rules that can be switched off one at a time, to show that tests notice: only with the feature `mutants`.

/// A rule that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A command is sent as it is although the other end does not have all of its keys.
    UnknownKeys = 1,
    /// What the other end does not have yet is not told from what it has.
    NotCopiedYet,
    /// That a key expired or was evicted is not told.
    Silent,
    /// A command that depends on chance is sent as it is.
    Chance,
    /// Those who change a large key do not wait while it is copied.
    NoWaiting,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::UnknownKeys, Self::NotCopiedYet, Self::Silent, Self::Chance, Self::NoWaiting];
}

#[cfg(feature = "mutants")]
static CHOSEN: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Switches one rule of the whole process off; none: all are kept.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.store(mutant.map_or(0, |mutant| mutant as u8), std::sync::atomic::Ordering::SeqCst);
}

/// Whether a rule is switched off.
#[cfg(feature = "mutants")]
pub(crate) fn is(mutant: Mutant) -> bool {
    CHOSEN.load(std::sync::atomic::Ordering::Relaxed) == mutant as u8
}

/// Whether a rule is switched off: never.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(crate) fn is(_: Mutant) -> bool {
    false
}
