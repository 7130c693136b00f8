//! `CONFIG GET`, `SET`, `RESETSTAT`.

use std::sync::atomic::Ordering::Relaxed;

use shoal_proto::{
    Error,
    error::Result,
    resp::{Args, Reply},
};

use super::{Cx, Handlers, help};
use crate::{config::is_secret, heap, memory_limit::Available, server::Shared};

pub(super) const HANDLERS: Handlers =
    &[("config|get", get), ("config|set", set), ("config|resetstat", resetstat), ("config|help", help)];

fn get(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    let patterns: Vec<&[u8]> = args.from(2).iter().collect();
    let found = cx.shared.config.matching(&patterns);
    out.map(found.len());
    for (name, value) in found {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    Ok(())
}

fn set(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Reply<'_>) -> Result {
    if !args.len().is_multiple_of(2) {
        return Err(Error::Arity("config|set".into()));
    }
    let pairs: Vec<(&[u8], &[u8])> =
        (2..args.len()).step_by(2).map(|i| (args.at(i), args.at(i + 1))).collect();
    let changed = cx.shared.config.change(&pairs)?;
    apply(cx.shared, &changed);
    out.ok();
    Ok(())
}

/// Puts changed settings in force.
fn apply(shared: &Shared, changed: &[&str]) {
    let config = &shared.config;
    let number = |name: &str| config.get(name).parse::<i64>().unwrap_or_default();
    let settings = config.store_settings();
    shared.store.configure(|s| *s = settings);
    for name in changed {
        match *name {
            "maxmemory" => warn_of_excess(&config.get(name)),
            "requirepass" => shared.access.set_password(config.password()),
            "slowlog-log-slower-than" => shared.slow.threshold.store(number(name), Relaxed),
            "slowlog-max-len" => shared.slow.set_most(number(name).max(0) as u64),
            "latency-monitor-threshold" => {
                shared.latency.threshold.store(number(name).max(0) as u64, Relaxed)
            }
            _ => {}
        }
    }
    let said: Vec<String> = changed.iter().map(|name| said(name, &config.get(name))).collect();
    tracing::info!("CONFIG SET {}", said.join(", "));
}

/// Says if this limit is more than there is to share, as at the start.
fn warn_of_excess(bytes: &str) {
    let nodes = u16::try_from(heap::nodes()).unwrap_or(u16::MAX);
    let found = Available::here().maxmemory(Some((bytes, "CONFIG SET")), nodes);
    if let Some(excess) = found.ok().and_then(|maxmemory| maxmemory.excess) {
        tracing::warn!("{excess}: the system may end the process");
    }
}

/// A setting for the log, which is no place for passwords.
fn said(name: &str, value: &str) -> String {
    if is_secret(name.as_bytes()) { name.to_owned() } else { format!("{name} '{value}'") }
}

fn resetstat(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Reply<'_>) -> Result {
    cx.shared.totals.reset();
    cx.shared.store.reset_stats();
    out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn passwords_are_not_logged() {
        assert_eq!(said("maxmemory", "100"), "maxmemory '100'");
        assert_eq!(said("requirepass", "secret"), "requirepass");
    }
}
