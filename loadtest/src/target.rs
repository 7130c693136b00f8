//! The servers under test: their addresses, the opening commands of a connection, and a first look at them.
//!
//! Everything here happens once, before the run, with blocking sockets. A server that is not there, wants a
//! password or speaks another protocol is told of in one sentence before any load is made.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::error::Error;
use crate::patience::Patience;
use crate::reply::Framer;
use crate::tls::Tls;
use crate::transport::{Blocking, Endpoint};

/// How long each of a name's addresses is tried.
const PROBE: Duration = Duration::from_secs(1);

/// A server as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As given.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// How connections to it are secured, if they are.
    pub tls: Option<Tls>,
}

impl Target {
    /// Looks the name up; a name without a port means port 6379. Without TLS, which the caller may set.
    pub fn resolve(name: &str) -> Result<Self, Error> {
        check_name(name)?;
        let with_port = if has_port(name) { name.to_owned() } else { format!("{name}:6379") };
        let failed = |source| Error::Connect { address: name.to_owned(), source };
        let addresses: Vec<SocketAddr> = with_port.to_socket_addrs().map_err(failed)?.collect();
        // Of several addresses (`localhost` has one of each protocol) the first that takes a connection.
        let answers = |address: &&SocketAddr| TcpStream::connect_timeout(address, PROBE).is_ok();
        let answering = if addresses.len() > 1 { addresses.iter().find(answers) } else { None };
        match answering.or(addresses.first()) {
            Some(address) => Ok(Self { name: name.to_owned(), address: *address, tls: None }),
            None => Err(Error::Usage(format!("'{name}' has no address"))),
        }
    }

    /// The server as connections see it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { name: self.name.as_str().into(), address: self.address, tls: self.tls.clone() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Refuses what is no server's name, before it is looked up as one.
fn check_name(name: &str) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::Usage(format!("'{name}' is {what}: write HOST:PORT")));
    if name.contains("://") {
        return wrong("an URI");
    }
    if name.contains(',') {
        return wrong("a list where one server is wanted");
    }
    match name.rsplit_once(':').filter(|_| has_port(name)) {
        Some((host, port)) if host.is_empty() || port.parse::<u16>().is_err() => wrong("no address"),
        None if name.is_empty() => wrong("no address"),
        _ => Ok(()),
    }
}

fn has_port(name: &str) -> bool {
    match name.rsplit_once(':') {
        None => false,
        // An IPv6 address has colons of its own; only behind brackets they mean a port.
        Some((host, _)) => !host.contains(':') || host.ends_with(']'),
    }
}

/// What every connection says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Speak RESP3.
    pub resp3: bool,
    /// The user for AUTH; without one the default user.
    pub user: Option<String>,
    /// The password for AUTH.
    pub password: Option<String>,
    /// The database for SELECT.
    pub database: u32,
}

impl Opening {
    /// The opening commands, encoded, in order.
    pub fn commands(&self) -> Vec<Vec<u8>> {
        let mut commands = Vec::new();
        if let Some(password) = &self.password {
            match &self.user {
                Some(user) => commands.push(encode(&["AUTH", user, password])),
                None => commands.push(encode(&["AUTH", password])),
            }
        }
        if self.resp3 {
            commands.push(encode(&["HELLO", "3"]));
        }
        if self.database != 0 {
            commands.push(encode(&["SELECT", &self.database.to_string()]));
        }
        commands
    }
}

/// Encodes a command.
pub fn encode(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    out
}

/// How long a server may take to answer the first commands.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects once, opens and asks who is there; returns a name such as `redis 7.0.15`, or nothing if the server
/// does not tell. Once `stop` is set it is not waited for.
pub fn look_at(target: &Target, opening: &Opening, stop: &Arc<AtomicBool>) -> Result<String, Error> {
    let mut socket = greet(target, opening, stop)?;
    let answer = ask(&mut socket, &encode(&["INFO", "server"]), target)?;
    if answer.starts_with(b"-NOAUTH") {
        let answer = format!("{} (give it with --password)", String::from_utf8_lossy(&answer[1..]).trim());
        return Err(Error::Refused { address: target.name.clone(), command: "INFO".into(), answer });
    }
    Ok(version(&String::from_utf8_lossy(&answer)))
}

/// Connects and sends the opening commands.
pub fn greet(target: &Target, opening: &Opening, stop: &Arc<AtomicBool>) -> Result<Blocking, Error> {
    let failed = |source| Error::Connect { address: target.name.clone(), source: explain(source, target) };
    let patience = Patience::until(PATIENCE, Arc::clone(stop));
    let mut socket = Blocking::open(&target.endpoint(), &patience).map_err(failed)?;
    for command in opening.commands() {
        let answer = ask(&mut socket, &command, target)?;
        if let Some(text) = answer.strip_prefix(b"-") {
            let name = command.split(|byte| *byte == b'\n').nth(2).unwrap_or_default();
            return Err(Error::Refused {
                address: target.name.clone(),
                command: String::from_utf8_lossy(name).trim().to_owned(),
                answer: String::from_utf8_lossy(text).trim().to_owned(),
            });
        }
    }
    Ok(socket)
}

/// Says in plain words that a server is silent, or closes the connection since it wants TLS.
fn explain(error: io::Error, target: &Target) -> io::Error {
    let is_silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    let is_closed = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof);
    let seconds = PATIENCE.as_secs();
    match (is_silent, &target.tls) {
        (true, Some(_)) => {
            let text = format!("no answer within {seconds} s; perhaps it does not speak TLS at this port");
            io::Error::new(ErrorKind::TimedOut, text)
        }
        (false, None) if is_closed => io::Error::new(
            error.kind(),
            format!("{error}: the server closed the connection; perhaps it wants --tls at this port"),
        ),
        (true, None) => io::Error::new(ErrorKind::TimedOut, format!("no answer within {seconds} s")),
        _ => error,
    }
}

