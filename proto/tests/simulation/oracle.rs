//! Who sees everything: what must hold at every moment, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shoal_proto::view::{NodeId, View};

use crate::client::Op;
use crate::history::{self, Access, NEVER, NOTHING, Time};
use crate::process::SlotData;
use crate::world::World;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// The first thing that was wrong.
    pub(crate) wrong: Option<String>,
    /// When each execution was; its place here is the version that it wrote. The first is none.
    executed: Vec<Time>,
    /// What copies held when they took over and what they lacked was lost: written anew, by key.
    rewritten: Vec<(u32, Time, Time, u64)>,
    /// The writes of each slot in their order, and what was there before the first.
    logs: BTreeMap<u16, Log>,
    /// Reads that copies answered, and copies that took over.
    pub(crate) looks: u64,
    pub(crate) promoted: u64,
    /// Slots that went away from somebody.
    pub(crate) gone: u64,
    /// Slots that were made anew, when, and the version that their keys have since.
    losses: Vec<(u16, Time, Time, u64)>,
    /// Who served each slot last.
    holder: Vec<Option<NodeId>>,
    /// The views by epoch.
    views: BTreeMap<u64, Arc<View>>,
    /// Somebody forced a view: what the others had is lost on purpose.
    pub(crate) forced: bool,
    /// Slots of which nobody can say what clients may have seen.
    pub(crate) unclear: BTreeSet<u16>,
    /// Slots that were lost, and views made.
    pub(crate) births: u64,
    /// By the views that left out whoever had them.
    lost_with: BTreeMap<NodeId, u64>,
}

/// A slot's keys and versions at some moment, and what was written since.
#[derive(Debug, Default)]
struct Log {
    first: BTreeMap<u32, u64>,
    writes: Vec<Write>,
}

/// One change of a slot.
#[derive(Debug, Clone, Copy)]
enum Write {
    Key(u32, u64),
    Emptied,
}

/// Versions of losses begin here; those of operations are below.
const LOSS: u64 = 1 << 40;

impl Oracle {
    pub(crate) fn new(slots: u16) -> Self {
        Self {
            wrong: None,
            executed: vec![0],
            rewritten: Vec::new(),
            logs: BTreeMap::new(),
            looks: 0,
            promoted: 0,
            gone: 0,
            losses: Vec::new(),
            holder: vec![None; usize::from(slots)],
            views: BTreeMap::new(),
            forced: false,
            unclear: BTreeSet::new(),
            births: 0,
            lost_with: BTreeMap::new(),
        }
    }

    pub(crate) fn fail(&mut self, wrong: String) {
        self.wrong.get_or_insert(wrong);
    }

    /// A slot is made anew: all its keys are written with nothing. If there is a newer view than that of `epoch`, which
    /// its owner has not heard of, that may never have an effect.
    pub(crate) fn lost(&mut self, slot: u16, epoch: u64, now: Time) -> u64 {
        let version = LOSS + self.losses.len() as u64;
        let end = if self.is_newest(epoch) { now } else { NEVER };
        self.losses.push((slot, now, end, version));
        version
    }

    /// Something is executed now; its number.
    pub(crate) fn execute(&mut self, now: Time) -> u64 {
        self.executed.push(now);
        self.executed.len() as u64 - 1
    }

    /// A key of a copy that takes over is written anew as it is. As with [`lost`](Self::lost), perhaps to no effect.
    pub(crate) fn rewrite(&mut self, key: u32, epoch: u64, now: Time) -> u64 {
        let version = self.execute(now);
        let end = if self.is_newest(epoch) { now } else { NEVER };
        self.rewritten.push((key, now, end, version));
        version
    }

    fn is_newest(&self, epoch: u64) -> bool {
        self.views.keys().next_back().is_none_or(|last| *last == epoch)
    }

    /// A slot is made anew.
    pub(crate) fn begins(&mut self, slot: u16) {
        self.logs.insert(slot, Log::default());
    }

    /// A slot goes on with this.
    pub(crate) fn begins_with(&mut self, slot: u16, epoch: u64, data: &SlotData) {
        if !self.is_newest(epoch) {
            return;
        }
        let first = data.cells.iter().map(|(key, cell)| (*key, cell.version)).collect();
        self.logs.insert(slot, Log { first, writes: Vec::new() });
    }

    /// A slot's owner writes.
    pub(crate) fn writes(&mut self, slot: u16, key: u32, version: u64) {
        self.logs.entry(slot).or_default().writes.push(Write::Key(key, version));
    }

    /// A slot's owner empties it; nothing if somebody else has it by now.
    pub(crate) fn empties(&mut self, slot: u16, id: NodeId) {
        if self.holder[usize::from(slot)] == Some(id) {
            self.logs.entry(slot).or_default().writes.push(Write::Emptied);
        }
    }

