//! Putting a router together: listener, view watch, workers, admin port, and embedded nodes if there is nobody to
//! join.

use std::{
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use shoal_net::{
    Control, HostPort, OpenFiles, Shutdown, ViewWatch,
    admin::{self, Admin, Check},
    listen, shutdown,
    telemetry::{self, Kind, Metric, PrometheusHandle},
};

use shoal_proto::view::View;

use crate::{
    Router, RouterHandle, Settings, Views,
    admission::Admission,
    flags::{CliWhenDown, RouterFlags},
};

/// How long the embedded nodes may take to find each other before clients are let in anyway.
const FIRST_VIEW: Duration = Duration::from_secs(5);

/// How often the exported metrics follow the workers' counters.
const EXPORT_EVERY: Duration = Duration::from_secs(1);

/// How long it may take to find the nodes before the log says that they are not there.
const SOON: Duration = Duration::from_secs(1);

/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(20);

/// Most clients of an embedded node.
const NODE_CLIENTS: usize = 10_000;

/// Event queues of a thread, and its connections to nodes.
const FILES_PER_THREAD: usize = 64;

/// Nodes that live in this process.
#[cfg(feature = "embedded")]
type Nodes = Vec<shoal_node::launch::Running>;
#[cfg(not(feature = "embedded"))]
type Nodes = Vec<std::convert::Infallible>;

/// Runs a router until a signal or a client's `SHUTDOWN`.
///
/// `source` names who gave the value of a flag.
///
/// # Errors
/// One sentence for the user, when it cannot start.
pub fn run(flags: &RouterFlags, source: &dyn Fn(&str) -> String) -> Result<(), Box<dyn Error>> {
    let quiet = flags.common.join.is_empty() && flags.common.log_level == "info";
    // The page that is printed says what a first user wants to know; the nodes' log lines would bury it.
    telemetry::init_logs(if quiet { "warn" } else { &flags.common.log_level }, flags.common.log_format)?;
    let addresses = flags.common.addresses(&RouterFlags::default_listen());
    if flags.common.gossip.is_some() {
        tracing::warn!("a router does not take part in gossip: --gossip has no effect");
    }
    if !flags.common.join.is_empty() && flags.embedded.is_some() {
        let (embedded, join) = (source("embedded"), source("join"));
        return Err(format!("{embedded} starts nodes and {join} names others: give one of them").into());
    }
    if !flags.common.join.is_empty() && flags.copies.replicas > 0 {
        let replicas = source("replicas");
        return Err(format!("{replicas} is for embedded nodes: with --join, give it to the nodes").into());
    }
    for flag in flags.in_vain() {
        tracing::warn!("with --join there are no embedded nodes: {} has no effect", source(flag));
    }
    let listener = listen::tcp(&addresses.listen, "--listen")?;
    let bound = listener.local_addr()?;
    let control = Control::start("router-control")?;
    let (trigger, ending) = shutdown::channel();
    // Before anything counts, or the first counts are lost.
    let recorder = telemetry::init_metrics()?;
    describe_metrics();
    let (max_clients, of_node) = max_clients(flags);
    let nodes = embedded_nodes(flags, source, of_node, &control, &ending)?;
    let (views, task) = ViewWatch::start(seeds(flags, &nodes), ending.clone());
    control.spawn(task);
    let (admission, task) = Admission::start(settings(flags, max_clients), views.subscribe());
    control.spawn(task);
    let ready = Ready {
        views: views.clone(),
        misses: matches!(flags.when_down, CliWhenDown::Miss),
        admission: admission.clone(),
    };
    let admin = serve_admin(&addresses.admin, bound, recorder, ready.checks(), &control, &ending)?;
    if !nodes.is_empty() {
        await_first_view(&views, nodes.len(), &control)?;
    }
    let (stop, stopped) = shutdown::channel();
    let (doubted, refused, known) = (views.clone(), admission.clone(), views.clone());
    let source = Views {
        current: views.subscribe(),
        refresh: Box::new(move || {
            doubted.refresh();
            refused.doubt();
        }),
        ready: Box::new(move || known.ready().is_ok() && admission.check().is_ok()),
    };
    let (signal, signalled) = shutdown::channel();
    shutdown::on_signals(&control, signal)?;
    let router =
        Router::start(settings(flags, max_clients), vec![listener], source, Box::new(move || stop.fire()))?;
    print_page(&router, admin, &nodes);
    control.spawn(announce(ready, format!("{}, metrics and health on http://{admin}", router.addr())));
    let export = async move {
        let mut tick = tokio::time::interval(EXPORT_EVERY);
        loop {
            tokio::select! {
                _ = tick.tick() => router.record_metrics(),
                () = stopped.wait() => break,
                () = signalled.wait() => break,
            }
        }
        router
    };
    let router = control.run(export)?;
    router.stop();
    trigger.fire();
    drop(nodes);
    tracing::info!("stopped");
    Ok(())
}

/// What clients need to be served.
#[derive(Clone)]
struct Ready {
    views: ViewWatch,
    /// Whether what nobody can serve is a miss: clients are served without a majority then.
    misses: bool,
    admission: Admission,
}

impl Ready {
    fn view(&self) -> Result<(), String> {
        if self.misses { self.views.knows() } else { self.views.ready() }
    }

    fn all(&self) -> Result<(), String> {
        self.view()?;
        self.admission.check()
    }

    /// For `/readyz`.
    fn checks(&self) -> Vec<Check> {
        let (view, nodes) = (self.clone(), self.admission.clone());
        vec![Check::new("view", move || view.view()), Check::new("nodes", move || nodes.check())]
    }
}

/// Logs that clients can be served, when they can; and before that, if it takes long, what it waits for.
async fn announce(ready: Ready, place: String) {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(LOOK);
    let mut told = false;
    while let Err(why) = ready.all() {
        if !told && begun.elapsed() >= SOON {
            tracing::warn!("listening on {place}, but not ready: {why}");
            told = true;
        }
        tick.tick().await;
    }
    tracing::info!("ready on {place}");
}

/// How many clients the router may have, and each of its embedded nodes: they share the process's open files.
fn max_clients(flags: &RouterFlags) -> (usize, usize) {
    let wanted = flags.maxclients as usize;
    let nodes = usize::from(flags.embedded_nodes());
    let most = if nodes > 0 { wanted.max(NODE_CLIENTS) } else { wanted };
    let files = OpenFiles::new(flags.common.thread_count() * FILES_PER_THREAD, 1 + nodes);
    let room = files.fit(most);
    if room < wanted {
        tracing::warn!(
            "maxclients has been reduced to {room}, because {wanted} clients need more open files than this process may have; \
             raise 'ulimit -n'"
        );
    }
    (room.min(wanted), room.min(NODE_CLIENTS))
}

fn settings(flags: &RouterFlags, max_clients: usize) -> Settings {
    // An empty one is none, as in Redis.
    let given = |password: &Option<String>| password.clone().filter(|p| !p.is_empty());
    let (password, node_password) = (given(&flags.requirepass), given(&flags.node_password));
    // Embedded nodes have the router's own password, so that nobody goes round it.
    let embedded = password.clone().filter(|_| flags.common.join.is_empty());
    Settings {
        threads: flags.common.thread_count(),
        max_clients,
        password: password.map(String::into_bytes),
        upstream_password: node_password.or(embedded).map(String::into_bytes),
        cluster_view: flags.cluster_view.into(),
        patience: Duration::from_millis(flags.hold_ms.into()),
        when_down: flags.when_down.into(),
        max_held: flags.max_held as usize,
        ..Settings::default()
    }
}

#[cfg(feature = "embedded")]
fn embedded_nodes(
    flags: &RouterFlags,
    source: &dyn Fn(&str) -> String,
    max_clients: usize,
    control: &Control,
    ending: &Shutdown,
) -> Result<Nodes, Box<dyn Error>> {
    use shoal_node::{config::Config, memory_limit::Available};
    if !flags.common.join.is_empty() {
        return Ok(Vec::new());
    }
    let by = source("maxmemory");
    let given = flags.maxmemory.as_deref().map(|text| (text, by.as_str()));
    let maxmemory = Available::here()
        .maxmemory(given, flags.embedded_nodes())
        .map_err(|why| format!("{by} '{}': {why}", flags.maxmemory.as_deref().unwrap_or_default()))?;
    tracing::info!("maxmemory of each embedded node is {maxmemory}");
    if let Some(excess) = &maxmemory.excess {
        tracing::warn!("{excess}: the system may end the process");
    }
    let bytes = maxmemory.bytes.to_string();
    let max_clients = max_clients.to_string();
    let config = || {
        let config = Config::default();
        let given = [
            ("maxclients", Some(&max_clients)),
            ("maxmemory", Some(&bytes)),
            ("maxmemory-policy", Some(&flags.maxmemory_policy)),
            ("requirepass", flags.requirepass.as_ref()),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                config
                    .set_at_start(name, value)
                    .map_err(|why| format!("{} '{value}': {why}", source(name)))?;
            }
        }
        Ok(config)
    };
    let nodes = (config, flags.copies.replication());
    Ok(crate::embedded::start(flags.embedded_nodes(), "127.0.0.1", nodes, control, ending)?)
}

