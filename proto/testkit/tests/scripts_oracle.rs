//! The scripts against a real redis-server: they must describe Redis, not what we think of it.

use shoal_testkit::{Tcp, process, script};

#[test]
fn scripts_describe_redis() {
    let Some(mut server) = process::redis_server() else { return };
    let mut client = server.client().unwrap();
    println!("redis-server {}", process::version(&mut client).unwrap());
    let mut target = Tcp::new("redis", server.address()).unwrap();
    let summary = script::run_dir(&mut target, &script::directory()).unwrap();
    server.kill().unwrap();
    summary.assert();
}
