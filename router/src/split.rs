//! Splitting a multi-key request by node: pure, from ranges of bytes to ranges of bytes.

use shoal_proto::{
    resp::{Args, reply::header},
    slot::key_slot,
};

use crate::upstream::log::Way;

/// The parts of one request: for each key which part it is in, and for each part where it goes and its size.
/// Kept by a worker and reused, so that splitting allocates nothing once it is warm.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// By key: the part's number.
    pub(crate) order: Vec<u16>,
    /// By key: its slot.
    pub(crate) slots: Vec<u16>,
    pub(crate) parts: Vec<Part>,
}

/// One part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// The destination that was given for its keys.
    pub(crate) to: u16,
    keys: u32,
    /// The slot of its first key.
    slot: u16,
    /// Whether it has keys of other slots as well.
    mixed: bool,
}

impl Part {
    /// How the part finds another node.
    pub(crate) fn way(&self, step: u8) -> Way {
        if self.mixed { Way::Split(step) } else { Way::Slot(self.slot) }
    }
}

impl Parts {
    /// Groups the keys of `args` (argument 1 on, `step` arguments each) by the `destination` of their slots.
    pub(crate) fn group(&mut self, args: Args<'_>, step: u8, mut destination: impl FnMut(u16) -> u16) {
        self.order.clear();
        self.slots.clear();
        self.parts.clear();
        for at in (1..args.len()).step_by(usize::from(step)) {
            let slot = key_slot(args.at(at));
            let to = destination(slot);
            let part = match self.parts.iter().position(|p| p.to == to) {
                Some(part) => part,
                None => {
                    self.parts.push(Part { to, keys: 0, slot, mixed: false });
                    self.parts.len() - 1
                }
            };
            self.parts[part].keys += 1;
            self.parts[part].mixed |= self.parts[part].slot != slot;
            self.order.push(part as u16);
            self.slots.push(slot);
        }
    }

    /// Whether one part has keys of several slots.
    pub(crate) fn is_mixed(&self) -> bool {
        self.parts.iter().any(|part| part.mixed)
    }

    /// Appends the request of one part: the command's name and the part's arguments, as they were received.
    pub(crate) fn encode(&self, part: u16, args: Args<'_>, step: u8, out: &mut Vec<u8>) {
        self.begin(part, args, step, out);
        let (raw, spans) = (args.raw(), args.spans());
        let step = usize::from(step);
        for (key, to) in self.order.iter().enumerate() {
            if *to == part {
                let at = 1 + key * step;
                // An argument's bytes with its `$length` line and end follow the end of the one before it.
                out.extend_from_slice(
                    &raw[spans[at - 1].end as usize + 2..spans[at + step - 1].end as usize + 2],
                );
            }
        }
    }

    fn begin(&self, part: u16, args: Args<'_>, step: u8, out: &mut Vec<u8>) {
        header(out, b'*', i64::from(self.parts[usize::from(part)].keys) * i64::from(step) + 1);
        let name = args.at(0);
        header(out, b'$', name.len() as i64);
        out.extend_from_slice(name);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shoal_proto::resp::{Limits, Scanner, request::OwnedArgs};

    use super::*;

    fn words(request: &[u8]) -> Vec<Vec<u8>> {
        let mut scanner = Scanner::new();
        scanner.next(request, &Limits::default()).unwrap().unwrap();
        Args::new(request, scanner.spans()).iter().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn keeps_pairs_together() {
        let owned = OwnedArgs::new(["mset", "a", "1", "b", "22", "c", ""]);
        let mut parts = Parts::default();
        let b = key_slot(b"b");
        parts.group(owned.args(), 2, |slot| u16::from(slot == b));
        assert_eq!(parts.order, [0, 1, 0]);
        assert_eq!(parts.slots, [key_slot(b"a"), b, key_slot(b"c")]);
        assert_eq!((parts.parts[0].way(2), parts.parts[1].way(2)), (Way::Split(2), Way::Slot(b)));
        let mut out = Vec::new();
        parts.encode(0, owned.args(), 2, &mut out);
        assert_eq!(words(&out), [&b"mset"[..], b"a", b"1", b"c", b""].map(<[u8]>::to_vec));
    }

    proptest! {
        /// Each key lands in exactly one part, in order.
        #[test]
        fn no_key_is_lost(keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 1..40)) {
            let request: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
            let owned = OwnedArgs::new(request);
            let to = |key: &[u8]| key_slot(key) % 5;
            let mut parts = Parts::default();
            parts.group(owned.args(), 1, |slot| slot % 5);
            for (part, Part { to: destination, keys: count, .. }) in parts.parts.iter().enumerate() {
                let mut out = Vec::new();
                parts.encode(part as u16, owned.args(), 1, &mut out);
                let expected: Vec<Vec<u8>> = keys.iter().filter(|k| to(k) == *destination).cloned().collect();
                prop_assert_eq!(expected.len() as u32, *count);
                prop_assert_eq!(&words(&out)[1..], &expected[..]);
            }
        }
    }
}
