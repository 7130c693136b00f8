//! The way of one checked connection through a cluster: each request to the owner of its slot, after redirects.
//!
//! A request is sent again only where a node said that it did not execute it, or where it could not be sent at all.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::driver::Settings;
use crate::answer::{Answer, is_unasked};
use crate::cluster::redirect::Redirect;
use crate::line::Line;
use crate::target::encode;
use crate::transport::Endpoint;

/// How long a request rests that no node wants now.
const REST: Duration = Duration::from_millis(5);

/// The nodes as one client knows them.
pub(super) struct Way<'a> {
    settings: &'a Settings,
    lines: HashMap<SocketAddr, Line>,
    owners: HashMap<u16, Endpoint>,
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
            let homes = &self.settings.servers;
            let known = self.owners.get(&slot);
            let (server, asking) = match detour.take() {
                Some(server) => (server, true),
                None => (known.unwrap_or(&homes[self.home % homes.len()]).clone(), false),
            };
            if let Err(error) = self.connect(&server) {
                // Nothing was sent, so another node may tell the way.
                self.owners.remove(&slot);
                self.home += 1;
                if homes.len() == 1 && Instant::now() + REST >= deadline {
                    return Err(error);
                }
                std::thread::sleep(REST);
                continue;
            }
            let answer = self.exchange(server.address, request, asking);
            let text = match answer {
                Ok(Answer::Error(text)) => text,
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.lines.remove(&server.address);
                    self.owners.remove(&slot);
                    self.home += 1;
                    return Err(error);
                }
            };
            match Redirect::parse(text.as_bytes()) {
                None => return Ok(Answer::Error(text)),
                Some(Redirect::TryAgain) => std::thread::sleep(REST),
                Some(Redirect::Moved { to, .. }) => {
                    let Some(owner) = server.called(&to) else { return Ok(Answer::Error(text)) };
                    if owner.address == server.address {
                        std::thread::sleep(REST);
                    }
                    self.owners.insert(slot, owner);
                }
                Some(Redirect::Ask { to }) => {
                    let Some(other) = server.called(&to) else { return Ok(Answer::Error(text)) };
                    detour = Some(other);
                }
            }
        };
        Err(late)
    }

    /// Makes sure that every connection is in step; those that are not, or that break, are given up.
    pub(super) fn in_step(&mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        self.lines.retain(|_, line| match line.in_step() {
            Ok(()) => true,
            Err(error) => {
                if outcome.is_ok() || is_unasked(&error) {
                    outcome = Err(error);
                }
                false
            }
        });
        outcome
    }

    fn connect(&mut self, server: &Endpoint) -> io::Result<()> {
        if !self.lines.contains_key(&server.address) {
            self.lines.insert(server.address, self.settings.line_to(server)?);
        }
        Ok(())
    }

    fn exchange(&mut self, address: SocketAddr, request: &[u8], asking: bool) -> io::Result<Answer> {
        let line = self.lines.get_mut(&address).ok_or(io::ErrorKind::NotConnected)?;
        if asking {
            line.send(&[&encode(&["ASKING"]), request].concat())?;
            line.answer()?;
        } else {
            line.send(request)?;
        }
        line.answer()
    }
}
