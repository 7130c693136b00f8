//! What a node says instead of executing a request: that the slot lives elsewhere, or that it cannot serve it now.

use shoal_proto::number;

use super::{
    Desk,
    detour::{ASTRAY, Terms},
    stray::Stray,
};
use crate::{
    client::detour::Held,
    merge,
    upstream::log::{Pending, Way},
};

/// Pauses in ms before a redirect is followed, by how many were. The first is right nearly always; more mean that two
/// nodes differ about the view for a moment.
const AFTER_HOPS: [u32; 5] = [0, 2, 10, 50, 250];

/// First pause after a `TRYAGAIN`, in ms: a large key is being copied.
const AGAIN_AFTER: u32 = 2;
/// Longest.
const AGAIN_MOST: u32 = 16;

/// First pause after a `CLUSTERDOWN`, in ms: the node has lost its lease or knows no owner. A new view ends it.
const DOWN_AFTER: u32 = 10;
/// Longest.
const DOWN_MOST: u32 = 160;

/// The error that says that a request was not executed, and where else or when it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Moved,
    TryAgain,
    ClusterDown,
}

impl Refusal {
    /// What an error reply says, if it is one of these.
    pub(super) fn of(reply: &[u8]) -> Option<Self> {
        match reply {
            reply if reply.starts_with(b"-MOVED ") => Some(Self::Moved),
            reply if reply.starts_with(b"-TRYAGAIN") => Some(Self::TryAgain),
            reply if reply.starts_with(b"-CLUSTERDOWN") => Some(Self::ClusterDown),
            _ => None,
        }
    }

    /// How long to wait after so many of them in a row, in ms.
    pub(super) fn pause(self, failures: u8) -> u32 {
        let (first, most) = match self {
            Self::Moved => return 0,
            Self::TryAgain => (AGAIN_AFTER, AGAIN_MOST),
            Self::ClusterDown => (DOWN_AFTER, DOWN_MOST),
        };
        (first << u32::from(failures.min(8))).min(most)
    }
}

