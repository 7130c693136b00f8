//! A node without a cluster: no lease, no view, no control plane. What belonging to a cluster costs each command is the
//! difference to a `shoal-node` under the same load.
//!
//! ```text
//! cargo run --release -p shoal-node --example bare -- 127.0.0.1:7001
//! shoal-loadtest compare -A bare=127.0.0.1:7001 -B node=127.0.0.1:7000 --preload
//! ```

use std::{net::TcpListener, time::Duration};

use shoal_node::{
    config::Config,
    server::{self, Shared, Wiring},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    let config = Config::default();
    let shared = Shared::new(config.store_settings(), config, Wiring::none(), false);
    let _node = server::start(shared, TcpListener::bind(&address)?, 1)?;
    println!("listens on {address}");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
