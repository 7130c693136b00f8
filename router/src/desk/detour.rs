//! Requests that have to wait for a slot, or to go elsewhere: one queue for each client and slot in trouble
//! ([`Detour`]), so that a client's order holds and nobody else waits.

use shoal_proto::{
    Error,
    command::{Route, table},
    resp::{Args, Limits, Scanner},
    slot::key_slot,
};

use super::Desk;
use crate::{
    client::{
        Asker, Ticket, Wait,
        detour::{Detour, Held},
    },
    desk::refusal::Refusal,
    gather::{Gather, Origin},
    merge,
    routing::NOBODY,
    split::Parts,
    upstream::{
        Gate,
        log::{Effect, Pending, Way},
    },
};

/// Nodes disagree for too long about who owns the slot.
pub(super) const ASTRAY: Error = Error::text("CLUSTERDOWN Hash slot is moving between nodes");

/// A later request of the client was executed while this one was refused.
const OVERTAKEN: Error = Error::text(
    "TRYAGAIN Not executed: a later command of this connection on the same hash slot was executed first",
);

/// A detour: whose, and for which slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Trouble {
    pub(super) client: u32,
    pub(super) generation: u32,
    pub(super) slot: u16,
}

/// Requests that wait, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

impl Load {
    pub(super) fn add(&mut self, held: &Held) {
        self.requests += 1;
        self.bytes += held.request.len();
    }

    pub(super) fn remove(&mut self, held: &Held) {
        self.requests -= 1;
        self.bytes -= held.request.len();
    }
}

/// What the pieces of a request have in common that is split anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Slot,
    /// A node's place on the worker, or [`NOBODY`].
    Owner,
}

/// When a request that is put into a detour may go on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    /// The connection and the number of the request on it whose answer is to be awaited first: the client's last.
    pub(super) after: Option<(u32, u64)>,
    /// Not before this time.
    pub(super) resume_at: Option<u32>,
    /// The node was not ready: ask again after a while.
    pub(super) refusal: Option<Refusal>,
}

impl Desk {
    /// What a refused request waits for: whatever its client has under way on the connection, which may be refused
    /// as well, or executed.
    pub(super) fn terms_after(&mut self, place: u32, asker: Asker) -> Terms {
        let Some(client) = self.client(asker.client, asker.generation) else { return Terms::default() };
        if client.index(asker.seq) + 1 == client.tickets.len() {
            return Terms::default();
        }
        let own = |p: &Pending| p.asker.client == asker.client && p.asker.generation == asker.generation;
        let last = self.upstreams[place as usize].log.numbered().rev().find(|(_, p)| own(p));
        Terms { after: last.map(|(number, _)| (place, number)), ..Terms::default() }
    }

    /// Puts a request into the detours of its slots: one piece for each.
    pub(super) fn detain_all(&mut self, held: Held, terms: Terms) {
        match held.pending.way {
            Way::Slot(slot) => self.detain(slot, held, terms),
            Way::Split(step) => {
                let Held { pending, request, why, doubt } = held;
                self.spread(pending, &request, step, By::Slot, |desk, slot, pending, request| {
                    desk.detain(slot, Held { pending, request, why: why.clone(), doubt }, terms);
                });
            }
            Way::Node => debug_assert!(false, "what is meant for one node has no slot"),
        }
    }

    /// Puts a request into the detour of its slot, and lets that go on if it may.
    pub(super) fn detain(&mut self, slot: u16, held: Held, terms: Terms) {
        let Asker { client: place, generation, .. } = held.pending.asker;
        if self.is_full() {
            self.tally.overloads += 1;
            return self.excuse(&held.pending, &held.request, &held.why);
        }
        let now = self.now;
        let client = self.clients.get_mut(place as usize).filter(|c| c.generation == generation);
        let Some(client) = client else { return };
        let at = match client.detours.iter().position(|d| d.slot == slot) {
            Some(at) => at,
            None => {
                client.detours.push(Detour::new(slot));
                client.detours.len() - 1
            }
        };
        let detour = &mut client.detours[at];
        let ahead = |until: u32| until.wrapping_sub(now) as i32 > 0;
        if let Some(refusal) = terms.refusal {
            detour.probe = true;
            if !detour.resume_at.is_some_and(ahead) {
                detour.resume_at = Some(now.wrapping_add(refusal.pause(detour.failures)));
                detour.failures = detour.failures.saturating_add(1);
            }
        } else if terms.resume_at.is_some() {
            detour.resume_at = terms.resume_at;
        }
        let gate = terms.after.filter(|_| !detour.shut);
        detour.shut |= gate.is_some();
        self.held.add(&held);
        self.tally.held += 1;
        detour.add(held);
        if let Some((upstream, number)) = gate {
            let gate = Gate { number, client: place, generation, slot };
            self.upstreams[upstream as usize].gates.push(gate);
        }
        let trouble = Trouble { client: place, generation, slot };
        self.troubled.insert(trouble);
        self.waiting = true;
        self.pump(trouble);
    }