/// The node and slot that a `-MOVED slot host:port` names.
fn moved(reply: &[u8]) -> Option<(u16, &str, u16)> {
    let text = std::str::from_utf8(reply.strip_prefix(b"-MOVED ")?.strip_suffix(b"\r\n")?).ok()?;
    let (slot, address) = text.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    let slot =
        number::parse_i64(slot.as_bytes()).and_then(|s| u16::try_from(s).ok()).filter(|s| *s < 16384)?;
    Some((slot, host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}

impl Desk {
    /// The node at the other end of `place` did not execute a request, and says why.
    #[cold]
    pub(super) fn refused(&mut self, place: u32, pending: Pending, refusal: Refusal, reply: &[u8]) {
        let request = self.upstreams[place as usize].log.last(&pending).to_vec();
        if refusal == Refusal::ClusterDown {
            self.shared.refresh();
        }
        match (refusal, pending.way) {
            (Refusal::Moved, Way::Node) => self.deliver(pending.asker, reply),
            (_, Way::Node) => self.not_now(place, pending, request, refusal, reply),
            (Refusal::Moved, _) => self.moved(place, pending, request, reply),
            _ => {
                self.tally.refusals += 1;
                let terms = Terms { refusal: Some(refusal), ..self.terms_after(place, pending.asker) };
                let held = Held { pending, request, why: reply.to_vec(), doubt: None };
                self.detain_all(held, terms);
            }
        }
    }

    fn moved(&mut self, place: u32, mut pending: Pending, request: Vec<u8>, reply: &[u8]) {
        self.tally.redirects += 1;
        self.shared.refresh();
        let Some((slot, host, port)) = moved(reply) else { return self.deliver(pending.asker, reply) };
        let Some(owner) = self.member_at(place, host, port) else {
            // Either view is old, the node's or ours: it may name a node that died. The newer one is on its way.
            let terms =
                Terms { refusal: Some(Refusal::ClusterDown), ..self.terms_after(place, pending.asker) };
            return self
                .detain_all(Held { pending, request, why: merge::error(&ASTRAY), doubt: None }, terms);
        };
        if pending.hops >= self.shared.settings.max_hops {
            return self.fail(pending.asker, &ASTRAY);
        }
        self.learn(place, slot, owner);
        let pause = AFTER_HOPS[usize::from(pending.hops).min(AFTER_HOPS.len() - 1)];
        pending.hops += 1;
        let resume_at = (pause > 0).then(|| self.now.wrapping_add(pause));
        let terms = Terms { resume_at, ..self.terms_after(place, pending.asker) };
        self.detain_all(Held { pending, request, why: merge::error(&ASTRAY), doubt: None }, terms);
    }

    /// The place of the member that a node, asked at `place`, calls by this address.
    fn member_at(&self, place: u32, host: &str, port: u16) -> Option<u32> {
        // An empty host means the one that was asked.
        let host = if host.is_empty() {
            &*self.nodes[self.upstreams[place as usize].node as usize].host
        } else {
            host
        };
        let (at, _) = self.nodes.iter().find(|(_, n)| n.member && n.port == port && *n.host == *host)?;
        Some(at as u32)
    }

    /// The owner of a slot, asked at `place`, says that another node has it by now: that is where requests for the slot
    /// go until the next view.
    fn learn(&mut self, place: u32, slot: u16, node: u32) {
        let asked = self.upstreams[place as usize].node;
        // Somebody who was asked before the slot came to where it is has nothing new to tell.
        if u32::from(self.owners[usize::from(slot)]) != asked || node == asked {
            return;
        }
        let Ok(owner) = u16::try_from(node) else { return };
        self.owners[usize::from(slot)] = owner;
        self.tally.overrides += 1;
        for lane in self.nodes[asked as usize].lanes {
            if lane != crate::upstream::NONE {
                self.fence(lane, &|s| s == slot);
            }
        }
    }

    /// A node cannot answer a request that is meant for it and no other: it is asked again.
    fn not_now(&mut self, place: u32, pending: Pending, request: Vec<u8>, refusal: Refusal, reply: &[u8]) {
        self.tally.refusals += 1;
        let upstream = &self.upstreams[place as usize];
        let (node, lane) = (upstream.node, upstream.lane);
        let resume_at = Some(self.now.wrapping_add(refusal.pause(pending.hops)));
        let pending = Pending { hops: pending.hops.saturating_add(1), ..pending };
        let held = Held { pending, request, why: reply.to_vec(), doubt: None };
        self.keep(Stray { node, lane, held, resume_at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        assert_eq!(moved(b"-MOVED 42 10.0.0.1:7000\r\n"), Some((42, "10.0.0.1", 7000)));
        assert_eq!(moved(b"-MOVED 1 [::1]:7000\r\n"), Some((1, "::1", 7000)));
        assert_eq!(moved(b"-MOVED 1 :7000\r\n"), Some((1, "", 7000)));
        assert_eq!(moved(b"-MOVED 16384 a:1\r\n"), None);
        assert_eq!(moved(b"-MOVED x\r\n"), None);
    }

    #[test]
    fn only_what_was_not_executed_is_a_refusal() {
        assert_eq!(Refusal::of(b"-CLUSTERDOWN Hash slot not served\r\n"), Some(Refusal::ClusterDown));
        assert_eq!(Refusal::of(b"-TRYAGAIN x\r\n"), Some(Refusal::TryAgain));
        assert_eq!(Refusal::of(b"-ERR MOVED 1 a:1\r\n"), None);
        assert_eq!(Refusal::of(b"-OOM x\r\n"), None);
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!([0, 1, 2, 200].map(|n| Refusal::TryAgain.pause(n)), [2, 4, 8, 16]);
        assert_eq!([0, 1, 4, 200].map(|n| Refusal::ClusterDown.pause(n)), [10, 20, 160, 160]);
    }
}
