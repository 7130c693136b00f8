//! Long strings that a command is about to store or to change, put into memory of their own while no lock is held.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Db, Landed, Store, blob::settled_outside, shard::Place};
use crate::value::Value;

/// Longer ones are copied before: for so long a lock may be held for a copy.
pub const LEAST_PREPARED: usize = 16 << 10;

/// The long arguments of one request, each in the memory in which it can be stored.
#[derive(Debug, Default)]
pub struct Prepared(SmallVec<[Copied; 1]>);

#[derive(Debug)]
struct Copied {
    /// Where the argument is: it stays there until the command is through.
    argument: *const [u8],
    bytes: Bytes,
    memory: usize,
}

impl Store {
    /// Copies those of a request's arguments that are long, unless one can stay where it was received.
    pub fn prepare<'a>(
        &self,
        arguments: impl Iterator<Item = &'a [u8]>,
        landed: Option<&Landed>,
    ) -> Prepared {
        let long = arguments.filter(|argument| argument.len() > LEAST_PREPARED);
        let copies = long.map(|argument| {
            let part = landed.and_then(|landed| landed.part(argument));
            let (bytes, memory) = part.unwrap_or_else(|| self.pool.share(argument));
            Copied { argument, bytes, memory }
        });
        Prepared(copies.collect())
    }

    /// A value that is about to be stored, in the memory in which it can be: a long string is copied.
    pub(crate) fn settled(&self, value: Value) -> Value {
        settled_outside(value, &self.pool)
    }
}

impl Prepared {
    /// The copy of this argument and the memory it takes, once.
    #[inline]
    pub(super) fn take(&mut self, argument: &[u8]) -> Option<(Bytes, usize)> {
        if self.0.is_empty() {
            return None;
        }
        let at = self.0.iter().position(|copied| std::ptr::eq(copied.argument, argument))?;
        let Copied { bytes, memory, .. } = self.0.swap_remove(at);
        Some((bytes, memory))
    }
}

impl Db<'_> {
    /// The string at `key`, if it is long and its first change has to copy it: replies hold it, or it lies where it was received.
    #[inline]
    pub(crate) fn to_copy(&self, key: &[u8]) -> Option<Bytes> {
        let (_, key) = self.locate(key);
        let shard = self.of(key.slot);
        let Value::Str(string) = shard.boxed(shard.find_seen(&key)?.handle)? else { return None };
        string.to_copy().filter(|bytes| bytes.len() > LEAST_PREPARED).cloned()
    }

    /// Gives the string at `key` a copy of its bytes as its own, if it still has those.
    pub(crate) fn take_copy(&mut self, key: &[u8], of: &Bytes, mut copy: Vec<u8>) {
        let (guard, key) = self.locate(key);
        let shard = self.shard(guard);
        let Some(Place { handle, .. }) = shard.find_seen(&key) else { return };
        if let Some(Value::Str(string)) = shard.boxed_mut(handle)
            && string.take_copy(of, &mut copy)
        {
            shard.recharge(handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::{Settings, Store};

    #[test]
    fn long_arguments_are_prepared_and_used_once() {
        let store = Store::new(Settings::default());
        let long = vec![7; 100_000];
        let arguments = [&b"key"[..], &long, &long[..16_384], &long[..16_385]];
        let mut prepared = store.prepare(arguments.into_iter(), None);
        assert_eq!(prepared.take(b"key"), None);
        assert_eq!(prepared.take(&long[..16_384]), None);
        let (bytes, memory) = prepared.take(&long).expect("it is long");
        assert!(bytes == long && memory >= long.len());
        assert_eq!(prepared.take(&long), None);
        assert_eq!(prepared.take(&long[..16_385]).map(|(bytes, _)| bytes.len()), Some(16_385));
    }
}
