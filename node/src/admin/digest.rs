//! Digests of values and of the whole data set (`DEBUG DIGEST`, `DEBUG DIGEST-VALUE`): equal data gives equal
//! digests, however it is encoded and in whatever order it was written.
//!
//! They are not those of Redis, and not safe against somebody who looks for collisions.

use std::hash::{DefaultHasher, Hasher};

use crate::{
    store::{DATABASES, Store},
    value::Value,
};

/// 40 hexadecimal digits, as many as Redis's have.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Digest([u64; 3]);

impl Digest {
    /// Of these parts in this order.
    fn of(parts: &[&[u8]]) -> Self {
        let mut lane = 0u8;
        Self([(); 3].map(|()| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(lane);
            lane += 1;
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            hasher.finish()
        }))
    }

    /// Adds something whose place does not matter.
    fn mix(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.wrapping_add(theirs);
        }
    }

    /// The digest so far, followed by `part`.
    fn then(self, part: &[u8]) -> Self {
        let [a, b, c] = self.0.map(u64::to_le_bytes);
        Self::of(&[&a, &b, &c, part])
    }

    fn text(self) -> String {
        let [a, b, c] = self.0;
        format!("{a:016x}{b:016x}{:08x}", c >> 32)
    }
}

/// All keys of all databases.
pub(super) fn of_all(store: &Store, now: u64) -> String {
    let mut total = Digest::default();
    for db in 0..DATABASES as u8 {
        store.each_entry(db, now, |key, value, expires_at| {
            let value = of_value(value, expires_at).text();
            total.mix(Digest::of(&[&[db], key, value.as_bytes()]));
        });
    }
    total.text()
}

/// One value, or zeros if there is none. As in Redis, that a key expires counts, but not when.
pub(super) fn of_key(value: Option<&Value>, expires_at: u64) -> String {
    value.map_or_else(Digest::default, |value| of_value(value, expires_at)).text()
}

fn of_value(value: &Value, expires_at: u64) -> Digest {
    let mut total =
        Digest::of(&[value.type_name().as_bytes(), if expires_at == 0 { b"" } else { b"expires" }]);
    let (mut a, mut b) = (itoa::Buffer::new(), itoa::Buffer::new());
    match value {
        Value::Str(string) => total = total.then(string.bytes()),
        Value::List(list) => list.iter().for_each(|elem| total = total.then(elem.text(&mut a))),
        Value::Set(set) => set.each(|member| total.mix(Digest::of(&[member.text(&mut a)]))),
        Value::Hash(hash) => hash.each(|field, value| {
            total.mix(Digest::of(&[field.text(&mut a), value.text(&mut b)]));
        }),
        Value::Zset(zset) => zset.all().for_each(|(member, score)| {
            total.mix(Digest::of(&[member.text(&mut a), &score.to_le_bytes()]));
        }),
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Encodings, Set, Str};

    fn digest(value: impl Into<Value>) -> String {
        of_key(Some(&value.into()), 0)
    }

    #[test]
    fn digests_follow_the_data() {
        assert_eq!(of_key(None, 0), "0".repeat(40));
        assert_eq!(digest(Str::new("a")), digest(Str::from_raw("a")));
        assert_ne!(digest(Str::new("a")), digest(Str::new("b")));
        assert_ne!(of_key(Some(&Str::new("a").into()), 0), of_key(Some(&Str::new("a").into()), 9));
    }

    #[test]
    fn neither_order_nor_encoding_counts_in_a_set() {
        let set = |members: &[&str], limits: &Encodings| {
            let mut set = Set::default();
            members.iter().for_each(|member| {
                set.add(member.as_bytes(), limits);
            });
            digest(set)
        };
        let (packed, table) = (Encodings::default(), Encodings { set_entries: 0, ..Encodings::default() });
        assert_eq!(set(&["a", "b"], &packed), set(&["b", "a"], &packed));
        assert_eq!(set(&["a", "b"], &packed), set(&["b", "a"], &table));
        assert_ne!(set(&["a", "b"], &packed), set(&["a", "c"], &packed));
    }
}
