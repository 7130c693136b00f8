//! A node in the test's own process.

use std::net::TcpListener;

use shoal_node::{
    config::Config,
    server::{self, Node, Shared, Wiring},
};

/// A node of its own with default settings and one thread.
pub(crate) fn start() -> Node {
    start_with(&[])
}

/// The same with these settings.
pub(crate) fn start_with(settings: &[(&str, &str)]) -> Node {
    let config = Config::default();
    for (name, value) in settings {
        config.set_at_start(name, value).expect("a setting");
    }
    let shared = Shared::new(config.store_settings(), config, Wiring::none(), false);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    server::start(shared, listener, 1).expect("the node is up")
}
