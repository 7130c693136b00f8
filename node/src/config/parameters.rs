//! The parameters, with Redis's names, defaults and checks.

use super::buffers;

/// How a parameter's text is checked, and the form in which it is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// `yes` or `no`.
    Flag,
    /// A number in a range.
    Number(i64, i64),
    /// Bytes, with units on input (`100mb`); kept as a number.
    Memory,
    /// Bytes a second, at least [`SLOWEST`]; if `true`, or 0 for no limit.
    Rate(bool),
    /// Bytes, or a percentage of them when negative (`maxmemory-clients`).
    MemoryOrPercent,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// Letters of notify-keyspace-events.
    Events,
    /// Limits of output buffers: class, hard limit, soft limit, seconds, any number of times.
    Buffers,
}

/// One row of `CONFIG GET *`.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) alias: Option<&'static str>,
    pub(crate) default: &'static str,
    pub(crate) kind: Kind,
    /// Only at start.
    pub(crate) fixed: bool,
}

const fn p(name: &'static str, default: &'static str, kind: Kind) -> Parameter {
    Parameter { name, alias: None, default, kind, fixed: false }
}

const fn aliased(name: &'static str, alias: &'static str, default: &'static str, kind: Kind) -> Parameter {
    Parameter { name, alias: Some(alias), default, kind, fixed: false }
}

const fn fixed(name: &'static str, default: &'static str, kind: Kind) -> Parameter {
    Parameter { name, alias: None, default, kind, fixed: true }
}

/// The slowest rate at which slots can be made to move, in bytes a second: one piece. Slower, they might as well stand still.
const SLOWEST: u64 = 64 << 10;

const ANY: Kind = Kind::Number(i64::MIN, i64::MAX);
const COUNT: Kind = Kind::Number(0, i64::MAX);
const INT: Kind = Kind::Number(0, i32::MAX as i64);

