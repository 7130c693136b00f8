//! The text scripts against a whole node: socket, session, dispatch.

use shoal_net::{Control, HostPort, shutdown};
use shoal_node::launch::{self, NodeSettings};
use shoal_testkit::{Tcp, script};

#[test]
fn a_node_follows_the_scripts() {
    let control = Control::start("test-control").unwrap();
    let (trigger, shutdown) = shutdown::channel();
    let settings = NodeSettings { threads: 2, ..NodeSettings::new(HostPort::new("127.0.0.1", 0)) };
    let node = launch::start(settings, &control, &shutdown, || {}).unwrap();
    let mut target = Tcp::new("node", node.resp).unwrap();
    let summary = script::run_dir(&mut target, &script::directory()).unwrap();
    trigger.fire();
    drop(node);
    summary.assert();
}
