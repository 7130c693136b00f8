//! Time: what waited for too long is answered, what was to be tried later is tried.

use super::{Desk, close, lost::UNREACHABLE};
use crate::{merge, upstream::State};

/// How often connections are looked at while one has something to wait for, in ms.
const STEP: u32 = 25;

/// Shortest sleep in ms: several detours that are due at about the same time are done together.
const SHORTEST: u32 = 1;

impl Desk {
    /// How long a request may wait, in ms.
    pub(super) fn patience(&self) -> u32 {
        self.shared.settings.patience.as_millis() as u32
    }

    /// Does what is due. Returns in how many ms to look again; `None` when nothing waits any more.
    pub(crate) fn expire(&mut self) -> Option<u32> {
        self.waiting = false;
        for place in self.upstreams.iter().map(|(place, _)| place as u32).collect::<Vec<_>>() {
            self.expire_one(place);
        }
        self.tick_strays();
        self.tick_detours();
        let mut next = if self.waiting { Some(STEP) } else { None };
        let (now, patience) = (self.now, self.patience());
        let mut due = |at: u32| {
            let left = (at.wrapping_sub(now) as i32).max(0) as u32;
            next = Some(next.map_or(left, |n| n.min(left)));
        };
        for trouble in &self.troubled {
            let client = self.clients.get(trouble.client as usize);
            let client = client.filter(|c| c.generation == trouble.generation);
            let Some(detour) = client.and_then(|c| c.detours.iter().find(|d| d.slot == trouble.slot)) else {
                continue;
            };
            detour.queue().iter().for_each(|h| due(h.pending.at.wrapping_add(patience + 1)));
            if !detour.shut
                && let Some(at) = detour.resume_at
            {
                due(at);
            }
        }
        for stray in &self.strays {
            due(stray.resume_at.unwrap_or(stray.held.pending.at.wrapping_add(patience + 1)));
        }
        self.outdated.iter().for_each(|outdated| due(outdated.at.wrapping_add(patience + 1)));
        if !self.homeless.is_empty() || self.outdated.iter().any(|outdated| outdated.again) {
            due(now.wrapping_add(STEP));
        }
        next.map(|ms| ms.max(SHORTEST))
    }

    fn tick_detours(&mut self) {
        let (now, patience) = (self.now, self.patience());
        for trouble in self.troubled.iter().copied().collect::<Vec<_>>() {
            let client = self.client(trouble.client, trouble.generation);
            let late = client
                .and_then(|c| c.detour(trouble.slot))
                .map(|d| d.take(|h| now.wrapping_sub(h.pending.at) > patience))
                .unwrap_or_default();
            for held in late {
                self.held.remove(&held);
                match held.doubt {
                    Some(_) => self.tally.lost += 1,
                    None => self.tally.unreachable += 1,
                }
                self.excuse(&held.pending, &held.request, &held.why);
            }
            self.pump(trouble);
        }
    }

    /// Answers what waited in vain for a connection, and ends connections to nodes that left.
    fn expire_one(&mut self, place: u32) {
        let (now, patience) = (self.now, self.patience());
        let farewell = self.shared.settings.farewell.as_millis() as u32;
        let upstream = &mut self.upstreams[place as usize];
        if let Some(since) = upstream.retired {
            if upstream.log.is_empty() || now.wrapping_sub(since) > farewell {
                close(upstream);
            }
            self.waiting = true;
        }
        if upstream.is_ready() {
            return;
        }
        if upstream.retired.is_some() && upstream.log.is_empty() && matches!(upstream.state, State::New) {
            // It has no task that would do so.
            return self.forget(place);
        }
        let first = upstream.log.passed() + 1;
        let (late, numbers) = upstream.log.take_late(|p| now.wrapping_sub(p.at) > patience);
        self.waiting |= !upstream.log.is_empty() || upstream.curious;
        if late.is_empty() {
            return;
        }
        for gate in &mut upstream.gates {
            gate.number = numbers.get((gate.number - first) as usize).copied().unwrap_or(gate.number);
        }
        let waiters = std::mem::take(&mut upstream.waiters);
        self.release(&waiters);
        let why = merge::error(&UNREACHABLE);
        for (pending, request) in late {
            self.tally.unreachable += 1;
            self.excuse(&pending, &request, &why);
        }
        self.open_gates(place);
    }
}
