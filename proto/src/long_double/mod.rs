//! The numbers of `INCRBYFLOAT` and `HINCRBYFLOAT`: x86's 80-bit floats, in software.
//!
//! Redis reads both operands as C's `long double`, adds, and prints 17 decimals without trailing zeros. What
//! clients see is the rounding of that format (10.5 + 0.1 = 10.6, but 1234567.1 prints as
//! 1234567.10000000000002274), so the format itself is implemented: sign, 64-bit significand, 15-bit exponent,
//! round to nearest even, subnormals. A result is the same on every machine, so replicas agree.
//!
//! It never loses a digit that Redis keeps, and never keeps one that Redis loses.

mod big;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use big::Big;

/// Texts of this length and beyond are not numbers (Redis's `MAX_LONG_DOUBLE_CHARS`).
const MAX_TEXT: usize = 5 * 1024;
/// The exponents of the last bit of the smallest and the largest number.
const MIN_EXPONENT: i32 = -16445;
const MAX_EXPONENT: i32 = 16320;
/// Decimals printed.
const DECIMALS: u32 = 17;

/// An 80-bit float other than NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Magnitude {
    Infinite,
    /// `significand * 2^exponent`; the significand's top bit is set unless the number is zero or the
    /// exponent is the smallest.
    Finite {
        significand: u64,
        exponent: i32,
    },
}
use Magnitude::{Finite, Infinite};

impl LongDouble {
    /// Zero: what a missing value counts as.
    pub const ZERO: Self =
        Self { negative: false, magnitude: Finite { significand: 0, exponent: MIN_EXPONENT } };

    /// Reads a number as Redis does: decimal or hexadecimal, with or without exponent, or `inf`; nothing
    /// around it. `None` also for NaN, and for what is too large or too small for the format.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= MAX_TEXT { None } else { parse::parse(text) }
    }

    /// The sum; `None` if it is infinite or not a number.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (Finite { significand: s1, exponent: e1 }, Finite { significand: s2, exponent: e2 }) =
            (self.magnitude, other.magnitude)
        else {
            return None;
        };
        // The larger magnitude first. Two bits of room above it for a carry; a smaller addend that is shifted
        // out leaves a sticky bit, and then the sum still has far more bits than are kept.
        let ((negative, big, exponent), (other_negative, small, e)) = if (e1, s1) >= (e2, s2) {
            ((self.negative, s1, e1), (other.negative, s2, e2))
        } else {
            ((other.negative, s2, e2), (self.negative, s1, e1))
        };
        let (big, small) = (u128::from(big) << 62, u128::from(small) << 62);
        let shift = exponent.abs_diff(e).min(127);
        let sticky = small & ((1 << shift) - 1) != 0;
        let small = small >> shift;
        let sum = if negative == other_negative { big + small } else { big - small - u128::from(sticky) };
        let negative = negative && (sum != 0 || other_negative);
        Some(Self::round(negative, sum, exponent - 62, sticky)).filter(|n| n.magnitude != Infinite)
    }

    /// The nearest number to `significand * 2^exponent`, or to a little more than that if `sticky`, for
    /// which the significand must have at least 66 bits.
    fn round(negative: bool, significand: u128, exponent: i32, sticky: bool) -> Self {
        let bits = 128 - significand.leading_zeros() as i32;
        let target = (exponent + bits - 64).max(MIN_EXPONENT);
        let drop = target - exponent;
        let mut kept = match drop {
            ..=0 => significand << -drop,
            1..128 => significand >> drop,
            _ => 0,
        };
        if (1..=128).contains(&drop) {
            let half = 1u128 << (drop - 1);
            let dropped = significand & (half | (half - 1));
            let up = dropped > half || dropped == half && (sticky || kept & 1 == 1);
            kept += u128::from(up);
        }
        let carried = kept >> 64 != 0;
        let exponent = target + i32::from(carried);
        let significand = (kept >> u32::from(carried)) as u64;
        let magnitude = match significand {
            0 => Finite { significand, exponent: MIN_EXPONENT },
            _ if exponent > MAX_EXPONENT => Infinite,
            _ => Finite { significand, exponent },
        };
        Self { negative, magnitude }
    }

    fn is_zero(self) -> bool {
        matches!(self.magnitude, Finite { significand: 0, .. })
    }
}

/// Up to 17 decimals, trailing zeros removed, never an exponent; `inf`, `-inf`.
impl fmt::Display for LongDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.magnitude {
            Infinite => "inf".to_owned(),
            Finite { significand: 0, exponent: 0.. } => "0".to_owned(),
            Finite { significand, exponent: exponent @ 0.. } => {
                let mut whole = Big::new(significand);
                whole.shl(exponent.unsigned_abs());
                whole.into_decimal()
            }
            Finite { significand, exponent } => with_fraction(significand, exponent.unsigned_abs()),
        };
        let sign = if self.negative && text != "0" { "-" } else { "" };
        write!(f, "{sign}{text}")
    }
}

/// `significand / 2^shift` in decimals.
fn with_fraction(significand: u64, shift: u32) -> String {
    let one = 10u128.pow(DECIMALS);
    // Less than 2^121, so that a shift beyond that rounds to zero.
    let scaled = u128::from(significand) * one;
    let mut units = scaled.checked_shr(shift).unwrap_or(0);
    if shift <= 121 {
        let half = 1u128 << (shift - 1);
        let dropped = scaled & (half | (half - 1));
        units += u128::from(dropped > half || dropped == half && units & 1 == 1);
    }
    let (whole, fraction) = (units / one, units % one);
    if fraction == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{fraction:017}");
    text.trim_end_matches('0').to_owned()
}
