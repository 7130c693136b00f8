//! Options of redis-benchmark and memtier_benchmark that are called otherwise here: who tries them is told how.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What they are called there, and what to do here.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["-p", "--port", "--host", "--server", "-s", "--hostname", "-u", "--uri"],
        "the server is --target HOST:PORT",
    ),
    (&["-S", "--unix-socket"], "the server is --target HOST:PORT; sockets in the file system are not known"),
    (
        &["-4", "-6", "--ipv4", "--ipv6"],
        "an address such as 127.0.0.1 or [::1] in --target chooses the protocol",
    ),
    (&["--clients"], "connections in all are -c, --connections"),
    (&["--data-size", "--data-size-range", "--size"], "the size of values is --value-size BYTES or LOW-HIGH"),
    (
        &["--data-size-list", "--data-size-pattern"],
        "sizes by weight are those of a workload's file: [values] histogram = FILE",
    ),
    (&["--test-time"], "the time is -d, --duration"),
    (&["--keyspace", "-r", "--key-maximum", "--key-minimum"], "the number of keys is -k, --keys"),
    (&["--key-pattern", "--command-key-pattern"], "which keys are asked for is --distribution"),
    (&["--key-median", "--key-stddev"], "which keys are asked for is --distribution, such as hotset:0.1:0.9"),
    (&["--key-zipf-exp"], "keys by zipf are --distribution zipf:EXPONENT"),
    (&["--rate-limiting"], "a fixed rate is -r, --rate, of all connections together"),
    (&["--tests"], "what is asked is --ratio, --command or --workload"),
    (&["--multi-key-get"], "several keys at once are --command 'MGET {keys:N}'"),
    (
        &["--csv", "--json-out-file", "--out-file", "-o", "--client-stats"],
        "figures are written by --json FILE, latencies of every second by --hdr FILE",
    ),
    (&["--hdr-file-prefix"], "histograms are written by --hdr FILE"),
    (&["--precision", "--print-percentiles"], "the table has p50 to p99.99, the files have all"),
    (&["--authenticate", "--pass", "--auth"], "the password is -a, --password, the user --user"),
    (&["--dbnum", "--select-db"], "the database is --database"),
    (&["--cluster-mode"], "a cluster is asked with --cluster"),
    (&["--run-count", "-x", "--print-all-runs"], "several runs are made by compare --rounds"),
    (&["-l", "--loop"], "a run goes on for as long as -d, --duration says"),
    (&["-I", "--idle"], "idle connections are an open loop of a low --rate with many -c"),
    (&["--reconnect-interval"], "connections are opened again by --reconnect-every N"),
    (&["--keepalive"], "connections are kept; --reconnect-every 1 opens one for each request"),
    (&["--tls-skip-verify"], "any certificate is taken with --insecure"),
    (
        &["--cacertdir", "--tls-ciphers", "--tls-ciphersuites", "--tls-protocols"],
        "an authority's file is --cacert",
    ),
    (&["--expiry-range"], "times to live are --ttl, for lines with {ttl}"),
    (&["--command-ratio"], "how often each --command comes is --weight"),
    (&["--data-verify", "--verify-only", "--data-import"], "answers are checked by shoal-loadtest verify"),
    (&["--generate-keys", "--data-offset"], "keys and values are made as a workload says: --workload FILE"),
    (
        &["--wait-ratio", "--num-slaves", "--num-replicas", "--wait-timeout"],
        "WAIT is a command: --command 'WAIT 1 100'",
    ),
    (
        &["-R", "--random-data", "--hide-histogram", "--distinct-client-seed", "--randomize", "-e"],
        "there is no need for it here",
    ),
    (&["--enable-tracking"], "client-side caching is not measured here"),
    (
        &["--show-config", "--debug", "-D"],
        "what was asked is in the first lines of the table and in --json FILE",
    ),
    (&["--protocol"], "RESP3 is spoken with -3, --resp3"),
];

/// What is asked is called by this option there, and threads are counted by it here.
const TESTS: &str = "-t, --threads is a number here; what is asked is --ratio, --command or --workload";
const DIGITS: &str = "write a whole number in digits, such as 100000";

/// Adds to the error about an unknown option what it is called here, and to one about a number how to write it.
pub(super) fn explain(mut error: clap::Error) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let (option, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let is_number = || error.to_string().contains("invalid digit found in string");
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => {
            OPTIONS.iter().find(|(names, _)| names.contains(&option)).map(|(_, tip)| *tip)
        }
        ErrorKind::ValueValidation if is_number() => {
            let is_test = option.starts_with("--threads") && value.starts_with(char::is_alphabetic);
            Some(if is_test { TESTS } else { DIGITS })
        }
        _ => None,
    };
    if let Some(tip) = tip {
        let mut tips = vec![StyledStr::from(tip)];
        if let Some(ContextValue::StyledStrs(others)) = error.get(ContextKind::Suggested)
            && error.kind() == ErrorKind::ValueValidation
        {
            tips.extend(others.iter().cloned());
        }
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// Places in the command lines of other tools, and ours.
const PLACES: &[(&str, &str)] =
    &[("__rand_int__", "{key} or {int:LOW-HIGH}"), ("__key__", "{key}"), ("__data__", "{value}")];

/// Says what to write instead of another tool's place in a command line, which would be sent as it is.
pub(super) fn place(line: &str) -> Option<String> {
    let (theirs, ours) = PLACES.iter().find(|(theirs, _)| line.contains(theirs))?;
    Some(format!("--command '{line}': {theirs} means nothing here, write {ours}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_other_tools_are_told_by_ours() {
        // This one is ours, too, but means something else.
        let known = ["-r"];
        for (names, tip) in OPTIONS {
            for name in names.iter().filter(|name| !known.contains(name)) {
                let parsed =
                    super::super::definition().try_get_matches_from(["shoal-loadtest", "run", name, "1"]);
                let error = explain(parsed.expect_err(name)).to_string();
                assert!(error.contains(tip), "{name}: {error}");
            }
        }
    }
}
