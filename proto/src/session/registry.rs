//! All connections of a process, as `CLIENT LIST`, `KILL` and `PAUSE` see them.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{Error, command::table};

/// What everybody may know of one connection. Its owner writes, anybody reads; nothing is locked
/// on the hot path.
pub struct Record {
    /// Unique in the process, growing.
    pub id: u64,
    /// The peer, `host:port`.
    pub addr: String,
    /// Our end, `host:port`.
    pub laddr: String,
    /// When it was accepted, ms since 1970.
    pub created: u64,
    last: AtomicU64,
    command: AtomicU16,
    db: AtomicU8,
    resp: AtomicU8,
    /// Flag letters that are on: no-evict `e`, no-touch `T`, readonly `r`.
    flags: AtomicU8,
    /// Bytes waiting to be parsed, and to be sent.
    input: AtomicUsize,
    output: AtomicUsize,
    names: RwLock<Names>,
    killed: AtomicBool,
    kill: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Debug, Default, Clone)]
struct Names {
    name: String,
    lib_name: String,
    lib_ver: String,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("id", &self.id).field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Record {
    /// That the peer is this machine, for what only an operator may do (`enable-debug-command local`).
    ///
    /// # Errors
    /// Redis's text when it is not.
    pub fn must_be_local(&self) -> Result<(), Error> {
        match self.addr.parse::<SocketAddr>() {
            Ok(addr) if addr.ip().to_canonical().is_loopback() => Ok(()),
            _ => Err(NOT_LOCAL),
        }
    }
}

const NOT_LOCAL: Error = Error::text(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local \
     connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);

/// `CLIENT NO-EVICT ON`.
pub(super) const NO_EVICT: u8 = 1;
/// `CLIENT NO-TOUCH ON`.
pub(super) const NO_TOUCH: u8 = 2;
/// `READONLY`.
pub(super) const READONLY: u8 = 4;

impl Record {
    /// Registers how to end this connection from outside. Only the first call counts.
    pub fn on_kill(&self, kill: impl Fn() + Send + Sync + 'static) {
        // A second registration would be a second owner; the first one stands.
        let _ = self.kill.set(Box::new(kill));
    }

    /// Notes the last command of a batch; called once per batch.
    #[inline]
    pub fn saw(&self, command: u16, now: u64) {
        self.last.store(now, Ordering::Relaxed);
        self.command.store(command, Ordering::Relaxed);
    }

    /// Notes how many bytes wait in either direction.
    #[inline]
    pub fn buffered(&self, input: usize, output: usize) {
        self.input.store(input, Ordering::Relaxed);
        self.output.store(output, Ordering::Relaxed);
    }

    /// Notes database and RESP version.
    pub fn state(&self, db: u8, resp: u8) {
        self.db.store(db, Ordering::Relaxed);
        self.resp.store(resp, Ordering::Relaxed);
    }

    pub(super) fn flag(&self, flag: u8, on: bool) {
        if on {
            self.flags.fetch_or(flag, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag, Ordering::Relaxed);
        }
    }

    /// The name given by `CLIENT SETNAME`.
    pub fn name(&self) -> String {
        self.names.read().name.clone()
    }

    pub(super) fn set_name(&self, name: String) {
        self.names.write().name = name;
    }

    pub(super) fn set_library(&self, name: Option<String>, version: Option<String>) {
        let mut names = self.names.write();
        if let Some(name) = name {
            names.lib_name = name;
        }
        if let Some(version) = version {
            names.lib_ver = version;
        }
    }

    /// When the last batch of commands came, ms since 1970.
    pub fn last_seen(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Whether somebody killed it.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    pub(super) fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        if let Some(kill) = self.kill.get() {
            kill();
        }
    }

    /// The line that `CLIENT LIST` and `CLIENT INFO` show.
    pub(super) fn line(&self, now: u64) -> String {
        let names = self.names.read().clone();
        let flags = self.flags.load(Ordering::Relaxed);
        let letters: String = [(READONLY, 'r'), (NO_EVICT, 'e'), (NO_TOUCH, 'T')]
            .iter()
            .filter(|(bit, _)| flags & bit != 0)
            .map(|(_, letter)| *letter)
            .collect();
        let command = match self.command.load(Ordering::Relaxed) {
            u16::MAX => "NULL",
            id => table().entry(id).name.as_str(),
        };
        let (input, output) = (self.input.load(Ordering::Relaxed), self.output.load(Ordering::Relaxed));
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub=0 psub=0 ssub=0 multi=-1 \
             qbuf={input} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={output} oll=0 omem={output} \
             tot-mem={} events=r cmd={command} user=default redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.addr,
            self.laddr,
            self.id % 65536 + 8,
            names.name,
            now.saturating_sub(self.created) / 1000,
            now.saturating_sub(self.last_seen()) / 1000,
            if letters.is_empty() { "N" } else { &letters },
            self.db.load(Ordering::Relaxed),
            input + output + size_of::<Self>(),
            self.resp.load(Ordering::Relaxed),
            names.lib_name,
            names.lib_ver,
        )
    }
}

