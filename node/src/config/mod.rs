//! The node's settings by name: what `CONFIG GET` shows and `CONFIG SET` changes.
//!
//! One table of parameters; each says how its text is checked, and `CONFIG SET` puts a change in force. Settings that
//! mean nothing here are still accepted, kept and returned, because tools set them.

mod buffers;
mod parameters;

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

pub(crate) use buffers::OutputLimit;
pub(crate) use parameters::memory;
use parameters::{Kind, PARAMETERS, Parameter};
use parking_lot::RwLock;
use shoal_net::OpenFiles;
use shoal_proto::{Error, error::Result, glob};

use crate::store::{Policy, Settings};

/// Settings by name, and copies of those that are read at every turn.
#[derive(Debug)]
pub struct Config {
    values: RwLock<BTreeMap<&'static str, String>>,
    max_clients: AtomicUsize,
    max_bulk_len: AtomicU64,
    query_buffer_limit: AtomicUsize,
    hold_timeout: AtomicU64,
    misses_when_down: AtomicBool,
    handoff_latency: AtomicU64,
    handoff_rates: [AtomicU64; 2],
    output_limit: buffers::Normal,
    /// What limits `maxclients`; nothing until a node is started with it.
    files: OnceLock<OpenFiles>,
}

impl Default for Config {
    fn default() -> Self {
        let values = PARAMETERS.iter().map(|p| (p.name, p.default.to_owned())).collect();
        Self {
            values: RwLock::new(values),
            max_clients: AtomicUsize::new(10_000),
            max_bulk_len: AtomicU64::new(512 << 20),
            query_buffer_limit: AtomicUsize::new(1 << 30),
            hold_timeout: AtomicU64::new(2500),
            misses_when_down: AtomicBool::new(false),
            handoff_latency: AtomicU64::new(2000),
            handoff_rates: [16 << 20, 0].map(AtomicU64::new),
            output_limit: buffers::Normal::default(),
            files: OnceLock::new(),
        }
    }
}

/// Finds a parameter by its name or its old name.
fn parameter(name: &str) -> Option<&'static Parameter> {
    PARAMETERS
        .iter()
        .find(|p| p.name.eq_ignore_ascii_case(name) || p.alias.is_some_and(|a| a.eq_ignore_ascii_case(name)))
}

impl Config {
    /// A setting's text.
    pub fn get(&self, name: &str) -> String {
        let known = parameter(name).map_or("", |p| p.name);
        self.values.read().get(known).cloned().unwrap_or_default()
    }

    /// Sets a parameter at start, before anything uses it: also those that cannot change later.
    ///
    /// # Errors
    /// A sentence when the value is not one of the parameter's.
    pub fn set_at_start(&self, name: &str, value: &str) -> std::result::Result<(), String> {
        let parameter = parameter(name).ok_or_else(|| format!("there is no setting '{name}'"))?;
        let text = parameter.kind.check(value)?;
        self.store(parameter, text);
        Ok(())
    }

    /// Fits `maxclients` to how many files may be open, now and whenever it is changed.
    pub fn limit_clients(&self, files: OpenFiles) {
        let (wanted, files) = (self.max_clients(), *self.files.get_or_init(|| files));
        let room = files.fit(wanted);
        if room < wanted {
            tracing::warn!(
                "maxclients has been reduced to {room}, because {wanted} clients need more open files than this process may \
                 have; raise 'ulimit -n'"
            );
            // It is in the table, and a smaller number is as valid.
            let _ = self.set_at_start("maxclients", &room.to_string());
        }
    }

    /// Whether as many files may be open as these clients need.
    fn files_for(&self, clients: &str) -> std::result::Result<(), String> {
        let (Some(files), Ok(wanted)) = (self.files.get(), clients.parse()) else { return Ok(()) };
        match files.fit(wanted) {
            room if room < wanted => Err(format!(
                "The operating system is not able to handle the specified number of clients, try with {room}"
            )),
            _ => Ok(()),
        }
    }

    fn store(&self, parameter: &'static Parameter, text: String) {
        match parameter.name {
            "maxclients" => self.max_clients.store(text.parse().unwrap_or(10_000), Relaxed),
            "proto-max-bulk-len" => self.max_bulk_len.store(text.parse().unwrap_or(512 << 20), Relaxed),
            "client-query-buffer-limit" => {
                self.query_buffer_limit.store(text.parse().unwrap_or(1 << 30), Relaxed)
            }
            "cluster-hold-timeout" => self.hold_timeout.store(text.parse().unwrap_or(2500), Relaxed),
            "cluster-when-down" => self.misses_when_down.store(text == "miss", Relaxed),
            "cluster-handoff-latency" => self.handoff_latency.store(text.parse().unwrap_or(2000), Relaxed),
            "cluster-handoff-min-rate" => {
                self.handoff_rates[0].store(text.parse().unwrap_or(16 << 20), Relaxed)
            }
            "cluster-handoff-max-rate" => self.handoff_rates[1].store(text.parse().unwrap_or(0), Relaxed),
            "client-output-buffer-limit" => self.output_limit.set(&text),
            "maxmemory-policy" => self.note_policy(&text),
            _ => {}
        }
        self.values.write().insert(parameter.name, text);
    }

