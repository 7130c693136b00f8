//! What stands in a stream of slots besides records.
//!
//! Towards the target, in order with the records: [`Transfer`] in a record of its own. Back: frames of four bytes of length,
//! a byte that says what, and that. A newer version may say more at the end of each, which is left out.

use shoal_proto::{cluster::Transfer, version};

/// Longest frame: an answer takes some twenty bytes, and a newer version may say more.
const MAX_FRAME: usize = 1024;

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// The stream was applied up to this position.
    Applied(u64),
    /// Something before this position is in effect at the other end, but not yet at its copies. Told before it is applied.
    Pending(u64),
    /// All of that before this position is with them.
    Settled(u64),
    /// Commands take long at the other end.
    Slow,
    /// No memory is left at the other end: the stream ends.
    Full,
    /// An answer.
    Answer(Transfer),
    /// Something that only a newer version knows.
    Unknown,
}

const APPLIED: u8 = 1;
const ANSWER: u8 = 2;
const PENDING: u8 = 3;
const SETTLED: u8 = 4;
const SLOW: u8 = 5;
const FULL: u8 = 6;

/// What came is not of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not keep to the protocol")]
pub(super) struct Malformed;

/// The body of a record.
pub(super) fn message(message: &Transfer) -> Vec<u8> {
    version::write(message).expect("numbers can be written")
}

/// A record's body as a message; none if it is of a kind that only a newer version has.
pub(super) fn parse(body: &[u8]) -> Result<Option<Transfer>, Malformed> {
    // Fields may be missing, but not all that there is.
    match version::read(body, None).filter(|_| !body.is_empty()) {
        Some(message) => Ok(Some(message)),
        None => match postcard::take_from_bytes::<u32>(body) {
            Ok((kind, _)) if kind >= Transfer::KINDS => Ok(None),
            _ => Err(Malformed),
        },
    }
}

/// The slot that a message is about.
pub(super) fn slot(message: &Transfer) -> u16 {
    match *message {
        Transfer::Begin { slot, .. }
        | Transfer::Complete { slot, .. }
        | Transfer::Missing { slot, .. }
        | Transfer::Follow { slot, .. }
        | Transfer::Take { slot, .. }
        | Transfer::Taken { slot, .. }
        | Transfer::Refused { slot, .. }
        | Transfer::Stop { slot } => slot,
    }
}

/// The frame of an answer.
pub(super) fn answer(message: &Transfer) -> Vec<u8> {
    frame(ANSWER, &self::message(message))
}

/// The frame that says how far the stream was applied.
pub(super) fn applied(position: u64) -> Vec<u8> {
    frame(APPLIED, &position.to_le_bytes())
}

/// The frame that says what [`Back::Pending`] is.
pub(super) fn pending(position: u64) -> Vec<u8> {
    frame(PENDING, &position.to_le_bytes())
}

/// The frame that says what [`Back::Settled`] is.
pub(super) fn settled(position: u64) -> Vec<u8> {
    frame(SETTLED, &position.to_le_bytes())
}

/// The frame that says [`Back::Slow`].
pub(super) fn slow() -> Vec<u8> {
    frame(SLOW, &[])
}

/// The frame that says [`Back::Full`].
pub(super) fn full() -> Vec<u8> {
    frame(FULL, &[])
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(5 + body.len());
    frame.extend_from_slice(&(body.len() as u32 + 1).to_le_bytes());
    frame.push(kind);
    frame.extend_from_slice(body);
    frame
}

