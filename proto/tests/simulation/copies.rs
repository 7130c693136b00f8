//! Slots on their way to others, to be handed over or to stay there as copies, and the replies that wait for those; reads of
//! copies, and copies that take over.

use std::collections::VecDeque;

use shoal_proto::cluster::{Core, Gate, is_emptied_alone, is_settled};
use shoal_proto::view::{NodeId, View};

use crate::process::UNKNOWN;
use crate::world::{Cell, Event, Item, MS, Reply, Stream, World};

/// A slot that goes to another process.
#[derive(Debug)]
pub(crate) struct Export {
    copy: u64,
    left: VecDeque<u32>,
    /// The stream it goes into, if one stood.
    pub(crate) stream: Option<usize>,
    /// It shall stay; and whether the core wants replies to wait for it.
    lasting: Option<bool>,
    /// They do.
    pub(crate) guarded: bool,
    /// Position behind the last of the slot; none could be reached if it was lost.
    pub(crate) last: u64,
    /// Position behind the last word that the slot was emptied while it was held.
    emptied: u64,
    /// It is in sync when this is acknowledged.
    synced_at: Option<u64>,
}

impl Export {
    pub(crate) fn wait(&self, strict: bool) -> Wait {
        Wait { stream: self.stream, position: self.last, strict }
    }
}

/// A position that is never reached.
pub(crate) const NEVER: u64 = u64::MAX;

/// A reply that waits.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) op: usize,
    pub(crate) reply: Reply,
    pub(crate) waits: Vec<Wait>,
    pub(crate) times: Times,
}

/// A stream that must have come so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) stream: Option<usize>,
    pub(crate) position: u64,
    /// There is no way round it.
    pub(crate) strict: bool,
}

/// What makes earlier answers doubtful when it changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    me: NodeId,
    lapses: u64,
    epoch: u64,
}

impl World {
    pub(crate) fn export(&mut self, p: usize, slot: u16, to: NodeId, copy: u64, lasting: Option<bool>) {
        let (mut left, mut last) = (VecDeque::new(), 0);
        let stream = self.stream(p, to);
        if self.is_hot(slot) {
            let data = self.processes[p].data.get(&slot);
            left = data.map(|d| d.cells.keys().copied().collect()).unwrap_or_default();
            let (version, birth) = data.map_or((UNKNOWN, UNKNOWN), |d| (d.base, d.birth));
            if let Some(stream) = stream {
                last = self.put(stream, 0, Item::Base { slot, version, birth });
            }
        }
        let export =
            Export { copy, left, stream, lasting, guarded: false, last, emptied: 0, synced_at: None };
        self.processes[p].exports.insert((slot, to), export);
        let delay = self.dice.range(100, if self.is_hot(slot) { 20 * MS } else { MS });
        self.after(delay, Event::Copy { process: p, slot, to, copy });
    }

    /// All of the slot is there already.
    pub(crate) fn follow(&mut self, p: usize, slot: u16, to: NodeId, guard: bool) {
        let (stream, left) = (self.stream(p, to), VecDeque::new());
        let lasting = Some(guard);
        let (copy, guarded) = (0, guard);
        let export = Export { copy, left, stream, lasting, guarded, last: 0, emptied: 0, synced_at: None };
        self.processes[p].exports.insert((slot, to), export);
    }

    /// Whether a slot was emptied here while it was held, and perhaps not where it is now.
    pub(crate) fn is_emptied_alone(&self, p: usize, slot: u16, to: NodeId) -> bool {
        self.processes[p].exports.get(&(slot, to)).is_some_and(|export| {
            is_emptied_alone(export.emptied, export.stream.map_or(0, |stream| self.streams[stream].acked))
        })
    }

    /// Puts what is left of a copy into the stream.
    pub(crate) fn frozen(&mut self, p: usize, slot: u16, to: NodeId, id: u64) {
        if self.processes[p].gates[usize::from(slot)] == Gate::Held {
            while self.copy_key(p, slot, to) {}
        }
        self.processes[p].core.on_slots(|handoff| handoff.on_frozen(slot, id));
    }

