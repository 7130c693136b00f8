//! The request scanner: Redis's protocol errors, and the same result for any split of the same bytes.

use proptest::prelude::*;
use shoal_proto::resp::{Limits, ProtocolError, request::OwnedArgs};

#[path = "../fuzz/checks/request.rs"]
mod checks;

use checks::{Outcome, scan};

fn error(bytes: &[u8], limits: &Limits) -> Option<ProtocolError> {
    scan(bytes, [], limits).error
}

#[test]
fn protocol_errors_are_those_of_redis() {
    use ProtocolError::*;
    let set = b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n";
    let with = |rest: &[u8]| [set, rest].concat();
    for (bytes, want) in [
        (b"*3000000000\r\n".to_vec(), InvalidCount),
        (b"*x\r\n".to_vec(), InvalidCount),
        (b"*\r\n".to_vec(), InvalidCount),
        (b"*+1\r\n".to_vec(), InvalidCount),
        (with(b"fooz\r\n"), ExpectedDollar(b'f')),
        (b"*1\r\nfoo\r\n".to_vec(), ExpectedDollar(b'f')),
        (with(b"$-10\r\n"), InvalidBulkLen),
        (with(b"$2000000000\r\n"), InvalidBulkLen),
        (with(b"$blabla\r\n"), InvalidBulkLen),
        (with(b"$\r\n"), InvalidBulkLen),
        (b"set \"\"\"test-key\"\"\" test-value\r\n".to_vec(), UnbalancedQuotes),
        (b"set 'a\r\n".to_vec(), UnbalancedQuotes),
        ([b"\0".as_slice(), &[b'A'; 70_000]].concat(), InlineTooBig),
        ([b"$\0".as_slice(), &[b'A'; 70_000]].concat(), InlineTooBig),
        ([b"*\0".as_slice(), &[b'A'; 70_000]].concat(), CountTooLong),
        (with(&[b"$".as_slice(), &[b'1'; 70_000]].concat()), BulkLenTooLong),
    ] {
        assert_eq!(error(&bytes, &Limits::default()), Some(want), "{:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn strangers_may_say_little() {
    let limits = Limits { authenticated: false, ..Limits::default() };
    assert_eq!(error(b"*11\r\n", &limits), Some(ProtocolError::UnauthenticatedCount));
    assert_eq!(error(b"*10\r\n", &limits), None);
    assert_eq!(error(b"*1\r\n$16385\r\n", &limits), Some(ProtocolError::UnauthenticatedBulkLen));
    assert_eq!(error(b"*1\r\n$16384\r\n", &limits), None);
}

#[test]
fn nothing_to_execute_is_skipped() {
    for empty in ["\r\n", "\n", "*0\r\n", "*-10\r\n", "  \r\n"] {
        let bytes = format!("{empty}*1\r\n$4\r\nPING\r\n");
        let requests = vec![vec![], vec![b"PING".to_vec()]];
        let want = Outcome { requests, error: None, rest: 0 };
        assert_eq!(scan(bytes.as_bytes(), [], &Limits::default()), want, "{empty:?}");
    }
}

#[test]
fn an_inline_command_may_follow_a_longer_request() {
    let bytes = b"*2\r\n$4\r\nECHO\r\n$20\r\naaaaaaaaaaaaaaaaaaaa\r\nPING\r\n";
    let outcome = scan(bytes, [], &Limits::default());
    assert_eq!((outcome.requests.len(), outcome.rest), (2, 0));
}

#[test]
fn a_line_at_the_limit_passes_and_one_byte_more_does_not() {
    let limits = Limits::default();
    let line = |n: usize| [vec![b'a'; n], b"\n".to_vec()].concat();
    assert_eq!(error(&line(limits.max_inline), &limits), None);
    assert_eq!(error(&line(limits.max_inline + 1), &limits), Some(ProtocolError::InlineTooBig));
}

/// One request, or bytes that look like one.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let word = || proptest::collection::vec(any::<u8>(), 0..40);
    let request =
        proptest::collection::vec(word(), 1..6).prop_map(|words| OwnedArgs::new(words).args().raw().to_vec());
    let text = prop_oneof![
        "(PING|GET|SET k) ?[a-c\"' \\\\]{0,12}\r?\n".prop_map(String::into_bytes),
        r"\*-?[0-9]{0,3}(\r\n|\r|x)".prop_map(String::into_bytes),
        r"\$-?[0-9]{0,3}\r\n[a-z]{0,5}".prop_map(String::into_bytes),
    ];
    prop_oneof![6 => request, 3 => text, 1 => word()]
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        pieces in proptest::collection::vec(piece(), 0..8),
        cuts in proptest::collection::vec(1usize..30, 0..40),
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = pieces.concat();
        if let Some((at, byte)) = damage && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for limits in checks::limits() {
            let whole = scan(&bytes, [], &limits);
            prop_assert_eq!(&scan(&bytes, cuts.iter().copied(), &limits), &whole);
            prop_assert_eq!(&scan(&bytes, std::iter::repeat(1), &limits), &whole);
        }
        checks::check(&bytes);
    }

    #[test]
    fn requests_come_back(
        requests in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20), 0..6),
        cuts in proptest::collection::vec(1usize..100, 0..40),
    ) {
        let bytes = requests.iter().map(|r| OwnedArgs::new(r).args().raw().to_vec()).collect::<Vec<_>>().concat();
        let want = Outcome { requests, error: None, rest: 0 };
        prop_assert_eq!(scan(&bytes, cuts, &Limits::default()), want);
    }
}
