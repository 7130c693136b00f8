//! What one stream may have under way, and whether its peer gets on.
//!
//! A slot that is frozen waits for everything that stands before it in the stream, and clients wait with it. So copying
//! keeps no more under way than the peer applies in [`BACKLOG`], besides what the way itself holds. Both are measured as BBR does
//! (Cardwell et al., "BBR: congestion-based congestion control", 2016): the rate is the highest of late at which pieces
//! were applied, the way's time the shortest from sending a piece to hearing that it is applied.
//!
//! Pure: time and positions are arguments.

use std::{collections::VecDeque, time::Duration};

/// What waits at the peer or before it is applied within this time.
const BACKLOG: Duration = Duration::from_millis(50);

/// At least so much may be under way, however slow the peer is.
const LEAST: u64 = 128 << 10;

/// Rates count for one to two of these.
const PERIOD: Duration = Duration::from_millis(500);

/// Pieces nearer to each other than this, in bytes, are looked at as one.
const GRAIN: u64 = 16 << 10;

/// A piece on its way.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// The position behind it.
    end: u64,
    sent: Duration,
    /// What was applied then.
    acked: u64,
}

/// The peer's rate and the way to it.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pieces: VecDeque<Piece>,
    shortest: Option<Duration>,
    /// Bytes a second: the highest of this period, and of the one before.
    rates: [u64; 2],
    begun: Duration,
}

impl Flow {
    /// Something was put into the stream, which is as long as this now; so much of it was applied.
    pub(super) fn sent(&mut self, now: Duration, end: u64, acked: u64) {
        if self.pieces.back().is_none_or(|last| end >= last.end + GRAIN) {
            self.pieces.push_back(Piece { end, sent: now, acked });
        }
    }

    /// So much was applied.
    pub(super) fn acked(&mut self, now: Duration, acked: u64) {
        let mut applied = None;
        while let Some(piece) = self.pieces.pop_front_if(|piece| piece.end <= acked) {
            applied = Some(piece);
        }
        let Some(piece) = applied else { return };
        if now >= self.begun + PERIOD {
            (self.rates, self.begun) = ([0, self.rates[0]], now);
        }
        let took = now.saturating_sub(piece.sent).max(Duration::from_micros(1));
        self.shortest = Some(self.shortest.map_or(took, |shortest| shortest.min(took)));
        let rate = (acked - piece.acked) as f64 / took.as_secs_f64();
        self.rates[0] = self.rates[0].max(rate as u64);
    }

    /// Bytes that may be under way.
    pub(super) fn window(&self) -> u64 {
        let rate = self.rates[0].max(self.rates[1]) as f64;
        let time = self.shortest.unwrap_or_default() + BACKLOG;
        LEAST.max((rate * time.as_secs_f64()) as u64)
    }
}

/// A peer that replies wait for must have applied what it was sent within this time, or at least [`BEARABLE`] of it, or it
/// counts as gone.
pub(super) const STALL: Duration = Duration::from_secs(2);
const BEARABLE: u64 = 128 << 10;

/// How much longer a peer may apply nothing at all that nobody waits for: copies there must not be read for ever.
const UNWAITED: u32 = 5;

/// Whether a peer applies what it is sent. Looked at now and then.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When it was looked at, how long the stream was, and how much was applied; a little longer than [`STALL`].
    seen: VecDeque<(Duration, u64, u64)>,
    acked: u64,
    /// When more was applied last, or nothing was left to be applied.
    moved: Duration,
}

