//! Numbers as Redis reads and writes them.

/// Parses a canonical signed 64-bit integer: no sign but `-`, no leading zero, no space.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [] => None,
        [b'0'] if !negative => Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {
            let mut value: u64 = 0;
            for &c in digits {
                let d = c.wrapping_sub(b'0');
                if d > 9 {
                    return None;
                }
                // 19 digits cannot overflow u64.
                value = value * 10 + u64::from(d);
            }
            if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
        }
        _ => None,
    }
}

/// Parses an unsigned 64-bit integer in canonical form.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.len() > 1 && text[0] == b'0' || text.first() == Some(&b'+') {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses the cursor of a scan as Redis does, by C's `strtoul`: a NUL byte ends it, nothing is 0, and `-1` is the largest.
pub fn parse_cursor(text: &[u8]) -> Option<u64> {
    let text = text.split(|c| *c == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |n, c| {
        let digit = char::from(*c).to_digit(10)?;
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Parses a float as commands take them, which is as C's `strtod` reads a whole text: decimal or hexadecimal (`0x1.8p3`), with
/// or without exponent, `inf`, `+inf`, `-inf`, `infinity`; no NaN, no surrounding space, nothing that is too large or too
/// small for a double.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if let [b'0', b'x' | b'X', digits @ ..] = magnitude {
        return hexadecimal(digits).map(|value| if negative { -value } else { value });
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!value.is_nan() && !out_of_range(text, value)).then_some(value)
}

/// Whether `value` is infinite or zero only because `text` is beyond what doubles can express.
fn out_of_range(text: &[u8], value: f64) -> bool {
    let mantissa = text.split(|c| matches!(c, b'e' | b'E')).next().unwrap_or(text);
    value.is_infinite() && !text.iter().any(|c| matches!(c, b'n' | b'N'))
        || value == 0.0 && mantissa.iter().any(|c| matches!(c, b'1'..=b'9'))
}

/// What follows `0x`: hexadecimal digits, perhaps with a point, perhaps with an exponent of two.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let (digits, mut exponent) = match text.iter().position(|c| matches!(c, b'p' | b'P')) {
        Some(at) => (&text[..at], binary_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    // The first 16 digits that count; whether there is anything but zeros behind them is in the last bit.
    let (mut kept, mut any, mut point) = (0u64, false, false);
    for &c in digits {
        if c == b'.' && !point {
            point = true;
            continue;
        }
        let digit = u64::from(char::from(c).to_digit(16)?);
        any = true;
        if kept >> 60 == 0 {
            kept = kept << 4 | digit;
            exponent -= if point { 4 } else { 0 };
        } else {
            kept |= u64::from(digit != 0);
            exponent += if point { 0 } else { 4 };
        }
    }
    match kept {
        _ if !any => None,
        0 => Some(0.0),
        _ => nearest(kept, exponent),
    }
}

/// A signed decimal number; far ones are cut.
fn binary_exponent(text: &[u8]) -> Option<i64> {
    const FAR: i64 = 1 << 40;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0, |n: i64, c| (n * 10 + i64::from(c - b'0')).min(FAR));
    Some(if negative { -magnitude } else { magnitude })
}

/// The double nearest to `number * 2^exponent`, ties to even; `None` if that is infinite or zero. `number` is not zero.
fn nearest(number: u64, exponent: i64) -> Option<f64> {
    let first = exponent + 63 - i64::from(number.leading_zeros());
    // Where the last bit is that a double of this size has.
    let last = (first - 52).max(-1074);
    let drop = last - exponent;
    if first > 1023 || drop > 64 {
        return None;
    }
    let kept = match drop {
        1.. => {
            let (number, half) = (u128::from(number), 1u128 << (drop - 1));
            let (kept, rest) = (number >> drop, number & ((half << 1) - 1));
            (kept + u128::from(rest > half || rest == half && kept & 1 == 1)) as u64
        }
        _ => number,
    };
    let scale = if drop >= 1 { last } else { exponent };
    // In two steps, each of which is exact: no power of two beyond the normal ones is needed.
    let power = |n: i64| f64::from_bits(((n + 1023) as u64) << 52);
    let value = kept as f64 * power(scale / 2) * power(scale - scale / 2);
    (value.is_finite() && value != 0.0).then_some(value)
}