    /// Sends a change to all who listen.
    pub(crate) fn tell_copies(&mut self, p: usize, slot: u16, item: Item) {
        let to = self.processes[p].exports.range(of(slot)).map(|((_, to), _)| *to).collect::<Vec<_>>();
        for to in to {
            self.send_record(p, slot, to, item);
        }
    }

    fn send_record(&mut self, p: usize, slot: u16, to: NodeId, item: Item) {
        let stream = self.processes[p].exports[&(slot, to)].stream;
        let last = match stream.filter(|stream| self.streams[*stream].known[0]) {
            Some(stream) => self.put(stream, 0, item),
            None => NEVER,
        };
        let emptied =
            matches!(item, Item::Clear { .. }) && self.processes[p].gates[usize::from(slot)] == Gate::Held;
        if let Some(export) = self.processes[p].exports.get_mut(&(slot, to)) {
            export.last = last;
            if emptied {
                export.emptied = last;
            }
        }
    }

    /// Sends one key of what is left to copy.
    fn copy_key(&mut self, p: usize, slot: u16, to: NodeId) -> bool {
        let process = &mut self.processes[p];
        let Some(export) = process.exports.get_mut(&(slot, to)) else { return false };
        let Some(key) = export.left.pop_front() else { return false };
        if let Some(cell) = process.data.get(&slot).and_then(|d| d.cells.get(&key)).copied() {
            self.send_record(p, slot, to, Item::Record { key, cell });
        }
        true
    }

    pub(crate) fn copy(&mut self, p: usize, slot: u16, to: NodeId, copy: u64) {
        if self.processes[p].exports.get(&(slot, to)).is_none_or(|e| e.copy != copy) {
            return;
        }
        let more = self.copy_key(p, slot, to);
        let Some(export) = self.processes[p].exports.get_mut(&(slot, to)) else { return };
        if more && export.left.len() > 1 {
            let delay = self.dice.range(100, 20 * MS);
            self.after(delay, Event::Copy { process: p, slot, to, copy });
        } else if let Some(guard) = export.lasting {
            // The rest first: who is in sync has everything.
            while self.copy_key(p, slot, to) {}
            if let Some(export) = self.processes[p].exports.get_mut(&(slot, to)) {
                export.guarded = guard;
                export.synced_at = Some(export.last);
            }
            self.say_synced(p);
        } else {
            self.processes[p].core.on_slots(|handoff| handoff.on_synced(slot, copy));
        }
        self.drain(p);
    }

    /// Tells the core of copies that have all that was answered.
    fn say_synced(&mut self, p: usize) {
        let reached = |export: &Export| {
            let acked = export.stream.map_or(0, |stream| self.streams[stream].acked);
            export.synced_at.is_some_and(|at| acked >= at)
        };
        let exports = self.processes[p].exports.iter().filter(|(_, export)| reached(export));
        let synced: Vec<(u16, NodeId, u64)> =
            exports.map(|((slot, to), export)| (*slot, *to, export.copy)).collect();
        for (slot, to, copy) in synced {
            self.processes[p].exports.entry((slot, to)).and_modify(|export| export.synced_at = None);
            self.processes[p].core.on_slots(|handoff| handoff.on_synced(slot, copy));
        }
    }

    /// The other end has applied a stream up to a position.
    pub(crate) fn acked(&mut self, p: usize, stream: usize, position: u64) {
        let acked = self.streams[stream].acked.max(position);
        self.streams[stream].acked = acked;
        self.say_synced(p);
        self.release(p);
        self.drain(p);
    }

    /// Answers when the copies have what is told.
    pub(crate) fn fence(&mut self, conn: usize, op: usize, reply: Reply) {
        let p = self.conns[conn].process;
        let slot = self.slot_of(self.ops[op].key);
        let process = &self.processes[p];
        let guarded = process.exports.range(of(slot)).filter(|(_, export)| export.guarded);
        let waits = guarded.map(|(_, export)| export.wait(false)).collect();
        self.wait(conn, Pending { op, reply, waits, times: self.times(p) });
    }

