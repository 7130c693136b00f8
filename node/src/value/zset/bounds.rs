//! The ends of ranges by score and by member, as commands write them.

use shoal_proto::number;

/// Scores from `min` to `max`; an open end leaves its score out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRange {
    min: f64,
    max: f64,
    min_open: bool,
    max_open: bool,
}

impl ScoreRange {
    /// Parses `1.5`, `(1.5` (open), `-inf`, `+inf`. `None` if one of them is no such thing.
    pub fn parse(min: &[u8], max: &[u8]) -> Option<Self> {
        let (min, min_open) = score_end(min)?;
        let (max, max_open) = score_end(max)?;
        Some(Self { min, max, min_open, max_open })
    }

    /// Whether `score` lies below the range.
    #[inline]
    pub fn is_below(&self, score: f64) -> bool {
        score < self.min || self.min_open && score == self.min
    }

    /// Whether `score` does not lie above the range.
    #[inline]
    pub fn is_up_to(&self, score: f64) -> bool {
        score < self.max || !self.max_open && score == self.max
    }
}

/// One end, as C's `strtod` reads it: leading white space is skipped, and nothing at all is 0.
fn score_end(text: &[u8]) -> Option<(f64, bool)> {
    let (text, open) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    if text.is_empty() {
        return Some((0.0, open));
    }
    let digits = text.trim_ascii_start();
    // What does not fit a double is no score, but as an end of a range it stands for infinity or zero.
    let rounded = || std::str::from_utf8(digits).ok()?.parse().ok().filter(|n: &f64| !n.is_nan());
    Some((number::parse_f64(digits).or_else(rounded)?, open))
}

/// One end of a range by member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LexEnd<'a> {
    /// `-`: before every member.
    First,
    /// `+`: after every member.
    Last,
    /// `[member`.
    Closed(&'a [u8]),
    /// `(member`.
    Open(&'a [u8]),
}

/// Members from one end to another, in the order of their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexRange<'a> {
    min: LexEnd<'a>,
    max: LexEnd<'a>,
}

impl<'a> LexRange<'a> {
    /// Parses `[member`, `(member`, `-`, `+`. `None` if one of them is no such thing.
    pub fn parse(min: &'a [u8], max: &'a [u8]) -> Option<Self> {
        Some(Self { min: lex_end(min)?, max: lex_end(max)? })
    }

    /// Whether `member` lies below the range.
    pub fn is_below(&self, member: &[u8]) -> bool {
        match self.min {
            LexEnd::First => false,
            LexEnd::Last => true,
            LexEnd::Closed(min) => member < min,
            LexEnd::Open(min) => member <= min,
        }
    }

    /// Whether `member` does not lie above the range.
    pub fn is_up_to(&self, member: &[u8]) -> bool {
        match self.max {
            LexEnd::First => false,
            LexEnd::Last => true,
            LexEnd::Closed(max) => member <= max,
            LexEnd::Open(max) => member < max,
        }
    }
}

fn lex_end(text: &[u8]) -> Option<LexEnd<'_>> {
    match text {
        b"-" => Some(LexEnd::First),
        b"+" => Some(LexEnd::Last),
        [b'[', member @ ..] => Some(LexEnd::Closed(member)),
        [b'(', member @ ..] => Some(LexEnd::Open(member)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_by_score() {
        for (text, end) in [
            ("1.5", Some((1.5, false))),
            ("(1.5", Some((1.5, true))),
            ("(-inf", Some((f64::NEG_INFINITY, true))),
            ("+inf", Some((f64::INFINITY, false))),
            ("1e400", Some((f64::INFINITY, false))),
            ("1e-400", Some((0.0, false))),
            ("-1e400", Some((f64::NEG_INFINITY, false))),
            (" 7", Some((7.0, false))),
            ("", Some((0.0, false))),
            ("(", Some((0.0, true))),
            ("7 ", None),
            (" ", None),
            ("nan", None),
            ("(nan", None),
            ("((1", None),
            ("str", None),
            ("[1", None),
        ] {
            assert_eq!(score_end(text.as_bytes()), end, "{text}");
        }
    }

    #[test]
    fn ends_by_member() {
        for (text, end) in [
            ("-", Some(LexEnd::First)),
            ("+", Some(LexEnd::Last)),
            ("[", Some(LexEnd::Closed(b""))),
            ("(a", Some(LexEnd::Open(b"a"))),
            ("[-", Some(LexEnd::Closed(b"-"))),
            ("", None),
            ("a", None),
            ("-a", None),
            ("+x", None),
        ] {
            assert_eq!(lex_end(text.as_bytes()), end, "{text}");
        }
    }
}
