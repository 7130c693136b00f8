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

/// Parses an unsigned 64-bit integer in canonical form (cursors).
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.len() > 1 && text[0] == b'0' || text.first() == Some(&b'+') {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses a float as commands take them: decimal or exponent form, `inf`, `+inf`, `-inf`, `infinity`; no
/// NaN, no surrounding space, nothing that is too large or too small for a double.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value = match text.strip_prefix(['+', '-']).unwrap_or(text) {
        hex if hex.len() > 2 && hex[..2].eq_ignore_ascii_case("0x") => {
            let magnitude = u64::from_str_radix(&hex[2..], 16).ok()? as f64;
            if text.starts_with('-') { -magnitude } else { magnitude }
        }
        _ => text.parse::<f64>().ok()?,
    };
    (!value.is_nan() && !out_of_range(text.as_bytes(), value)).then_some(value)
}

/// Whether `value` is infinite or zero only because `text` is beyond what doubles can express.
fn out_of_range(text: &[u8], value: f64) -> bool {
    let mantissa = text.split(|c| matches!(c, b'e' | b'E' | b'x' | b'X')).next().unwrap_or(text);
    value.is_infinite() && !text.iter().any(|c| matches!(c, b'n' | b'N'))
        || value == 0.0 && mantissa.iter().any(|c| matches!(c, b'1'..=b'9'))
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
