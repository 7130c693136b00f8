//! A blocking connection for those who wait for one answer after the other, plain or with TLS.

use std::io::{self, BufReader, Write};

use crate::answer::{self, Answer};
use crate::patience::Patience;
use crate::transport::{Blocking, Endpoint};

/// A connection to which the opening commands were said.
#[derive(Debug)]
pub struct Line(BufReader<Blocking>);

impl Line {
    /// Connects and says the opening commands. What they were answered is left to the caller's first request to feel.
    pub fn to(server: &Endpoint, opening: &[Vec<u8>], patience: &Patience) -> io::Result<Self> {
        let socket = Blocking::open(server, patience)?;
        let mut line = Self(BufReader::with_capacity(64 << 10, socket));
        for command in opening {
            line.send(command)?;
            answer::skip(&mut line.0)?;
        }
        Ok(line)
    }

    /// Sends requests.
    pub fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(requests)
    }

    /// Waits for the next answer.
    pub fn answer(&mut self) -> io::Result<Answer> {
        answer::read(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, ErrorKind, Read};
    use std::net::TcpListener;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;

    /// Longer than any test may last.
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_silence_ends_with_patience_or_with_hurry() {
        // Connections stand in its queue and are never answered.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Endpoint::from(silent.local_addr().unwrap());
        let mut line = Line::to(&server, &[], &Patience::of(Duration::from_millis(60))).unwrap();
        assert_eq!(line.answer().unwrap_err().kind(), ErrorKind::TimedOut);
        let patience = Patience::of(LONG);
        let mut line = Line::to(&server, &[], &patience).unwrap();
        let waiting = std::thread::spawn(move || line.answer().unwrap_err().to_string());
        patience.hurry.store(true, Ordering::Relaxed);
        assert_eq!(waiting.join().unwrap(), "interrupted while waiting for the server");
        // So does what nobody takes.
        let mut line = Line::to(&server, &[], &patience).unwrap();
        let error = line.send(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(error.to_string(), "interrupted while waiting for the server");
    }

    #[test]
    fn opening_commands_may_be_answered_by_anything() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Endpoint::from(listener.local_addr().unwrap());
        let hello = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";
        let thread = std::thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            socket.read_exact(&mut [0; 22]).unwrap();
            socket.write_all(b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*0\r\n").unwrap();
            BufReader::new(socket.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
            socket.write_all(b"_\r\n").unwrap();
        });
        let mut line = Line::to(&server, &[hello.to_vec()], &Patience::of(LONG)).unwrap();
        line.send(b"PING\r\n").unwrap();
        assert_eq!(line.answer().unwrap(), Answer::Nothing);
        thread.join().unwrap();
    }
}
