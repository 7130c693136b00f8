//! Reads the few kinds of replies that checked commands and replayed traces have, waiting for them.

use std::io::{self, BufRead, ErrorKind, Read};

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

/// The longest value read.
const MAX_LENGTH: usize = 64 << 20;
/// The longest line read.
const MAX_LINE: u64 = 64 << 10;

/// Reads one reply, waiting for it as long as the reader does.
pub fn read(from: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = Vec::new();
    from.take(MAX_LINE).read_until(b'\n', &mut line)?;
    let Some(line) = line.strip_suffix(b"\r\n") else { return Err(ErrorKind::UnexpectedEof.into()) };
    let text = String::from_utf8_lossy(line.get(1..).unwrap_or_default()).into_owned();
    match line.first() {
        Some(b'+') => Ok(Answer::Status(text)),
        Some(b'-') => Ok(Answer::Error(text)),
        Some(b'_') => Ok(Answer::Nothing),
        Some(b':') => text.parse().map(Answer::Number).map_err(|_| ErrorKind::InvalidData.into()),
        Some(b'$') if text == "-1" => Ok(Answer::Nothing),
        Some(b'$') => {
            let length = text.parse::<usize>().ok().filter(|length| *length <= MAX_LENGTH);
            let mut bytes = vec![0; length.ok_or(ErrorKind::InvalidData)? + 2];
            from.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Ok(Answer::Bytes(bytes))
        }
        _ => Err(ErrorKind::InvalidData.into()),
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
}