/// The integer that `value` is, within plus or minus 2^62: Redis writes such scores as integers. Negative zero counts as
/// zero.
#[inline]
pub fn exact_int(value: f64) -> Option<i64> {
    const LIMIT: f64 = (1u64 << 62) as f64;
    (value.abs() <= LIMIT && value == value.trunc()).then_some(value as i64)
}

/// Formats a double as Redis 7 formats scores: the shortest decimal that reads back as the same
/// number, integers without a point, exponents as C's `%g` writes them (`1e+20`), `inf` and `-inf`.
pub fn format_f64(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value == 0.0 && value.is_sign_negative() {
        return "-0".to_owned();
    }
    match exact_int(value) {
        Some(n) => itoa::Buffer::new().format(n).to_owned(),
        None => shortest(value),
    }
}

/// The shortest digits that identify `value`, laid out as fpconv (which Redis uses) lays them out.
fn shortest(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes an integer exponent");
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let n = digits.len() as i32;
    // `last` is the power of ten of the last digit (fpconv's K).
    let last = exponent - (n - 1);
    if last >= 0 && exponent.abs() < n + 7 {
        return format!("{sign}{digits}{}", "0".repeat(last as usize));
    }
    if last < 0 && (last > -7 || exponent.abs() < 4) {
        let whole = n + last;
        return if whole <= 0 {
            format!("{sign}0.{}{digits}", "0".repeat(whole.unsigned_abs() as usize))
        } else {
            let (whole, fraction) = digits.split_at(whole as usize);
            format!("{sign}{whole}.{fraction}")
        };
    }
    let (first, rest) = digits.split_at(1);
    let dot = if rest.is_empty() { "" } else { "." };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{dot}{rest}e{exponent_sign}{}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_canonical() {
        for bad in
            ["", "-", "+1", "01", "-0", " 1", "1 ", "9223372036854775808", "1a", "99999999999999999999"]
        {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad}");
        }
        for good in [0, 1, -1, i64::MAX, i64::MIN, 42] {
            assert_eq!(parse_i64(good.to_string().as_bytes()), Some(good));
        }
    }

    #[test]
    fn cursors_are_what_strtoul_reads() {
        for bad in
            ["x", "-", "+", "+-1", "- 1", " 1", "1 ", "0x1", "1.5", "18446744073709551616", "1€", "1x\0"]
        {
            assert_eq!(parse_cursor(bad.as_bytes()), None, "{bad}");
        }
        for (text, value) in [
            ("", 0),
            ("\u{0}x", 0),
            ("00", 0),
            ("-0", 0),
            ("+1", 1),
            ("1\u{0}0", 1),
            ("-5", u64::MAX - 4),
            ("18446744073709551615", u64::MAX),
            ("-18446744073709551615", 1),
        ] {
            assert_eq!(parse_cursor(text.as_bytes()), Some(value), "{text}");
        }
    }

    #[test]
    fn doubles_that_do_not_fit_are_refused() {
        for bad in ["1e400", "-1e400", "1e-400", "0.1e-400", "nan", "", " 1", "1 ", "1x"] {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad}");
        }
        for (good, value) in
            [("0", 0.0), ("0e5", 0.0), ("0x0", 0.0), ("0x10", 16.0), ("-.5", -0.5), ("1e300", 1e300)]
        {
            assert_eq!(parse_f64(good.as_bytes()), Some(value), "{good}");
        }
        for text in ["inf", "+inf", "Infinity", "INF"] {
            assert_eq!(parse_f64(text.as_bytes()), Some(f64::INFINITY), "{text}");
        }
    }

    #[test]
    fn what_is_not_ascii_is_no_number() {
        for bad in ["1€", "€", "0€", "-€", "+1€", "0x€", "0x1€", "0x1p€", "Zürich", "ü", "i€f", "１"]
        {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad}");
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad}");
            assert_eq!(parse_u64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn hexadecimal_doubles() {
        for bad in [
            "0x",
            "0x.",
            "0xp1",
            "0x1p",
            "0x1p+",
            "0x1.8.",
            "0x+5",
            "0x 1",
            "-0x",
            "0xg",
            "0x1p1024",
            "0x1p-1075",
            "0x1.fffffffffffff8p1023",
            "0x1p99999999999999999999",
            "0x1p-99999999999999999999",
            "x1",
        ] {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad}");
        }
        for (text, value) in [
            ("0x1p3", 8.0),
            ("0X1.8P+3", 12.0),
            ("-0x.8p1", -1.0),
            ("+0xA.", 10.0),
            ("0x0p99999999999", 0.0),
            ("0x1.fffffffffffff7p1023", f64::MAX),
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1.8p-1075", f64::from_bits(1)),
            ("0x1p-1022", f64::MIN_POSITIVE),
            ("0x20000000000001", 9007199254740993.0),
            ("0x10000000000000800000000000001", 0x10000000000001u64 as f64 * 2f64.powi(60)),
            ("0x10000000000000800000000000000", 0x10000000000000u64 as f64 * 2f64.powi(60)),
            ("0x00000000000000000000000000001", 1.0),
            ("0x0.00000000000000000000000000001p116", 1.0),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
    }

    proptest! {
        /// Whatever the bytes, there is an answer, and what is read can be written and read again.
        #[test]
        fn any_bytes_can_be_asked(
            start in prop::sample::select(vec!["", "-", "+", "0x", "-0X", "1", "0x1p", "1e", "inf", "0."]),
            bytes in prop::collection::vec(any::<u8>(), 0..12),
            text in any::<String>(),
            odd in "[-+0-9a-fxXpPeE.€ü ]{0,24}",
        ) {
            for rest in [&bytes, text.as_bytes(), odd.as_bytes()] {
                let all = [start.as_bytes(), rest].concat();
                if let Some(value) = parse_f64(&all) {
                    prop_assert!(all.is_ascii() && !value.is_nan());
                    prop_assert_eq!(parse_f64(format_f64(value).as_bytes()), Some(value));
                }
                if let Some(value) = parse_i64(&all) {
                    prop_assert_eq!(value.to_string().into_bytes(), all.clone());
                }
                prop_assert!(parse_cursor(&all).is_none() || all.is_ascii() || all.contains(&0));
                if let Some(value) = parse_u64(&all) {
                    prop_assert_eq!(value.to_string().into_bytes(), all.clone());
                }
            }
        }

        #[test]
        fn each_double_has_a_hexadecimal_text(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let (sign, mantissa) = (if value.is_sign_negative() { "-" } else { "" }, bits & ((1 << 52) - 1));
            let text = match bits >> 52 & 0x7ff {
                0 => format!("{sign}0x0.{mantissa:013x}p-1022"),
                exponent => format!("{sign}0x1.{mantissa:013x}p{}", exponent as i64 - 1023),
            };
            prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(bits), "{}", text);
        }
    }

    #[test]
    fn doubles_as_redis_writes_them() {
        for (value, text) in [
            (3.0, "3"),
            (0.1, "0.1"),
            (1e20, "1e+20"),
            (-0.0, "-0"),
            (1e16, "10000000000000000"),
            (-4611686018427387904.0, "-4611686018427387904"),
            (9223372036854775808.0, "9223372036854776000"),
            (123456.78901234568, "1.2345678901234567e+5"),
            (0.00012, "0.00012"),
            (1e22, "1e+22"),
            (1.5e-7, "1.5e-7"),
            (-3.25, "-3.25"),
            (f64::INFINITY, "inf"),
            (17179869184.5, "17179869184.5"),
        ] {
            assert_eq!(format_f64(value), text);
        }
    }
}
