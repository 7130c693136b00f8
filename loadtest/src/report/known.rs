//! Latencies in files: what nobody has measured is null there, not 0.
//!
//! In the program it is 0, which no measured latency is. For `#[serde(with = "known")]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes null for none.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
pub fn serialize<S: Serializer>(latency: &f64, to: S) -> Result<S::Ok, S::Error> {
    Some(*latency).filter(|latency| *latency > 0.0).serialize(to)
}

/// Reads what was written, and zeros of older files.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or_default())
}