#[cfg(not(feature = "embedded"))]
fn embedded_nodes(
    flags: &RouterFlags,
    _: &dyn Fn(&str) -> String,
    _: usize,
    _: &Control,
    _: &Shutdown,
) -> Result<Nodes, Box<dyn Error>> {
    if flags.common.join.is_empty() {
        return Err(
            "this router was built without embedded nodes: say with --join which nodes to serve".into()
        );
    }
    Ok(Vec::new())
}

#[cfg(feature = "embedded")]
fn seeds(flags: &RouterFlags, nodes: &Nodes) -> Vec<HostPort> {
    if nodes.is_empty() {
        flags.common.join.clone()
    } else {
        nodes.iter().map(|n| HostPort::from(n.cluster.gossip_addr())).collect()
    }
}

#[cfg(not(feature = "embedded"))]
fn seeds(flags: &RouterFlags, _: &Nodes) -> Vec<HostPort> {
    flags.common.join.clone()
}

/// Waits until all embedded nodes are in the view and have their slots, so that the first command of a first user works.
fn await_first_view(views: &ViewWatch, nodes: usize, control: &Control) -> std::io::Result<()> {
    let mut views = views.subscribe();
    let complete = control.run(async move {
        let complete = |view: &Arc<View>| view.members.len() >= nodes && view.covers_all() && !view.moves();
        let all = views.wait_for(complete);
        tokio::time::timeout(FIRST_VIEW, all).await.is_ok_and(|found| found.is_ok())
    })?;
    if !complete {
        tracing::warn!("the embedded nodes have not all found each other yet");
    }
    Ok(())
}

