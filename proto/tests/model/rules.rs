//! Rules of the core that these worlds show to be needed: each, switched off, leads to something wrong.

use shoal_proto::cluster::mutant::{self, Mutant};

use crate::{explore, limits, world};

#[test]
fn each_rule_is_missed() {
    let worlds = [
        (Mutant::NoLease, "resting", "steps=3,cuts=1,late=0"),
        (Mutant::NoLeaseWait, "resting", "steps=2,doubts=1,late=0"),
        (Mutant::NoWedge, "moving", "steps=3,crashes=1,writes=1,late=0"),
        (Mutant::ServeWhileSent, "moving", "steps=1,writes=1,late=0"),
        (Mutant::NoReports, "moving", "steps=3,crashes=1,late=0"),
    ];
    let mut unnoticed = Vec::new();
    for (rule, name, text) in worlds {
        mutant::switch(Some(rule));
        let found = explore(world(name, limits(text)));
        mutant::switch(None);
        match found.wrong {
            Some((way, wrong)) => println!("{rule:?}: {} steps, {} states: {wrong}", way.len(), found.states),
            None => unnoticed.push((rule, name, text)),
        }
    }
    assert!(unnoticed.is_empty(), "not missed: {unnoticed:?}");
}
