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
