//! Replies on their way to a client's socket: those of one batch, and those that the socket did not take at once.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    os::fd::AsFd,
};

use bytes::{Buf, Bytes};
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
use shoal_proto::resp::{Annex, Protocol, Reply};
use smallvec::SmallVec;

/// Replies are sent when so many bytes of them wait, so that a deep pipeline of large replies cannot grow the output
/// without bound. While as many wait that the client does not take, none of its commands is executed.
const ENOUGH: usize = 1 << 20;

/// The same for a client that may leave at most `hard` bytes unread.
pub(super) fn enough(hard: usize) -> usize {
    ENOUGH.min(hard)
}

/// Pieces given to the system at once. It takes up to 1024.
const MOST_PIECES: usize = 64;

/// The replies of one batch: small ones in a buffer, references to long strings beside it.
#[derive(Debug, Default)]
pub(super) struct Replies {
    pub(super) bytes: Vec<u8>,
    annex: Annex,
    /// When they have so many bytes they are sent before the next command is executed.
    enough: usize,
}

impl Replies {
    /// With room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Begins the replies of another batch, for a client that may leave at most `hard` bytes unread.
    pub(super) fn begin(&mut self, hard: usize) {
        self.bytes.clear();
        self.enough = enough(hard);
        // So that a reply that comes last may still have what is allowed.
        self.annex.begin(hard.saturating_add(self.enough));
    }

    /// Whether to send them before going on.
    #[inline]
    pub(super) fn are_enough(&self) -> bool {
        self.len() >= self.enough || self.annex.is_exceeded()
    }

    /// Whether they became larger than a client may leave unread; nothing of them is true then.
    pub(super) fn are_too_many(&self) -> bool {
        self.annex.is_exceeded()
    }

    /// Their bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.annex.len()
    }

    /// Writes the next one.
    #[inline]
    pub(super) fn reply(&mut self, protocol: Protocol) -> Reply<'_> {
        Reply::with_annex(&mut self.bytes, &mut self.annex, protocol)
    }

    /// Takes back what was written since the buffer had so many bytes.
    #[inline]
    pub(super) fn truncate(&mut self, mark: usize) {
        self.bytes.truncate(mark);
        self.annex.truncate(mark);
    }

    /// Sends what the socket takes at once; puts the rest behind `output`, or all of them if that is not empty.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn send(&mut self, socket: impl AsFd, output: &mut Output) -> io::Result<()> {
        if !output.is_empty() {
            self.put_into(output);
            return Ok(());
        }
        if self.annex.is_empty() {
            let sent = send_now(&socket, &self.bytes)?;
            output.sent.add(sent);
            if sent < self.bytes.len() {
                output.push(Bytes::copy_from_slice(&self.bytes[sent..]));
            }
            return Ok(());
        }
        let (mut sent, offered) = self.send_first(&socket)?;
        output.sent.add(sent);
        let full = sent < offered;
        for piece in self.pieces() {
            let before = sent.min(piece.len());
            sent -= before;
            output.push(piece.into_bytes(before));
        }
        self.annex.take();
        if full { Ok(()) } else { output.flush(&socket).map(drop) }
    }

    /// Puts all of them behind `output`.
    pub(super) fn put_into(&mut self, output: &mut Output) {
        self.pieces().for_each(|piece| output.push(piece.into_bytes(0)));
        self.annex.take();
    }

    /// Sends the first pieces; how many bytes the socket took, and how many it was offered.
    fn send_first(&self, socket: impl AsFd) -> io::Result<(usize, usize)> {
        let pieces: SmallVec<[IoSlice<'_>; MOST_PIECES]> =
            self.pieces().take(MOST_PIECES).map(|piece| IoSlice::new(piece.get())).collect();
        let offered = pieces.iter().map(|piece| piece.len()).sum();
        Ok((gather(socket, &pieces)?, offered))
    }

    /// What is in the buffer and what is beside it, in order.
    fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut from = 0;
        let parts = self.annex.parts().iter().flat_map(move |(at, part)| {
            let before = &self.bytes[from..*at];
            from = *at;
            [Piece::Buffered(before), Piece::Shared(part)]
        });
        let last = self.annex.parts().last().map_or(0, |(at, _)| *at);
        parts.chain([Piece::Buffered(&self.bytes[last..])])
    }
}

