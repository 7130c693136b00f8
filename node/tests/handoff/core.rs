//! Two nodes' cores and the stream between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shoal_node::{
    command::{Scope, dispatch::Dispatch},
    handoff::{Applier, ApplyError, Outbox},
    server::Changes,
    store::{Copied, Gate, Settings, Store},
    value::Value,
};
use shoal_proto::resp::{Protocol, Reply, request::OwnedArgs};

pub(crate) const NOW: u64 = 1_700_000_000_000;

/// SplitMix64: a run is known by its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// One node's core.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) dispatch: Dispatch,
}

impl Core {
    pub(crate) fn new(settings: Settings, gate: Gate) -> Self {
        let core = Self { store: Store::new(settings), dispatch: Dispatch::default() };
        core.store.set_gates(|_| Some(gate));
        core
    }

    pub(crate) fn run(&self, db: u8, now: u64, words: &[Vec<u8>]) -> Vec<u8> {
        let args = OwnedArgs::new(words);
        let mut out = Vec::new();
        let now = now.max(self.store.clock_floor());
        let scope = Scope { db, now, touch: true, within: None, alone: true, waits: None, landed: None };
        self.dispatch.execute(&self.store, scope, args.args(), &mut Reply::new(&mut out, Protocol::Resp2));
        out
    }

    /// A line as redis-cli would take it, in database 0; the reply as it is sent.
    pub(crate) fn line(&self, line: &str) -> String {
        let words = shoal_proto::resp::inline::split(line.as_bytes()).expect("balanced quotes");
        String::from_utf8_lossy(&self.run(0, NOW, &words)).into_owned()
    }

    /// All that a slot holds.
    pub(crate) fn slot(&self, slot: u16) -> Slot {
        let mut all = BTreeMap::new();
        self.store.inspect_slot(slot, |db, key, value, expires_at| {
            all.insert((db, key.to_vec()), (Contents::of(value), expires_at));
        });
        all
    }
}

/// A value to be compared. How it is kept is each node's own business: a command that changes nothing may still make a
/// collection a table.
#[derive(Debug, PartialEq)]
pub(crate) enum Contents {
    Str(Vec<u8>),
    List(Vec<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Zset(Vec<(Vec<u8>, u64)>),
}

impl Contents {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Str(string) => Self::Str(string.bytes().to_vec()),
            Value::List(list) => Self::List(list.iter().map(|elem| elem.to_vec()).collect()),
            Value::Hash(hash) => {
                let mut fields = BTreeMap::new();
                hash.each(|field, value| {
                    fields.insert(field.to_vec(), value.to_vec());
                });
                Self::Hash(fields)
            }
            Value::Set(set) => {
                let mut members = BTreeSet::new();
                set.each(|member| {
                    members.insert(member.to_vec());
                });
                Self::Set(members)
            }
            Value::Zset(zset) => {
                Self::Zset(zset.all().map(|(member, score)| (member.to_vec(), score.to_bits())).collect())
            }
        }
    }
}

/// What a test does to the bytes on their way.
pub(crate) type Meddle<'a> = &'a mut dyn FnMut(&mut Vec<u8>);

/// The bytes between an outbox and the other end.
pub(crate) struct Stream {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) bytes: Vec<u8>,
    applied: u64,
    pub(crate) applier: Applier,
}

impl Stream {
    /// Bounded to that many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        let outbox = Outbox::new(limit, Arc::new(Changes::default()));
        Self { outbox, bytes: Vec::new(), applied: 0, applier: Applier::new() }
    }

    /// All that waits to be sent.
    pub(crate) fn taken(&self) -> Vec<u8> {
        let (mut all, mut chunk) = (Vec::new(), Vec::new());
        loop {
            self.outbox.take(&mut chunk).expect("it does not overflow here");
            if chunk.is_empty() {
                return all;
            }
            all.extend_from_slice(&chunk);
        }
    }

    /// Everything that was sent arrives.
    pub(crate) fn flow(&mut self, target: &Core) -> Result<(), ApplyError> {
        self.pump(target, &mut Random(0), &mut |_| {})
    }

    /// These bytes arrive at once.
    pub(crate) fn apply(&mut self, target: &Core, bytes: &[u8]) -> Result<(), ApplyError> {
        let mut at = 0;
        loop {
            let applied = self.applier.apply(&target.store, &target.dispatch, |_| true, &bytes[at..])?;
            at += applied.consumed;
            if applied.consumed == 0 {
                return Ok(());
            }
        }
    }

    /// Copies until all is through, with everything arriving in between.
    pub(crate) fn copy(&mut self, source: &Core, target: &Core, slot: u16) -> Result<(), ApplyError> {
        loop {
            let copied = source.store.copy_slot(slot, &self.outbox, 10_000);
            self.flow(target)?;
            match copied {
                Copied::All => return Ok(()),
                Copied::Nothing => panic!("the slot is not tapped"),
                Copied::More | Copied::NoRoom => {}
            }
        }
    }

    pub(crate) fn pump(
        &mut self,
        target: &Core,
        random: &mut Random,
        meddle: Meddle<'_>,
    ) -> Result<(), ApplyError> {
        let mut chunk = self.taken();
        let sent = chunk.len();
        meddle(&mut chunk);
        self.applied += sent as u64 - chunk.len() as u64;
        self.bytes.extend_from_slice(&chunk);
        // Arrives in pieces.
        let mut at = 0;
        let mut arrived = 0;
        while arrived < self.bytes.len() {
            arrived = (arrived + 1 + random.below(60_000) as usize).min(self.bytes.len());
            loop {
                let bytes = &self.bytes[at..arrived];
                let applied = self.applier.apply(&target.store, &target.dispatch, |_| true, bytes)?;
                at += applied.consumed;
                if applied.consumed == 0 {
                    break;
                }
            }
        }
        self.applied += at as u64;
        self.bytes.drain(..at);
        self.outbox.ack(self.applied);
        Ok(())
    }
}

/// All that a slot holds: by database and key, value and expiry.
pub(crate) type Slot = BTreeMap<(u8, Vec<u8>), (Contents, u64)>;

/// What differs.
pub(crate) fn compare(source: &Slot, target: &Slot) -> Result<(), String> {
    for (name, value) in source {
        if target.get(name) != Some(value) {
            let name = (name.0, String::from_utf8_lossy(&name.1));
            let text = format!(
                "{name:?} differs: {value:?} became {:?}",
                target.get(&(name.0, name.1.as_bytes().to_vec()))
            );
            return Err(text.chars().take(2000).collect());
        }
    }
    match target.keys().find(|name| !source.contains_key(*name)) {
        Some(name) => Err(format!("{name:?} is only at the target")),
        None => Ok(()),
    }
}