/// The first frame of `bytes` and its length; none if it is not complete.
pub(super) fn next(bytes: &[u8]) -> Result<Option<(Back, usize)>, Malformed> {
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len == 0 || len > MAX_FRAME {
        return Err(Malformed);
    }
    let Some((kind, body)) = rest.get(..len).and_then(<[u8]>::split_first) else { return Ok(None) };
    let position = || body.first_chunk().map(|position| u64::from_le_bytes(*position)).ok_or(Malformed);
    let back = match *kind {
        APPLIED => Back::Applied(position()?),
        PENDING => Back::Pending(position()?),
        SETTLED => Back::Settled(position()?),
        SLOW => Back::Slow,
        FULL => Back::Full,
        ANSWER => parse(body)?.map_or(Back::Unknown, Back::Answer),
        _ => Back::Unknown,
    };
    Ok(Some((back, 4 + len)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let taken = Transfer::Taken { slot: 16383, id: u64::MAX };
        let mut bytes = answer(&taken);
        bytes.extend(applied(7));
        assert_eq!(next(&pending(6)), Ok(Some((Back::Pending(6), 13))));
        assert_eq!(next(&settled(5)), Ok(Some((Back::Settled(5), 13))));
        assert_eq!(next(&slow()), Ok(Some((Back::Slow, 5))));
        for cut in 0..bytes.len() {
            assert!(next(&bytes[..cut.min(10)]).is_ok());
        }
        let (first, len) = next(&bytes).unwrap().unwrap();
        assert_eq!(first, Back::Answer(taken));
        assert_eq!(next(&bytes[len..]).unwrap(), Some((Back::Applied(7), bytes.len() - len)));
        assert_eq!(parse(&message(&taken)), Ok(Some(taken)));
    }

    /// What version 3 of the protocol says, byte for byte: it is understood for ever.
    #[test]
    fn version_3_is_understood() {
        let (slot, epoch, id, stream) = (5, 300, 7, 6);
        let messages: [(Transfer, &[u8]); 8] = [
            (Transfer::Begin { slot, epoch, stream }, &[0, 5, 172, 2, 6]),
            (Transfer::Complete { slot, stream }, &[1, 5, 6]),
            (Transfer::Missing { slot, stream }, &[2, 5, 6]),
            (Transfer::Follow { slot, id, stream }, &[3, 5, 7, 6]),
            (Transfer::Take { slot, epoch, id }, &[4, 5, 172, 2, 7]),
            (Transfer::Taken { slot, id }, &[5, 5, 7]),
            (Transfer::Refused { slot, id, ready: true }, &[6, 5, 7, 1]),
            (Transfer::Stop { slot }, &[7, 5]),
        ];
        for (said, bytes) in messages {
            assert_eq!(parse(bytes), Ok(Some(said)));
            assert_eq!(message(&said), bytes);
        }
        let frames: [(Back, &[u8]); 6] = [
            (Back::Applied(258), &[9, 0, 0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0]),
            (Back::Pending(258), &[9, 0, 0, 0, 3, 2, 1, 0, 0, 0, 0, 0, 0]),
            (Back::Settled(258), &[9, 0, 0, 0, 4, 2, 1, 0, 0, 0, 0, 0, 0]),
            (Back::Slow, &[1, 0, 0, 0, 5]),
            (Back::Full, &[1, 0, 0, 0, 6]),
            (Back::Answer(Transfer::Taken { slot, id }), &[4, 0, 0, 0, 2, 5, 5, 7]),
        ];
        for (said, bytes) in frames {
            assert_eq!(next(bytes), Ok(Some((said, bytes.len()))));
        }
    }

    #[test]
    fn what_a_newer_version_says_besides_is_left_out() {
        let taken = Transfer::Taken { slot: 5, id: 6 };
        let mut longer = message(&taken);
        longer.push(7);
        assert_eq!(parse(&longer), Ok(Some(taken)));
        let unknown = [Transfer::KINDS as u8, 1, 2];
        assert_eq!((parse(&unknown), parse(&[])), (Ok(None), Err(Malformed)));
        let position = [&258u64.to_le_bytes()[..], &[9; 100]].concat();
        for (kind, body, said) in [
            (ANSWER, &unknown[..], Back::Unknown),
            (FULL + 1, b"anything", Back::Unknown),
            (APPLIED, &position, Back::Applied(258)),
            (PENDING, &position, Back::Pending(258)),
            (SETTLED, &position, Back::Settled(258)),
            (SLOW, b"how much", Back::Slow),
            (FULL, b"how much", Back::Full),
            (ANSWER, &longer, Back::Answer(taken)),
        ] {
            let bytes = frame(kind, body);
            assert_eq!(next(&bytes), Ok(Some((said, bytes.len()))));
        }
        assert_eq!(next(&frame(APPLIED, &[0; 7])), Err(Malformed), "no version says less");
        let last = Transfer::Stop { slot: 1 };
        assert_eq!(u32::from(message(&last)[0]) + 1, Transfer::KINDS);
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(Some((_, len))) = next(&bytes) {
                prop_assert!(len <= bytes.len());
            }
            let _ = parse(&bytes);
        }
    }
}
