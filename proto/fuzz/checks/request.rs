//! What must hold for the request scanner, whatever bytes arrive.
//!
//! Shared by the fuzz target, the replay of its corpus and the property tests.

use redis_protocol::resp2::{decode::decode, types::OwnedFrame};
use shoal_proto::resp::{
    Args, Limits, ProtocolError, Request, Scanner,
    request::{OwnedArgs, whole},
};

/// All that a connection's bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The requests in order; an empty one executes nothing.
    pub(crate) requests: Vec<Vec<Vec<u8>>>,
    /// Why the connection was closed.
    pub(crate) error: Option<ProtocolError>,
    /// Bytes that are not a whole request yet; 0 after an error.
    pub(crate) rest: usize,
}

/// Scans bytes that arrive in pieces of these lengths, the last of which stands for all the rest.
pub(crate) fn scan(data: &[u8], pieces: impl IntoIterator<Item = usize>, limits: &Limits) -> Outcome {
    let mut scanner = Scanner::new();
    let mut outcome = Outcome { requests: Vec::new(), error: None, rest: 0 };
    let (mut start, mut end) = (0, 0);
    let mut pieces = pieces.into_iter();
    while end < data.len() {
        end = pieces.next().map_or(data.len(), |n| end.saturating_add(n.max(1)).min(data.len()));
        loop {
            let input = &data[start..end];
            let mut spans = Vec::new();
            let quick = if scanner.is_fresh() { whole(input, limits, &mut spans) } else { None };
            assert!(quick.is_some() || spans.is_empty(), "spans of a request that was not taken");
            let next = scanner.next(input, limits);
            if let Some(consumed) = quick {
                assert_eq!(next, Ok(Some(Request::Multibulk { consumed })), "the quick look took it");
                assert_eq!(spans, scanner.spans(), "the quick look saw other arguments");
            }
            let (args, consumed) = match next {
                Ok(None) => break,
                Err(error) => return Outcome { error: Some(error), ..outcome },
                Ok(Some(Request::Empty { consumed })) => (Args::new(&[], &[]), consumed),
                Ok(Some(Request::Multibulk { consumed })) => (Args::new(input, scanner.spans()), consumed),
                Ok(Some(Request::Inline { consumed })) => {
                    (Args::new(scanner.inline(), scanner.spans()), consumed)
                }
            };
            assert!(consumed > 0 && consumed <= input.len(), "{consumed} of {} bytes", input.len());
            outcome.requests.push(args.iter().map(<[u8]>::to_vec).collect());
            start += consumed;
        }
        assert!(scanner.wanted(end - start) > 0, "a scanner that waits wants something");
    }
    outcome.rest = data.len() - start;
    outcome
}

/// Limits that differ in all that matters, small enough for short inputs to meet them.
pub(crate) fn limits() -> [Limits; 3] {
    let tight = Limits { max_bulk_len: 20, max_inline: 24, max_args: 5, authenticated: true };
    [Limits::default(), Limits { authenticated: false, ..Limits::default() }, tight]
}

/// Any split of the same bytes gives the same result, and flat arrays are what another decoder sees in them.
pub(crate) fn check(data: &[u8]) {
    for limits in limits() {
        let whole = scan(data, [], &limits);
        for pieces in [1, 2, 3, 7, 64] {
            let split = scan(data, std::iter::repeat(pieces), &limits);
            assert_eq!(split, whole, "in pieces of {pieces} bytes");
        }
        let uneven = data.iter().map(|byte| usize::from(byte % 16));
        assert_eq!(scan(data, uneven, &limits), whole, "in uneven pieces");
    }
    check_first(data);
}

/// Compares the first request with what redis-protocol decodes.
fn check_first(data: &[u8]) {
    let mut scanner = Scanner::new();
    if let Ok(Some(Request::Multibulk { consumed })) = scanner.next(data, &Limits::default()) {
        let args = Args::new(&data[..consumed], scanner.spans());
        let canonical = OwnedArgs::new(args.iter());
        // Redis does not look at line ends and reads no more than it must; redis-protocol does.
        if canonical.args().raw() == &data[..consumed] {
            let decoded = decode(&data[..consumed]).expect("a canonical request");
            let (frame, used) = decoded.expect("a complete request");
            assert_eq!(used, consumed);
            assert_eq!(words(&frame).expect("an array of strings"), owned(args));
        }
    }
    if is_flat(data)
        && let Ok(Some((frame, used))) = decode(data)
        && let Some(words) = words(&frame)
        && OwnedArgs::new(&words).args().raw() == &data[..used]
        && !words.is_empty()
    {
        let first = scan(&data[..used], [], &Limits::default());
        assert_eq!(first, Outcome { requests: vec![words], error: None, rest: 0 });
    }
}

/// Whether no array can be inside another: redis-protocol decodes those by recursion without a limit.
fn is_flat(data: &[u8]) -> bool {
    data.first() == Some(&b'*') && !data.windows(2).any(|pair| pair == b"\n*")
}

fn owned(args: Args<'_>) -> Vec<Vec<u8>> {
    args.iter().map(<[u8]>::to_vec).collect()
}

/// The strings of an array of bulk strings.
fn words(frame: &OwnedFrame) -> Option<Vec<Vec<u8>>> {
    let OwnedFrame::Array(elements) = frame else { return None };
    let text = |element: &OwnedFrame| match element {
        OwnedFrame::BulkString(bytes) => Some(bytes.clone()),
        _ => None,
    };
    elements.iter().map(text).collect()
}
