//! Rules of the cluster's core that matter so seldom that random runs would need thousands of them to miss one: each is
//! shown by the shortest story in which it decides.
//!
//! With the feature `mutants`, each is switched off, and its story must end badly.

use std::collections::BTreeSet;
use std::time::Duration;

use shoal_proto::cluster::{Action, Ballot, Core, Message, Output, Report, Transfer};
use shoal_proto::view::{Member, NOBODY, NodeId, View};

const START: Duration = Duration::from_secs(10);

fn id(n: usize) -> NodeId {
    NodeId { node: n as u64, boot: 1 + n as u64 }
}

fn member(n: usize) -> Member {
    Member {
        id: id(n),
        name: format!("n{n}"),
        host: String::new(),
        resp_port: 0,
        gossip_port: 0,
        weight: 100,
        zone: String::new(),
        replication: Default::default(),
    }
}

/// Three members; the first has slot 0, which is to go to the second, the third has slot 1.
fn view() -> View {
    View::new(7, 1, (0..3).map(member).collect(), &[0, 2]).with_targets(&[1, NOBODY])
}

fn core(n: usize) -> Core {
    let mut core = Core::new(id(n));
    core.on_up(START, (0..3).filter(|m| *m != n).map(id).collect());
    core.learn(START, &view());
    core
}

fn outputs(core: &mut Core) -> Vec<Output> {
    std::iter::from_fn(|| core.poll_output()).collect()
}

fn ballot(round: u64) -> Ballot {
    Ballot { round, proposer: id(0) }
}

