//! Which clients `CLIENT LIST` and `CLIENT KILL` mean.

use super::Record;
use crate::{Error, error::Result, number, resp::Args};

/// The filters of a `CLIENT KILL` or `CLIENT LIST`; all given ones must hold.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) ids: Option<Vec<u64>>,
    pub(super) addr: Option<String>,
    pub(super) laddr: Option<String>,
    /// `normal`, or a kind of which there are none here.
    pub(super) kind: Option<Kind>,
    pub(super) user: Option<String>,
    pub(super) skip_me: bool,
    pub(super) max_age: Option<u64>,
}

/// `TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    /// Masters, replicas and subscribers: there are none.
    None,
}

pub(super) fn kind(text: &[u8]) -> Result<Kind> {
    match text.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(Kind::Normal),
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(Kind::None),
        _ => Err(Error::owned(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(text)))),
    }
}

pub(super) fn id(text: &[u8]) -> Result<u64> {
    number::parse_i64(text)
        .and_then(|id| u64::try_from(id).ok())
        .filter(|id| *id > 0)
        .ok_or(Error::text("ERR client-id should be greater than 0"))
}

impl Filter {
    /// Parses `filter value ...` pairs from argument `i` on.
    pub(super) fn parse(args: Args<'_>, mut i: usize) -> Result<Self> {
        let mut filter = Self { skip_me: true, ..Self::default() };
        while i < args.len() {
            let Some(value) = args.get(i + 1) else { return Err(Error::Syntax) };
            let text = || String::from_utf8_lossy(value).into_owned();
            if args.is(i, "id") {
                filter.ids.get_or_insert_default().push(id(value)?);
            } else if args.is(i, "addr") {
                filter.addr = Some(text());
            } else if args.is(i, "laddr") {
                filter.laddr = Some(text());
            } else if args.is(i, "type") {
                filter.kind = Some(kind(value)?);
            } else if args.is(i, "user") {
                if value != b"default" {
                    return Err(Error::owned(format!("ERR No such user '{}'", text())));
                }
                filter.user = Some(text());
            } else if args.is(i, "skipme") {
                filter.skip_me = match value.to_ascii_lowercase().as_slice() {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(Error::Syntax),
                };
            } else if args.is(i, "maxage") {
                let age = number::parse_i64(value)
                    .ok_or(Error::text("ERR maxage is not an integer or out of range"))?;
                filter.max_age = Some(
                    u64::try_from(age)
                        .ok()
                        .filter(|a| *a > 0)
                        .ok_or(Error::text("ERR maxage should be greater than 0"))?,
                );
            } else {
                return Err(Error::Syntax);
            }
            i += 2;
        }
        Ok(filter)
    }

    pub(super) fn matches(&self, client: &Record, now: u64) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(&client.id))
            && self.addr.as_ref().is_none_or(|a| *a == client.addr)
            && self.laddr.as_ref().is_none_or(|a| *a == client.laddr)
            && self.kind.is_none_or(|k| k == Kind::Normal)
            && self.max_age.is_none_or(|age| now.saturating_sub(client.created) / 1000 >= age)
    }
}
