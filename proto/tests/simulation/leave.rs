//! Leaving, as the driver does it: a process that wants to go asks for views without it until it has handed over what others need it
//! for, and gives up when nothing moves for long; and targets that have no memory for what comes.

use shoal_proto::cluster::{Fate, Unhanded};
use shoal_proto::view::NodeId;

use crate::history::Time;
use crate::world::{MS, SECOND, World};

/// How often it asks.
const ASK: Time = 250 * MS;

/// How long it may make no progress: less than some things last that happen here, and longer than any in runs in which nothing may be lost.
const LIMIT: Time = 1500 * MS;
const PATIENT: Time = 60 * SECOND;

/// A wish to leave that is under way.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// The least that was left to be done so far.
    least: usize,
    deadline: Time,
    ask_at: Time,
    attempt: usize,
}

impl World {
    pub(crate) fn start_leaving(&mut self, p: usize) {
        self.note(|| format!("{p} wants to leave"));
        let (now, id) = (self.local(p), self.processes[p].id);
        let leaving = Leaving { least: usize::MAX, deadline: Time::MAX, ask_at: self.now, attempt: 0 };
        self.processes[p].leaving = Some(leaving);
        self.processes[p].core.on_leave(now, id);
        self.drain(p);
    }

    /// Slots that others need a process for: those that it has, and those of which the view lists a copy there.
    fn left_to_leave(&self, p: usize) -> usize {
        let process = &self.processes[p];
        let (view, handoff) = (process.core.view(), process.core.handoff());
        let mine = view.place(process.id).map(|place| place as u16);
        let copies = view.all_copies().iter().filter(|c| mine.and_then(|mine| c.has(mine)).is_some()).count();
        (0..view.slots()).filter(|slot| handoff.owns(*slot)).count() + copies
    }

    /// Asks the oldest for a view without it, every other time the next one. If all want to go, there is nobody to hand over to.
    pub(crate) fn go_on_leaving(&mut self, p: usize) {
        let (left, now, me) = (self.left_to_leave(p), self.now, self.processes[p].id);
        let limit = if self.planned || self.covered { PATIENT } else { LIMIT };
        let process = &mut self.processes[p];
        let Some(leaving) = process.leaving.as_mut().filter(|_| !process.left) else { return };
        if left < leaving.least {
            (leaving.least, leaving.deadline) = (left, now + limit);
        }
        let view = process.core.view().clone();
        let all_go = view.members.iter().all(|m| view.leaving.contains(&m.id));
        if now >= leaving.deadline && !all_go && self.may_lose(p) {
            self.note(|| format!("{p} gives up leaving, {left} are left"));
            // It says so to all who hear it.
            self.processes[p].left = true;
            self.given_up += 1;
            return self.crash(p);
        }
        let process = &mut self.processes[p];
        let Some(leaving) = process.leaving.as_mut().filter(|leaving| now >= leaving.ask_at) else { return };
        leaving.ask_at = now + ASK;
        let attempt = leaving.attempt;
        leaving.attempt += 1;
        let line: Vec<NodeId> = process.core.line().map(|m| m.id).filter(|id| *id != me).take(2).collect();
        if process.core.leads() || line.is_empty() {
            return;
        }
        let Some(to) = self.process_of(line[attempt % line.len()]) else { return };
        if !self.is_cut(p, to)
            && !self.is_cut(to, p)
            && !self.dice.permille(300)
            && self.processes[to].paused_until <= now
        {
            let now = self.local(to);
            self.processes[to].core.on_leave(now, me);
            self.drain(to);
        }
    }

    /// The cluster goes on without a process that wanted to go: if that says that it has handed over all it had, nothing may be lost.
    pub(crate) fn has_left(&mut self, p: usize, unhanded: Unhanded) {
        self.processes[p].left = true;
        self.left_well += u64::from(unhanded.slots == 0);
        self.left_badly += u64::from(unhanded.lost > 0);
        let (id, Unhanded { slots, lost }) = (self.processes[p].id, unhanded);
        let began_anew = self.oracle.lost_with(id);
        if began_anew > u64::from(lost) && !self.oracle.forced {
            let wrong = format!("{p} left and says that {slots} slots were not handed over and {lost} lost");
            self.oracle.fail(format!("{wrong}, but {began_anew} began anew"));
        }
    }

    /// Whether there is no memory for a record that comes in.
    pub(crate) fn lacks_room(&mut self, p: usize) -> bool {
        self.processes[p].full_until > self.now && self.dice.permille(500)
    }

    /// What came of a slot is given up, unless it is a copy that answers wait for: then the stream ends.
    pub(crate) fn give_up(&mut self, stream: usize, (p, from): (usize, NodeId), slot: u16) {
        self.note(|| format!("{p} has no memory for slot {slot} of {from:?}"));
        self.lacked += 1;
        self.processes[p].core.on_slots(|handoff| handoff.on_no_room(slot, from));
        self.drain(p);
        if self.processes[p].intake.fate(slot, from) == Fate::Take {
            self.break_stream(stream);
        }
    }
}