/// All connections of a process.
#[derive(Debug, Default)]
pub struct Registry {
    clients: Mutex<BTreeMap<u64, Arc<Record>>>,
    next_id: AtomicU64,
    count: AtomicUsize,
    /// Clients wait until then (ms since 1970); `paused_all` tells whether reads wait too.
    paused_until: AtomicU64,
    paused_all: AtomicBool,
}

impl Registry {
    /// No connections.
    pub fn new() -> Self {
        Self { next_id: AtomicU64::new(1), ..Self::default() }
    }

    /// Adds a connection.
    pub fn add(&self, addr: String, laddr: String, now: u64) -> Arc<Record> {
        let record = Arc::new(Record {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            addr,
            laddr,
            created: now,
            last: AtomicU64::new(now),
            command: AtomicU16::new(u16::MAX),
            db: AtomicU8::new(0),
            resp: AtomicU8::new(2),
            flags: AtomicU8::new(0),
            input: AtomicUsize::new(0),
            output: AtomicUsize::new(0),
            names: RwLock::default(),
            killed: AtomicBool::new(false),
            kill: OnceLock::new(),
        });
        self.clients.lock().insert(record.id, record.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        record
    }

    /// Removes a connection that ended.
    pub fn remove(&self, id: u64) {
        if self.clients.lock().remove(&id).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Arc<Record>> {
        self.clients.lock().values().cloned().collect()
    }

    /// Bytes of all that were read and not executed, or not sent yet.
    pub fn buffered(&self) -> usize {
        let of = |record: &Arc<Record>| {
            record.input.load(Ordering::Relaxed) + record.output.load(Ordering::Relaxed)
        };
        self.clients.lock().values().map(of).sum()
    }

    pub(super) fn pause(&self, until: u64, all: bool, now: u64) {
        // As in Redis: a pause that is running is only ever prolonged or made stricter.
        let running = self.paused_until.load(Ordering::Relaxed) > now;
        let all = all || (running && self.paused_all.load(Ordering::Relaxed));
        self.paused_all.store(all, Ordering::Relaxed);
        self.paused_until.fetch_max(until, Ordering::Relaxed);
    }

    pub(super) fn unpause(&self) {
        self.paused_until.store(0, Ordering::Relaxed);
        self.paused_all.store(false, Ordering::Relaxed);
    }

    /// Whether there may be a pause: a look that needs no clock, for every request.
    #[inline]
    pub fn may_be_paused(&self) -> bool {
        self.paused_until.load(Ordering::Relaxed) != 0
    }

    /// Until when a command has to wait, if it has to (`CLIENT PAUSE`).
    #[inline]
    pub fn paused(&self, writes: bool, now: u64) -> Option<u64> {
        let until = self.paused_until.load(Ordering::Relaxed);
        (until > now && (writes || self.paused_all.load(Ordering::Relaxed))).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_added_up() {
        let registry = Registry::new();
        let [a, b] = [1, 2].map(|n| registry.add(format!("10.0.0.1:{n}"), String::new(), 0));
        a.buffered(10, 20);
        b.buffered(0, 300);
        assert_eq!(registry.buffered(), 330);
        registry.remove(b.id);
        assert_eq!(registry.buffered(), 30);
    }

    #[test]
    fn operators_of_this_machine_are_told_from_others() {
        let registry = Registry::new();
        let local = |addr: &str| registry.add(addr.to_owned(), String::new(), 0).must_be_local().is_ok();
        for addr in ["127.0.0.1:5", "127.9.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            assert!(local(addr), "{addr}");
        }
        for addr in ["10.0.0.1:5", "[::ffff:10.0.0.1]:5", "[fe80::1]:5", "", "?:0"] {
            assert!(!local(addr), "{addr}");
        }
    }
}