    /// What a copy holds that takes over is what its owner held at some moment.
    pub(crate) fn check_prefix(&mut self, slot: u16, epoch: u64, data: &SlotData) {
        if !self.is_newest(epoch) {
            // It comes late, and the slot may have begun anew meanwhile.
            return;
        }
        let log = self.logs.entry(slot).or_default();
        let held: BTreeMap<u32, u64> = data.cells.iter().map(|(key, cell)| (*key, cell.version)).collect();
        let mut then = log.first.clone();
        let mut found = then == held;
        for write in &log.writes {
            match write {
                Write::Key(key, version) => drop(then.insert(*key, *version)),
                Write::Emptied => then.clear(),
            }
            found |= then == held;
        }
        if !found {
            let wrong = format!(
                "a copy of slot {slot} takes over with what its owner never held: {held:?} of {log:?}"
            );
            self.fail(wrong);
        }
    }

    pub(crate) fn serves(&mut self, slot: u16, id: NodeId) {
        self.holder[usize::from(slot)] = Some(id);
    }

    /// A view is installed somewhere: all of an epoch are the same, and a member that stays loses nothing.
    pub(crate) fn on_view(&mut self, view: &Arc<View>, now: Time) {
        if let Some(known) = self.views.get(&view.epoch) {
            if known != view {
                self.fail(format!("at {now}: two views of epoch {}", view.epoch));
            }
            return;
        }
        if let Err(wrong) = view.check() {
            self.fail(format!("at {now}: view {} is wrong: {wrong}", view.epoch));
        }
        self.views.insert(view.epoch, view.clone());
        if view.owners().contains(&u16::MAX) {
            self.fail(format!("at {now}: view {} has slots without an owner", view.epoch));
        }
        if view.epoch == 1 {
            return;
        }
        if self.forced {
            // Its epoch leaps, and what the others had is lost on purpose.
            return;
        }
        let Some(last) = self.views.get(&(view.epoch - 1)).cloned() else {
            self.fail(format!("at {now}: nobody saw the view before {}", view.epoch));
            return;
        };
        for slot in (0..view.slots()).filter(|slot| view.born(*slot) == view.epoch) {
            self.births += 1;
            let holder = self.holder[usize::from(slot)];
            if let Some(id) = holder.filter(|id| view.place(*id).is_none()) {
                *self.lost_with.entry(id).or_default() += 1;
            }
            let stays = holder.is_some_and(|id| view.place(id).is_some());
            let copied = last.replication().replicas > 0;
            let target_left = !copied && last.target(slot).is_some_and(|m| view.place(m.id).is_none());
            if stays && !target_left {
                self.fail(format!("at {now}: view {} loses slot {slot} of a member that stays", view.epoch));
            }
            self.holder[usize::from(slot)] = view.owner(slot).map(|m| m.id);
        }
    }

    /// How many slots began anew because this process, which served them last, was left out.
    pub(crate) fn lost_with(&self, id: NodeId) -> u64 {
        self.lost_with.get(&id).copied().unwrap_or_default()
    }

    /// How many views there were.
    pub(crate) fn views(&self) -> u64 {
        self.views.len() as u64
    }
}

impl World {
    /// What clients saw of keys must be possible.
    pub(crate) fn check_history(&self) -> Result<(), String> {
        let mut accesses: Vec<Access> = Vec::new();
        for op in &self.ops {
            accesses.extend(op.accesses());
        }
        let of_keys = self.ops.iter().filter(|op| !op.is_part());
        let keys: BTreeSet<u32> = of_keys.map(|op| op.key).collect();
        for key in keys {
            accesses.extend(self.emptied(key));
            let slot = self.slot_of(key);
            for (_, start, end, version) in self.oracle.losses.iter().filter(|(s, ..)| *s == slot) {
                accesses.push(Access { key, start: *start, end: *end, version: *version, write: true });
            }
        }
        for (key, start, end, version) in self.oracle.rewritten.iter().copied() {
            accesses.push(Access { key, start, end, version, write: true });
        }
        let unclear: Vec<u32> = self
            .ops
            .iter()
            .map(|op| op.key)
            .filter(|key| self.oracle.unclear.contains(&self.slot_of(*key)))
            .collect();
        accesses.retain(|access| !unclear.contains(&access.key));
        self.check_looks(&accesses)?;
        if self.scale.ack_all && self.scale.replicas == 1 {
            // With one copy it makes no difference who is asked.
            accesses.extend(self.ops.iter().filter_map(Op::look));
        }
        history::check(&accesses)?;
        let bases = self.ops.iter().filter_map(|op| op.base().map(|base| (op.key, base)));
        if let Some(((key, base), _)) = World::count_by(bases).into_iter().find(|(_, n)| *n > 1) {
            return Err(format!("two increments of key {key} began with version {base}"));
        }
        self.check_order()
    }

