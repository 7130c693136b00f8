//! The way of one checked connection through a cluster: each request to the owner of its slot, after redirects.
//!
//! A request is sent again only where a node said that it did not execute it, or where it could not be sent at all.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::driver::Settings;
use crate::answer::{self, Answer};
use crate::cluster::redirect::Redirect;
use crate::line::Line;
use crate::target::encode;

/// How long a request rests that no node wants now.
const REST: Duration = Duration::from_millis(5);

/// The nodes as one client knows them.
pub(super) struct Way<'a> {
    settings: &'a Settings,
    lines: HashMap<SocketAddr, Line>,
    owners: HashMap<u16, SocketAddr>,
    /// Which of the nodes known from the start is asked where nothing better is known.
    home: usize,
}

impl<'a> Way<'a> {
    pub(super) fn new(settings: &'a Settings, number: u32) -> Self {
        Self { settings, lines: HashMap::new(), owners: HashMap::new(), home: number as usize }
    }

    /// Sends a request and returns its answer. After an error the request may have been executed or not.
    pub(super) fn ask(&mut self, slot: u16, request: &[u8]) -> io::Result<Answer> {
        let began = Instant::now();
        let deadline = began + self.settings.patience.now();
        let mut detour = None;
        let late = loop {
            if let Some(late) = self.settings.patience.is_over(began) {
                break late;
            }
            let homes = &self.settings.addresses;
            let known = self.owners.get(&slot).copied();
            let (address, asking) = match detour.take() {
                Some(address) => (address, true),
                None => (known.unwrap_or(homes[self.home % homes.len()]), false),
            };
            if let Err(error) = self.connect(address) {
                // Nothing was sent, so another node may tell the way.
                self.owners.remove(&slot);
                self.home += 1;
                if self.settings.addresses.len() == 1 && Instant::now() + REST >= deadline {
                    return Err(error);
                }
                std::thread::sleep(REST);
                continue;
            }
            let answer = self.exchange(address, request, asking);
            let text = match answer {
                Ok(Answer::Error(text)) => text,
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.lines.remove(&address);
                    self.owners.remove(&slot);
                    self.home += 1;
                    return Err(error);
                }
            };
            match Redirect::parse(text.as_bytes()) {
                None => return Ok(Answer::Error(text)),
                Some(Redirect::TryAgain) => std::thread::sleep(REST),
                Some(Redirect::Moved { to, .. }) => {
                    let Some(owner) = resolve(&to, address) else { return Ok(Answer::Error(text)) };
                    if owner == address {
                        std::thread::sleep(REST);
                    }
                    self.owners.insert(slot, owner);
                }
                Some(Redirect::Ask { to }) => {
                    let Some(other) = resolve(&to, address) else { return Ok(Answer::Error(text)) };
                    detour = Some(other);
                }
            }
        };
        Err(late)
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<()> {
        if !self.lines.contains_key(&address) {
            self.lines.insert(address, self.settings.line_to(address)?);
        }
        Ok(())
    }

    fn exchange(&mut self, address: SocketAddr, request: &[u8], asking: bool) -> io::Result<Answer> {
        let line = self.lines.get_mut(&address).ok_or(io::ErrorKind::NotConnected)?;
        if asking {
            line.socket.write_all(&encode(&["ASKING"]))?;
        }
        line.socket.write_all(request)?;
        if asking {
            answer::read(&mut line.reader)?;
        }
        answer::read(&mut line.reader)
    }
}

/// The address of `host:port`; without a host it is the teller's.
fn resolve(name: &str, teller: SocketAddr) -> Option<SocketAddr> {
    let (host, port) = name.rsplit_once(':')?;
    let port = port.parse().ok()?;
    if host.is_empty() {
        return Some(SocketAddr::new(teller.ip(), port));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host, port).to_socket_addrs().ok()?.next()
}
