//! Splitting a multi-key request by node: pure, from ranges of bytes to ranges of bytes.

use shoal_proto::resp::{Args, reply::header};

/// The parts of one request: for each key which part it is in, and for each part where it goes and its size.
/// Kept by a worker and reused, so that splitting allocates nothing once it is warm.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// By key: the part's number.
    pub(crate) order: Vec<u16>,
    /// By part: the destination that was given for its keys, and how many keys it has.
    pub(crate) parts: Vec<(u16, u32)>,
}

impl Parts {
    /// Groups the keys of `args` (argument 1 on, `step` arguments each) by `destination`.
    ///
    /// # Errors
    /// What `destination` fails with.
    pub(crate) fn group<E>(
        &mut self,
        args: Args<'_>,
        step: u8,
        mut destination: impl FnMut(&[u8]) -> Result<u16, E>,
    ) -> Result<(), E> {
        self.order.clear();
        self.parts.clear();
        for at in (1..args.len()).step_by(usize::from(step)) {
            let to = destination(args.at(at))?;
            let part = match self.parts.iter().position(|(d, _)| *d == to) {
                Some(part) => part,
                None => {
                    self.parts.push((to, 0));
                    self.parts.len() - 1
                }
            };
            self.parts[part].1 += 1;
            self.order.push(part as u16);
        }
        Ok(())
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
        header(out, b'*', i64::from(self.parts[usize::from(part)].1) * i64::from(step) + 1);
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
        parts.group::<()>(owned.args(), 2, |key| Ok(u16::from(key == b"b"))).unwrap();
        assert_eq!(parts.order, [0, 1, 0]);
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
            let to = |key: &[u8]| u16::from(key.first().copied().unwrap_or(0)) % 5;
            let mut parts = Parts::default();
            parts.group::<()>(owned.args(), 1, |key| Ok(to(key))).unwrap();
            for (part, (destination, count)) in parts.parts.iter().enumerate() {
                let mut out = Vec::new();
                parts.encode(part as u16, owned.args(), 1, &mut out);
                let expected: Vec<Vec<u8>> = keys.iter().filter(|k| to(k) == *destination).cloned().collect();
                prop_assert_eq!(expected.len() as u32, *count);
                prop_assert_eq!(&words(&out)[1..], &expected[..]);
            }
        }
    }
}
