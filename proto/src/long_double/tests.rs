use proptest::prelude::*;

use super::LongDouble;

fn sum(a: &str, b: &str) -> Option<String> {
    let (a, b) = (LongDouble::parse(a.as_bytes())?, LongDouble::parse(b.as_bytes())?);
    a.checked_add(b).map(|n| n.to_string())
}

fn echo(text: &str) -> Option<String> {
    LongDouble::parse(text.as_bytes()).map(|n| n.to_string())
}

#[test]
fn sums_as_redis_prints_them() {
    for (a, b, expected) in [
        ("10.5", "0.1", "10.6"),
        ("3.0e3", "200", "3200"),
        ("1", "-1.1", "-0.1"),
        ("17179869184", "1.5", "17179869185.5"),
        ("0", "1234567.1", "1234567.10000000000002274"),
        ("1234567.1", "29", "1234596.10000000000002274"),
        ("5.0e3", "-5000", "0"),
        ("-1e-18", "0", "0"),
        ("0.00000000000000001", "0", "0.00000000000000001"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("18446744073709551615", "4", "18446744073709551620"),
        ("-3", "1e30", "1000000000000000000024696061952"),
        ("0x10", "0x1p3", "24"),
        ("0x.8p1", "0X1.8P+0", "2.5"),
        ("1e-4940", "24", "24"),
        ("5.", ".5", "5.5"),
        ("+5", "-0", "5"),
        ("-0", "-0", "0"),
    ] {
        assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
    }
}

#[test]
fn what_is_not_a_number() {
    let long = "1".repeat(5120);
    for text in [
        "",
        "-",
        ".",
        "e5",
        "1e",
        "1e+",
        "0x",
        "0xp1",
        "0x1p",
        "nan",
        "-nan",
        " 1",
        "1 ",
        "1\0",
        "1.2.3",
        "++1",
        "1,5",
        "1e4933",
        "-1e99999999999999999999",
        "1e-4951",
        "1e-99999999999999999999",
        "0x1p99999",
        "infinit",
        &long,
    ] {
        assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(echo("0e99999999999999999999").as_deref(), Some("0"));
    assert_eq!(echo(&"1".repeat(4900)).map(|t| t.len()), Some(4900));
}

#[test]
fn infinity_is_read_and_never_a_sum() {
    for (text, expected) in [("inf", "inf"), ("-INF", "-inf"), ("+Infinity", "inf")] {
        assert_eq!(echo(text).as_deref(), Some(expected));
        assert_eq!(sum(text, "1"), None);
        assert_eq!(sum("1", text), None);
    }
    assert_eq!(sum("inf", "-inf"), None);
    assert_eq!(sum("1e4932", "1e4932"), None);
}

#[test]
fn the_ends_of_the_range() {
    let largest = "0xffffffffffffffffp16320";
    assert_eq!(echo(largest).map(|t| t.len()), Some(4933));
    assert_eq!(echo("0xffffffffffffffff.8p16320"), None);
    assert_eq!(sum(largest, "0x1p16318").map(|t| t.len()), Some(4933));
    assert_eq!(sum(largest, "0x1p16319"), None);
    // The smallest subnormal, and half of it.
    assert!(LongDouble::parse(b"0x1p-16445").is_some());
    assert!(LongDouble::parse(b"0x1p-16446").is_none());
    assert_eq!(sum("0x1p-16445", "-0x1p-16445").as_deref(), Some("0"));
    // Rounds to even on either side.
    assert_eq!(echo("18446744073709551617").as_deref(), Some("18446744073709551616"));
    assert_eq!(echo("18446744073709551619").as_deref(), Some("18446744073709551620"));
}

/// `units / 10^17` in the form that is printed.
fn decimals(units: i128) -> String {
    let one = 10i128.pow(17);
    let sign = if units < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:017}", (units / one).abs(), (units % one).abs());
    let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if text == "-0" { "0".to_owned() } else { text }
}

proptest! {
    /// Below 64 the format holds more than 17 decimals, so nothing is lost.
    #[test]
    fn small_decimals_are_exact(units in -64 * 10i128.pow(17)..64 * 10i128.pow(17)) {
        let text = decimals(units);
        prop_assert_eq!(echo(&text), Some(text));
    }

    #[test]
    fn sums_of_small_decimals_are_exact(a in -10i128.pow(18)..10i128.pow(18), b in -10i128.pow(18)..10i128.pow(18)) {
        prop_assert_eq!(sum(&decimals(a), &decimals(b)), Some(decimals(a + b)));
    }

    #[test]
    fn sums_of_integers_are_exact(a in any::<i64>(), b in any::<i64>()) {
        let exact = i128::from(a) + i128::from(b);
        prop_assert_eq!(sum(&a.to_string(), &b.to_string()), Some(exact.to_string()));
    }

    /// The format holds every double, so its text is the double's own.
    #[test]
    fn doubles_are_exact(bits in any::<u64>()) {
        let double = f64::from_bits(bits);
        prop_assume!(double.is_finite() && double != 0.0);
        let expected = format!("{double:.17}");
        let expected = expected.trim_end_matches('0').trim_end_matches('.');
        let expected = Some(if expected == "-0" { "0" } else { expected }.to_owned());
        prop_assert_eq!(&echo(&format!("{double:.1074}")), &expected);
        let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let significand = if field == 0 { fraction } else { fraction | 1 << 52 };
        let hex = format!("{}0x{significand:x}p{}", if double < 0.0 { "-" } else { "" }, field.max(1) - 1075);
        prop_assert_eq!(&echo(&hex), &expected);
    }

    #[test]
    fn any_text_is_safe(text in "[-+]?[0-9a-fx.ep+-]{0,40}") {
        if let Some(printed) = echo(&text) {
            prop_assert!(LongDouble::parse(printed.as_bytes()).is_some(), "{} -> {}", text, printed);
        }
    }

    #[test]
    fn addition_commutes(a in "-?[0-9]{1,30}(\\.[0-9]{0,30})?(e-?[0-9]{1,3})?", b in "-?[0-9]{1,30}\\.[0-9]{0,30}") {
        prop_assert_eq!(sum(&a, &b), sum(&b, &a));
        prop_assert_eq!(sum(&a, "0"), echo(&a));
    }
}
