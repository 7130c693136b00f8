//! Replies that a client's socket did not take at once.

use std::{collections::VecDeque, io, os::fd::AsFd};

use bytes::Bytes;
use rustix::net::{SendFlags, send};

/// Replies that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Output {
    chunks: VecDeque<Bytes>,
    len: usize,
}

/// Sends what the socket takes at once; how much that was.
///
/// # Errors
/// When the connection is broken.
pub(super) fn send_now(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match send(&socket, bytes, SendFlags::NOSIGNAL) {
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
        while let Some(chunk) = self.chunks.front_mut() {
            let sent = send_now(&socket, chunk)?;
            self.len -= sent;
            if sent < chunk.len() {
                drop(chunk.split_to(sent));
                if sent == 0 {
                    return Ok(false);
                }
            } else {
                self.chunks.pop_front();
            }
        }
        // What one slow moment took is not kept.
        self.chunks = VecDeque::new();
        Ok(true)
    }
}
