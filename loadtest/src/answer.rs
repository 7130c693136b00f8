//! Reads the few kinds of replies that checked commands and replayed traces have, waiting for them.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read};
use std::time::Duration;

use crate::reply::Framer;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A simple string.
    Status(String),
    /// An error.
    Error(String),
    /// An integer.
    Number(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// A null.
    Nothing,
}

impl fmt::Display for Answer {
    /// As it came, cut where it is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(text) => write!(f, "'+{text:.60}'"),
            Self::Error(text) => write!(f, "'-{text:.60}'"),
            Self::Number(number) => write!(f, "':{number}'"),
            Self::Bytes(bytes) => write!(f, "a string of {} bytes", bytes.len()),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

/// Why a connection is of no use any more on which more came than was asked for: which answer is whose is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reply that nobody asked for")]
pub struct Unasked;

impl From<Unasked> for io::Error {
    fn from(unasked: Unasked) -> Self {
        Self::other(unasked)
    }
}

/// True if this is [`Unasked`].
pub fn is_unasked(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Unasked>())
}

/// What a server says on a connection that it does not take, since it has its `maxclients`, before it closes it.
pub const FULL: &str = "ERR max number of clients";

/// The longest value read.
pub const MAX_LENGTH: usize = 64 << 20;
/// The longest line read.
const MAX_LINE: u64 = 64 << 10;
/// The most elements of what is dropped before a reply.
const MAX_ELEMENTS: u64 = 1 << 32;

/// The most bytes of a line that is no reply that are told.
const SHOWN: usize = 60;

/// Reads one reply, waiting for it as long as the reader does. What is no reply is [`ErrorKind::InvalidData`], and so is
/// a number that is not written as Redis writes it: without a plus sign or zeros in front. What RESP3 pushes before the
/// reply, and its attributes, are dropped.
pub fn read(from: &mut impl BufRead) -> io::Result<Answer> {
    let line = reply_line(from)?;
    let wrong = || not_resp(&line);
    let (kind, rest) = parts(&line)?;
    let text = String::from_utf8_lossy(rest).into_owned();
    match kind {
        b'+' => Ok(Answer::Status(text)),
        b'-' => Ok(Answer::Error(text)),
        b'_' if rest.is_empty() => Ok(Answer::Nothing),
        b':' => {
            let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
            number.map(Answer::Number).ok_or_else(wrong)
        }
        b'$' if text == "-1" => Ok(Answer::Nothing),
        b'$' if rest.iter().all(u8::is_ascii_digit) => {
            let length = text.parse::<usize>().ok();
            let length = length.filter(|length| *length <= MAX_LENGTH && length.to_string() == text);
            let length = length.ok_or_else(wrong)?;
            string(from, length).map(Answer::Bytes)
        }
        // An error sent as a string (RESP3).
        b'!' => {
            let length = length(rest).filter(|length| *length <= MAX_LINE).ok_or_else(wrong)?;
            let text = string(from, length as usize)?;
            Ok(Answer::Error(String::from_utf8_lossy(&text).into_owned()))
        }
        _ => Err(wrong()),
    }
}

/// The first line of the next reply.
fn reply_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut dropped = 0;
    loop {
        let line = line(from)?;
        match parts(&line)? {
            (b'>' | b'|', _) => drop_elements(from, elements(&line)?, &mut dropped)?,
            _ => return Ok(line),
        }
    }
}

/// Drops one push (RESP3), which is the next thing to come.
pub fn drop_push(from: &mut impl BufRead) -> io::Result<()> {
    let line = line(from)?;
    let count = elements(&line)?;
    drop_elements(from, count, &mut 0)
}

/// Reads a line, with its end.
fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") && (line.len() as u64) < MAX_LINE {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}

/// What kind of value a line begins, and what it says of it.
fn parts(line: &[u8]) -> io::Result<(u8, &[u8])> {
    let parts = line.strip_suffix(b"\r\n").and_then(|line| line.split_first());
    parts.map(|(kind, rest)| (*kind, rest)).ok_or_else(|| not_resp(line))
}

/// A length, which is a number without a sign.
fn length(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?;
    text.parse().ok()
}

