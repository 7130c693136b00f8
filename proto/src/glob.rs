//! Glob patterns as `KEYS`, `SCAN MATCH` and `CONFIG GET` understand them.

/// Whether `text` matches `pattern`: `*`, `?`, `[abc]`, `[^a-z]`, `\x` for a literal.
///
/// Runs in O(pattern * text): a failed `*` falls back to the last one only, so no pattern can make it
/// exponential.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_with(pattern, text, false)
}

/// The same, ASCII letters compared without case.
pub fn matches_nocase(pattern: &[u8], text: &[u8]) -> bool {
    matches_with(pattern, text, true)
}

fn matches_with(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        let step = if t < text.len() && p < pattern.len() { one(pattern, p, text[t], nocase) } else { None };
        match step {
            Some(next) => {
                p = next;
                t += 1;
            }
            None if p == pattern.len() && t == text.len() => return true,
            None => match retry {
                Some((rp, rt)) if rt < text.len() => {
                    retry = Some((rp, rt + 1));
                    p = rp;
                    t = rt + 1;
                }
                _ => return false,
            },
        }
    }
}

/// Matches one byte against the pattern element at `p`; where the next element begins, if it matches.
fn one(pattern: &[u8], p: usize, byte: u8, nocase: bool) -> Option<usize> {
    let fold = |c: u8| if nocase { c.to_ascii_lowercase() } else { c };
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, byte, nocase),
        b'\\' if p + 1 < pattern.len() => (fold(pattern[p + 1]) == fold(byte)).then_some(p + 2),
        literal => (fold(literal) == fold(byte)).then_some(p + 1),
    }
}

fn class(pattern: &[u8], mut p: usize, byte: u8, nocase: bool) -> Option<usize> {
    let fold = |c: u8| if nocase { c.to_ascii_lowercase() } else { c };
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let byte = fold(byte);
    let mut hit = false;
    loop {
        match pattern.get(p) {
            None => break,
            Some(b']') => {
                p += 1;
                break;
            }
            Some(b'\\') if p + 1 < pattern.len() => {
                hit |= fold(pattern[p + 1]) == byte;
                p += 2;
            }
            Some(&low) if pattern.get(p + 1) == Some(&b'-') && p + 2 < pattern.len() => {
                let (a, b) = (fold(low), fold(pattern[p + 2]));
                hit |= (a.min(b)..=a.max(b)).contains(&byte);
                p += 3;
            }
            Some(&c) => {
                hit |= fold(c) == byte;
                p += 1;
            }
        }
    }
    (hit != negated).then_some(p)
}

#[cfg(test)]
mod tests {
    use super::{matches, matches_nocase};

    #[test]
    fn elements() {
        for (pattern, text, want) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            (r"a\*c", "a*c", true),
            (r"a\*c", "abc", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("[a", "a", true),
            ("***", "abc", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), want, "{pattern} {text}");
        }
        assert!(matches_nocase(b"MaxMem*", b"maxmemory"));
    }

    #[test]
    fn many_stars_stay_cheap() {
        assert!(!matches(&b"*a".repeat(50), &b"b".repeat(40)));
        assert!(!matches(&[b"*a".repeat(60), b"b".to_vec()].concat(), &b"a".repeat(20_000)));
    }
}
