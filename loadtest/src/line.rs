//! A blocking connection for those who wait for one answer after the other: no wait is longer than a given patience,
//! and none goes on for long once there is hurry.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::answer;

/// How long a wait may last once there is hurry.
const HURRY: Duration = Duration::from_millis(500);
/// How often a wait looks whether there is hurry.
const SLICE: Duration = Duration::from_millis(50);
/// How long one attempt to connect may last; after so long the kernel would try once more as well.
const ATTEMPT: Duration = Duration::from_secs(1);

/// How long to wait.
#[derive(Clone, Debug)]
pub struct Patience {
    /// The longest wait.
    pub most: Duration,
    /// Once this is set, waits are cut short.
    pub hurry: Arc<AtomicBool>,
}

impl Patience {
    /// So much patience, whatever happens.
    pub fn of(most: Duration) -> Self {
        Self { most, hurry: Arc::default() }
    }

    /// True if there is hurry.
    pub fn is_hurried(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    /// The longest wait as things are.
    pub fn now(&self) -> Duration {
        if self.is_hurried() { self.most.min(HURRY) } else { self.most }
    }

    /// The error of a wait that began then, if it has lasted long enough.
    pub fn is_over(&self, began: Instant) -> Option<io::Error> {
        let waited = began.elapsed();
        if waited >= self.most {
            Some(ErrorKind::TimedOut.into())
        } else if waited >= self.now() {
            Some(io::Error::other("interrupted while waiting for the server"))
        } else {
            None
        }
    }

    /// Tries until it is done or patience is over.
    fn wait<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let began = Instant::now();
        loop {
            match attempt() {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if let Some(error) = self.is_over(began) {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Half {
    socket: TcpStream,
    patience: Patience,
}

impl Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut socket = &self.socket;
        self.patience.wait(|| socket.read(buffer))
    }
}

impl Write for Half {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket = &self.socket;
        self.patience.wait(|| socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection with its reader.
#[derive(Debug)]
pub struct Line {
    /// Where requests go.
    pub socket: Half,
    /// Where answers come from.
    pub reader: BufReader<Half>,
}

impl Line {
    /// Connects and says the opening commands, whose answers are left to the caller's first request to feel.
    pub fn to(address: SocketAddr, opening: &[Vec<u8>], patience: &Patience) -> io::Result<Self> {
        let began = Instant::now();
        let socket = patience.wait(|| {
            let left = patience.now().saturating_sub(began.elapsed());
            TcpStream::connect_timeout(&address, left.clamp(Duration::from_millis(1), ATTEMPT))
        })?;
        socket.set_nodelay(true)?;
        let slice = Some(SLICE.min(patience.most).max(Duration::from_millis(1)));
        socket.set_read_timeout(slice)?;
        socket.set_write_timeout(slice)?;
        let other = Half { socket: socket.try_clone()?, patience: patience.clone() };
        let mut line = Self {
            socket: Half { socket, patience: patience.clone() },
            reader: BufReader::with_capacity(64 << 10, other),
        };
        for command in opening {
            line.socket.write_all(command)?;
            answer::read(&mut line.reader)?;
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Longer than any test may last.
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_silence_ends_with_patience_or_with_hurry() {
        // Connections stand in its queue and are never answered.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let mut line = Line::to(address, &[], &Patience::of(Duration::from_millis(60))).unwrap();
        let error = line.reader.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let patience = Patience::of(LONG);
        let mut line = Line::to(address, &[], &patience).unwrap();
        let waiting = std::thread::spawn(move || line.reader.read(&mut [0]).unwrap_err().to_string());
        patience.hurry.store(true, Ordering::Relaxed);
        assert_eq!(waiting.join().unwrap(), "interrupted while waiting for the server");
        // So does what nobody takes.
        let mut line = Line::to(address, &[], &patience).unwrap();
        let error = line.socket.write_all(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(error.to_string(), "interrupted while waiting for the server");
    }

    #[test]
    fn hurry_is_shared_and_never_lengthens_a_wait() {
        let patience = Patience::of(Duration::from_millis(10));
        patience.clone().hurry.store(true, Ordering::Relaxed);
        assert_eq!((patience.is_hurried(), patience.now()), (true, Duration::from_millis(10)));
        assert_eq!(Patience { most: LONG, ..patience }.now(), HURRY);
    }
}
