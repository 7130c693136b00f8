//! Elements of collections in replies.

use shoal_proto::resp::Reply;

use crate::value::packed::Elem;

/// Writes an element as a bulk string.
#[inline]
pub(super) fn element(out: &mut Reply<'_>, element: Elem<'_>) {
    match element {
        Elem::Bytes(bytes) => out.bulk(bytes),
        Elem::Int(n) => out.bulk_int(n),
    }
}

/// Writes an element as a bulk string, or null.
pub(super) fn element_or_null(out: &mut Reply<'_>, found: Option<Elem<'_>>) {
    match found {
        Some(found) => element(out, found),
        None => out.null(),
    }
}