/// The next view, in which nothing moves.
fn next() -> Box<View> {
    Box::new(View::new(7, 2, (0..3).map(member).collect(), &[0, 2]))
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Once a voter has accepted a view it may be chosen, and those who know it may go on without somebody whom this voter
/// still lets serve.
fn no_lease_is_granted_after_a_view_was_accepted() -> Result<(), String> {
    let mut voter = core(1);
    let ask = Message::LeaseAsk { epoch: 1, round: 1 };
    let grants = |voter: &mut Core| {
        outputs(voter).iter().any(|o| matches!(o, Output::Send { message: Message::LeaseGrant { .. }, .. }))
    };
    outputs(&mut voter);
    voter.on_message(START, id(2), ask.clone());
    ensure(grants(&mut voter), "nothing is granted at all")?;
    voter.on_message(START, id(0), Message::Accept { ballot: ballot(1), view: next() });
    voter.on_message(START, id(2), ask);
    ensure(!grants(&mut voter), "a lease of the old view is granted")
}

/// A voter that has a view since a moment ago knows nothing of leases that others granted before: they may run for as long
/// as any.
fn leases_of_an_older_view_are_waited_for() -> Result<(), String> {
    let mut voter = core(1);
    voter.learn(START, &next());
    outputs(&mut voter);
    let prepare = Message::Prepare { epoch: 3, ballot: ballot(1), suspects: vec![id(2)] };
    voter.on_message(START, id(0), prepare);
    let left = outputs(&mut voter).into_iter().find_map(|output| match output {
        Output::Send { message: Message::Promise { lease_left, .. }, .. } => Some(lease_left),
        _ => None,
    });
    ensure(left.is_some_and(|left| left >= 800), &format!("{left:?} ms are left"))
}

/// A voter that promised to a later attempt must not help an older one.
fn nothing_older_than_the_promise_is_accepted() -> Result<(), String> {
    let mut voter = core(1);
    voter.on_message(START, id(0), Message::Prepare { epoch: 2, ballot: ballot(5), suspects: Vec::new() });
    outputs(&mut voter);
    voter.on_message(START, id(0), Message::Accept { ballot: ballot(3), view: next() });
    let refused =
        outputs(&mut voter).iter().any(|o| matches!(o, Output::Send { message: Message::Nack { .. }, .. }));
    ensure(refused, "an older attempt is accepted")
}

/// The first member with its slot offered to the second, which has not answered; and the name of the offer.
fn offering() -> (Core, u64) {
    let mut owner = core(0);
    owner.on_slots(|slots| slots.on_connected(id(1)));
    let copy = outputs(&mut owner).into_iter().find_map(|output| match output {
        Output::Slot(Action::Export { copy, .. }) => Some(copy),
        _ => None,
    });
    owner.on_slots(|slots| slots.on_synced(0, copy.expect("it is copied")));
    let freeze = outputs(&mut owner).into_iter().find_map(|output| match output {
        Output::Slot(Action::Freeze { id, .. }) => Some(id),
        _ => None,
    });
    owner.on_slots(|slots| slots.on_frozen(0, freeze.expect("it is frozen")));
    let offer = outputs(&mut owner).into_iter().find_map(|output| match output {
        Output::Slot(Action::Send { message: Transfer::Take { id, .. }, .. }) => Some(id),
        _ => None,
    });
    (owner, offer.expect("it is offered"))
}

/// The owner has reported that it offered the slot. If the target is left out of the view for which it reported, the slot
/// begins anew elsewhere, so it may not be served again before that view.
fn what_was_reported_as_offered_is_not_served_when_refused() -> Result<(), String> {
    let (mut owner, offer) = offering();
    owner.on_message(START, id(2), Message::Prepare { epoch: 2, ballot: ballot(1), suspects: Vec::new() });
    let report = outputs(&mut owner).into_iter().find_map(|output| match output {
        Output::Send { message: Message::Promise { report, .. }, .. } => Some(report),
        _ => None,
    });
    let reported = Report { sent: vec![(0, 0)], ..Report::default() };
    ensure(report.as_ref() == Some(&reported), &format!("it reports {report:?}"))?;
    owner.on_transfer(id(1), Transfer::Refused { slot: 0, id: offer, ready: true });
    let serves = |o: &Output| matches!(o, Output::Slot(Action::Serve { slot: 0, .. }));
    ensure(!outputs(&mut owner).iter().any(serves), "it serves the slot again")
}

/// Whether a target that is gone took the slot nobody knows: what its former owner has may be old.
fn a_slot_that_may_have_been_taken_by_the_dead_begins_anew() -> Result<(), String> {
    let (owner, _) = offering();
    let mut cores = [owner, core(2)];
    let names = [0, 2];
    let mut now = START;
    for (core, other) in cores.iter_mut().zip([2, 0]) {
        core.on_up(now, BTreeSet::from([id(other)]));
    }
    for _ in 0..30 {
        now += Duration::from_millis(100);
        cores.iter_mut().for_each(|core| core.on_timeout(now));
        while let Some((from, to, message)) = letter(&mut cores, &names) {
            if let Some(at) = names.iter().position(|n| *n == to) {
                cores[at].on_message(now, id(from), message);
            }
        }
    }
    let view = cores[0].view();
    ensure(view.epoch == 2 && view.members.len() == 2, &format!("no view without the dead: {view:?}"))?;
    ensure(view.born(0) == 2, "what may be old is kept")
}

/// The next message of any of them.
fn letter(cores: &mut [Core], names: &[usize]) -> Option<(usize, usize, Message)> {
    for (core, from) in cores.iter_mut().zip(names) {
        while let Some(output) = core.poll_output() {
            if let Output::Send { to, message } = output {
                return Some((*from, to.node as usize, message));
            }
        }
    }
    None
}

type Story = fn() -> Result<(), String>;

#[test]
fn all_end_well() {
    let stories: [Story; 5] = [
        no_lease_is_granted_after_a_view_was_accepted,
        leases_of_an_older_view_are_waited_for,
        nothing_older_than_the_promise_is_accepted,
        what_was_reported_as_offered_is_not_served_when_refused,
        a_slot_that_may_have_been_taken_by_the_dead_begins_anew,
    ];
    for story in stories {
        assert_eq!(story(), Ok(()));
    }
}

#[cfg(feature = "mutants")]
#[test]
fn each_rule_is_missed() {
    use shoal_proto::cluster::mutant::{self, Mutant};

    let stories: [(Mutant, Story); 5] = [
        (Mutant::GrantAfterAccept, no_lease_is_granted_after_a_view_was_accepted),
        (Mutant::NoOlderLeases, leases_of_an_older_view_are_waited_for),
        (Mutant::AcceptBelowPromise, nothing_older_than_the_promise_is_accepted),
        (Mutant::ServeRefusedWedged, what_was_reported_as_offered_is_not_served_when_refused),
        (Mutant::KeepIndeterminate, a_slot_that_may_have_been_taken_by_the_dead_begins_anew),
    ];
    for (rule, story) in stories {
        mutant::switch(Some(rule));
        let end = story();
        mutant::switch(None);
        println!("{rule:?}: {}", end.expect_err("the rule is not missed"));
    }
}