/// Gives the recorder the help texts of everything that this process measures.
fn describe_metrics() {
    let counter = |(name, help): &(&'static str, &'static str)| Metric {
        name,
        kind: Kind::Counter,
        unit: metrics::Unit::Count,
        help,
    };
    let mut rows: Vec<Metric> = crate::METRICS.iter().map(counter).collect();
    rows.push(counter(&(
        "shoal_router_connections_rejected_total",
        "Clients refused because there were too many.",
    )));
    let gauge = |name, help| Metric { kind: Kind::Gauge, ..counter(&(name, help)) };
    rows.push(gauge("shoal_router_clients", "Clients at present."));
    rows.push(gauge(
        "shoal_router_cluster_ok",
        "1 while a majority of the nodes that vote answers, every slot has an owner and nodes let the router in; else 0.",
    ));
    telemetry::describe(&rows);
    #[cfg(feature = "embedded")]
    shoal_node::launch::describe_metrics();
}

fn serve_admin(
    address: &HostPort,
    bound: SocketAddr,
    recorder: PrometheusHandle,
    checks: Vec<Check>,
    control: &Control,
    ending: &Shutdown,
) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = listen::tcp(address, "--admin")?;
    let here = listener.local_addr()?;
    let admin = Admin {
        title: format!("shoal-router {} on {bound}", env!("CARGO_PKG_VERSION")),
        metrics: Some(recorder),
        checks,
    };
    let ending = ending.clone();
    control.spawn(async move {
        if let Err(error) = admin::serve(listener, admin, ending).await {
            tracing::error!(%error, "the admin port is gone");
        }
    });
    Ok(here)
}

/// What a person who started it by hand wants to know, if somebody reads it.
#[cfg(feature = "embedded")]
fn print_page(router: &RouterHandle, admin: SocketAddr, nodes: &Nodes) {
    use std::{fmt::Write as _, io::Write as _};
    if nodes.is_empty() {
        return;
    }
    let (host, port) = (router.addr().ip(), router.addr().port());
    let version = env!("CARGO_PKG_VERSION");
    let mut rows = String::new();
    for node in nodes {
        let count = node.shared.ownership().count();
        let _ = writeln!(rows, "  node     {}   {count} of 16384 hash slots", node.resp);
    }
    let page = format!(
        "Shoal {version} is ready: a router and {} in one process.\n
  router   {}    any Redis client
{rows}  admin    http://{admin}    /metrics /readyz\n
  try      redis-cli -h {host} -p {port} set hello world
           redis-cli -h {host} -p {port} --scan
           redis-cli -c -h {host} -p {} get hello
  stop     ^C\n\n",
        if nodes.len() == 1 { "1 cache node".to_owned() } else { format!("{} cache nodes", nodes.len()) },
        router.addr(),
        nodes[0].resp.port(),
    );
    // Not `println!`: it panics when nobody reads.
    let _ = std::io::stdout().write_all(page.as_bytes());
}

#[cfg(not(feature = "embedded"))]
fn print_page(_: &RouterHandle, _: SocketAddr, _: &Nodes) {}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn an_empty_password_is_none() {
        let passwords = |args: &[&str]| {
            let flags = RouterFlags::try_parse_from([&["shoal-router"], args].concat()).expect("flags");
            let settings = settings(&flags, 1);
            [settings.password, settings.upstream_password]
                .map(|p| p.map(|p| String::from_utf8(p).expect("text")))
        };
        assert_eq!(passwords(&["--requirepass", "", "--node-password", ""]), [None, None]);
        let both = Some("a".to_owned());
        assert_eq!(
            passwords(&["--requirepass", "a"]),
            [both.clone(), both.clone()],
            "embedded nodes have it, too"
        );
        assert_eq!(passwords(&["--requirepass", "a", "--node-password", ""]), [both.clone(), both.clone()]);
        assert_eq!(passwords(&["--requirepass", "a", "--join", "h:1"]), [both.clone(), None]);
        assert_eq!(passwords(&["--node-password", "a", "--join", "h:1"]), [None, both]);
    }
}
