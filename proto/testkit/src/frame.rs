//! Replies as a tree, read from a stream of bytes.

use std::{
    fmt,
    io::{self, BufRead, Read},
};

/// Deepest nesting that is read; deeper replies are an error, not a crash.
const MAX_DEPTH: usize = 64;
/// Elements for which room is made before they have arrived.
const MAX_RESERVE: usize = 1024;

/// One reply, RESP2 or RESP3. Numbers that are text on the wire stay text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR ...` (and `!`, the bulk error)
    Error(Vec<u8>),
    /// `:1`
    Int(i64),
    /// `$3`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `*n`
    Array(Vec<Frame>),
    /// `%n`
    Map(Vec<(Frame, Frame)>),
    /// `~n`
    Set(Vec<Frame>),
    /// `>n`
    Push(Vec<Frame>),
    /// `,1.5`
    Double(Vec<u8>),
    /// `#t`
    Bool(bool),
    /// `(123`
    Big(Vec<u8>),
    /// `=15`, with the type before the colon.
    Verbatim(Vec<u8>, Vec<u8>),
}

fn malformed(what: &str, line: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {:?}", String::from_utf8_lossy(line)))
}

impl Frame {
    /// Reads one reply.
    ///
    /// # Errors
    /// When the stream ends or fails, and when the bytes are not RESP.
    pub fn read(from: &mut impl BufRead) -> io::Result<Self> {
        Self::read_nested(from, 0)
    }

    /// The one reply that `bytes` hold.
    ///
    /// # Errors
    /// When they hold less or more than one reply.
    pub fn parse(mut bytes: &[u8]) -> io::Result<Self> {
        let frame = Self::read(&mut bytes)?;
        if bytes.is_empty() { Ok(frame) } else { Err(malformed("bytes behind the reply", bytes)) }
    }

    fn read_nested(from: &mut impl BufRead, depth: usize) -> io::Result<Self> {
        if depth > MAX_DEPTH {
            return Err(malformed("nested too deeply", b""));
        }
        let line = line(from)?;
        let (kind, rest) = line.split_first().ok_or_else(|| malformed("empty line", &line))?;
        let mut elements = |n: i64| -> io::Result<Vec<Self>> {
            let mut all = Vec::with_capacity((n.max(0) as usize).min(MAX_RESERVE));
            for _ in 0..n {
                all.push(Self::read_nested(from, depth + 1)?);
            }
            Ok(all)
        };
        Ok(match kind {
            b'+' => Self::Simple(rest.to_vec()),
            b'-' => Self::Error(rest.to_vec()),
            b':' => Self::Int(number(rest)?),
            b'_' if rest.is_empty() => Self::Null,
            b'#' if rest == b"t" || rest == b"f" => Self::Bool(rest == b"t"),
            b',' => Self::Double(rest.to_vec()),
            b'(' => Self::Big(rest.to_vec()),
            b'$' if rest == b"-1" => Self::NullBulk,
            b'*' if rest == b"-1" => Self::NullArray,
            b'$' => Self::Bulk(blob(from, rest)?),
            b'!' => Self::Error(blob(from, rest)?),
            b'=' => {
                let text = blob(from, rest)?;
                if text.get(3) != Some(&b':') {
                    return Err(malformed("verbatim string without a type", &text));
                }
                Self::Verbatim(text[..3].to_vec(), text[4..].to_vec())
            }
            b'*' => Self::Array(elements(count(rest)?)?),
            b'~' => Self::Set(elements(count(rest)?)?),
            b'>' => Self::Push(elements(count(rest)?)?),
            b'%' => {
                let flat = elements(2 * count(rest)?)?;
                let mut flat = flat.into_iter();
                let mut pairs = Vec::new();
                while let (Some(k), Some(v)) = (flat.next(), flat.next()) {
                    pairs.push((k, v));
                }
                Self::Map(pairs)
            }
            _ => return Err(malformed("unknown kind of reply", &line)),
        })
    }

