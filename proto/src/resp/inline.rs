//! Splitting an inline command (or a line of a script) into words, with redis-cli's quoting rules.

/// Splits `line` at white space. `"..."` understands `\n \r \t \b \a \\ \" \xHH`, `'...'` only `\'`; a closing
/// quote must be followed by white space or the end. `None` when the quotes do not balance.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_space(line[at]) {
            at += 1;
        }
        // As in Redis, a NUL byte ends the line: its parser works on C strings.
        if at >= line.len() || line[at] == 0 {
            return Some(words);
        }
        let (word, next) = word(line, at)?;
        words.push(word);
        at = next;
    }
}

fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// The word that starts at `at`, and where it ends.
fn word(line: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    while let Some(&c) = line.get(at) {
        match c {
            0 => break,
            _ if is_space(c) => break,
            b'"' => {
                at = double_quoted(line, at + 1, &mut word)?;
                return closed(line, at).then_some((word, at));
            }
            b'\'' => {
                at = single_quoted(line, at + 1, &mut word)?;
                return closed(line, at).then_some((word, at));
            }
            _ => word.push(c),
        }
        at += 1;
    }
    Some((word, at))
}

fn closed(line: &[u8], at: usize) -> bool {
    line.get(at).is_none_or(|c| is_space(*c) || *c == 0)
}

/// Reads up to and past the closing `"`.
fn double_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match *line.get(at)? {
            0 => return None,
            b'"' => return Some(at + 1),
            b'\\' if line.get(at + 1) == Some(&b'x') && hex(line, at + 2).is_some() => {
                word.push(hex(line, at + 2)?);
                at += 4;
            }
            b'\\' if line.get(at + 1).is_some() => {
                word.push(match line[at + 1] {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                at += 2;
            }
            c => {
                word.push(c);
                at += 1;
            }
        }
    }
}

/// Reads up to and past the closing `'`.
fn single_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match *line.get(at)? {
            0 => return None,
            b'\'' => return Some(at + 1),
            b'\\' if line.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            c => {
                word.push(c);
                at += 1;
            }
        }
    }
}

fn hex(line: &[u8], at: usize) -> Option<u8> {
    let digit = |i: usize| char::from(*line.get(i)?).to_digit(16);
    Some((digit(at)? * 16 + digit(at + 1)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::split;

    fn words(line: &str) -> Option<Vec<String>> {
        split(line.as_bytes())
            .map(|ws| ws.into_iter().map(|w| String::from_utf8_lossy(&w).into_owned()).collect())
    }

    #[test]
    fn quoting_is_that_of_redis() {
        assert_eq!(words("  set a  1 ").unwrap(), ["set", "a", "1"]);
        assert_eq!(words(r#"set "a b" 'c\'d'"#).unwrap(), ["set", "a b", "c'd"]);
        assert_eq!(words(r#"x "\x41\n\q""#).unwrap(), ["x", "A\nq"]);
        assert_eq!(words(r#"set "a"b"#), None);
        assert_eq!(words("set 'a"), None);
        assert_eq!(words("").unwrap(), Vec::<String>::new());
    }
}