    /// Says what is done under the name of a policy, where that is another one.
    fn note_policy(&self, name: &str) {
        let Some(policy) = Policy::parse(name) else { return };
        let effective = policy.effective().name();
        if effective != policy.name() {
            tracing::info!("maxmemory-policy {}: eviction follows {effective}", policy.name());
        }
        self.values.write().insert("maxmemory-policy-effective", effective.to_owned());
    }

    /// Names and values that match any of the patterns, aliases included.
    pub(crate) fn matching(&self, patterns: &[&[u8]]) -> Vec<(String, String)> {
        let values = self.values.read();
        let mut found = BTreeMap::new();
        for p in PARAMETERS {
            for name in std::iter::once(p.name).chain(p.alias) {
                if patterns.iter().any(|pattern| glob::matches_nocase(pattern, name.as_bytes())) {
                    found.insert(name.to_owned(), values.get(p.name).cloned().unwrap_or_default());
                }
            }
        }
        found.into_iter().collect()
    }

    /// Checks a whole `CONFIG SET`, then changes all of it; what was changed.
    pub(crate) fn change(&self, pairs: &[(&[u8], &[u8])]) -> Result<Vec<&'static str>> {
        let mut checked: Vec<(&'static Parameter, String)> = Vec::new();
        for (name, value) in pairs {
            let name = String::from_utf8_lossy(name).into_owned();
            let Some(parameter) = parameter(&name) else {
                return Err(Error::owned(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
                )));
            };
            let failed = |why: &str| {
                Error::owned(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
            };
            if parameter.fixed {
                return Err(failed("can't set immutable config"));
            }
            if checked.iter().any(|(p, _)| p.name == parameter.name) {
                return Err(failed("duplicate parameter"));
            }
            let value = String::from_utf8_lossy(value);
            let text = match parameter.kind {
                // Classes that are not named keep their limits.
                Kind::Buffers => buffers::change(&self.get(parameter.name), &value).map_err(failed)?,
                kind => kind.check(&value).map_err(|why| failed(&why))?,
            };
            if parameter.name == "maxclients" {
                self.files_for(&text).map_err(|why| failed(&why))?;
            }
            checked.push((parameter, text));
        }
        let names = checked.iter().map(|(p, _)| p.name).collect();
        checked.into_iter().for_each(|(parameter, text)| self.store(parameter, text));
        Ok(names)
    }

    /// The password, if one is set.
    pub fn password(&self) -> Option<Vec<u8>> {
        Some(self.get("requirepass").into_bytes()).filter(|p| !p.is_empty())
    }

    /// Most connections at a time.
    pub fn max_clients(&self) -> usize {
        self.max_clients.load(Relaxed)
    }

    /// Longest argument in bytes.
    pub fn max_bulk_len(&self) -> u64 {
        self.max_bulk_len.load(Relaxed)
    }

    /// Most bytes of one client that may wait to be executed.
    pub fn query_buffer_limit(&self) -> usize {
        self.query_buffer_limit.load(Relaxed)
    }

    /// What a client may leave unread.
    #[inline]
    pub(crate) fn output_limit(&self) -> OutputLimit {
        self.output_limit.get()
    }

    /// Longest time in ms for which a command waits for a slot or for the lease.
    pub fn hold_timeout(&self) -> u64 {
        self.hold_timeout.load(Relaxed)
    }

    /// Whether a read is answered after that time as if its keys were not there.
    pub(crate) fn misses_when_down(&self) -> bool {
        self.misses_when_down.load(Relaxed)
    }

    /// From when on a turn is so long that slots move more slowly.
    #[inline]
    pub(crate) fn handoff_latency(&self) -> Duration {
        match self.handoff_latency.load(Relaxed) {
            0 => Duration::MAX,
            micros => Duration::from_micros(micros),
        }
    }

    /// Bytes a second of slots to one peer: the least and the most, 0 being no limit.
    pub(crate) fn handoff_rates(&self) -> (u64, u64) {
        (self.handoff_rates[0].load(Relaxed), self.handoff_rates[1].load(Relaxed))
    }

    fn number<T: std::str::FromStr + Default>(&self, name: &str) -> T {
        self.get(name).parse().unwrap_or_default()
    }

    /// The store's settings as configured.
    pub fn store_settings(&self) -> Settings {
        let mut settings = Settings {
            maxmemory: self.number("maxmemory"),
            policy: Policy::parse(&self.get("maxmemory-policy")).unwrap_or(Policy::NoEviction),
            max_string: self.number("proto-max-bulk-len"),
            ..Settings::default()
        };
        let e = &mut settings.encodings;
        e.hash_entries = self.number("hash-max-listpack-entries");
        e.hash_value = self.number("hash-max-listpack-value");
        e.list_size = self.number("list-max-listpack-size");
        e.list_compress_depth = self.number("list-compress-depth");
        e.set_intset_entries = self.number("set-max-intset-entries");
        e.set_entries = self.number("set-max-listpack-entries");
        e.set_value = self.number("set-max-listpack-value");
        e.zset_entries = self.number("zset-max-listpack-entries");
        e.zset_value = self.number("zset-max-listpack-value");
        settings
    }
}

/// Whether a parameter's value is a password, which nobody is shown; `masterauth` is Redis's, of which clients may believe that it is here.
pub(crate) fn is_secret(name: &[u8]) -> bool {
    [&b"requirepass"[..], b"masterauth"].iter().any(|secret| name.eq_ignore_ascii_case(secret))
}
