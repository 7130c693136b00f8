//! `HOST:PORT` as people write it, and the ports that follow from one given port.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Gossip's port minus the RESP port, before wrapping.
pub const GOSSIP_OFFSET: u16 = 10_000;

/// The admin port minus the RESP port, before wrapping.
pub const ADMIN_OFFSET: u16 = 20_000;

/// A host, by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A DNS name or an IP address; IPv6 without brackets.
    pub host: String,
    /// 0 lets the system choose, where that makes sense.
    pub port: u16,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `:PORT` at the end.
    #[error("expected HOST:PORT, for example 127.0.0.1:7000, but got '{0}'")]
    NoPort(String),
    /// The port is not a number below 65536.
    #[error("'{0}' is not a port number")]
    BadPort(String),
    /// Colons in the host that are not an address in brackets.
    #[error("write IPv6 addresses in brackets, for example [::1]:7000, not '{0}'")]
    NoBrackets(String),
}

impl HostPort {
    /// From parts.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The same host with the port that is derived from this one.
    pub fn derived(&self, offset: u16) -> Self {
        Self { host: self.host.clone(), port: derived_port(self.port, offset) }
    }

    /// All addresses the host has at present. Asks the system's resolver each time.
    ///
    /// # Errors
    /// When the name does not resolve.
    pub async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let mut addrs: Vec<SocketAddr> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        addrs.sort();
        addrs.dedup();
        Ok(addrs)
    }
}

/// A port `offset` above `port`, wrapped so that it is neither privileged nor too high. 0 stays 0.
pub fn derived_port(port: u16, offset: u16) -> u16 {
    if port == 0 {
        return 0;
    }
    let beyond = (u32::from(port) + u32::from(offset)).saturating_sub(1024) % 64_512;
    1024 + beyond as u16
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inside) => inside,
            None if host.contains(':') => return Err(AddressError::NoBrackets(text.to_owned())),
            None => host,
        };
        if host.is_empty() || port.is_empty() {
            return Err(AddressError::NoPort(text.to_owned()));
        }
        let port = port.parse().map_err(|_| AddressError::BadPort(port.to_owned()))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl From<SocketAddr> for HostPort {
    fn from(addr: SocketAddr) -> Self {
        Self { host: addr.ip().to_string(), port: addr.port() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_back() {
        for (text, host, port) in [
            ("127.0.0.1:7000", "127.0.0.1", 7000),
            ("[::1]:7", "::1", 7),
            ("node-0.shoal:0", "node-0.shoal", 0),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!(parsed, HostPort::new(host, port));
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, error) in [
            ("7000", "expected HOST:PORT, for example 127.0.0.1:7000, but got '7000'"),
            (":7000", "expected HOST:PORT, for example 127.0.0.1:7000, but got ':7000'"),
            ("a:70000", "'70000' is not a port number"),
            ("::1:7000", "write IPv6 addresses in brackets, for example [::1]:7000, not '::1:7000'"),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn derived_ports_stay_in_range() {
        assert_eq!(derived_port(7000, GOSSIP_OFFSET), 17_000);
        assert_eq!(derived_port(6379, ADMIN_OFFSET), 26_379);
        assert_eq!(derived_port(0, GOSSIP_OFFSET), 0);
        assert_eq!(derived_port(60_000, GOSSIP_OFFSET), 1024 + 4464);
        for port in 1..=u16::MAX {
            assert!(derived_port(port, ADMIN_OFFSET) >= 1024);
        }
    }
}
