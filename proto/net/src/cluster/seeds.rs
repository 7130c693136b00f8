//! The seeds: where to ask for a cluster. Names are resolved anew at each attempt.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use shoal_proto::bus::{Members, Verb};
use tokio::task::JoinSet;

use super::shared::Shared;
use crate::address::HostPort;
use crate::bus;

/// How long a seed may take to answer.
const LIMIT: Duration = Duration::from_millis(1500);

/// Most addresses that are asked in one attempt, however many a name has.
const MAX_ADDRESSES: usize = 64;

/// What one round of asking all seeds gave.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Those who answered, without ourselves, with the address that reached them.
    pub answers: Vec<(SocketAddr, Members)>,
    /// Seeds that do not resolve and addresses that do not answer, with the reason.
    pub silent: Vec<String>,
}

/// Asks every address of every seed.
pub(super) async fn ask_all(seeds: &[HostPort], shared: &Shared, resp: SocketAddr) -> Round {
    let mut round = Round::default();
    let mut addrs = Vec::new();
    for seed in seeds {
        match seed.resolve().await {
            Ok(found) if found.is_empty() => round.silent.push(format!("{seed}: no address")),
            Ok(found) => addrs.extend(found),
            Err(error) => round.silent.push(format!("{seed}: {error}")),
        }
    }
    addrs.sort();
    addrs.dedup();
    addrs.truncate(MAX_ADDRESSES);
    let mut calls = JoinSet::new();
    for addr in addrs.into_iter().filter(|addr| !is_own(*addr, &[shared.gossip, resp])) {
        let hello = shared.hello();
        calls.spawn(async move { (addr, bus::call::<Members>(addr, Verb::Members, &hello, LIMIT).await) });
    }
    while let Some(call) = calls.join_next().await {
        match call {
            Ok((_, Ok(members))) if members.process == shared.process => {}
            Ok((addr, Ok(members))) => round.answers.push((addr, members)),
            Ok((addr, Err(error))) => round.silent.push(format!("{addr}: {error}")),
            Err(error) => round.silent.push(error.to_string()),
        }
    }
    round.answers.sort_by_key(|(addr, _)| *addr);
    round.silent.sort();
    round
}

/// Whether `addr` is one of the addresses we listen on, as far as can be told without asking.
fn is_own(addr: SocketAddr, listening: &[SocketAddr]) -> bool {
    listening.iter().any(|own| {
        own.port() == addr.port()
            && (own.ip() == addr.ip() || (own.ip().is_unspecified() && is_local(addr.ip())))
    })
}

/// Whether this machine has the address: only then can it be bound.
fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_recognized() {
        let own = ["0.0.0.0:7000".parse().unwrap(), "127.0.0.1:17000".parse().unwrap()];
        assert!(is_own("127.0.0.1:7000".parse().unwrap(), &own));
        assert!(is_own("127.0.0.1:17000".parse().unwrap(), &own));
        assert!(!is_own("127.0.0.1:7001".parse().unwrap(), &own));
        assert!(!is_own("192.0.2.7:7000".parse().unwrap(), &own));
    }
}
