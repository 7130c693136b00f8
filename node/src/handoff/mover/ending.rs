//! How streams end, and how long to wait before the next one begins.

use std::time::Duration;

/// Pauses before the next stream to a peer: the shortest and the longest.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// A stream that stood for so long has worked.
const WORKED: Duration = Duration::from_secs(10);

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// More waited for the peer than may.
    Overflow,
    /// The connection broke.
    Connection,
    /// The other end said what makes no sense.
    Protocol,
    /// The peer applied nothing, or so little that clients who wait could not bear it.
    Stalled,
    /// The end to which slots go has no memory left for them.
    Full,
    /// This node stops.
    Stops,
}

impl Ending {
    /// For people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Overflow => "the peer did not keep up",
            Self::Connection => "the connection broke",
            Self::Protocol => "the peer does not keep to the protocol",
            Self::Stalled => "the peer does not get on",
            Self::Full => "no memory is left at the other end",
            Self::Stops => "this node stops",
        }
    }

    /// For metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Connection => "connection",
            Self::Protocol => "protocol",
            Self::Stalled => "stalled",
            Self::Full => "full",
            Self::Stops => "stops",
        }
    }
}

/// The streams to one peer, one after the other. Pauses between them grow as long as none works.
#[derive(Debug)]
pub(super) struct Attempts {
    pause: Duration,
    last: Option<Ending>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { pause: SHORTEST, last: None }
    }
}

impl Attempts {
    /// A stream ended that stood for so long. How long to wait before the next one, and whether that is news.
    pub(super) fn ended(&mut self, ending: Ending, stood: Duration) -> (Duration, bool) {
        if stood >= WORKED {
            *self = Self::default();
        }
        let news = self.last.replace(ending) != Some(ending);
        let pause = self.pause;
        self.pause = (2 * pause).min(LONGEST);
        (pause, news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_stream_works() {
        let (mut attempts, short) = (Attempts::default(), Duration::from_millis(50));
        let pauses: Vec<u128> = (0..9).map(|_| attempts.ended(Ending::Full, short).0.as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(attempts.ended(Ending::Connection, WORKED), (SHORTEST, true));
        assert_eq!(attempts.ended(Ending::Connection, short), (2 * SHORTEST, false));
        assert_eq!(attempts.ended(Ending::Full, short), (4 * SHORTEST, true), "another reason is news");
    }
}
