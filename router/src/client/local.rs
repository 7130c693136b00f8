//! Commands that the router answers itself, as one server would.

use shoal_proto::{
    Error,
    command::{Entry, docs, info, table},
    error::Result,
    resp::{Args, Reply},
    session::{Cx, REDIS_VERSION, Session},
    slot::{SLOTS, key_slot},
    view::redis::{self, Node, Run},
};

use crate::{
    desk::Desk,
    settings::ClusterView,
    shared::{Shared, now_ms, since_epoch},
};

/// Whether a command changes what later commands of the connection mean.
pub(super) fn changes_connection(entry: &Entry) -> bool {
    matches!(entry.name.as_str(), "select" | "hello" | "reset" | "auth" | "quit" | "shutdown")
        || entry.name.starts_with("client|")
}

/// Writes the answer; arity was checked.
///
/// # Errors
/// As one Redis server would.
pub(super) fn answer(
    shared: &Shared,
    session: &mut Session,
    desk: &Desk,
    entry: &'static Entry,
    args: Args<'_>,
    out: &mut Reply<'_>,
) -> Result {
    if let Some(handler) = shared.sessions[usize::from(entry.id)] {
        // CLIENT LIST shows the command that asks.
        session.record.saw(entry.id, now_ms());
        let identity = shared.identity();
        let (registry, access) = (&shared.registry, &shared.access);
        return handler(&mut Cx { session, registry, access, identity, now: now_ms() }, args, out);
    }
    if let Some((container, sub)) = entry.name.split_once('|')
        && container != "command"
    {
        return match container {
            _ if sub == "help" => {
                docs::help(table().command(container.as_bytes()).unwrap_or(entry), out);
                Ok(())
            }
            "cluster" => cluster(shared, session, desk, sub, args, out),
            "shoal" => shoal(desk, sub, args, out),
            "module" if sub == "list" => {
                out.array(0);
                Ok(())
            }
            _ => Err(entry.unsupported()),
        };
    }
    match entry.name.split('|').next().unwrap_or_default() {
        "command" => info::command(args, out)?,
        // Nothing else of DEBUG is planned as the router's own.
        "debug" => {
            session.record.must_be_local()?;
            panic!("a client sent DEBUG PANIC");
        }
        "time" => {
            let now = since_epoch();
            out.array(2);
            out.bulk_int(now.as_secs() as i64);
            out.bulk_int(i64::from(now.subsec_micros()));
        }
        "role" => {
            out.array(3);
            out.bulk(b"master");
            out.int(0);
            out.array(0);
        }
        "lastsave" => out.int(shared.started_s() as i64),
        "lolwut" => out.verbatim(&lolwut()),
        "shutdown" => shutdown(shared, session, args)?,
        _ => return Err(entry.unsupported()),
    }
    Ok(())
}

fn lolwut() -> String {
    const FISH: &str = "      ><>   ><>  ><>\n   ><>  ><>  <o)))><  ><>\n     ><>   ><>  ><>   ><>\n";
    format!("{FISH}\nShoal ver. {} (Redis ver. {REDIS_VERSION})\n", env!("CARGO_PKG_VERSION"))
}

fn shutdown(shared: &Shared, session: &mut Session, args: Args<'_>) -> Result {
    for word in args.from(1).iter() {
        match word.to_ascii_lowercase().as_slice() {
            b"nosave" | b"save" | b"now" | b"force" => {}
            b"abort" => return Err(Error::text("ERR No shutdown in progress.")),
            _ => return Err(Error::Syntax),
        }
    }
    tracing::info!(client = %session.record.addr, "SHUTDOWN");
    (shared.stop)();
    session.closing = true;
    Ok(())
}