    /// No copy was older than it may be: if answers wait for copies, than what was answered before the read began; in any case,
    /// than the last time before that the slot was lost or a copy took over.
    fn check_looks(&self, accesses: &[Access]) -> Result<(), String> {
        let losses: BTreeMap<u64, Time> =
            self.oracle.losses.iter().map(|(_, at, _, version)| (*version, *at)).collect();
        let at = |version: u64| match version {
            NOTHING => Some(0),
            LOSS.. => losses.get(&version).copied(),
            _ => self.oracle.executed.get(version as usize).copied(),
        };
        let certain = |access: &&Access| {
            let of_client =
                access.version < LOSS && !self.oracle.rewritten.iter().any(|(.., v)| *v == access.version);
            access.write && (self.scale.ack_all || !of_client)
        };
        let writes: Vec<&Access> = accesses.iter().filter(certain).collect();
        let clear = |look: &Access| !self.oracle.unclear.contains(&self.slot_of(look.key));
        for look in self.ops.iter().filter_map(Op::look).filter(clear) {
            let Some(written) = at(look.version) else {
                return Err(format!(
                    "a copy answered version {} of key {}, which is none",
                    look.version, look.key
                ));
            };
            let newer = |w: &&&Access| {
                w.key == look.key && w.end < look.start && at(w.version).is_some_and(|time| time > written)
            };
            if let Some(newer) = writes.iter().find(newer) {
                return Err(format!(
                    "a copy answered version {} of key {} at {}..{}, but {} was there since {}",
                    look.version, look.key, look.start, look.end, newer.version, newer.end
                ));
            }
        }
        Ok(())
    }

    /// Commands of one client on one slot are executed in the order in which they were given.
    fn check_order(&self) -> Result<(), String> {
        let mut last: BTreeMap<((usize, usize), u16), (u64, usize)> = BTreeMap::new();
        for (i, op) in self.ops.iter().enumerate().filter(|(_, op)| !op.failed() && !op.is_part()) {
            let Some((order, _)) = op.executed.last().copied() else { continue };
            let slot = self.slot_of(op.key);
            if let Some((before, other)) = last.insert((op.client, slot), (order, i))
                && before > order
            {
                return Err(format!(
                    "operation {i} was executed before {other}, which its client sent before"
                ));
            }
        }
        Ok(())
    }

    /// When all has been quiet for long: all agree, every slot is where the view says, nothing is under way.
    pub(crate) fn check_quiet(&self) -> Result<(), String> {
        if let Some(op) = self.ops.iter().position(|op| op.open()) {
            return Err(format!("operation {op} was never answered: {:?}", self.ops[op]));
        }
        let live = self.live();
        let Some(view) = self.newest() else {
            // Nobody is left who could take anybody in, or tell those whom it took in with its last view: that is the
            // end of a cluster.
            let dead = |v: &View| live.iter().all(|p| v.place(self.processes[*p].id).is_none());
            let ends = self.oracle.views.values().rev().take(2).any(|view| dead(view));
            return if ends { Ok(()) } else { Err("nobody is in the cluster".to_owned()) };
        };
        for p in &live {
            let process = &self.processes[*p];
            if process.core.view().epoch != view.epoch {
                return Err(format!("{p} has view {}, others {}", process.core.view().epoch, view.epoch));
            }
            if !process.core.inside() {
                return Err(format!("{p} is not in the view: {}", crate::process::sketch(&view)));
            }
            if process.core.wedged() {
                return Err(format!("{p} is wedged"));
            }
            if !self.has_lease(*p) {
                return Err(format!("{p} has no lease"));
            }
        }
        if view.members.len() != live.len() {
            return Err(format!("{} live processes, {}", live.len(), crate::process::sketch(&view)));
        }
        // The last ones have nobody to hand over to.
        let nobody_stays = view.leaving.len() == view.members.len();
        if view.moves() || (!view.leaving.is_empty() && !nobody_stays) {
            return Err(format!("slots are under way: {}", crate::process::sketch(&view)));
        }
        self.check_copies(&view)?;
        self.check_slots(&view, &live)
    }

    fn check_slots(&self, view: &View, live: &[usize]) -> Result<(), String> {
        let share = usize::from(view.slots()) / view.members.len();
        for p in live {
            let process = &self.processes[*p];
            let mut count = 0;
            for slot in 0..view.slots() {
                let mine = view.owner(slot).is_some_and(|m| m.id == process.id);
                count += usize::from(mine);
                let serves = process.gates[usize::from(slot)] == shoal_proto::cluster::Gate::Open;
                if mine != serves || mine != process.core.handoff().owns(slot) {
                    return Err(format!("{p} and slot {slot}: serves {serves}, but the view says {mine}"));
                }
            }
            // If all want to go, nobody is there to share with.
            let shared = view.leaving.len() < view.members.len();
            if shared && (count < share || count > share + 1) {
                return Err(format!("{p} has {count} slots, not about {share}"));
            }
        }
        Ok(())
    }
}
