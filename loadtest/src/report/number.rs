//! Numbers as people read them: thousands set apart, times and sizes in a unit that fits.

/// A count with commas between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with what it counts: `1 key`, `2,000 keys`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A time given in microseconds: `850 ns`, `12.3 us`, `4.56 ms`, `1.02 s`.
pub fn micros(time: f64) -> String {
    match time {
        t if t < 1.0 => format!("{:.0} ns", t * 1e3),
        t if t < 1e3 => format!("{} us", three_digits(t)),
        t if t < 1e6 => format!("{} ms", three_digits(t / 1e3)),
        t => format!("{} s", three_digits(t / 1e6)),
    }
}

/// A latency given in microseconds, or a dash if there is none.
pub fn latency(time: f64) -> String {
    if time > 0.0 { micros(time) } else { "-".into() }
}

/// Text from outside for a terminal: control characters, which could move its cursor or worse, are escaped.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A number of bytes: `12 B`, `3.45 kB`, `678 MB`.
pub fn bytes(size: f64) -> String {
    match size {
        s if s < 1e3 => format!("{s:.0} B"),
        s if s < 1e6 => format!("{} kB", three_digits(s / 1e3)),
        s if s < 1e9 => format!("{} MB", three_digits(s / 1e6)),
        s => format!("{} GB", three_digits(s / 1e9)),
    }
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    // All and nothing are told of what is all and nothing.
    let shown = if share > 0.0 && share < 1.0 { percent.clamp(0.01, 99.99) } else { percent };
    format!("{shown:.2} %")
}

fn three_digits(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_does_nothing_to_the_terminal() {
        assert_eq!(plain("ERR \x1b[2Jgone\r\nü\u{9b}1m"), r"ERR \u{1b}[2Jgone\r\nü\u{9b}1m");
    }

    #[test]
    fn one_is_no_plural() {
        let keys = [0, 1, 2000].map(|number| counted(number, "key", "keys"));
        assert_eq!(keys, ["0 keys", "1 key", "2,000 keys"]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([latency(0.0), latency(10.0)], ["-", "10.0 us"]);
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([micros(0.5), micros(9.999), micros(123.4)], ["500 ns", "10.0 us", "123 us"]);
        assert_eq!([micros(4567.0), micros(1_020_000.0)], ["4.57 ms", "1.02 s"]);
        assert_eq!([bytes(12.0), bytes(3450.0), bytes(6.78e8)], ["12 B", "3.45 kB", "678 MB"]);
        assert_eq!(percent(0.12345), "12.35 %");
    }
}