pub(crate) static PARAMETERS: &[Parameter] = &[
    p("acllog-max-len", "128", COUNT),
    p("active-defrag-cycle-max", "25", Kind::Number(1, 99)),
    p("active-defrag-cycle-min", "1", Kind::Number(1, 99)),
    p("active-defrag-ignore-bytes", "104857600", Kind::Memory),
    p("active-defrag-max-scan-fields", "1000", Kind::Number(1, i64::MAX)),
    p("active-defrag-threshold-lower", "10", Kind::Number(0, 1000)),
    p("active-defrag-threshold-upper", "100", Kind::Number(0, 1000)),
    p("active-expire-effort", "1", Kind::Number(1, 10)),
    p("activedefrag", "no", Kind::Flag),
    p("activerehashing", "yes", Kind::Flag),
    p("aof-use-rdb-preamble", "yes", Kind::Flag),
    p("appendfsync", "everysec", Kind::OneOf(&["everysec", "always", "no"])),
    p("appendonly", "no", Kind::OneOf(&["no"])),
    p("auto-aof-rewrite-min-size", "67108864", Kind::Memory),
    p("auto-aof-rewrite-percentage", "100", INT),
    fixed("bind", "", Kind::Text),
    aliased("busy-reply-threshold", "lua-time-limit", "5000", COUNT),
    p("client-output-buffer-limit", buffers::DEFAULT, Kind::Buffers),
    p("client-query-buffer-limit", "1073741824", Kind::Memory),
    p("close-on-oom", "no", Kind::Flag),
    fixed("cluster-enabled", "yes", Kind::Flag),
    // Microseconds of a turn from which on slots move more slowly (0: never), and bytes a second to one peer at most (0: no
    // limit) and at least.
    p("cluster-handoff-latency", "2000", COUNT),
    p("cluster-handoff-max-rate", "0", Kind::Rate(true)),
    p("cluster-handoff-min-rate", "16777216", Kind::Rate(false)),
    // Ms for which a command waits for a slot on its way to another node, or for the lease.
    p("cluster-hold-timeout", "2500", COUNT),
    p("cluster-node-timeout", "15000", COUNT),
    p("cluster-require-full-coverage", "no", Kind::Flag),
    // What a read is answered that was held for too long.
    p("cluster-when-down", "error", Kind::OneOf(&["error", "miss"])),
    fixed("daemonize", "no", Kind::Flag),
    fixed("databases", "16", COUNT),
    fixed("dbfilename", "dump.rdb", Kind::Text),
    fixed("dir", "/", Kind::Text),
    p("dynamic-hz", "yes", Kind::Flag),
    fixed("enable-debug-command", "local", Kind::Text),
    aliased("hash-max-listpack-entries", "hash-max-ziplist-entries", "128", COUNT),
    aliased("hash-max-listpack-value", "hash-max-ziplist-value", "64", COUNT),
    p("hll-sparse-max-bytes", "3000", Kind::Memory),
    p("hz", "10", Kind::Number(0, 500)),
    p("io-threads", "1", Kind::Number(1, 1024)),
    p("jemalloc-bg-thread", "yes", Kind::Flag),
    p("latency-monitor-threshold", "0", COUNT),
    p("latency-tracking", "yes", Kind::Flag),
    p("latency-tracking-info-percentiles", "50 99 99.9", Kind::Text),
    p("lazyfree-lazy-eviction", "no", Kind::Flag),
    p("lazyfree-lazy-expire", "no", Kind::Flag),
    p("lazyfree-lazy-server-del", "no", Kind::Flag),
    p("lazyfree-lazy-user-del", "no", Kind::Flag),
    p("lazyfree-lazy-user-flush", "no", Kind::Flag),
    p("lfu-decay-time", "1", Kind::Number(0, i32::MAX as i64)),
    p("lfu-log-factor", "10", Kind::Number(0, i32::MAX as i64)),
    p("list-compress-depth", "0", COUNT),
    aliased("list-max-listpack-size", "list-max-ziplist-size", "128", ANY),
    fixed("logfile", "", Kind::Text),
    p("loglevel", "notice", Kind::OneOf(&["debug", "verbose", "notice", "warning", "nothing"])),
    p("maxclients", "10000", Kind::Number(1, 10_000_000)),
    p("maxmemory", "0", Kind::Memory),
    p("maxmemory-clients", "0", Kind::MemoryOrPercent),
    p("maxmemory-eviction-tenacity", "10", Kind::Number(0, 100)),
    p(
        "maxmemory-policy",
        "allkeys-s3fifo-size",
        Kind::OneOf(&[
            "noeviction",
            "allkeys-s3fifo-size",
            "allkeys-s3fifo",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "volatile-s3fifo-size",
            "volatile-s3fifo",
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
        ]),
    ),
    fixed("maxmemory-policy-effective", "allkeys-s3fifo-size", Kind::Text),
    p("maxmemory-samples", "5", Kind::Number(1, 64)),
    aliased("min-replicas-max-lag", "min-slaves-max-lag", "10", INT),
    aliased("min-replicas-to-write", "min-slaves-to-write", "0", INT),
    p("notify-keyspace-events", "", Kind::Events),
    p("oom-score-adj", "no", Kind::OneOf(&["no", "yes", "relative", "absolute"])),
    fixed("pidfile", "", Kind::Text),
    fixed("port", "0", COUNT),
    p("protected-mode", "no", Kind::Flag),
    p("proto-max-bulk-len", "536870912", Kind::Memory),
    fixed("rdbchecksum", "yes", Kind::Flag),
    p("rdbcompression", "yes", Kind::Flag),
    p("repl-backlog-size", "1048576", Kind::Memory),
    p("repl-backlog-ttl", "3600", COUNT),
    p("repl-diskless-sync", "yes", Kind::Flag),
    p("repl-diskless-sync-delay", "5", INT),
    aliased("repl-ping-replica-period", "repl-ping-slave-period", "10", Kind::Number(1, i32::MAX as i64)),
    p("repl-timeout", "60", Kind::Number(1, i32::MAX as i64)),
    aliased("replica-priority", "slave-priority", "100", INT),
    aliased("replica-read-only", "slave-read-only", "yes", Kind::Flag),
    aliased("replica-serve-stale-data", "slave-serve-stale-data", "yes", Kind::Flag),
    Parameter { alias: Some("slaveof"), ..fixed("replicaof", "", Kind::Text) },
    p("requirepass", "", Kind::Text),
    p("sanitize-dump-payload", "no", Kind::OneOf(&["no", "yes", "clients"])),
    p("save", "", Kind::Text),
    p("set-max-intset-entries", "512", COUNT),
    p("set-max-listpack-entries", "128", COUNT),
    p("set-max-listpack-value", "64", COUNT),
    p("shutdown-timeout", "10", INT),
    p("slowlog-log-slower-than", "10000", Kind::Number(-1, i64::MAX)),
    p("slowlog-max-len", "128", COUNT),
    p("stop-writes-on-bgsave-error", "yes", Kind::Flag),
    p("stream-node-max-bytes", "4096", Kind::Memory),
    p("stream-node-max-entries", "100", COUNT),
    fixed("supervised", "no", Kind::Text),
    fixed("syslog-enabled", "no", Kind::Flag),
    fixed("tcp-backlog", "511", COUNT),
    p("tcp-keepalive", "300", COUNT),
    p("timeout", "0", Kind::Number(0, i32::MAX as i64)),
    p("tracking-table-max-keys", "1000000", COUNT),
    fixed("unixsocket", "", Kind::Text),
    aliased("zset-max-listpack-entries", "zset-max-ziplist-entries", "128", COUNT),
    aliased("zset-max-listpack-value", "zset-max-ziplist-value", "64", COUNT),
];

