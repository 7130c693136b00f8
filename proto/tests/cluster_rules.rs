//! Rules of the cluster's core that matter so seldom that random runs would need thousands of them to miss one: each is
//! shown by the shortest story in which it decides.
//!
//! With the feature `mutants`, each is switched off, and its story must end badly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shoal_proto::cluster::plan::{self, Wanted};
use shoal_proto::cluster::rounds::Next;
use shoal_proto::cluster::{
    Action, Ballot, Copied, Core, Emptying, Gate, Message, Output, Report, Rounds, Told, Transfer,
    is_emptied_alone, is_settled,
};
use shoal_proto::view::{Copies, Member, NOBODY, NodeId, Replication, View};

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
    offered_by(core(0))
}

fn offered_by(mut owner: Core) -> (Core, u64) {
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

/// Members of a cluster that keeps a copy of each slot.
fn copied_member(n: usize) -> Member {
    Member { replication: Replication { replicas: 1, ack_all: true }, ..member(n) }
}

/// The view says that the second member has the slot which the first offered it, and that the first has its copy: so that must be
/// kept, though the first has not heard that its offer was taken, since the second may be gone before it hears.
fn what_was_handed_over_is_kept_for_the_next_view() -> Result<(), String> {
    let members: Vec<Member> = (0..3).map(copied_member).collect();
    let before = View::new(7, 1, members, &[0, 2]).with_targets(&[1, NOBODY]);
    let mut owner = Core::new(id(0));
    owner.on_up(START, BTreeSet::from([id(1), id(2)]));
    owner.learn(START, &before);
    let (mut owner, _) = offered_by(owner);
    let mut copies = [Copies::default(); 2];
    copies[0].add(0, true);
    let next = View::new(7, 2, before.members.clone(), &[1, 2]).born_at(&[1, 1]).with_copies(&copies);
    owner.learn(START, &next);
    let kept = Action::Gone { slot: 0, to: id(1), keep: true };
    ensure(outputs(&mut owner).contains(&Output::Slot(kept)), "what is here is dropped")?;
    owner.on_message(START, id(2), Message::Prepare { epoch: 3, ballot: ballot(1), suspects: vec![id(1)] });
    let reports = outputs(&mut owner).into_iter().filter_map(|output| match output {
        Output::Send { message: Message::Promise { report, .. }, .. } => Some(report),
        _ => None,
    });
    ensure(reports.last().is_some_and(|report| report.sent == [(0, 0)]), "what is here is not reported")
}

/// The second member, which has a copy of slot 0, of which the view in force says that it is in sync or that it is not.
fn copying(listed: bool) -> Core {
    let copied = |epoch, synced| {
        let mut copies = [Copies::default(); 2];
        copies[0].add(1, synced);
        View::new(7, epoch, (0..3).map(copied_member).collect(), &[0, 2])
            .born_at(&[1, 1])
            .with_copies(&copies)
    };
    let mut core = Core::new(id(1));
    core.on_up(START, BTreeSet::from([id(0), id(2)]));
    core.learn(START, &copied(1, false));
    core.on_transfer(id(0), Transfer::Begin { slot: 0, epoch: 1, stream: 5 });
    core.on_transfer(id(0), Transfer::Complete { slot: 0, stream: 5 });
    core.learn(START, &copied(2, listed));
    core
}

/// Whether it says that its copy of slot 0 may be read.
fn is_read(core: &mut Core) -> bool {
    let readable = outputs(core).into_iter().filter_map(|output| match output {
        Output::Readable(readable) => Some(readable),
        _ => None,
    });
    readable.last().is_some_and(|last| last.open && last.slots.has(0))
}

/// Its owner does not wait for it before it answers.
fn a_copy_that_the_view_does_not_list_is_not_read() -> Result<(), String> {
    ensure(is_read(&mut copying(true)), "a copy is never read")?;
    ensure(!is_read(&mut copying(false)), "the copy is read")
}

/// Its owner did not wait for it before it answered.
fn a_copy_that_the_view_does_not_list_does_not_take_over() -> Result<(), String> {
    let next = |listed| {
        let mut copies = Copies::default();
        copies.add(2, listed);
        let members = (0..4).map(copied_member).collect();
        let view = View::new(7, 1, members, &[0]).with_copies(&[copies]);
        let holds = Report { holds: copied(0), ..Report::default() };
        let reports = BTreeMap::from([(id(2), holds), (id(3), Report::default())]);
        let keep = reports.keys().copied().collect();
        plan::next(&view, &reports, &Wanted { keep, ..Wanted::default() })
    };
    ensure(next(true).born(0) == 1, "no copy ever takes over")?;
    ensure(next(false).born(0) == 2, "what may be old is kept")
}

/// Once all have promised, the next view may come into force at any moment, and what its owners answer need not be here.
fn copies_are_not_read_while_a_view_is_made() -> Result<(), String> {
    let mut copy = copying(true);
    ensure(is_read(&mut copy), "the copy is never read")?;
    copy.on_message(START, id(2), Message::Prepare { epoch: 3, ballot: ballot(1), suspects: Vec::new() });
    let outputs = outputs(&mut copy);
    let closed = outputs.iter().position(|o| matches!(o, Output::Readable(readable) if !readable.open));
    let promise = outputs
        .iter()
        .position(|o| matches!(o, Output::Send { message: Message::Promise { .. }, .. }))
        .ok_or("it does not promise")?;
    ensure(closed.is_some_and(|closed| closed < promise), "the copy is read after the promise")
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

/// Four members; slot 0 is the first one's and goes to the second, the third has a copy in sync.
fn moving_with_a_copy() -> View {
    let mut copies = Copies::default();
    copies.add(2, true);
    View::new(7, 1, (0..4).map(copied_member).collect(), &[0]).with_targets(&[1]).with_copies(&[copies])
}

/// The next view of those who report, and keep what they say.
fn next_of(reports: [(usize, Report); 2]) -> View {
    let reports = BTreeMap::from(reports.map(|(n, report)| (id(n), report)));
    let keep = reports.keys().copied().collect();
    plan::next(&moving_with_a_copy(), &reports, &Wanted { keep, ..Wanted::default() })
}

fn copied(n: usize) -> Vec<Copied> {
    vec![Copied { peer: id(n), stream: 5, slots: vec![(0, 0)] }]
}

/// The target may have taken the slot, and what it answered since the third knows nothing of.
fn no_copy_takes_over_beside_a_target_that_is_gone() -> Result<(), String> {
    let holds = Report { holds: copied(0), ..Report::default() };
    let next = next_of([(2, holds), (3, Report::default())]);
    ensure(next.born(0) == 2, "what may be old is kept")
}

/// Whatever the target answered, its former owner had.
fn what_was_offered_to_the_dead_is_kept_if_it_was_copied() -> Result<(), String> {
    let next = next_of([(0, Report { sent: vec![(0, 0)], ..Report::default() }), (3, Report::default())]);
    ensure(next.born(0) == 1 && next.owner(0).is_some_and(|m| m.id == id(0)), "what is there is lost")
}

/// The target waits for copies of its own; those of the former owner are not among them.
fn who_was_owner_does_not_say_who_has_copies() -> Result<(), String> {
    let view = moving_with_a_copy();
    let reports = BTreeMap::from([
        (id(0), Report { sent: vec![(0, 0)], claims: copied(2), ..Report::default() }),
        (id(1), Report { owned: vec![(0, 0)], ..Report::default() }),
        (id(2), Report { holds: copied(0), ..Report::default() }),
    ]);
    let keep = reports.keys().copied().collect();
    let next = plan::next(&view, &reports, &Wanted { keep, ..Wanted::default() });
    let place = next.place(id(2)).ok_or("the third is gone")?;
    ensure(next.copies(0).has(place as u16) != Some(true), "a copy is listed that the owner does not know")
}

/// If it took the slot, nothing would follow to the former owner, whose copy would be all there is if it crashed.
fn nothing_is_taken_without_a_stream_back() -> Result<(), String> {
    let mut target = Core::new(id(1));
    target.on_up(START, (0..4).filter(|n| *n != 1).map(id).collect());
    target.learn(START, &moving_with_a_copy());
    target.on_transfer(id(0), Transfer::Begin { slot: 0, epoch: 1, stream: 5 });
    outputs(&mut target);
    let take = |id| Transfer::Take { slot: 0, epoch: 1, id };
    target.on_transfer(id(0), take(1));
    let serves = |o: &Output| matches!(o, Output::Slot(Action::Serve { slot: 0, .. }));
    ensure(!outputs(&mut target).iter().any(serves), "it is taken")?;
    target.on_slots(|slots| slots.on_connected(id(0)));
    target.on_transfer(id(0), take(2));
    ensure(outputs(&mut target).iter().any(serves), "it is never taken")
}

/// An owner that waits for a copy which is not there has to hear of it, or it waits for ever.
fn a_missing_copy_is_given_up() -> Result<(), String> {
    let mut owner = Core::new(id(0));
    owner.on_up(START, BTreeSet::from([id(1), id(2), id(3)]));
    let mut copies = Copies::default();
    copies.add(2, false);
    let view = View::new(7, 1, (0..4).map(copied_member).collect(), &[0]).with_copies(&[copies]);
    owner.learn(START, &view);
    owner.on_slots(|slots| slots.on_connected(id(2)));
    let export = outputs(&mut owner).into_iter().find_map(|output| match output {
        Output::Slot(Action::Export { copy, .. }) => Some(copy),
        _ => None,
    });
    owner.on_slots(|slots| slots.on_synced(0, export.expect("it is copied")));
    let stream = outputs(&mut owner).into_iter().find_map(|output| match output {
        Output::Slot(Action::Send { message: Transfer::Complete { stream, .. }, .. }) => Some(stream),
        _ => None,
    });
    ensure(owner.handoff().copying() == (false, 1, false), "it is not in sync")?;
    owner.on_transfer(id(2), Transfer::Missing { slot: 0, stream: stream.expect("it is complete") });
    ensure(owner.handoff().copying().2, "it waits for ever")
}

/// Its owner knows the view that takes it in before it does, and sends it the slot by that one; then it hears of an older view from
/// somebody who was late. If the owner did not hear that the copy is gone, it would go on to claim it, and one view after the other
/// would be made to list it, for ever.
fn who_forgets_a_copy_says_so() -> Result<(), String> {
    let mut newcomer = Core::new(id(2));
    newcomer.on_up(START, BTreeSet::from([id(0), id(1)]));
    newcomer.on_transfer(id(0), Transfer::Begin { slot: 0, epoch: 3, stream: 5 });
    newcomer.on_transfer(id(0), Transfer::Complete { slot: 0, stream: 5 });
    outputs(&mut newcomer);
    newcomer.learn(START, &View::new(7, 2, (0..2).map(copied_member).collect(), &[0]));
    let outputs = outputs(&mut newcomer);
    let missing = Action::Send { to: id(0), message: Transfer::Missing { slot: 0, stream: 5 } };
    ensure(!newcomer.handoff().keeps(0), "it keeps a slot as nobody")?;
    ensure(outputs.contains(&Output::Slot(Action::Drop { slot: 0 })), "what came is left there")?;
    ensure(outputs.contains(&Output::Slot(missing)), "the owner does not hear of it")
}

/// Whatever the reason why a copy does not say that it is there, the next view must not go by the same two words again.
fn a_copy_that_no_view_lists_is_asked_again() -> Result<(), String> {
    let mut owner = Core::new(id(0));
    owner.on_up(START, BTreeSet::from([id(1), id(2)]));
    let view = |epoch| {
        let mut copies = Copies::default();
        copies.add(2, false);
        let members = (0..3).map(copied_member).collect();
        View::new(7, epoch, members, &[0]).born_at(&[1]).with_copies(&[copies])
    };
    owner.learn(START, &view(1));
    owner.on_slots(|slots| slots.on_connected(id(2)));
    let export = outputs(&mut owner).into_iter().find_map(|output| match output {
        Output::Slot(Action::Export { copy, .. }) => Some(copy),
        _ => None,
    });
    owner.on_slots(|slots| slots.on_synced(0, export.expect("it is copied")));
    let complete = |core: &mut Core| {
        outputs(core).into_iter().find_map(|output| match output {
            Output::Slot(Action::Send { message: Transfer::Complete { stream, .. }, .. }) => Some(stream),
            _ => None,
        })
    };
    ensure(complete(&mut owner).is_some(), "it is never complete")?;
    owner.learn(START, &view(2));
    let stream = complete(&mut owner).ok_or("it is not asked")?;
    let mut copy = Core::new(id(2));
    copy.learn(START, &view(2));
    outputs(&mut copy);
    copy.on_transfer(id(0), Transfer::Complete { slot: 0, stream });
    let answer = outputs(&mut copy).into_iter().find_map(|output| match output {
        Output::Slot(Action::Send { message, .. }) => Some(message),
        _ => None,
    });
    owner.on_transfer(id(2), answer.ok_or("it does not say that nothing is there")?);
    owner.learn(START, &view(3));
    let begins = |o: &Output| matches!(o, Output::Slot(Action::Export { slot: 0, .. }));
    ensure(outputs(&mut owner).iter().any(begins), "it is not copied anew")
}

/// What a former owner emptied late has gone on, or may have.
fn what_was_taken_is_emptied_wherever_it_went() -> Result<(), String> {
    ensure(Gate::Open.emptying_taken(true) == Some(Emptying::Now), "it is not emptied where it is")?;
    ensure(Gate::Away.emptying_taken(true).is_none(), "it is called empty where it is not any more")?;
    let held = Gate::Held.emptying_taken(true);
    ensure(held == Some(Emptying::Followed), "whoever may have it by now is not waited for")?;
    ensure(Gate::Held.emptying_taken(false).is_none(), "whoever may have it by now does not hear of it")
}

/// The first member, which has heard that the second took its slot; its changes come by stream 9. `promised`: after it had promised that it
/// keeps what it offered.
fn followed(promised: bool) -> Core {
    let members: Vec<Member> = (0..3).map(copied_member).collect();
    let mut owner = Core::new(id(0));
    owner.on_up(START, BTreeSet::from([id(1), id(2)]));
    owner.learn(START, &View::new(7, 1, members, &[0, 2]).with_targets(&[1, NOBODY]));
    let (mut owner, offer) = offered_by(owner);
    if promised {
        owner.on_message(
            START,
            id(2),
            Message::Prepare { epoch: 2, ballot: ballot(1), suspects: Vec::new() },
        );
    }
    owner.on_transfer(id(1), Transfer::Follow { slot: 0, id: offer, stream: 9 });
    owner
}

/// Whether it gives up what it has of slot 0, and says so to whoever counts on it.
fn gives_up(core: &mut Core) -> bool {
    let outputs = outputs(core);
    let said = Action::Send { to: id(1), message: Transfer::Missing { slot: 0, stream: 9 } };
    outputs.contains(&Output::Slot(said)) && outputs.contains(&Output::Slot(Action::Drop { slot: 0 }))
}

/// It emptied the slot that it had offered, and the word of that has not come to whoever took it, which has all that was there.
fn who_emptied_a_slot_alone_is_no_copy_of_it() -> Result<(), String> {
    ensure(!is_emptied_alone(0, 0) && !is_emptied_alone(90, 90), "nobody keeps a copy")?;
    let mut owner = followed(false);
    ensure(owner.handoff().keeps(0) && !gives_up(&mut owner), "nothing is kept at all")?;
    if is_emptied_alone(90, 80) {
        owner.on_slots(|slots| slots.on_emptied_alone(0));
    }
    ensure(
        gives_up(&mut owner) && !owner.handoff().keeps(0),
        "a copy is in sync that lacks what its owner has",
    )
}

/// The target has emptied the slot, and dies before its copy has.
fn who_empties_waits_for_the_copies_of_the_target() -> Result<(), String> {
    ensure(is_settled(90, 100, 80, 80), "what was settled is waited for")?;
    ensure(!is_settled(90, 100, 95, 80), "the copy may bring it back")
}

/// A slot went to a newcomer after the view by which all were asked.
fn slots_may_have_gone_to_who_was_not_asked() -> Result<(), String> {
    let [same, newer] = [3, 4].map(|epoch| Some(Told { epoch, mine: epoch }));
    let mut rounds = Rounds::new(3, false);
    ensure(rounds.on_views([same, same]) == Next::Empty, "nothing is emptied at all")?;
    rounds.on_emptied();
    ensure(rounds.on_views([same, newer]) == Next::Newer, "it is called empty")
}

/// The view gives it the slot of somebody who is gone, of which it has a copy.
fn who_does_not_know_the_view_may_go_on_with_a_copy() -> Result<(), String> {
    let [same, older] = [3, 2].map(|epoch| Some(Told { epoch, mine: epoch }));
    let stranger = Some(Told { epoch: 3, mine: 0 });
    for other in [older, stranger, None] {
        ensure(Rounds::new(3, false).on_views([same, other]) == Next::Later, "all are emptied too early")?;
    }
    Ok(())
}

/// What was promised may be all that there is of the slot in the next view: until that says who has it, it stays. And what the view says to
/// be a copy is not read.
#[test]
fn what_was_emptied_alone_is_kept_if_it_was_promised() {
    let gone = |owner: usize| {
        let mut copies = [Copies::default(); 2];
        copies[0].add(0, owner == 1);
        let members = (0..3).map(copied_member).collect();
        View::new(7, 2, members, &[owner as u16, 2]).born_at(&[1, 1]).with_copies(&copies)
    };
    let promised = || {
        let mut owner = followed(true);
        owner.on_slots(|slots| slots.on_emptied_alone(0));
        assert!(owner.handoff().keeps(0) && !gives_up(&mut owner));
        owner
    };
    let mut owner = promised();
    owner.learn(START, &gone(0));
    let outputs = outputs(&mut owner);
    assert!(outputs.contains(&Output::Slot(Action::Serve { slot: 0, fresh: false })), "{outputs:?}");
    let mut copy = promised();
    copy.learn(START, &gone(1));
    assert!(!copy.handoff().keeps(0));
    let outputs: Vec<Output> = std::iter::from_fn(|| copy.poll_output()).collect();
    assert!(outputs.contains(&Output::Slot(Action::Drop { slot: 0 })), "{outputs:?}");
    let read = |o: &Output| matches!(o, Output::Readable(readable) if readable.slots.has(0));
    assert!(!outputs.iter().any(read), "{outputs:?}");
}

type Story = fn() -> Result<(), String>;

#[test]
fn all_end_well() {
    let stories: [Story; 21] = [
        no_lease_is_granted_after_a_view_was_accepted,
        leases_of_an_older_view_are_waited_for,
        nothing_older_than_the_promise_is_accepted,
        what_was_reported_as_offered_is_not_served_when_refused,
        a_slot_that_may_have_been_taken_by_the_dead_begins_anew,
        copies_are_not_read_while_a_view_is_made,
        what_was_handed_over_is_kept_for_the_next_view,
        no_copy_takes_over_beside_a_target_that_is_gone,
        what_was_offered_to_the_dead_is_kept_if_it_was_copied,
        who_was_owner_does_not_say_who_has_copies,
        nothing_is_taken_without_a_stream_back,
        a_missing_copy_is_given_up,
        who_forgets_a_copy_says_so,
        a_copy_that_no_view_lists_is_asked_again,
        what_was_taken_is_emptied_wherever_it_went,
        who_emptied_a_slot_alone_is_no_copy_of_it,
        who_empties_waits_for_the_copies_of_the_target,
        slots_may_have_gone_to_who_was_not_asked,
        who_does_not_know_the_view_may_go_on_with_a_copy,
        a_copy_that_the_view_does_not_list_is_not_read,
        a_copy_that_the_view_does_not_list_does_not_take_over,
    ];
    for story in stories {
        assert_eq!(story(), Ok(()));
    }
}

#[cfg(feature = "mutants")]
#[test]
fn each_rule_is_missed() {
    use shoal_proto::cluster::mutant::{self, Mutant};

    let stories: [(Mutant, Story); 21] = [
        (Mutant::GrantAfterAccept, no_lease_is_granted_after_a_view_was_accepted),
        (Mutant::NoOlderLeases, leases_of_an_older_view_are_waited_for),
        (Mutant::AcceptBelowPromise, nothing_older_than_the_promise_is_accepted),
        (Mutant::ServeRefusedWedged, what_was_reported_as_offered_is_not_served_when_refused),
        (Mutant::KeepIndeterminate, a_slot_that_may_have_been_taken_by_the_dead_begins_anew),
        (Mutant::ReadWedged, copies_are_not_read_while_a_view_is_made),
        (Mutant::GiveUpHanded, what_was_handed_over_is_kept_for_the_next_view),
        (Mutant::PromoteBesideTarget, no_copy_takes_over_beside_a_target_that_is_gone),
        (Mutant::LoseOffered, what_was_offered_to_the_dead_is_kept_if_it_was_copied),
        (Mutant::ClaimLost, who_was_owner_does_not_say_who_has_copies),
        (Mutant::TakeAlone, nothing_is_taken_without_a_stream_back),
        (Mutant::IgnoreMissing, a_missing_copy_is_given_up),
        (Mutant::ForgetUntold, who_forgets_a_copy_says_so),
        (Mutant::SayCompleteOnce, a_copy_that_no_view_lists_is_asked_again),
        (Mutant::EmptyHereOnly, what_was_taken_is_emptied_wherever_it_went),
        (Mutant::FollowEmptied, who_emptied_a_slot_alone_is_no_copy_of_it),
        (Mutant::Unsettled, who_empties_waits_for_the_copies_of_the_target),
        (Mutant::EmptyByOldView, slots_may_have_gone_to_who_was_not_asked),
        (Mutant::EmptyAheadOfOthers, who_does_not_know_the_view_may_go_on_with_a_copy),
        (Mutant::ReadUnlisted, a_copy_that_the_view_does_not_list_is_not_read),
        (Mutant::PromoteUnlisted, a_copy_that_the_view_does_not_list_does_not_take_over),
    ];
    for (rule, story) in stories {
        mutant::switch(Some(rule));
        let end = story();
        mutant::switch(None);
        println!("{rule:?}: {}", end.expect_err("the rule is not missed"));
    }
}
