//! Texts that C's `strtold` reads whole.

use super::{Big, LongDouble, Magnitude::Infinite};

/// Decimal and binary exponents beyond this are as good as infinite.
const FAR: i64 = 1 << 40;
/// No number of the format has a first digit this many decimal places from the point.
const DECIMAL_RANGE: std::ops::RangeInclusive<i64> = -5000..=5000;

pub(super) fn parse(text: &[u8]) -> Option<LongDouble> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
        return Some(LongDouble { negative, magnitude: Infinite });
    }
    let number = match text {
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(negative, rest),
        _ => decimal(negative, text),
    }?;
    (number.magnitude != Infinite).then_some(number)
}

/// A significand's digits without leading and trailing zeros, and how many places the point stands behind
/// the last of them (negative: within or before them).
struct Digits<'a> {
    text: &'a [u8],
    places: i64,
}

impl<'a> Digits<'a> {
    /// Splits `1.5e3` at the letter that announces the exponent.
    fn split(text: &'a [u8], letters: [u8; 2], digit: impl Fn(&u8) -> bool) -> Option<(Self, i64)> {
        let end = text.iter().position(|c| letters.contains(c));
        let (significand, exponent) = match end {
            Some(at) => (&text[..at], read_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let point = significand.iter().position(|c| *c == b'.');
        let valid = |part: &[u8]| part.iter().all(&digit);
        let (whole, fraction) = match point {
            Some(at) => (&significand[..at], &significand[at + 1..]),
            None => (significand, &[][..]),
        };
        if whole.len() + fraction.len() == 0 || !valid(whole) || !valid(fraction) {
            return None;
        }
        let zero = |c: &u8| matches!(c, b'0' | b'.');
        let first = significand.iter().position(|c| !zero(c)).unwrap_or(significand.len());
        let last = significand.iter().rposition(|c| !zero(c)).map_or(first, |at| at + 1);
        let point = point.unwrap_or(significand.len());
        let places = if last <= point { point - last } else { last - point - 1 } as i64;
        let places = if last <= point { places } else { -places };
        Some((Self { text: &significand[first..last], places }, exponent))
    }

    fn values(&self) -> impl Iterator<Item = u8> + '_ {
        self.text.iter().filter(|c| **c != b'.').map(|c| char::from(*c).to_digit(16).unwrap_or(0) as u8)
    }
}

/// A signed exponent; far ones are cut.
fn read_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0, |n: i64, c| (n * 10 + i64::from(c - b'0')).min(FAR));
    Some(sign * magnitude)
}

fn decimal(negative: bool, text: &[u8]) -> Option<LongDouble> {
    let (digits, exponent) = Digits::split(text, *b"eE", u8::is_ascii_digit)?;
    let count = digits.values().count() as i64;
    if count == 0 {
        return Some(LongDouble { negative, ..LongDouble::ZERO });
    }
    let places = digits.places + exponent;
    if !DECIMAL_RANGE.contains(&(places + count)) {
        return None;
    }
    let mut number = Big::from_digits(digits.values());
    let power = u32::try_from(places.unsigned_abs()).expect("bounded by the range and the length of a text");
    if places >= 0 {
        number.mul_power_of_ten(power);
        return nearest(negative, &number, 0);
    }
    let mut divisor = Big::new(1);
    divisor.mul_power_of_ten(power);
    // Scaled so that the quotient has 67 or 68 bits: enough to round.
    let scale = i64::from(divisor.bits()) - i64::from(number.bits()) + 67;
    if scale > 0 {
        number.shl(scale as u32);
    } else {
        divisor.shl(scale.unsigned_abs() as u32);
    }
    let (quotient, rest) = number.div(&divisor);
    nonzero(LongDouble::round(negative, quotient, -scale as i32, rest))
}

fn hexadecimal(negative: bool, text: &[u8]) -> Option<LongDouble> {
    let (digits, exponent) = Digits::split(text, *b"pP", u8::is_ascii_hexdigit)?;
    let mut number = Big::new(0);
    digits.values().for_each(|digit| number.mul_add(16, u64::from(digit)));
    if number.bits() == 0 {
        return Some(LongDouble { negative, ..LongDouble::ZERO });
    }
    let exponent = digits.places * 4 + exponent;
    if !(-100_000..=100_000).contains(&exponent) {
        return None;
    }
    nearest(negative, &number, exponent as i32)
}

/// The nearest number to `number * 2^exponent`.
fn nearest(negative: bool, number: &Big, exponent: i32) -> Option<LongDouble> {
    let skipped = number.bits().saturating_sub(128);
    let (window, below) = number.window(skipped);
    nonzero(LongDouble::round(negative, window, exponent + skipped as i32, below))
}

/// What is not zero must not become zero: `strtold` calls that out of range.
fn nonzero(number: LongDouble) -> Option<LongDouble> {
    (!number.is_zero()).then_some(number)
}