impl Kind {
    /// The text as it is kept, or why it cannot be.
    pub(crate) fn check(self, text: &str) -> Result<String, String> {
        match self {
            Self::Text => Ok(text.to_owned()),
            Self::Flag => match text.to_ascii_lowercase().as_str() {
                word @ ("yes" | "no") => Ok(word.to_owned()),
                _ => Err("argument must be 'yes' or 'no'".into()),
            },
            Self::Number(low, high) => {
                let n: i64 =
                    text.parse().map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
                if (low..=high).contains(&n) {
                    Ok(n.to_string())
                } else {
                    Err(format!("argument must be between {low} and {high} inclusive"))
                }
            }
            Self::Memory => {
                memory(text).map(|n| n.to_string()).ok_or_else(|| "argument must be a memory value".into())
            }
            Self::Rate(unlimited) => match memory(text) {
                Some(0) if unlimited => Ok("0".to_owned()),
                Some(rate) if rate >= SLOWEST => Ok(rate.to_string()),
                Some(_) if unlimited => Err(format!("argument must be 0 (no limit) or at least {SLOWEST}")),
                Some(_) => Err(format!("argument must be at least {SLOWEST}")),
                None => Err("argument must be a memory value".into()),
            },
            Self::MemoryOrPercent => match text.strip_suffix('%') {
                Some(percent) => match percent.parse::<u64>() {
                    Ok(n) if n <= 100 => Ok(text.to_owned()),
                    Ok(_) => Err("percentage argument must be less or equal to 100".into()),
                    _ => Err("argument must be a memory or percent value".into()),
                },
                None => memory(text)
                    .map(|n| n.to_string())
                    .ok_or_else(|| "argument must be a memory or percent value".into()),
            },
            Self::OneOf(words) => match words.iter().find(|w| w.eq_ignore_ascii_case(text)) {
                Some(word) => Ok((*word).to_owned()),
                None => Err(format!("argument(s) must be one of the following: {}", words.join(", "))),
            },
            Self::Buffers => buffers::change(buffers::DEFAULT, text).map_err(str::to_owned),
            Self::Events => {
                events(text).ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into())
            }
        }
    }
}

/// Bytes: a number and an optional unit (`k` = 1000, `kb` = 1024, ... `tb`), as in redis.conf.
pub(crate) fn memory(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        "t" => 1_000_000_000_000,
        "tb" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// The canonical order of event letters; `A` stands for all classes but `K E m n`.
fn events(text: &str) -> Option<String> {
    const CLASSES: &str = "g$lshzxetd";
    let mut chosen = String::new();
    if text.chars().any(|c| c != 'A' && !CLASSES.contains(c) && !"KEmn".contains(c)) {
        return None;
    }
    let has = |c: char| text.contains(c) || (CLASSES.contains(c) && text.contains('A'));
    if CLASSES.chars().all(has) {
        chosen.push('A');
    } else {
        chosen.extend(CLASSES.chars().filter(|c| has(*c)));
    }
    chosen.extend("KEmn".chars().filter(|c| has(*c)));
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units() {
        assert_eq!(memory("100mb"), Some(100 << 20));
        assert_eq!(memory("1GB"), Some(1 << 30));
        assert_eq!((memory("1k"), memory("2tb")), (Some(1000), Some(2 << 40)));
        assert_eq!(memory("1x"), None);
        assert_eq!(memory(""), None);
    }

    #[test]
    fn slots_never_stand_still() {
        let check = |name, text| PARAMETERS.iter().find(|p| p.name == name).unwrap().kind.check(text);
        for (text, least, most) in
            [("0", false, true), ("64kb", true, true), ("65535", false, false), ("x", false, false)]
        {
            assert_eq!(check("cluster-handoff-min-rate", text).is_ok(), least, "{text}");
            assert_eq!(check("cluster-handoff-max-rate", text).is_ok(), most, "{text}");
        }
        assert_eq!(check("cluster-handoff-min-rate", "0"), Err("argument must be at least 65536".to_owned()));
        assert_eq!(check("cluster-handoff-max-rate", "1gb"), Ok((1 << 30).to_string()));
    }

    #[test]
    fn event_letters() {
        assert_eq!(events("KEA").as_deref(), Some("AKE"));
        assert_eq!(events("Elg").as_deref(), Some("glE"));
        assert_eq!(events("q"), None);
    }

    #[test]
    fn defaults_pass_their_own_checks() {
        for parameter in PARAMETERS {
            let kept = parameter.kind.check(parameter.default);
            assert_eq!(kept.as_deref(), Ok(parameter.default), "{}", parameter.name);
        }
    }
}