    /// Sends what a detour holds, if its time has come, and ends it when nothing is left.
    pub(super) fn pump(&mut self, trouble: Trouble) {
        let Trouble { client: place, generation, slot } = trouble;
        let (now, owner) = (self.now, self.owners[usize::from(slot)]);
        self.decide(trouble);
        let Some(client) = self.clients.get_mut(place as usize).filter(|c| c.generation == generation) else {
            self.troubled.remove(&trouble);
            return;
        };
        let lane = client.lane;
        let Some(detour) = client.detour(slot).filter(|d| !d.shut) else { return };
        if detour.queue().is_empty() {
            return self.end(trouble);
        }
        if detour.resume_at.is_some_and(|until| until.wrapping_sub(now) as i32 > 0) || owner == NOBODY {
            return;
        }
        detour.resume_at = None;
        let most = if std::mem::take(&mut detour.probe) { 1 } else { usize::MAX };
        let mut ready = Vec::new();
        while ready.len() < most && detour.head().is_some_and(|h| h.doubt.is_none()) {
            ready.extend(detour.pop());
        }
        if ready.is_empty() {
            return;
        }
        detour.shut = true;
        let mut last = 0;
        for held in ready {
            self.held.remove(&held);
            last = self.send(u32::from(owner), lane, held.pending, &held.request);
        }
        let upstream = &mut self.upstreams[last as usize];
        let number = upstream.log.passed() + upstream.log.len() as u64;
        upstream.gates.push(Gate { number, client: place, generation, slot });
    }

    /// Everything of this client and slot is answered: it takes the usual way again.
    fn end(&mut self, trouble: Trouble) {
        self.troubled.remove(&trouble);
        let Some(client) = self.client(trouble.client, trouble.generation) else { return };
        client.detours.retain(|d| d.slot != trouble.slot);
        if client.wait == Wait::Detour {
            client.wait = Wait::Nothing;
            client.resume.notify_one();
        }
    }

    /// Lets detours go on that waited for answers on this connection that are there by now.
    pub(super) fn open_gates(&mut self, place: u32) {
        let upstream = &mut self.upstreams[place as usize];
        let passed = upstream.log.passed();
        let (open, shut): (Vec<Gate>, Vec<Gate>) =
            std::mem::take(&mut upstream.gates).into_iter().partition(|g| g.number <= passed);
        upstream.gates = shut;
        self.open(open);
    }

    /// Lets detours go on: what they waited for is answered, or will not be.
    pub(super) fn open(&mut self, gates: Vec<Gate>) {
        for Gate { client, generation, slot, .. } in gates {
            if let Some(detour) = self.client(client, generation).and_then(|c| c.detour(slot)) {
                detour.shut = false;
                // Whoever was tried was answered.
                if !detour.probe {
                    detour.failures = 0;
                }
            }
            self.pump(Trouble { client, generation, slot });
        }
    }

    /// The owner of these slots changes: clients that have something under way on them at `place` wait for it before
    /// they send more.
    pub(super) fn fence(&mut self, place: u32, changed: &dyn Fn(u16) -> bool) {
        let mut found: Vec<Gate> = Vec::new();
        for (number, pending, request) in self.upstreams[place as usize].log.requests() {
            let Asker { client, generation, seq, .. } = pending.asker;
            let gate = |slot| Gate { number, client, generation, slot };
            match pending.way {
                Way::Slot(slot) if changed(slot) => found.push(gate(slot)),
                Way::Split(step) => {
                    let client = self.clients.get(client as usize).filter(|c| c.generation == generation);
                    if client.is_some_and(|c| c.spans(seq, changed)) {
                        let slots = slots_of(request, step).into_iter();
                        found.extend(slots.filter(|slot| changed(*slot)).map(gate));
                    }
                }
                Way::Slot(_) | Way::Node => {}
            }
        }
        // The last one of each client and slot counts.
        for gate in found.into_iter().rev() {
            let Gate { client, generation, slot, .. } = gate;
            let Some(client) = self.client(client, generation) else { continue };
            if client.detour(slot).is_some() {
                continue;
            }
            let mut detour = Detour::new(slot);
            detour.shut = true;
            client.detours.push(detour);
            self.upstreams[place as usize].gates.push(gate);
            self.troubled.insert(Trouble { client: gate.client, generation, slot });
        }
    }