/// The nodes that `CLUSTER` names: the real ones, or this router as the only one.
fn nodes(shared: &Shared, session: &Session, desk: &Desk) -> Vec<Node> {
    if shared.settings.cluster_view == ClusterView::Nodes {
        return redis::nodes_of(&desk.routing.view, None);
    }
    // The address through which this client came is the one that it can use.
    let (host, port) = session.record.laddr.rsplit_once(':').unwrap_or(("127.0.0.1", "0"));
    vec![Node {
        id: shared.run_id.clone(),
        host: host.trim_matches(['[', ']']).to_owned(),
        port: port.parse().unwrap_or(shared.addr.port()),
        bus_port: 0,
        name: String::new(),
        ranges: vec![(0, SLOTS - 1)],
        myself: true,
    }]
}

/// Their slots, and who has copies.
fn runs(shared: &Shared, desk: &Desk, nodes: &[Node]) -> Vec<Run> {
    match shared.settings.cluster_view {
        ClusterView::Nodes => redis::runs_of(&desk.routing.view),
        ClusterView::Itself => redis::uncopied(nodes),
    }
}

fn cluster(
    shared: &Shared,
    session: &Session,
    desk: &Desk,
    sub: &str,
    args: Args<'_>,
    out: &mut Reply<'_>,
) -> Result {
    let epoch = desk.routing.view.epoch;
    match sub {
        "slots" => {
            let nodes = nodes(shared, session, desk);
            redis::slots(&nodes, &runs(shared, desk, &nodes), out);
        }
        "replicas" | "slaves" => {
            let nodes = nodes(shared, session, desk);
            let named = |node: &Node| node.id.as_bytes() == args.at(2);
            let Some(of) = nodes.iter().position(named) else {
                return Err(Error::owned(format!(
                    "ERR Unknown node {}",
                    String::from_utf8_lossy(args.at(2))
                )));
            };
            redis::replicas(&nodes, &runs(shared, desk, &nodes), of, epoch, out);
        }
        "shards" => redis::shards(&nodes(shared, session, desk), out),
        "nodes" => redis::nodes(&nodes(shared, session, desk), epoch, out),
        "info" => redis::info(&nodes(shared, session, desk), epoch, shared.is_ready(), out),
        "myid" | "myshardid" => out.bulk(shared.run_id.as_bytes()),
        "keyslot" => out.int(i64::from(key_slot(args.at(2)))),
        "links" => out.array(0),
        _ => return Err(Error::text("ERR This subcommand is answered by nodes only")),
    }
    Ok(())
}

/// What the router knows of the cluster, for people.
fn shoal(desk: &Desk, sub: &str, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let view = &desk.routing.view;
    // What nodes and routers ask of nodes.
    if matches!(sub, "view" | "members") && args.len() > 2 {
        return Err(Error::text("ERR this is a router and no node of a cluster: --join takes nodes"));
    }
    match sub {
        "view" => {
            let mut text = format!("cluster {:016x} epoch {}\n", view.cluster, view.epoch);
            for (first, last, owner) in view.runs() {
                let owner = owner.map_or("nobody", |m| m.name.as_str());
                text.push_str(&format!("slots {first}-{last} {owner}\n"));
            }
            out.verbatim(&text);
        }
        "members" => {
            let lines: Vec<String> = view
                .members
                .iter()
                .map(|m| format!("{} {}:{} {}\n", m.name, m.host, m.resp_port, m.id.hex()))
                .collect();
            out.verbatim(&lines.concat());
        }
        "upstream" => {
            let mut text = desk.troubles();
            for (_, upstream) in &desk.upstreams {
                let node = &desk.nodes[upstream.node as usize];
                text.push_str(&format!(
                    "{}:{} db={} resp={} ready={} unanswered={} bytes={}\n",
                    node.host,
                    node.port,
                    upstream.lane >> 1,
                    2 + (upstream.lane & 1),
                    u8::from(upstream.is_ready()),
                    upstream.log.len(),
                    upstream.log.held(),
                ));
            }
            out.verbatim(&text);
        }
        _ => return Err(Error::text("ERR This subcommand is answered by nodes only")),
    }
    Ok(())
}
