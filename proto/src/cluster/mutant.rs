//! Rules that tests can switch off, one at a time, to see that they find it. Without the feature `mutants`, which no
//! build of a daemon has, none can be.
//!
//! Three rules are not listed, because the others make up for each of them and nothing can be seen of it: that grants of
//! another view do not count (two majorities of the view in force have a voter in common, who knows what it granted), that
//! a refused offer is never taken (it came through a stream; whoever could bring it again comes through a new one, without
//! the data), and that copies of a slot have names (freezing early costs time, not data).
//!
//! Nor are two rules of copies: that both ends must speak of the same stream (an owner makes no copy anew within a view, so there is
//! one stream of it to speak of), and that a copy is complete only if its own stream says so (the owner's claim is needed as well, and
//! comes when all is applied).

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
    /// Nor for those of a process of which another one has the name by now, wherever that runs.
    TrustSuccessors,
    /// Voters forget that leases of an older view may still run.
    NoOlderLeases,
    /// Suspects get leases.
    GrantToSuspects,
    /// Leases of the old view are granted when the new one may be chosen already.
    GrantAfterAccept,
    /// Slots change hands while a view is being made.
    NoWedge,
    /// What was refused is served again while a view is being made.
    ServeRefusedWedged,
    /// A slot is taken over whatever view it was offered in.
    NoEpochInTake,
    /// A slot is taken over without all of its data.
    TakeIncomplete,
    /// A slot is served while it is offered.
    ServeWhileSent,
    /// A slot that may have been taken by somebody who is gone is kept.
    KeepIndeterminate,
    /// A view is made before all who stay have reported.
    NoReports,
    /// What was accepted before is forgotten when it should be proposed.
    ForgetAccepted,
    /// A view is accepted that is older than what was promised.
    AcceptBelowPromise,
    /// Half of the voters decide.
    HalfDecides,
    /// Whoever was excluded goes on as if it were not.
    StayExcluded,
    /// A copy that was lost is made anew before a view has dropped it.
    CopyAnew,
    /// The same when the view that lists it comes.
    CopyListedAnew,
    /// A copy whose stream broke is given up.
    GiveUpBroken,
    /// What was handed over is not kept for the new owner.
    GiveUpHanded,
    /// Any copy takes over, whether the view lists it or not.
    PromoteUnlisted,
    /// A copy takes over though the target may have taken the slot.
    PromoteBesideTarget,
    /// Who was owner of a slot says who has copies of it.
    ClaimLost,
    /// A slot is taken over though its former owner cannot follow.
    TakeAlone,
    /// What was offered to somebody who is gone is lost even if it was copied.
    LoseOffered,
    /// An owner waits for ever for a copy that is not there.
    IgnoreMissing,
    /// A copy hears once that it is complete, whatever views say of it.
    SayCompleteOnce,
    /// Who is not yet a member by its own view forgets the copies that came by a later one, and does not say so.
    ForgetUntold,
    /// Copies are read while a view is being made.
    ReadWedged,
    /// Copies are read that the view does not list.
    ReadUnlisted,
    /// Copies are read of slots that may change hands.
    ReadMoving,
    /// A node is emptied although the target of a slot that it holds cannot be told.
    EmptyUntold,
    /// What was taken and is emptied late is not emptied where it went since.
    EmptyHereOnly,
    /// Whoever empties does not wait for the copies of slots that were taken.
    Unsettled,
    /// Whoever emptied a slot that it had offered counts as its copy, whether that was emptied or not.
    FollowEmptied,
    /// What comes of a slot that is served from now on is still put into effect.
    TakeInServed,
    /// With a new view it is forgotten from whom slots were taken.
    ForgetGiver,
    /// A cluster in which slots move is asked once to empty all.
    EmptyOnce,
    /// The cluster is emptied by a view that is not the newest.
    EmptyByOldView,
    /// It is emptied by a view that not all members have, or that some who answered are not in.
    EmptyAheadOfOthers,
}

/// All of them.
#[cfg(feature = "mutants")]
pub const ALL: [Mutant; 43] = [
    Mutant::NoLease,
    Mutant::LeaseFromGrant,
    Mutant::NoDrift,
    Mutant::NoLeaseWait,
    Mutant::TrustSuccessors,
    Mutant::NoOlderLeases,
    Mutant::GrantToSuspects,
    Mutant::GrantAfterAccept,
    Mutant::NoWedge,
    Mutant::ServeRefusedWedged,
    Mutant::NoEpochInTake,
    Mutant::TakeIncomplete,
    Mutant::ServeWhileSent,
    Mutant::KeepIndeterminate,
    Mutant::NoReports,
    Mutant::ForgetAccepted,
    Mutant::AcceptBelowPromise,
    Mutant::HalfDecides,
    Mutant::StayExcluded,
    Mutant::CopyAnew,
    Mutant::CopyListedAnew,
    Mutant::GiveUpBroken,
    Mutant::GiveUpHanded,
    Mutant::PromoteUnlisted,
    Mutant::PromoteBesideTarget,
    Mutant::ClaimLost,
    Mutant::TakeAlone,
    Mutant::LoseOffered,
    Mutant::IgnoreMissing,
    Mutant::SayCompleteOnce,
    Mutant::ForgetUntold,
    Mutant::ReadWedged,
    Mutant::ReadUnlisted,
    Mutant::ReadMoving,
    Mutant::EmptyUntold,
    Mutant::EmptyHereOnly,
    Mutant::Unsettled,
    Mutant::FollowEmptied,
    Mutant::TakeInServed,
    Mutant::ForgetGiver,
    Mutant::EmptyOnce,
    Mutant::EmptyByOldView,
    Mutant::EmptyAheadOfOthers,
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
