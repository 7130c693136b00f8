//! The cluster cursor of `SCAN`: which node a cursor leads to, and how an empty batch goes on by itself.
//!
//! A node's cursor is `mark << 48 | slot << 34 | place`, in slot order, and a node that has walked to the end of its run of slots
//! returns the first slot behind it. Whose place it is, the node knows by the mark; so any router and any later call
//! can resume it: the router only sends it to the owner of its slot.

use shoal_proto::{
    Error, number,
    resp::{Args, frame, request::OwnedArgs},
    slot::SLOTS,
};

use crate::merge::UNEXPECTED;

/// Bits of a cursor below the slot.
const PLACE_BITS: u32 = 34;

/// No cursor is as large.
const END: u64 = 1 << 62;

/// Calls that the router makes on its own when batches are empty (sparse filters, nodes without keys). A client
/// then gets an empty batch and goes on itself, as with Redis.
pub(crate) const MAX_HOPS: u8 = 16;

/// The slot at which a request's cursor goes on; `None` when it is no cursor of ours (a node words the error).
pub(crate) fn slot(args: Args<'_>) -> Option<u16> {
    cursor_slot(number::parse_cursor(args.get(1)?)?)
}

fn cursor_slot(cursor: u64) -> Option<u16> {
    (cursor < END).then_some((cursor >> PLACE_BITS) as u16 % SLOTS)
}

/// What a batch says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is for the client.
    Done,
    /// It holds nothing: ask on at this slot with this request.
    On(u16, Vec<u8>),
}

/// Looks at a batch, the `hops`th for one request.
///
/// # Errors
/// When the reply is no batch.
pub(crate) fn step(args: Args<'_>, reply: &[u8], hops: u8) -> Result<Step, Error> {
    let mut elements = frame::elements(reply);
    let (Some(cursor), Some(keys)) = (elements.next(), elements.next()) else { return Err(UNEXPECTED) };
    let cursor = frame::text(cursor).ok_or(UNEXPECTED)?;
    if cursor == b"0" || frame::elements(keys).left() > 0 || hops >= MAX_HOPS {
        return Ok(Step::Done);
    }
    let Some(slot) = number::parse_u64(cursor).and_then(cursor_slot) else { return Ok(Step::Done) };
    let request: Vec<&[u8]> =
        args.iter().enumerate().map(|(i, arg)| if i == 1 { cursor } else { arg }).collect();
    Ok(Step::On(slot, OwnedArgs::new(request).args().raw().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_batches_go_on() {
        let request = OwnedArgs::new(["SCAN", "0", "COUNT", "5"]);
        assert_eq!(slot(request.args()), Some(0));
        let cursor = (5u64 << 34) + 3;
        let empty = format!("*2\r\n${}\r\n{cursor}\r\n*0\r\n", cursor.to_string().len());
        let next = OwnedArgs::new(["SCAN", &cursor.to_string(), "COUNT", "5"]).args().raw().to_vec();
        assert_eq!(step(request.args(), empty.as_bytes(), 0), Ok(Step::On(5, next)));
        assert_eq!(step(request.args(), empty.as_bytes(), MAX_HOPS), Ok(Step::Done));
        let full = b"*2\r\n$2\r\n77\r\n*1\r\n$1\r\na\r\n";
        assert_eq!(step(request.args(), full, 0), Ok(Step::Done));
        assert_eq!(step(request.args(), b"*2\r\n$1\r\n0\r\n*0\r\n", 0), Ok(Step::Done));
        assert!(step(request.args(), b"+OK\r\n", 0).is_err());
        let marked = (0x2abc_u64 << 48 | 5 << 34 | 3).to_string();
        assert_eq!(slot(OwnedArgs::new(["SCAN", &marked]).args()), Some(5));
        assert_eq!(slot(OwnedArgs::new(["SCAN", "x"]).args()), None);
        assert_eq!(slot(OwnedArgs::new(["SCAN", "18446744073709551615"]).args()), None);
    }
}
