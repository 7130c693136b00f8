//! Natural numbers of any size: just what reading and writing an 80-bit float needs.

use std::cmp::Ordering;

/// A natural number; limbs of 64 bits, least significant first, no zero limb at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Big(Vec<u64>);

/// The largest power of ten in one limb.
const TEN_19: u64 = 10_000_000_000_000_000_000;

impl Big {
    pub(super) fn new(n: u64) -> Self {
        Self(if n == 0 { Vec::new() } else { vec![n] })
    }

    /// The number that decimal digits (values 0..=9) spell.
    pub(super) fn from_digits(digits: impl Iterator<Item = u8>) -> Self {
        let mut n = Self::new(0);
        let (mut chunk, mut scale) = (0u64, 1u64);
        for digit in digits {
            chunk = chunk * 10 + u64::from(digit);
            scale *= 10;
            if scale == TEN_19 {
                n.mul_add(scale, chunk);
                (chunk, scale) = (0, 1);
            }
        }
        n.mul_add(scale, chunk);
        n
    }

    /// `self * factor + addend`.
    pub(super) fn mul_add(&mut self, factor: u64, addend: u64) {
        let mut carry = u128::from(addend);
        for limb in &mut self.0 {
            let wide = u128::from(*limb) * u128::from(factor) + carry;
            *limb = wide as u64;
            carry = wide >> 64;
        }
        if carry != 0 {
            self.0.push(carry as u64);
        }
    }

    /// `self * 10^n`.
    pub(super) fn mul_power_of_ten(&mut self, n: u32) {
        for _ in 0..n / 19 {
            self.mul_add(TEN_19, 0);
        }
        self.mul_add(10u64.pow(n % 19), 0);
    }

    /// `self * 2^n`.
    pub(super) fn shl(&mut self, n: u32) {
        if self.0.is_empty() {
            return;
        }
        self.mul_add(1 << (n % 64), 0);
        self.0.splice(0..0, std::iter::repeat_n(0, (n / 64) as usize));
    }

    /// Bits without leading zeros.
    pub(super) fn bits(&self) -> u32 {
        self.0.last().map_or(0, |top| self.0.len() as u32 * 64 - top.leading_zeros())
    }

    /// The 128 bits above bit `from`, and whether any bit below it is set.
    pub(super) fn window(&self, from: u32) -> (u128, bool) {
        let (limb, shift) = ((from / 64) as usize, from % 64);
        let at = |i: usize| u128::from(self.0.get(i).copied().unwrap_or(0));
        let low = at(limb) | at(limb + 1) << 64;
        let window = if shift == 0 { low } else { low >> shift | at(limb + 2) << (128 - shift) };
        let below = self.0.iter().take(limb).any(|l| *l != 0) || at(limb) & ((1 << shift) - 1) != 0;
        (window, below)
    }

    /// `self / divisor` and whether there is a remainder, if the quotient has at most 128 bits. One
    /// subtraction for each bit of the quotient.
    pub(super) fn div(mut self, divisor: &Self) -> (u128, bool) {
        let steps = (self.bits() + 1).saturating_sub(divisor.bits());
        debug_assert!(steps <= 128);
        let mut divisor = divisor.clone();
        divisor.shl(steps);
        let mut quotient = 0;
        for _ in 0..steps {
            divisor.halve();
            quotient <<= 1;
            if self.compare(&divisor) != Ordering::Less {
                self.subtract(&divisor);
                quotient |= 1;
            }
        }
        (quotient, !self.0.is_empty())
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for limb in self.0.iter_mut().rev() {
            let low = *limb & 1;
            *limb = *limb >> 1 | carry << 63;
            carry = low;
        }
        self.trim();
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    fn subtract(&mut self, smaller: &Self) {
        let mut borrow = false;
        for (i, limb) in self.0.iter_mut().enumerate() {
            let (difference, under) = limb.overflowing_sub(smaller.0.get(i).copied().unwrap_or(0));
            let (difference, under_again) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = under || under_again;
        }
        debug_assert!(!borrow, "the caller compared first");
        self.trim();
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// The decimal digits.
    pub(super) fn into_decimal(mut self) -> String {
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            let mut remainder = 0u128;
            for limb in self.0.iter_mut().rev() {
                let wide = remainder << 64 | u128::from(*limb);
                *limb = (wide / u128::from(TEN_19)) as u64;
                remainder = wide % u128::from(TEN_19);
            }
            self.trim();
            chunks.push(remainder);
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.into_iter().rev() {
            text.push_str(&format!("{chunk:019}"));
        }
        text
    }
}