/// A string of this length and the end of its line.
fn string(from: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length + 2];
    from.read_exact(&mut bytes)?;
    match bytes.split_off(length).as_slice() {
        b"\r\n" => Ok(bytes),
        end => Err(not_resp(end)),
    }
}

/// How many elements follow such a line that belong to it.
fn elements(line: &[u8]) -> io::Result<u64> {
    let (kind, rest) = parts(line)?;
    let none = || matches!((kind, rest), (b'*', b"-1")).then_some(0);
    let count = length(rest).filter(|count| *count < MAX_ELEMENTS).or_else(none);
    let count = count.ok_or_else(|| not_resp(line))?;
    Ok(if matches!(kind, b'%' | b'|') { 2 * count } else { count })
}

/// Drops so many elements with all that is in them; `dropped` is how many bytes were dropped before a reply.
fn drop_elements(from: &mut impl BufRead, count: u64, dropped: &mut usize) -> io::Result<()> {
    let mut left = count;
    while left > 0 {
        let line = line(from)?;
        *dropped += line.len();
        let (kind, rest) = parts(&line)?;
        let is_string = matches!(kind, b'$' | b'=' | b'!') && rest != b"-1";
        match kind {
            // It stands before an element and is none.
            b'|' => left += elements(&line)?,
            b'*' | b'~' | b'>' | b'%' => left = left - 1 + elements(&line)?,
            b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_' | b'$' | b'=' | b'!' => left -= 1,
            _ => return Err(not_resp(&line)),
        }
        let length = if is_string { length(rest).ok_or_else(|| not_resp(&line))? } else { 0 };
        *dropped = dropped.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        if *dropped > MAX_LENGTH {
            let text = format!("more than {MAX_LENGTH} bytes that are no reply, before one");
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        if is_string {
            string(from, length as usize)?;
        }
    }
    Ok(())
}

/// The longest reply that is dropped.
const MAX_SKIPPED: usize = 64 << 10;

/// Waits for one reply of whatever kind and drops it; what follows stays.
pub fn skip(from: &mut impl BufRead) -> io::Result<()> {
    let (mut framer, mut reply, mut fed) = (Framer::default(), Vec::new(), 0);
    while reply.len() <= MAX_SKIPPED {
        let part = from.fill_buf()?;
        if part.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let (before, count) = (reply.len(), part.len());
        reply.extend_from_slice(part);
        let found = framer.next(&reply, &mut fed).map_err(|_| not_resp(&reply))?;
        from.consume(found.map_or(count, |_| fed - before));
        if found.is_some() {
            return Ok(());
        }
    }
    Err(io::Error::new(ErrorKind::InvalidData, format!("a reply of more than {MAX_SKIPPED} bytes")))
}

fn not_resp(bytes: &[u8]) -> io::Error {
    let shown = bytes.trim_ascii_end();
    let text = if shown.is_empty() { bytes } else { &shown[..shown.len().min(SHOWN)] };
    io::Error::new(ErrorKind::InvalidData, format!("not RESP: '{}'", text.escape_ascii()))
}

/// What an error of a connection means: in particular, that nothing came within the time given.
pub fn told(error: &io::Error, patience: Duration) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer within {} s", patience.as_secs_f64())
        }
        ErrorKind::UnexpectedEof => "the server closed the connection".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read() {
        let mut bytes = &b"+OK\r\n-ERR x\r\n:-5\r\n$3\r\na\r\n\r\n$-1\r\n_\r\n"[..];
        let all: Vec<Answer> = (0..6).map(|_| read(&mut bytes).unwrap()).collect();
        assert_eq!(
            all,
            [
                Answer::Status("OK".into()),
                Answer::Error("ERR x".into()),
                Answer::Number(-5),
                Answer::Bytes(b"a\r\n".to_vec()),
                Answer::Nothing,
                Answer::Nothing
            ]
        );
        for wrong in [&b""[..], b"+O", b"*1\r\n", b"$x\r\n", b"$5\r\nab\r\n", b":x\r\n", b"\r\n"] {
            assert!(read(&mut &*wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn what_is_pushed_and_attributes_are_dropped() {
        let push = b">3\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n_\r\n";
        let attribute = b"|1\r\n$3\r\nttl\r\n%1\r\n|1\r\n+x\r\n:1\r\n+a\r\n*2\r\n$-1\r\n!3\r\nERR\r\n";
        let empty = b">0\r\n|0\r\n";
        let stream = [
            &push[..],
            b"$1\r\nv\r\n",
            attribute,
            b"$1\r\nw\r\n",
            empty,
            attribute,
            push,
            b"_\r\n",
            push,
            b"!5\r\nERR x\r\n:7\r\n",
        ]
        .concat();
        for capacity in [1, 7, 1000] {
            let mut from = io::BufReader::with_capacity(capacity, &*stream);
            let all: Vec<Answer> = (0..5).map(|_| read(&mut from).unwrap()).collect();
            assert_eq!(
                all,
                [
                    Answer::Bytes(b"v".to_vec()),
                    Answer::Bytes(b"w".to_vec()),
                    Answer::Nothing,
                    Answer::Error("ERR x".into()),
                    Answer::Number(7)
                ]
            );
        }
        for cut in 0..push.len() {
            let error = read(&mut &push[..cut]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{cut}");
        }
        let long = [&b">1\r\n$70000000\r\n"[..], b"x"].concat();
        for wrong in [&b">x\r\n"[..], b">1\r\nHTTP\r\n", b"|-1\r\n", b">1\r\n$2\r\nabc\r\n", &long[..]] {
            let error = read(&mut &*wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_reply_is_told_from_an_end() {
        for (wrong, text) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "not RESP: 'HTTP/1.1 400 Bad Request'"),
            (b"$2\r\nabZZ", "not RESP: 'ZZ'"),
            (b"$2\r\nabcd\r\n", "not RESP: 'cd'"),
            (b"+OK\n", "not RESP: '+OK'"),
            (b"$+2\r\nab\r\n", "not RESP: '$+2'"),
            (b"_x\r\n", "not RESP: '_x'"),
            (b"$02\r\nab\r\n", "not RESP: '$02'"),
            (b":+5\r\n", "not RESP: ':+5'"),
            (b":-0\r\n", "not RESP: ':-0'"),
            (b":05\r\n", "not RESP: ':05'"),
            (b"\r\n", "not RESP: '\\r\\n'"),
        ] {
            let error = read(&mut &*wrong).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidData, text));
        }
        let long = vec![b'+'; MAX_LINE as usize + 5];
        assert_eq!(read(&mut &*long).unwrap_err().kind(), ErrorKind::InvalidData);
        for cut in [&b""[..], b"+O", b"$5\r\nab"] {
            let error = read(&mut &*cut).unwrap_err();
            assert_eq!(told(&error, Duration::ZERO), "the server closed the connection");
        }
    }

    #[test]
    fn replies_of_any_kind_are_skipped() {
        for reply in [&b"+OK\r\n"[..], b"-ERR no\r\n", b"%1\r\n+a\r\n*2\r\n:1\r\n$2\r\nab\r\n", b"_\r\n"] {
            for capacity in [1, 3, 1000] {
                let mut from = io::BufReader::with_capacity(capacity, reply);
                skip(&mut from).unwrap();
                assert!(from.fill_buf().unwrap().is_empty());
            }
        }
        let mut two = &b"+OK\r\n:7\r\n"[..];
        skip(&mut two).unwrap();
        assert_eq!(read(&mut two).unwrap(), Answer::Number(7), "what follows stays");
        assert_eq!(skip(&mut &b"HTTP/1.1 400\r\n"[..]).unwrap_err().to_string(), "not RESP: 'HTTP/1.1 400'");
        assert_eq!(skip(&mut &b"$5\r\nab"[..]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let long = [b"$100000\r\n", &vec![b'x'; 100_000][..], b"\r\n"].concat();
        let mut long = io::BufReader::with_capacity(1000, &*long);
        assert_eq!(skip(&mut long).unwrap_err().to_string(), "a reply of more than 65536 bytes");
    }

    #[test]
    fn silence_is_told_with_its_length() {
        let told = |kind: ErrorKind| told(&kind.into(), Duration::from_millis(1500));
        assert_eq!(told(ErrorKind::WouldBlock), "no answer within 1.5 s");
        assert_eq!(told(ErrorKind::TimedOut), "no answer within 1.5 s");
        assert_eq!(told(ErrorKind::ConnectionReset), "connection reset");
    }
}
