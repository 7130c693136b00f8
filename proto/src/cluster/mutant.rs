//! Rules that tests can switch off, one at a time, to see that they find it. Without the feature `mutants`, which no
//! build of a daemon has, none can be.

/// A rule that is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Members serve for ever.
    NoLease,
    /// A lease counts from when it was granted instead of when it was asked for.
    LeaseFromGrant,
    /// Clocks are taken to run equally fast.
    NoDrift,
    /// A view is made without waiting for leases of those whom it leaves out.
    NoLeaseWait,
    /// Voters forget that leases of an older view may still run.
    NoOlderLeases,
    /// Suspects get leases.
    GrantToSuspects,
    /// Leases of the old view are granted when the new one may be chosen already.
    GrantAfterAccept,
    /// Grants count whatever view they are of.
    GrantOfAnyView,
    /// Slots change hands while a view is being made.
    NoWedge,
    /// What was refused is served again while a view is being made.
    ServeRefusedWedged,
    /// A slot is taken over whatever view it was offered in.
    NoEpochInTake,
    /// What was refused may be taken later.
    ForgetRefusal,
    /// A slot is taken over without all of its data.
    TakeIncomplete,
    /// A slot is served while it is offered.
    ServeWhileSent,
    /// A slot that may have been taken by somebody who is gone is kept.
    KeepIndeterminate,
    /// A view is made before all who stay have reported.
    NoReports,
    /// Two copies of a slot are not told apart.
    NoCopyIds,
    /// What was accepted before is forgotten when it should be proposed.
    ForgetAccepted,
    /// A view is accepted that is older than what was promised.
    AcceptBelowPromise,
    /// Half of the voters decide.
    HalfDecides,
    /// Whoever was excluded goes on as if it were not.
    StayExcluded,
}

/// All of them.
#[cfg(feature = "mutants")]
pub const ALL: [Mutant; 21] = [
    Mutant::NoLease,
    Mutant::LeaseFromGrant,
    Mutant::NoDrift,
    Mutant::NoLeaseWait,
    Mutant::NoOlderLeases,
    Mutant::GrantToSuspects,
    Mutant::GrantAfterAccept,
    Mutant::GrantOfAnyView,
    Mutant::NoWedge,
    Mutant::ServeRefusedWedged,
    Mutant::NoEpochInTake,
    Mutant::ForgetRefusal,
    Mutant::TakeIncomplete,
    Mutant::ServeWhileSent,
    Mutant::KeepIndeterminate,
    Mutant::NoReports,
    Mutant::NoCopyIds,
    Mutant::ForgetAccepted,
    Mutant::AcceptBelowPromise,
    Mutant::HalfDecides,
    Mutant::StayExcluded,
];

#[cfg(feature = "mutants")]
thread_local! {
    static OFF: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Switches a rule off in this thread, or all on again.
#[cfg(feature = "mutants")]
pub fn switch(off: Option<Mutant>) {
    OFF.set(off);
}

/// Whether the rule is off.
#[cfg(feature = "mutants")]
pub(super) fn off(rule: Mutant) -> bool {
    OFF.get() == Some(rule)
}

/// Whether the rule is off: never.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(super) const fn off(_: Mutant) -> bool {
    false
}