/// Finds name and version in the text of INFO.
fn version(info: &str) -> String {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let candidates = [
        ("shoal", "shoal_version:"),
        ("valkey", "valkey_version:"),
        ("dragonfly", "dragonfly_version:df-v"),
        ("redis", "redis_version:"),
    ];
    let found = candidates.iter().find_map(|(name, prefix)| Some(format!("{name} {}", field(prefix)?)));
    found.unwrap_or_default()
}

/// Sends a command and returns the bytes of its reply.
pub fn ask(socket: &mut Blocking, command: &[u8], target: &Target) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Connect { address: target.name.clone(), source: explain(source, target) };
    socket.write_all(command).map_err(failed)?;
    let (mut framer, mut reply, mut fed) = (Framer::default(), Vec::new(), 0);
    let mut buffer = [0; 4096];
    loop {
        let count = socket.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        reply.extend_from_slice(&buffer[..count]);
        let whole = framer
            .next(&reply, &mut fed)
            .map_err(|wrong| Error::Protocol { address: target.name.clone(), message: wrong.0 })
            .map_err(|error| {
                if is_alert(&reply, target) { failed(ErrorKind::ConnectionReset.into()) } else { error }
            })?;
        if whole.is_some() {
            return Ok(reply);
        }
    }
}

/// True if a plain connection was answered by a message of TLS that refuses it.
fn is_alert(reply: &[u8], target: &Target) -> bool {
    const ALERT: &[u8] = &[21, 3];
    target.tls.is_none() && reply.starts_with(ALERT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_optional() {
        for (name, address) in [
            ("127.0.0.1", "127.0.0.1:6379"),
            ("127.0.0.1:7000", "127.0.0.1:7000"),
            ("[::1]:7000", "[::1]:7000"),
            ("[::1]", "[::1]:6379"),
        ] {
            let name = if name == "[::1]" { "[::1]:6379" } else { name };
            assert_eq!(Target::resolve(name).unwrap().address.to_string(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_not_looked_up() {
        for (name, what) in [
            ("", "'' is no address: write HOST:PORT"),
            (":7000", "':7000' is no address: write HOST:PORT"),
            ("h:", "'h:' is no address: write HOST:PORT"),
            ("h:99999", "'h:99999' is no address: write HOST:PORT"),
            ("h:7000/0", "'h:7000/0' is no address: write HOST:PORT"),
            ("redis://h:7000", "'redis://h:7000' is an URI: write HOST:PORT"),
            ("h:1,h:2", "'h:1,h:2' is a list where one server is wanted: write HOST:PORT"),
        ] {
            assert_eq!(Target::resolve(name).unwrap_err().to_string(), what);
        }
        assert_eq!(Target::resolve("::1").unwrap().address.to_string(), "[::1]:6379");
    }

    #[test]
    fn opening_commands_come_in_order() {
        let opening =
            Opening { resp3: true, user: Some("u".into()), password: Some("p".into()), database: 3 };
        let text: Vec<String> =
            opening.commands().into_iter().map(|command| String::from_utf8(command).unwrap()).collect();
        assert_eq!(text[0], "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n");
        assert!(text[1].contains("HELLO") && text[2].contains("SELECT"));
        assert!(Opening::default().commands().is_empty());
    }

    #[test]
    fn versions_are_found() {
        assert_eq!(version("# Server\r\nredis_version:7.0.15\r\n"), "redis 7.0.15");
        assert_eq!(version("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"), "valkey 8.0.1");
        assert_eq!(version("-ERR unknown command"), "");
    }

    #[test]
    fn silence_and_plain_answers_are_told() {
        let mut target = Target::resolve("127.0.0.1:1").unwrap();
        let told = |target: &Target| explain(ErrorKind::WouldBlock.into(), target).to_string();
        assert_eq!(told(&target), "no answer within 10 s");
        let wanted = crate::tls::Wanted { insecure: true, ..crate::tls::Wanted::default() };
        target.tls = Some(Tls::new(&wanted).unwrap());
        assert_eq!(told(&target), "no answer within 10 s; perhaps it does not speak TLS at this port");
        let other = explain(ErrorKind::ConnectionReset.into(), &target);
        assert_eq!(other.kind(), ErrorKind::ConnectionReset);

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        target.address = listener.local_addr().unwrap();
        let server =
            std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"-ERR Protocol error\r\n"));
        let error = look_at(&target, &Opening::default(), &Arc::default()).unwrap_err().to_string();
        assert!(error.contains("it does not speak TLS at this port"), "{error}");
        server.join().unwrap().unwrap();
    }

    #[test]
    fn what_a_plain_connection_lacks_is_told() {
        for (answer, hint) in [
            (&b""[..], "perhaps it wants --tls"),
            (b"\x15\x03\x03\x00\x02\x02\x0a\n", "perhaps it wants --tls"),
            (
                b"-NOAUTH Authentication required.\r\n",
                "NOAUTH Authentication required. (give it with --password)",
            ),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let target = Target::resolve(&listener.local_addr().unwrap().to_string()).unwrap();
            let server = std::thread::spawn(move || {
                let mut socket = listener.accept().unwrap().0;
                let asked = socket.read(&mut [0; 100]);
                asked.and_then(|_| socket.write_all(answer))
            });
            let error = look_at(&target, &Opening::default(), &Arc::default()).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
            server.join().unwrap().unwrap();
        }
    }

    #[test]
    fn nobody_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let name = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error =
            look_at(&Target::resolve(&name).unwrap(), &Opening::default(), &Arc::default()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot connect to {name}")), "{error}");
    }
}
