//! The text scripts against the in-memory core: store and handlers without session or socket.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use shoal_node::{
    command::{Scope, dispatch::Dispatch},
    store::{Settings, Store},
};
use shoal_proto::resp::{Protocol, Reply, request::OwnedArgs};
use shoal_testkit::{Frame, Target, script};

/// Store and dispatch, with as much of a session as the scripts need.
struct Core {
    store: Store,
    dispatch: Dispatch,
    db: u8,
    protocol: Protocol,
}

impl Core {
    fn new() -> Self {
        let store = Store::new(Settings::default());
        Self { store, dispatch: Dispatch::default(), db: 0, protocol: Protocol::Resp2 }
    }

    /// `SELECT` belongs to the session, which the core has not; scripts need it to reach other databases.
    fn select(&mut self, index: &[u8]) -> Frame {
        match std::str::from_utf8(index).ok().and_then(|text| text.parse::<i64>().ok()) {
            None => Frame::Error(b"ERR value is not an integer or out of range".to_vec()),
            Some(db @ 0..16) => {
                self.db = db as u8;
                Frame::Simple(b"OK".to_vec())
            }
            Some(_) => Frame::Error(b"ERR DB index is out of range".to_vec()),
        }
    }
}

impl Target for Core {
    fn name(&self) -> &str {
        "core"
    }

    fn begin(&mut self) -> io::Result<()> {
        drop(self.store.flush(None, |_, _| {}).expect("no slot is held"));
        self.db = 0;
        self.protocol = Protocol::Resp2;
        Ok(())
    }

    fn call(&mut self, args: &[Vec<u8>]) -> io::Result<Frame> {
        if args.len() == 2 && args[0].eq_ignore_ascii_case(b"SELECT") {
            return Ok(self.select(&args[1]));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let scope = Scope {
            db: self.db,
            now: now.as_millis() as u64,
            touch: true,
            within: None,
            alone: true,
            waits: None,
            landed: None,
        };
        let request = OwnedArgs::new(args);
        let mut out = Vec::new();
        self.dispatch.execute(&self.store, scope, request.args(), &mut Reply::new(&mut out, self.protocol));
        Frame::parse(&out)
    }

    fn speak(&mut self, version: u8) -> io::Result<()> {
        self.protocol = if version == 3 { Protocol::Resp3 } else { Protocol::Resp2 };
        Ok(())
    }

    fn configure(&mut self, name: &str, value: &str) -> io::Result<String> {
        let mut settings = self.store.settings();
        let old = configure(&mut settings, name, value)?;
        self.store.configure(|s| *s = settings);
        Ok(old)
    }
}

/// Sets one of the settings that data commands read; its former value.
fn configure(settings: &mut Settings, name: &str, value: &str) -> io::Result<String> {
    use shoal_node::store::Policy;
    let unknown = || io::Error::other(format!("the core has no setting '{name}', or not this value"));
    let number: Result<usize, _> = value.parse().map_err(|_| unknown());
    let set = |field: &mut usize| Ok(std::mem::replace(field, number?).to_string());
    let e = &mut settings.encodings;
    match name.replace("ziplist", "listpack").as_str() {
        "hash-max-listpack-entries" => set(&mut e.hash_entries),
        "hash-max-listpack-value" => set(&mut e.hash_value),
        "set-max-intset-entries" => set(&mut e.set_intset_entries),
        "set-max-listpack-entries" => set(&mut e.set_entries),
        "set-max-listpack-value" => set(&mut e.set_value),
        "zset-max-listpack-entries" => set(&mut e.zset_entries),
        "zset-max-listpack-value" => set(&mut e.zset_value),
        "proto-max-bulk-len" => set(&mut settings.max_string),
        "list-max-listpack-size" => {
            Ok(std::mem::replace(&mut e.list_size, value.parse().map_err(|_| unknown())?).to_string())
        }
        "list-compress-depth" => {
            Ok(std::mem::replace(&mut e.list_compress_depth, value.parse().map_err(|_| unknown())?)
                .to_string())
        }
        "maxmemory" => {
            Ok(std::mem::replace(&mut settings.maxmemory, value.parse().map_err(|_| unknown())?).to_string())
        }
        "maxmemory-policy" => {
            let policy = Policy::parse(value).ok_or_else(unknown)?;
            Ok(std::mem::replace(&mut settings.policy, policy).name().to_owned())
        }
        _ => Err(unknown()),
    }
}

#[test]
fn the_core_follows_the_scripts() {
    script::run_dir(&mut Core::new(), &script::directory()).unwrap().assert();
}
