//! The text scripts against a router in front of three real nodes that find each other by gossip.

#![cfg(feature = "embedded")]

use std::time::Duration;

use shoal_net::{Control, HostPort, ViewWatch, listen, shutdown};
use shoal_node::launch::{self, NodeSettings, Running};
use shoal_router::{Router, Settings, Views};
use shoal_testkit::{Tcp, script};

#[test]
fn a_router_follows_the_scripts() {
    let control = Control::start("test-control").unwrap();
    let (trigger, ending) = shutdown::channel();
    let mut nodes: Vec<Running> = Vec::new();
    for i in 0..3 {
        let join = nodes.first().map(|n| HostPort::from(n.cluster.gossip_addr()));
        let settings = NodeSettings {
            join: join.into_iter().collect(),
            name: Some(format!("node-{i}")),
            ..NodeSettings::new(HostPort::new("127.0.0.1", 0))
        };
        nodes.push(launch::start(settings, &control, &ending, || {}).unwrap());
    }
    // A router knows a seed's RESP address, as a user would give it.
    let seeds = vec![HostPort::from(nodes[0].resp)];
    let (views, task) = ViewWatch::start(seeds, ending.clone());
    control.spawn(task);
    let mut current = views.subscribe();
    let complete = async move {
        let all = current.wait_for(|v| v.members.len() == 3 && v.covers_all() && !v.moves());
        tokio::time::timeout(Duration::from_secs(20), all).await.is_ok_and(|found| found.is_ok())
    };
    assert!(control.run(complete).unwrap(), "the nodes did not find each other");
    let listener = listen::tcp(&HostPort::new("127.0.0.1", 0), "--listen").unwrap();
    let source = Views { current: views.subscribe(), refresh: Box::new(|| {}), ready: Box::new(|| true) };
    let settings = Settings { threads: 2, ..Settings::default() };
    let router = Router::start(settings, vec![listener], source, Box::new(|| {})).unwrap();
    let mut target = Tcp::new("router", router.addr()).unwrap();
    let summary = script::run_dir(&mut target, &script::directory()).unwrap();
    router.stop();
    trigger.fire();
    drop(nodes);
    summary.assert();
}
