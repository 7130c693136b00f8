//! How many slots are under way at the same time, and when more are begun.

use std::time::Duration;

use shoal_proto::cluster::{Action, Core, IN_FLIGHT, Output, Transfer};
use shoal_proto::view::{Member, NodeId, View};

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

/// What there is to do with slots; whatever else is left out.
fn actions(core: &mut Core) -> Vec<Action> {
    let slot = |output| if let Output::Slot(action) = output { Some(action) } else { None };
    std::iter::from_fn(|| core.poll_output()).filter_map(slot).collect()
}

fn begun(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Export { .. })).count()
}

/// All slots go to another member, which takes one after the other. Never are more than [`IN_FLIGHT`] under way, and those that follow
/// are begun many at once, so that what is done for them is done for many.
#[test]
fn slots_are_begun_many_at_once() {
    let slots = 10 * IN_FLIGHT;
    let view = View::new(7, 1, vec![member(0), member(1)], &vec![0; slots]).with_targets(&vec![1; slots]);
    let mut core = Core::new(id(0));
    core.on_up(START, [id(1)].into());
    core.learn(START, &view);
    core.on_slots(|slots| slots.on_connected(id(1)));
    let (mut taken, mut under_way, mut times) = (0, 0, 0);
    let mut todo = actions(&mut core);
    while taken < slots {
        let new = begun(&todo);
        (under_way, times) = (under_way + new, times + usize::from(new > 0));
        assert!(under_way <= IN_FLIGHT, "{under_way}");
        assert!(new == 0 || new >= IN_FLIGHT / 2, "{new} are begun alone");
        let mut offers = Vec::new();
        for action in std::mem::take(&mut todo) {
            match action {
                Action::Export { slot, copy, .. } => core.on_slots(|slots| slots.on_synced(slot, copy)),
                Action::Freeze { slot, id, .. } => core.on_slots(|slots| slots.on_frozen(slot, id)),
                Action::Send { message: Transfer::Take { slot, id, .. }, .. } => offers.push((slot, id)),
                _ => {}
            }
            todo.extend(actions(&mut core));
        }
        for (slot, offer) in offers {
            core.on_transfer(id(1), Transfer::Taken { slot, id: offer });
            let next = actions(&mut core);
            (taken, under_way) = (taken + 1, under_way - 1);
            if begun(&next) > 0 {
                assert!(under_way <= IN_FLIGHT / 2, "{under_way} are still under way");
            }
            todo.extend(next);
        }
    }
    assert!(times <= 2 * slots / IN_FLIGHT, "begun {times} times");
    assert_eq!(core.handoff().progress(), (slots as u16, 0));
}
