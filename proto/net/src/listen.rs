//! Opening listening sockets, with errors that say what to do.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::address::HostPort;

/// Connections the system may hold before we accept them. Linux caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// How often a free pair of ports is looked for. With thousands of free ports one attempt nearly always does.
const PAIR_ATTEMPTS: usize = 32;

/// A socket that could not be opened. Nothing else has happened: the process should say so and exit.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason} (give another with {flag})")]
pub struct ListenError {
    address: HostPort,
    reason: String,
    flag: &'static str,
}

impl ListenError {
    fn new(address: &HostPort, flag: &'static str, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => "address already in use".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
            _ => error.to_string(),
        };
        Self { address: address.clone(), reason, flag }
    }
}

/// Listens for TCP connections; the socket does not block. `flag` is the option that chose the address.
///
/// # Errors
/// When that is not possible, with a sentence for the user.
pub fn tcp(address: &HostPort, flag: &'static str) -> Result<TcpListener, ListenError> {
    let open = |addr| open_tcp(addr);
    first_of(address, open).map_err(|e| ListenError::new(address, flag, &e))
}

/// A TCP listener and a UDP socket on the same port, as gossip needs them; neither blocks.
///
/// # Errors
/// When there is no such pair, with a sentence for the user.
pub fn tcp_and_udp(address: &HostPort, flag: &'static str) -> Result<(TcpListener, UdpSocket), ListenError> {
    let open = |addr: SocketAddr| {
        let mut attempts = if addr.port() == 0 { PAIR_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            let tcp = open_tcp(addr)?;
            match open_udp(tcp.local_addr()?) {
                Ok(udp) => return Ok((tcp, udp)),
                Err(error) if attempts == 0 => return Err(error),
                Err(_) => {}
            }
        }
    };
    first_of(address, open).map_err(|e| ListenError::new(address, flag, &e))
}

/// The first address of the host that can be opened.
fn first_of<T>(address: &HostPort, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in (address.host.as_str(), address.port).to_socket_addrs()? {
        match open(addr) {
            Ok(opened) => return Ok(opened),
            Err(e) => error = e,
        }
    }
    Err(error)
}

fn open_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn open_udp(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named_with_its_flag() {
        let first = tcp(&"127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
        let port = first.local_addr().unwrap().port();
        let error = tcp(&HostPort::new("127.0.0.1", port), "--admin").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot listen on 127.0.0.1:{port}: address already in use (give another with --admin)")
        );
    }

    #[test]
    fn a_pair_shares_its_port() {
        let (tcp, udp) = tcp_and_udp(&"127.0.0.1:0".parse().unwrap(), "--gossip").unwrap();
        assert_eq!(tcp.local_addr().unwrap(), udp.local_addr().unwrap());
        let again = HostPort::from(tcp.local_addr().unwrap());
        assert!(tcp_and_udp(&again, "--gossip").is_err());
    }

    #[test]
    fn a_foreign_address_is_said_to_be_one() {
        let error = tcp(&"192.0.2.1:0".parse().unwrap(), "--listen").unwrap_err();
        assert!(error.to_string().contains("this machine does not have that address"), "{error}");
    }
}