/// A run of bytes of replies.
enum Piece<'a> {
    Buffered(&'a [u8]),
    Shared(&'a Bytes),
}

impl<'a> Piece<'a> {
    fn get(self) -> &'a [u8] {
        match self {
            Self::Buffered(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Buffered(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    /// What follows the first `skipped` bytes, to be held.
    fn into_bytes(self, skipped: usize) -> Bytes {
        match self {
            Self::Buffered(bytes) => Bytes::copy_from_slice(&bytes[skipped..]),
            Self::Shared(bytes) => bytes.slice(skipped..),
        }
    }
}

/// Replies that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Output {
    chunks: VecDeque<Bytes>,
    len: usize,
    /// What has gone out since somebody asked.
    sent: Sent,
}

/// What a socket took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    /// Writes that brought it there.
    pub(super) writes: u64,
}

impl Sent {
    #[inline]
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.writes += u64::from(bytes > 0);
    }
}

/// Sends what the socket takes at once; how much that was.
fn send_now(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    taken(|| send(&socket, bytes, SendFlags::NOSIGNAL))
}

/// The same for several pieces.
fn gather(socket: impl AsFd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    taken(|| sendmsg(&socket, pieces, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL))
}

fn taken(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Ok(sent) => return Ok(sent),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts bytes behind the others.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    /// Sends until nothing is left or the socket takes no more; whether nothing is left.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn flush(&mut self, socket: impl AsFd) -> io::Result<bool> {
        while self.len > 0 {
            let pieces: SmallVec<[IoSlice<'_>; MOST_PIECES]> =
                self.chunks.iter().take(MOST_PIECES).map(|chunk| IoSlice::new(chunk)).collect();
            let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
            let sent = gather(&socket, &pieces)?;
            drop(pieces);
            self.sent.add(sent);
            self.skip(sent);
            if sent < offered {
                return Ok(false);
            }
        }
        // What one slow moment took is not kept.
        self.chunks = VecDeque::new();
        Ok(true)
    }

    /// What has gone out since this was called.
    #[inline]
    pub(super) fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }

    /// The first `n` bytes are sent.
    fn skip(&mut self, mut n: usize) {
        self.len -= n;
        while let Some(chunk) = self.chunks.front_mut() {
            if n < chunk.len() {
                return chunk.advance(n);
            }
            n -= chunk.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    /// Whatever the socket takes at a time, all bytes arrive in order.
    #[test]
    fn replies_arrive_whole_and_in_order() {
        let mut random = StdRng::seed_from_u64(3);
        let (socket, mut peer) = UnixStream::pair().expect("a pair of sockets");
        socket.set_nonblocking(true).expect("a socket can be made so");
        let long = Bytes::from((0..400_000).map(|i| i as u8).collect::<Vec<_>>());
        let (mut expected, mut seen) = (Vec::new(), Vec::new());
        let (mut replies, mut output) = (Replies::default(), Output::default());
        let mut buffer = vec![0; 1 << 20];
        for batch in 0..40 {
            replies.begin(usize::MAX);
            for _ in 0..random.random_range(1..200) {
                let len = if random.random_bool(0.3) { random.random_range(0..long.len()) } else { 9 };
                replies.reply(Protocol::Resp2).part(&long, &long[..len]);
                Reply::new(&mut expected, Protocol::Resp2).bulk(&long[..len]);
            }
            let before = seen.len() + output.len();
            if batch % 5 == 0 {
                replies.put_into(&mut output);
            } else {
                replies.send(&socket, &mut output).expect("the peer reads");
            }
            assert!(before <= expected.len() && replies.annex.is_empty());
            loop {
                let done = output.flush(&socket).expect("the peer reads");
                let n = if expected.len() > seen.len() { peer.read(&mut buffer).expect("more") } else { 0 };
                seen.extend_from_slice(&buffer[..n]);
                if done && seen.len() == expected.len() {
                    break;
                }
            }
        }
        assert!(seen == expected && output.is_empty());
    }
}
