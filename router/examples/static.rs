//! A router in front of nodes that are given on the command line and own equal runs of slots: for measuring the data
//! path alone (`docs/benchmarks`), in front of any server that speaks RESP2.
//!
//! `static 127.0.0.1:7120 127.0.0.1:7211,127.0.0.1:7212,127.0.0.1:7213 [threads]`

use std::{net::TcpListener, process::ExitCode, sync::Arc};

use shoal_proto::view::{Member, NodeId, View};
use shoal_router::{Router, Settings, Views};
use tokio::sync::watch;

fn member(index: usize, address: &str) -> Option<Member> {
    let (host, port) = address.rsplit_once(':')?;
    Some(Member {
        id: NodeId { node: index as u64 + 1, boot: 1 },
        name: format!("node-{index}"),
        host: host.to_owned(),
        resp_port: port.parse().ok()?,
        gossip_port: 0,
        weight: 100,
        zone: String::new(),
        replication: Default::default(),
    })
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, listen, nodes, rest @ ..] = &args[..] else {
        eprintln!("usage: static HOST:PORT HOST:PORT,... [threads]");
        return ExitCode::FAILURE;
    };
    let Some(members) = nodes.split(',').enumerate().map(|(i, a)| member(i, a)).collect::<Option<Vec<_>>>()
    else {
        eprintln!("nodes are given as HOST:PORT,HOST:PORT");
        return ExitCode::FAILURE;
    };
    let listener = match TcpListener::bind(listen) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {listen}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let per = 16384usize.div_ceil(members.len());
    let owners: Vec<u16> = (0..16384).map(|slot| (slot / per) as u16).collect();
    let (_keep, current) = watch::channel(Arc::new(View::new(1, 1, members, &owners)));
    let threads = rest.first().and_then(|t| t.parse().ok()).unwrap_or(1);
    let settings = Settings { threads, upstream_handshake: false, ..Settings::default() };
    let main = std::thread::current();
    let views = Views { current, refresh: Box::new(|| {}), ready: Box::new(|| true) };
    let router = Router::start(settings, vec![listener], views, Box::new(move || main.unpark()));
    match router {
        Ok(router) => {
            std::thread::park();
            router.stop();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
