//! Options of redis-benchmark and memtier_benchmark that are called otherwise here: who tries them is told how.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What they are called there, and what to do here.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["-p", "--port", "--host", "--server", "-s", "--hostname", "-u", "--uri"],
        "the server is --target HOST:PORT",
    ),
    (&["--clients"], "connections in all are -c, --connections"),
    (&["--data-size", "--data-size-range", "--size"], "the size of values is --value-size BYTES or LOW-HIGH"),
    (&["--test-time"], "the time is -d, --duration"),
    (&["--keyspace", "-r", "--key-maximum", "--key-minimum"], "the number of keys is -k, --keys"),
    (&["--key-pattern", "--key-median", "--key-stddev"], "which keys are asked for is --distribution"),
    (&["--rate-limiting"], "a fixed rate is -r, --rate, of all connections together"),
    (&["--tests"], "what is asked is --ratio, --command or --workload"),
    (&["--csv", "--json-out-file", "--out-file", "-o"], "figures are written by --json FILE"),
    (&["--hdr-file-prefix"], "histograms are written by --hdr FILE"),
    (&["--authenticate", "--pass", "--auth"], "the password is -a, --password, the user --user"),
    (&["--dbnum", "--select-db"], "the database is --database"),
    (&["--cluster-mode"], "a cluster is asked with --cluster"),
    (&["--run-count"], "several runs are made by compare --rounds"),
    (&["--tls-skip-verify"], "any certificate is taken with --insecure"),
    (&["--expiry-range"], "times to live are --ttl, for lines with {ttl}"),
    (&["--command-ratio"], "how often each --command comes is --weight"),
    (
        &["--random-data", "--hide-histogram", "--distinct-client-seed", "--randomize"],
        "there is no need for it here",
    ),
    (&["--protocol"], "RESP3 is spoken with -3, --resp3"),
];

/// Adds to the error about an unknown option what it is called here.
pub(super) fn explain(mut error: clap::Error) -> clap::Error {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) if error.kind() == ErrorKind::UnknownArgument => name.clone(),
        _ => return error,
    };
    if let Some((_, tip)) = OPTIONS.iter().find(|(names, _)| names.contains(&unknown.as_str())) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(*tip)]));
    }
    error
}
