//! The keys and values of a check: unlike those of any other run, and values say where they belong.

use std::time::SystemTime;

use super::history::Action;

/// What makes the keys and values of a run begun now different from every other run's. Written in hexadecimal digits
/// it begins with a letter, so that no number is the beginning of a value.
pub fn new_run() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_nanos() as u64 | 0xa << 60
}

/// Every fourth key is a counter.
pub(super) fn is_counter(key: u32) -> bool {
    key % 4 == 3
}

pub(super) fn key_text(run: u64, key: u32) -> String {
    format!("verify:{run:x}:{key}")
}

/// A value that says where it belongs, filled up to the wanted length.
pub(super) fn value_text(run: u64, size: usize, key: u32, value: u64) -> String {
    let mut text = format!("{run:x}:{key}:{value:x}:");
    while text.len() < size {
        text.push('.');
    }
    text
}

/// What reading these bytes from `key` means; values of this run are filled up to `size`.
pub(super) fn parse_value(run: u64, size: usize, key: u32, bytes: &[u8]) -> Action {
    // A counter's: no value is one, nor begins like one.
    if count(bytes).is_some() {
        return Action::Mismatched;
    }
    // So little is left of it that the parts below would be misread.
    if !bytes.is_empty() && format!("{run:x}:{key}:").as_bytes().starts_with(bytes) {
        return Action::Corrupt(0);
    }
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split(':');
    let of_run = parts.next().and_then(|part| u64::from_str_radix(part, 16).ok());
    let of_key = parts.next().and_then(|part| part.parse::<u32>().ok());
    let value = parts.next().and_then(|part| u64::from_str_radix(part, 16).ok());
    match (of_run, of_key) {
        (Some(of_run), Some(of_key)) if of_run == run && of_key == key => match value {
            Some(value) if bytes == value_text(run, size, key, value).as_bytes() => Action::Read(value),
            value => Action::Corrupt(value.unwrap_or(0)),
        },
        (Some(of_run), Some(of_key)) if of_run == run => Action::ReadForeign(of_key),
        _ => Action::ReadForeign(u32::MAX),
    }
}

/// What a counter's bytes mean: Redis writes numbers in one way only, and no counter holds a number below 1.
pub(super) fn parse_count(run: u64, size: usize, key: u32, bytes: &[u8]) -> Action {
    match count(bytes) {
        Some(number) => Action::ReadCounter(number),
        None => parse_value(run, size, key, bytes),
    }
}

/// The number that a counter may have, if this is one.
fn count(bytes: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(bytes).ok()?.parse::<u64>().ok()?;
    (number >= 1 && number.to_string().as_bytes() == bytes).then_some(number)
}

/// In which way these bytes differ from the value that they should be.
pub(super) fn difference(run: u64, size: usize, key: u32, value: u64, bytes: &[u8]) -> String {
    /// Bytes shown from the first difference on.
    const SHOWN: usize = 24;
    let expected = value_text(run, size, key, value);
    let expected = expected.as_bytes();
    let at = bytes.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let part = |bytes: &[u8]| match bytes[at..].split_at_checked(SHOWN) {
        None => format!("'{}' and the end", bytes[at..].escape_ascii()),
        Some((shown, _)) => format!("'{}'...", shown.escape_ascii()),
    };
    let expected_part = part(expected);
    format!(
        "key {key}: read {} bytes instead of {}; from byte {at} on {} instead of {expected_part}",
        bytes.len(),
        expected.len(),
        part(bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_where_they_belong() {
        let text = value_text(0xabc, 64, 5, 0x1234);
        assert_eq!(text.len(), 64);
        assert_eq!(parse_value(0xabc, 64, 5, text.as_bytes()), Action::Read(0x1234));
        assert_eq!(parse_value(0xabc, 64, 6, text.as_bytes()), Action::ReadForeign(5));
        assert_eq!(parse_value(0xabd, 64, 5, text.as_bytes()), Action::ReadForeign(u32::MAX));
        assert_eq!(parse_value(0xabc, 64, 5, b"1-2"), Action::ReadForeign(u32::MAX));
        assert_eq!(parse_value(0xabc, 64, 5, b""), Action::ReadForeign(u32::MAX));
    }

    #[test]
    fn every_byte_of_a_value_counts() {
        let text = value_text(0xabc, 64, 5, 0x1234).into_bytes();
        let read = |bytes: &[u8]| parse_value(0xabc, 64, 5, bytes);
        for length in 1..64 {
            assert!(matches!(read(&text[..length]), Action::Corrupt(_)), "cut to {length}");
        }
        assert_eq!(read(&[&text[..], b"."].concat()), Action::Corrupt(0x1234));
        let mut changed = text.clone();
        changed[63] = 0xff;
        assert_eq!(read(&changed), Action::Corrupt(0x1234));
        assert_eq!(
            difference(0xabc, 64, 5, 0x1234, &changed),
            "key 5: read 64 bytes instead of 64; from byte 63 on '\\xff' and the end instead of '.' and the end"
        );
        let cut = difference(0xabc, 64, 5, 0x1234, &text[..20]);
        assert!(
            cut.contains("read 20 bytes instead of 64; from byte 20 on '' and the end instead of '....."),
            "{cut}"
        );
    }

    #[test]
    fn a_count_is_never_taken_for_a_part_of_a_value() {
        let run = new_run();
        let text = value_text(run, 64, 5, 1);
        assert!(text.as_bytes()[0].is_ascii_alphabetic(), "{text}");
        // Whatever the run's number is.
        for (run, bytes) in [(run, &b"12"[..]), (0x18ec, b"18"), (0x18ec, b"1"), (0x18ec, b"7")] {
            assert_eq!(parse_value(run, 64, 5, bytes), Action::Mismatched);
        }
    }

    #[test]
    fn counts_are_written_in_one_way() {
        let read = |text: &str| parse_count(0xabc, 64, 3, text.as_bytes());
        assert_eq!(read("17"), Action::ReadCounter(17));
        for wrong in ["017", "+17", "0", "", "17.", "x"] {
            assert_eq!(read(wrong), Action::ReadForeign(u32::MAX), "{wrong}");
        }
        assert_eq!(read("abc:7:1:"), Action::ReadForeign(7));
    }
}