    pub(crate) fn times(&self, p: usize) -> Times {
        let process = &self.processes[p];
        Times { me: process.id, lapses: process.lapses, epoch: process.view.epoch }
    }

    pub(crate) fn wait(&mut self, conn: usize, pending: Pending) {
        self.conns[conn].pending = Some(pending);
        self.conns[conn].busy = true;
        self.release_conn(conn);
    }

    /// Answers what need not wait any more.
    pub(crate) fn release(&mut self, p: usize) {
        self.settle(p);
        for conn in self.processes[p].conns.clone() {
            if self.release_conn(conn) {
                self.pump_conn(conn);
            }
        }
    }

    fn release_conn(&mut self, conn: usize) -> bool {
        let p = self.conns[conn].process;
        let Some(pending) = &self.conns[conn].pending else { return false };
        let process = &self.processes[p];
        let Times { me, lapses, epoch } = pending.times;
        let lapsed = !self.has_lease(p) || process.lapses != lapses;
        let doomed = pending.waits.iter().any(|wait| self.is_vain(wait));
        if process.id != me || (lapsed && process.view.epoch != epoch) || doomed {
            self.conns[conn].pending = None;
            self.conns[conn].busy = false;
            self.close_conn(conn);
            return true;
        }
        if !self.has_lease(p) || !pending.waits.iter().all(|wait| self.is_over(p, wait)) {
            return false;
        }
        let (op, reply) = (pending.op, pending.reply);
        self.conns[conn].pending = None;
        self.conns[conn].busy = false;
        if self.conns[conn].open {
            self.answer(conn, op, reply);
        }
        true
    }

    /// Whether a stream has come as far as it must.
    pub(crate) fn is_over(&self, p: usize, wait: &Wait) -> bool {
        let Some(at) = wait.stream else { return !wait.strict };
        let Stream { acked, pending, settled, known, .. } = &self.streams[at];
        if wait.strict {
            return is_settled(wait.position, *acked, *pending, *settled);
        }
        let used = || self.processes[p].exports.values().any(|e| e.guarded && e.stream == Some(at));
        *acked >= wait.position || (!known[0] && !used())
    }

    /// Whether it never will.
    pub(crate) fn is_vain(&self, wait: &Wait) -> bool {
        let Some(at) = wait.stream else { return wait.strict };
        let Stream { acked, pending, settled, known, .. } = &self.streams[at];
        wait.strict && !known[0] && !is_settled(wait.position, *acked, *pending, *settled)
    }

    /// Whether a copy may be read at a process at this moment.
    pub(crate) fn may_look(&self, p: usize, slot: u16) -> bool {
        let readable = &self.processes[p].readable;
        readable.open && readable.slots.has(slot) && self.has_lease(p)
    }

    /// Answers the read at the head of a connection's queue from a copy, if that may be read; else the queue is looked at anew.
    pub(crate) fn look_at_copy(&mut self, conn: usize, op: usize) {
        let p = self.conns[conn].process;
        let (key, slot) = (self.ops[op].key, self.slot_of(self.ops[op].key));
        if !self.may_look(p, slot) {
            return self.pump_conn(conn);
        }
        let Some(data) = self.processes[p].data.get(&slot) else {
            return self.oracle.fail(format!("{p} reads slot {slot} and has nothing of it"));
        };
        let absent = Cell { version: data.base, count: 0 };
        let Cell { version, count } = data.cells.get(&key).copied().unwrap_or(absent);
        self.note_op(|| format!("{p} reads {op} key {key} slot {slot} from its copy: {version}"));
        self.oracle.looks += 1;
        self.ops[op].looked = true;
        self.answer(conn, op, Reply::Done { before: version, count });
        self.pump_conn(conn);
    }

