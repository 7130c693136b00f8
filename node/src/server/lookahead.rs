//! The next few requests of a connection, found before the first of them is executed.

use shoal_proto::resp::{Args, Limits, ProtocolError, Request, Scanner, Span};

/// Requests gathered at once: as many look-ups as a core can have waiting for memory, more or less.
pub(super) const LOOKAHEAD: usize = 16;

/// What stands behind the gathered requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Perhaps more of them.
    More,
    /// Nothing that is complete.
    Incomplete,
    /// An inline command, in the scanner; the input goes on at this place.
    Inline(usize),
    /// Bytes that are no request.
    Error(ProtocolError),
}

/// One gathered request: where it is in the input, and its spans.
#[derive(Debug, Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    first_span: usize,
    last_span: usize,
}

/// Gathered requests; one per worker, reused.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    found: Vec<Found>,
    spans: Vec<Span>,
    end: usize,
}

impl Lookahead {
    /// Finds the next requests of `input` from `at` on. Before authentication one at a time, as that changes
    /// the limits.
    pub(super) fn gather(&mut self, scanner: &mut Scanner, input: &[u8], at: usize, limits: &Limits) -> Next {
        self.found.clear();
        self.spans.clear();
        self.end = at;
        let most = if limits.authenticated { LOOKAHEAD } else { 1 };
        while self.found.len() < most {
            let start = self.end;
            if start == input.len() {
                return Next::Incomplete;
            }
            match scanner.next(&input[start..], limits) {
                Ok(None) => return Next::Incomplete,
                Ok(Some(Request::Empty { consumed })) => self.end += consumed,
                Ok(Some(Request::Inline { consumed })) => return Next::Inline(start + consumed),
                Ok(Some(Request::Multibulk { consumed })) => {
                    let first_span = self.spans.len();
                    self.spans.extend_from_slice(scanner.spans());
                    self.end += consumed;
                    let (end, last_span) = (self.end, self.spans.len());
                    self.found.push(Found { start, end, first_span, last_span });
                }
                Err(error) => return Next::Error(error),
            }
        }
        Next::More
    }

    /// How many were found.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Where the input goes on behind what was found.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// The `i`th request, and where the input goes on behind it.
    #[inline]
    pub(super) fn request<'a>(&'a self, input: &'a [u8], i: usize) -> (Args<'a>, usize) {
        let found = self.found[i];
        (Args::new(&input[found.start..found.end], &self.spans[found.first_span..found.last_span]), found.end)
    }

    /// Gives back what one huge request made it hold.
    pub(super) fn trim(&mut self) {
        if self.spans.capacity() > 1 << 16 {
            *self = Self::default();
        }
    }
}
