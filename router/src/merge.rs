//! Making one reply of several: pure, from replies' bytes to a reply's bytes.

use shoal_proto::{
    Error,
    resp::{Protocol, Reply, frame, reply::header},
};

/// What a client gets when nodes answer something that no rule expects.
pub(crate) const UNEXPECTED: Error = Error::text("ERR a node sent an unexpected reply");

/// Whether a reply is an error.
pub(crate) fn is_error(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'-' | b'!'))
}

/// The first error among the replies: it is then the whole answer.
pub(crate) fn first_error<'a>(replies: &[&'a [u8]]) -> Option<&'a [u8]> {
    replies.iter().copied().find(|r| is_error(r))
}

/// One array from the parts' arrays; `order` names for each place the part whose next element belongs there.
/// `out` is left as it was when the parts do not fit.
///
/// # Errors
/// When a part is no array of the right length.
pub(crate) fn values(order: &[u16], replies: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Error> {
    let mark = out.len();
    let mut rests: Vec<&[u8]> = replies.iter().map(|r| frame::elements(r).rest()).collect();
    out.reserve(replies.iter().map(|r| r.len()).sum::<usize>() + 16);
    header(out, b'*', order.len() as i64);
    for part in order {
        let rest = &mut rests[usize::from(*part)];
        let Some(len) = frame::first(rest) else {
            out.truncate(mark);
            return Err(UNEXPECTED);
        };
        out.extend_from_slice(&rest[..len]);
        *rest = &rest[len..];
    }
    Ok(())
}

/// The sum of integers.
///
/// # Errors
/// When a reply is no integer.
pub(crate) fn sum(replies: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Error> {
    let total: Option<i64> = replies.iter().map(|r| frame::integer(r)).sum();
    header(out, b':', total.ok_or(UNEXPECTED)?);
    Ok(())
}

/// The first reply, as all are alike.
///
/// # Errors
/// When there is none.
pub(crate) fn alike(replies: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Error> {
    out.extend_from_slice(replies.first().ok_or(UNEXPECTED)?);
    Ok(())
}

/// One array of all arrays' elements.
pub(crate) fn concat(replies: &[&[u8]], out: &mut Vec<u8>) {
    let parts: Vec<frame::Elements<'_>> = replies.iter().map(|r| frame::elements(r)).collect();
    header(out, b'*', parts.iter().map(frame::Elements::left).sum::<usize>() as i64);
    for part in &parts {
        out.extend_from_slice(part.rest());
    }
}

/// An error as a reply's bytes.
pub(crate) fn error(error: &Error) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    Reply::new(&mut out, Protocol::Resp2).error(error);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_places() {
        let mut out = Vec::new();
        let replies: [&[u8]; 2] = [b"*2\r\n$1\r\na\r\n$-1\r\n", b"*1\r\n$1\r\nb\r\n"];
        values(&[0, 1, 0], &replies, &mut out).unwrap();
        assert_eq!(out, b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n");
        let mut short = Vec::new();
        assert!(values(&[0, 0, 0], &replies, &mut short).is_err());
        assert!(short.is_empty());
    }

    #[test]
    fn sums_and_arrays() {
        let mut out = Vec::new();
        sum(&[b":2\r\n", b":40\r\n"], &mut out).unwrap();
        assert_eq!(out, b":42\r\n");
        assert!(sum(&[b":2\r\n", b"+OK\r\n"], &mut out).is_err());
        out.clear();
        concat(&[b"*1\r\n+a\r\n", b"*0\r\n", b"*1\r\n*1\r\n:1\r\n"], &mut out);
        assert_eq!(out, b"*2\r\n+a\r\n*1\r\n:1\r\n");
        assert_eq!(first_error(&[b"+OK\r\n", b"-ERR x\r\n"]), Some(&b"-ERR x\r\n"[..]));
    }
}