    /// A slot is served. If it was a copy until now, and its owner is gone: it has what the owner had at some moment. If answers
    /// did not wait for it, what it lacks is lost: its keys are written anew as they are, at this moment.
    pub(crate) fn may_be_promoted(&mut self, p: usize, slot: u16) {
        let process = &self.processes[p];
        let owner = process.view.owner(slot).is_some_and(|m| m.id == process.id);
        // If it was offered to somebody who is gone, that one may have had it meanwhile, and if answers did not wait for us,
        // what it answered is lost: of the slot's history nothing can be said.
        let lost = process.offered.get(&slot).is_some_and(|to| process.view.place(*to).is_none());
        if lost && !self.scale.ack_all {
            self.oracle.unclear.insert(slot);
        }
        if process.gates[usize::from(slot)] != Gate::Away || !owner {
            return;
        }
        let (now, epoch) = (self.now, process.view.epoch);
        let Some(data) = self.processes[p].data.get_mut(&slot) else {
            return self.oracle.fail(format!("{p} is promoted for slot {slot} and has nothing of it"));
        };
        self.oracle.promoted += 1;
        self.oracle.check_prefix(slot, epoch, data);
        if !self.scale.ack_all {
            data.base = self.oracle.lost(slot, epoch, now);
            for (key, cell) in &mut data.cells {
                cell.version = self.oracle.rewrite(*key, epoch, now);
            }
        }
        self.oracle.begins_with(slot, epoch, data);
    }

    /// Whether nothing is lost if a process ends now, by the word of the newest view.
    pub(crate) fn is_covered(&self, p: usize) -> bool {
        let Some(view) = self.newest() else { return false };
        let settled = |other: usize| {
            let core = &self.processes[other].core;
            !core.inside() || (core.view().epoch == view.epoch && !core.wedged())
        };
        let all = view.members.iter().all(|m| self.process_of(m.id).is_some());
        all && self.live().into_iter().all(settled)
            && (0..view.slots()).filter(|slot| self.processes[p].core.handoff().owns(*slot)).all(|slot| {
                // A copy that has found that it is none is still listed for a while.
                let has = |core: &Core| core.handoff().owns(slot) || core.handoff().keeps(slot);
                let alive = |id: NodeId| {
                    self.process_of(id).is_some_and(|other| other != p && has(&self.processes[other].core))
                };
                let copies = view.copies(slot);
                let mut synced = copies.synced().map(|at| view.members[usize::from(at)].id);
                match view.owner(slot).map(|m| m.id) {
                    Some(owner) if owner == self.processes[p].id => synced.any(alive),
                    // It was taken over in this view, and who had it follows.
                    owner => owner.is_some_and(alive),
                }
            })
    }

    /// When all has been quiet: every slot has its copies, and they are the same as their owner's.
    pub(crate) fn check_copies(&self, view: &View) -> Result<(), String> {
        // Those who want to go and have nobody to hand over to stay.
        let wanted = usize::from(self.scale.replicas).min(view.members.len() - 1);
        for slot in 0..view.slots() {
            let copies = view.copies(slot);
            if copies.len() != wanted || copies.synced().count() != wanted {
                return Err(format!("slot {slot} has the copies {copies:?}, not {wanted}"));
            }
            let data = |at: usize| self.processes[at].data.get(&slot);
            let cells = |at: usize| data(at).map(|data| (data.base, &data.cells));
            let Some(owner) = view.owner(slot).and_then(|m| self.process_of(m.id)) else { continue };
            for copy in copies.synced().filter_map(|at| self.process_of(view.members[usize::from(at)].id)) {
                if self.is_hot(slot) && cells(owner) != cells(copy) && data(owner).is_some() {
                    return Err(format!("slot {slot} differs at {owner} and its copy {copy}"));
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn of(slot: u16) -> std::ops::RangeInclusive<(u16, NodeId)> {
    (slot, NodeId { node: 0, boot: 0 })..=(slot, NodeId { node: u64::MAX, boot: u64::MAX })
}
