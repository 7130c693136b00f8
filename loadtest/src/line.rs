//! A blocking connection for those who wait for one answer after the other, plain or with TLS.

use std::io::{self, BufRead, BufReader, Write};

use crate::answer::{self, Answer, Unasked};
use crate::patience::Patience;
use crate::target::encode;
use crate::transport::{Blocking, Endpoint};

/// A connection to which the opening commands were said. It is of no use any more once an error was returned.
#[derive(Debug)]
pub struct Line {
    from: BufReader<Blocking>,
    /// How often it was looked whether answers are in step.
    looks: u64,
    /// The server answers no ECHO, so that this cannot be told.
    deaf: bool,
}

/// After so many other answers to ECHO a server is taken for one that does not know it.
const MOST_PROBES: usize = 8;

impl Line {
    /// Connects and says the opening commands. What they were answered is left to the caller's first request to feel.
    pub fn to(server: &Endpoint, opening: &[Vec<u8>], patience: &Patience) -> io::Result<Self> {
        let socket = Blocking::open(server, patience)?;
        let mut line = Self { from: BufReader::with_capacity(64 << 10, socket), looks: 0, deaf: false };
        for command in opening {
            line.send(command)?;
            answer::skip(&mut line.from)?;
        }
        Ok(line)
    }

    /// Sends requests; all answers to earlier ones must have been read. Refuses with [`Unasked`] if something is there
    /// already: the answers would be another request's each. What was pushed (RESP3) is none, and dropped.
    pub fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        while !self.from.buffer().is_empty() || self.from.get_mut().has_more() {
            if self.from.fill_buf()?.first() != Some(&b'>') {
                return Err(Unasked.into());
            }
            answer::drop_push(&mut self.from)?;
        }
        self.from.get_mut().write_all(requests)
    }

    /// Waits for the next answer. A server that is full has refused the connection, not the request.
    pub fn answer(&mut self) -> io::Result<Answer> {
        match answer::read(&mut self.from)? {
            Answer::Error(text) if text.starts_with(answer::FULL) => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, text))
            }
            answer => Ok(answer),
        }
    }

    /// Makes sure that the last answer was that to the last request, by words that only this connection has said. A
    /// reply that nobody asked for may have come while another one was waited for, and then every request got the answer
    /// of the one before; nothing is left over that would show it. Fails with [`Unasked`] if that is so.
    pub fn in_step(&mut self) -> io::Result<()> {
        if self.deaf {
            return Ok(());
        }
        self.looks += 1;
        let word = |probe: usize| format!("shoal-loadtest-{}-{probe}", self.looks);
        let words: Vec<String> = (0..MOST_PROBES).map(word).collect();
        for (probe, word) in words.iter().enumerate() {
            self.send(&encode(&["ECHO", word]))?;
            match self.answer()? {
                Answer::Bytes(said) if said == word.as_bytes() => return Ok(()),
                Answer::Bytes(said) if words[..probe].iter().any(|word| said == word.as_bytes()) => {
                    return Err(Unasked.into());
                }
                Answer::Error(_) => break,
                _ => {}
            }
        }
        self.deaf = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::TcpListener;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use shoal_testkit::Frame;

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

    /// A server of one connection, whose requests get what `answer` says to their number and words.
    fn server(answer: impl Fn(usize, &[Vec<u8>]) -> Vec<u8> + Send + 'static) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Endpoint::from(listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            for number in 0.. {
                let Some(words) = Frame::read(&mut reader).ok().and_then(Frame::words) else { return };
                if socket.write_all(&answer(number, &words)).is_err() {
                    return;
                }
            }
        });
        server
    }

    fn echo(words: &[Vec<u8>]) -> Vec<u8> {
        let said = String::from_utf8_lossy(&words[1]);
        format!("${}\r\n{said}\r\n", said.len()).into_bytes()
    }

    fn ask(line: &mut Line) -> io::Result<Answer> {
        line.send(&encode(&["GET", "a"]))?;
        line.answer()
    }

    #[test]
    fn a_reply_that_nobody_asked_for_is_noticed_before_the_next_request() {
        // It comes together with the one that was asked for.
        let server = server(|_, _| b"$1\r\na\r\n+OK\r\n".to_vec());
        let mut line = Line::to(&server, &[], &Patience::of(LONG)).unwrap();
        assert_eq!(ask(&mut line).unwrap(), Answer::Bytes(b"a".to_vec()));
        let error = ask(&mut line).unwrap_err();
        assert!(answer::is_unasked(&error), "{error}");
    }

    #[test]
    fn what_is_pushed_between_requests_is_no_reply() {
        // Behind the answer, together with it, and before the next one.
        let push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
        let server = server(move |_, _| format!("{push}$1\r\na\r\n{push}{push}").into_bytes());
        let mut line = Line::to(&server, &[], &Patience::of(LONG)).unwrap();
        for _ in 0..3 {
            assert_eq!(ask(&mut line).unwrap(), Answer::Bytes(b"a".to_vec()));
        }
    }

    #[test]
    fn answers_that_are_each_another_requests_are_out_of_step() {
        // The second request gets an answer of nobody's, and each later one that of the request before.
        let late = std::sync::Mutex::new(b"$-1\r\n".to_vec());
        let shifted = server(move |number, words| {
            let own = if words[0] == b"ECHO" { echo(words) } else { b"$-1\r\n".to_vec() };
            if number < 1 { own } else { std::mem::replace(&mut *late.lock().unwrap(), own) }
        });
        let mut line = Line::to(&shifted, &[], &Patience::of(LONG)).unwrap();
        for _ in 0..5 {
            assert_eq!(ask(&mut line).unwrap(), Answer::Nothing);
        }
        assert!(answer::is_unasked(&line.in_step().unwrap_err()));
        let steady = server(|_, words| if words[0] == b"ECHO" { echo(words) } else { b"$-1\r\n".to_vec() });
        let mut line = Line::to(&steady, &[], &Patience::of(LONG)).unwrap();
        for _ in 0..3 {
            ask(&mut line).unwrap();
            line.in_step().unwrap();
        }
    }

    #[test]
    fn a_server_without_echo_is_asked_no_more() {
        for reply in ["-ERR unknown command 'ECHO'\r\n", "+OK\r\n", "$1\r\nx\r\n"] {
            let server = server(move |_, _| reply.as_bytes().to_vec());
            let mut line = Line::to(&server, &[], &Patience::of(LONG)).unwrap();
            line.in_step().unwrap();
            assert!(line.deaf);
            let looks = line.looks;
            line.in_step().unwrap();
            assert_eq!(line.looks, looks);
        }
    }

    #[test]
    fn a_full_server_refuses_the_connection() {
        let server = server(|_, _| b"-ERR max number of clients reached\r\n".to_vec());
        let mut line = Line::to(&server, &[], &Patience::of(LONG)).unwrap();
        let error = ask(&mut line).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), "ERR max number of clients reached");
    }
}