    /// A node has executed a request. Returns whether the reply is for the client: a read that overtook an earlier
    /// request is asked again after that one; what a write overtook is not executed any more.
    #[cold]
    pub(super) fn in_order(&mut self, place: u32, pending: &Pending) -> bool {
        let asker = pending.asker;
        let Some(client) = self.client(asker.client, asker.generation) else { return true };
        let mut late: Vec<u16> =
            client.detours.iter().filter(|d| d.has_before(asker)).map(|d| d.slot).collect();
        if late.is_empty() {
            return true;
        }
        match pending.way {
            Way::Slot(own) => late.retain(|slot| *slot == own),
            Way::Split(step) => {
                let own = slots_of(self.upstreams[place as usize].log.last(pending), step);
                late.retain(|slot| own.contains(slot));
            }
            Way::Node => late.clear(),
        }
        if late.is_empty() {
            return true;
        }
        if pending.effect != Effect::Write {
            let request = self.upstreams[place as usize].log.last(pending).to_vec();
            let held = Held { pending: *pending, request, why: merge::error(&ASTRAY), doubt: None };
            // Others of its slots may have later reads under way.
            let terms = self.terms_after(place, asker);
            self.detain_all(held, terms);
            return false;
        }
        for slot in late {
            let detour = self.client(asker.client, asker.generation).and_then(|c| c.detour(slot));
            let overtaken =
                detour.map(|d| d.take(|h| h.pending.asker.is_of_earlier(asker))).unwrap_or_default();
            for held in overtaken {
                self.held.remove(&held);
                self.tally.overtaken += 1;
                self.fail(held.pending.asker, &OVERTAKEN);
            }
        }
        true
    }

    /// Splits a multi-key request, or a part of one, anew, and hands each piece to `go` with its slot or owner, its ticket
    /// and its bytes.
    pub(super) fn spread(
        &mut self,
        pending: Pending,
        request: &[u8],
        step: u8,
        by: By,
        mut go: impl FnMut(&mut Self, u16, Pending, Vec<u8>),
    ) {
        let asker = pending.asker;
        if self.client(asker.client, asker.generation).is_none() {
            return;
        }
        let scanner = scan(request);
        let args = Args::new(request, scanner.spans());
        let mut parts = Parts::default();
        parts.group(args, step, |slot| match by {
            By::Slot => slot,
            By::Owner => self.owners[usize::from(slot)],
        });
        if let [part] = parts.parts[..] {
            return go(self, part.to, Pending { way: part.way(step), ..pending }, request.to_vec());
        }
        let Some(first) = self.more_parts(&pending, args, &parts) else {
            return self.fail(asker, &ASTRAY);
        };
        for (i, part) in parts.parts.iter().enumerate() {
            let mut bytes = Vec::new();
            parts.encode(i as u16, args, step, &mut bytes);
            let asker = Asker { part: first + i as u16, ..asker };
            go(self, part.to, Pending { asker, way: part.way(step), ..pending }, bytes);
        }
    }

    /// Makes room in a ticket for several parts instead of one; returns the first one's number.
    fn more_parts(&mut self, pending: &Pending, args: Args<'_>, parts: &Parts) -> Option<u16> {
        let Route::Split { merge, .. } = table().command(args.at(0))?.command.route else { return None };
        let asker = pending.asker;
        let client = self.client(asker.client, asker.generation)?;
        let index = client.index(asker.seq);
        match client.tickets.get_mut(index)? {
            Ticket::Gather(gather) => gather.split_again(asker.part, parts),
            ticket => {
                let muted = matches!(ticket, Ticket::Muted);
                let Pending { at, turn, effect, .. } = *pending;
                let origin = Origin { muted, at, turn, effect };
                *ticket = Ticket::Gather(Box::new(Gather::split(merge, parts, origin)));
                Some(0)
            }
        }
    }
}

/// Finds the arguments of a request that was scanned when it came.
/// Finds the arguments of a request that was scanned before.
pub(super) fn scan(request: &[u8]) -> Scanner {
    let mut scanner = Scanner::new();
    let limits = Limits { max_bulk_len: u64::MAX, ..Limits::default() };
    let scanned = scanner.next(request, &limits);
    debug_assert!(matches!(scanned, Ok(Some(_))), "a request was scanned when it came");
    scanner
}

/// The slots of a request whose keys are from argument 1 on, `step` arguments each.
fn slots_of(request: &[u8], step: u8) -> Vec<u16> {
    let scanner = scan(request);
    let args = Args::new(request, scanner.spans());
    (1..args.len()).step_by(usize::from(step)).map(|at| key_slot(args.at(at))).collect()
}