    /// The text of a simple string, error, bulk or verbatim string.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(text) | Self::Error(text) | Self::Bulk(text) | Self::Verbatim(_, text) => Some(text),
            _ => None,
        }
    }

    /// The words of a request: an array of bulk strings. `None` if this is something else.
    pub fn words(self) -> Option<Vec<Vec<u8>>> {
        let Self::Array(frames) = self else { return None };
        let word = |frame| if let Self::Bulk(word) = frame { Some(word) } else { None };
        frames.into_iter().map(word).collect()
    }

    /// Whether this is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the stream ended where a reply should begin",
        ));
    }
    if !line.ends_with(b"\r\n") {
        return Err(malformed("a line without its end", &line));
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

fn number(text: &[u8]) -> io::Result<i64> {
    let parsed = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
    parsed.ok_or_else(|| malformed("not a number", text))
}

fn count(text: &[u8]) -> io::Result<i64> {
    let n = number(text)?;
    if (0..=i64::from(i32::MAX)).contains(&n) { Ok(n) } else { Err(malformed("not a count", text)) }
}

fn blob(from: &mut impl BufRead, len: &[u8]) -> io::Result<Vec<u8>> {
    let len = count(len)? as u64;
    let mut bytes = Vec::new();
    from.take(len + 2).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len + 2 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended within a string"));
    }
    if !bytes.ends_with(b"\r\n") {
        return Err(malformed("a string without its end", &bytes));
    }
    bytes.truncate(len as usize);
    Ok(bytes)
}

/// `bytes` between double quotes, as redis-cli prints them.
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x20..=0x7e => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text.push('"');
    text
}

/// In the notation of the scripts, one line per element.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, 0)
    }
}

impl Frame {
    fn print(&self, f: &mut fmt::Formatter<'_>, level: usize) -> fmt::Result {
        if level > 0 {
            write!(f, "\n{:1$}", "", 2 * level)?;
        }
        let plain = String::from_utf8_lossy;
        let (kind, elements) = match self {
            Self::Simple(text) => return write!(f, "+{}", plain(text)),
            Self::Error(text) => return write!(f, "-{}", plain(text)),
            Self::Int(n) => return write!(f, ":{n}"),
            Self::Bulk(text) => return f.write_str(&quoted(text)),
            Self::NullBulk => return f.write_str("$-1"),
            Self::NullArray => return f.write_str("*-1"),
            Self::Null => return f.write_str("_"),
            Self::Double(text) => return write!(f, ",{}", plain(text)),
            Self::Bool(yes) => return f.write_str(if *yes { "#t" } else { "#f" }),
            Self::Big(text) => return write!(f, "({}", plain(text)),
            Self::Verbatim(_, text) => return write!(f, "={}", quoted(text)),
            Self::Map(pairs) => {
                write!(f, "%{}", pairs.len())?;
                return pairs.iter().try_for_each(|(k, v)| {
                    k.print(f, level + 1)?;
                    v.print(f, level + 1)
                });
            }
            Self::Array(elements) => ('*', elements),
            Self::Set(elements) => ('~', elements),
            Self::Push(elements) => ('>', elements),
        };
        write!(f, "{kind}{}", elements.len())?;
        elements.iter().try_for_each(|e| e.print(f, level + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_and_printed() {
        let bytes = b"*12\r\n+OK\r\n-ERR x\r\n:-5\r\n$2\r\na\"\r\n$-1\r\n*-1\r\n_\r\n,1.5\r\n#t\r\n(12\r\n=6\r\ntxt:hi\r\n%1\r\n:1\r\n~1\r\n:2\r\n";
        let frame = Frame::parse(bytes).unwrap();
        let lines: Vec<String> = frame.to_string().lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "*12",
                "  +OK",
                "  -ERR x",
                "  :-5",
                "  \"a\\\"\"",
                "  $-1",
                "  *-1",
                "  _",
                "  ,1.5",
                "  #t",
                "  (12",
                "  =\"hi\"",
                "  %1",
                "    :1",
                "    ~1",
                "      :2"
            ]
        );
    }

    #[test]
    fn requests_have_words() {
        let words = |bytes: &[u8]| Frame::parse(bytes).unwrap().words();
        assert_eq!(words(b"*2\r\n$3\r\nGET\r\n$1\r\n\xff\r\n"), Some(vec![b"GET".to_vec(), vec![0xff]]));
        assert_eq!(words(b"*0\r\n"), Some(Vec::new()));
        assert!(words(b"*1\r\n:1\r\n").is_none() && words(b"$1\r\nx\r\n").is_none());
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        for bad in ["", "+OK", "$3\r\nab\r\n", "$2\r\nabcd", "*1\r\n", "@\r\n", "*x\r\n", "+a\r\n+b\r\n"] {
            assert!(Frame::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Frame::parse("*1\r\n".repeat(100_000).as_bytes()).is_err());
    }
}
