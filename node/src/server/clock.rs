//! The one place where the node's data plane reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
#[inline]
pub fn now_ms() -> u64 {
    since_epoch().as_millis() as u64
}

/// Microseconds since 1970.
pub fn now_us() -> u64 {
    since_epoch().as_micros() as u64
}

/// Time since 1970; zero if the clock is set before that.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