impl Progress {
    /// Whether it stalls. `waited`: replies wait for it.
    pub(super) fn stalls(&mut self, now: Duration, appended: u64, acked: u64, waited: bool) -> bool {
        if acked > self.acked || acked >= appended {
            (self.acked, self.moved) = (acked, now);
        }
        while self.seen.get(1).is_some_and(|(at, ..)| *at + STALL <= now) {
            self.seen.pop_front();
        }
        let then = self.seen.front().filter(|(at, ..)| *at + STALL <= now);
        let late = then.is_some_and(|(_, sent, applied)| acked < *sent && acked - applied < BEARABLE);
        self.seen.push_back((now, appended, acked));
        (waited && late) || now >= self.moved + UNWAITED * STALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KB: u64 = 1 << 10;
    const MB: u64 = 1 << 20;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A peer that applies `rate` bytes a second, `way` ms away, while pieces of 64 KB are sent as the window allows.
    /// The most that was under way in the second half, and what was applied in it.
    fn run(rate: u64, way: u64) -> (u64, u64) {
        let mut flow = Flow::default();
        let (mut sent, mut served, mut acked) = (0, 0, 0);
        let mut on_the_way: VecDeque<(u64, u64)> = VecDeque::new();
        let (mut most, mut half) = (0, 0);
        for ms in 0..6000 {
            while sent - acked <= flow.window() {
                sent += 64 * KB;
                flow.sent(at(ms), sent, acked);
            }
            served = sent.min(served + rate / 1000);
            on_the_way.push_back((ms + way, served));
            while let Some((_, applied)) = on_the_way.pop_front_if(|(then, _)| *then <= ms) {
                acked = applied;
                flow.acked(at(ms), acked);
            }
            match ms {
                3000 => half = acked,
                3001.. => most = most.max(sent - acked),
                _ => {}
            }
        }
        (most, acked - half)
    }

    #[test]
    fn a_slow_way_is_used_and_holds_little() {
        for (rate, way) in [(8 * MB, 1), (8 * MB, 30), (MB, 1), (100 * MB, 1), (100 * MB, 100)] {
            let (most, applied) = run(rate, way);
            let holds = rate * way / 1000;
            assert!(applied * 100 >= 3 * rate * 97, "{rate}, {way}: {applied} in 3 s");
            assert!(most <= holds + rate * 60 / 1000 + LEAST + 64 * KB, "{rate}, {way}: {most}");
        }
    }

    #[test]
    fn a_peer_that_becomes_slow_is_found_out() {
        let mut flow = Flow::default();
        flow.sent(at(0), MB, 0);
        flow.acked(at(10), MB);
        assert!(flow.window() > 5 * MB);
        for second in 1..5 {
            flow.sent(at(second * 1000), (second + 1) * MB, second * MB);
            flow.acked(at(second * 1000 + 900), (second + 1) * MB);
        }
        assert_eq!(flow.window(), LEAST);
    }

    #[test]
    fn a_peer_that_gets_on_does_not_stall() {
        let mut progress = Progress::default();
        for step in 0..400 {
            // 100 KB/s of a stream that is always 60 MB ahead.
            let (now, acked) = (at(step * 250), step * 25 * KB);
            assert!(!progress.stalls(now, acked + 60 * MB, acked, true), "{step}");
        }
        let mut progress = Progress::default();
        for step in 0..400 {
            let now = at(step * 250);
            assert!(!progress.stalls(now, 60 * MB + step, step / 30, false), "{step}: nobody waits");
        }
    }

    #[test]
    fn a_peer_that_does_not_get_on_stalls_soon_if_clients_wait() {
        for (waited, limit) in [(true, 2000), (false, 10_000)] {
            let mut progress = Progress::default();
            assert!(!progress.stalls(at(0), MB, MB, waited));
            let mut now = 60_000;
            assert!(!progress.stalls(at(now), MB, MB, waited), "there was nothing to do");
            now += 250;
            while !progress.stalls(at(now), 2 * MB, MB, waited) {
                now += 250;
            }
            assert!((limit..=limit + 250).contains(&(now - 60_000)), "{now}");
        }
        let mut progress = Progress::default();
        let stalled = (0..40).find(|step| progress.stalls(at(step * 250), 60 * MB, step * KB, true));
        assert_eq!(stalled, Some(8), "one that gets on by next to nothing");
    }
}
