//! Changing a small collection where it lies in the log.
//!
//! One that grows gets some room to grow further when it is written anew, so that not every change moves it.

use shoal_proto::{Error, error::Result};

use super::{
    Db,
    blob::LONGEST_EDITED,
    db::Spot,
    item::Form,
    shard::{Place, Shard, Stored, box_of},
};
use crate::value::{
    Typed,
    dense::{Dense, Plan, Splice},
};

/// Room to grow: one in so many bytes, and so many.
const ROOM_SHARE: usize = 4;
const ROOM: usize = 16;
/// Where memory is not short, one in so many, or as much as the change adds: the next one is mostly of that size.
const AMPLE_ROOM_SHARE: usize = 2;
/// More room than this behind the elements, and as much again as they take, is given back.
const MOST_ROOM: usize = 64;

/// Kinds of small collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Small {
    Hash,
    Set,
    List,
    Zset,
}

impl Small {
    fn form(self) -> Form {
        match self {
            Self::Hash => Form::Hash,
            Self::Set => Form::Set,
            Self::List => Form::List,
            Self::Zset => Form::Zset,
        }
    }
}

impl Db<'_> {
    /// Changes the collection at `key` as `plan` says if it is a small one and can stay one, else its value by `otherwise`. Both
    /// get `with`. `None` if there is no such key; one that becomes empty goes.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    #[inline]
    pub(crate) fn change<'n, T: Typed, W, R>(
        &mut self,
        key: &[u8],
        kind: Small,
        with: &mut W,
        plan: impl FnOnce(Dense<'_>, &mut W) -> Plan<'n, R>,
        otherwise: impl FnOnce(&mut T, &mut W) -> R,
    ) -> Result<Option<R>> {
        let Some(spot) = self.find(key) else { return Ok(None) };
        self.change_at(spot, kind, with, plan, otherwise).map(Some)
    }

    /// The same; a key that does not exist begins as `T::default()`.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    #[inline]
    pub(crate) fn change_or_new<'n, T: Typed + Default, R>(
        &mut self,
        key: &[u8],
        kind: Small,
        plan: impl FnOnce(Dense<'_>) -> Plan<'n, R>,
        otherwise: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        let (guard, located) = self.locate(key);
        match self.find_at(guard, &located) {
            Some(spot) => {
                self.change_at(spot, kind, &mut (), |small, ()| plan(small), |value, ()| otherwise(value))
            }
            None => Ok(otherwise(&mut self.new_at(guard, located))),
        }
    }

    #[inline]
    fn change_at<'n, T: Typed, W, R>(
        &mut self,
        spot: Spot,
        kind: Small,
        with: &mut W,
        plan: impl FnOnce(Dense<'_>, &mut W) -> Plan<'n, R>,
        otherwise: impl FnOnce(&mut T, &mut W) -> R,
    ) -> Result<R> {
        let item = self.shard(spot.guard).item(spot.place.handle);
        let form = item.form();
        if form == Form::Boxed {
            let id = box_of(item);
            return self.change_boxed((spot, id), |value| otherwise(value, with));
        }
        if form == kind.form()
            && let Some(result) = self.splice(spot, |small| plan(small, with))
        {
            return Ok(result);
        }
        self.edit_at(spot).map(|mut edit| otherwise(&mut edit, with))
    }

    /// Changes a value outside the log, `id` there, where it is.
    #[inline]
    fn change_boxed<T: Typed, R>(
        &mut self,
        (spot, id): (Spot, usize),
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R> {
        let (now, touches, handle) = (self.now(), self.touches(), spot.place.handle);
        let shard = self.shard(spot.guard);
        let value = &mut shard.boxes[id].value;
        let result = change(T::of_mut(value).ok_or(Error::WrongType)?);
        let empty = value.is_empty_collection();
        shard.stats.dirty += 1;
        if empty {
            drop(shard.remove(spot.place));
            return Ok(result);
        }
        shard.recharge_box(handle, id);
        if touches {
            shard.hit(handle, now);
        }
        Ok(result)
    }

    /// Changes a small collection of the kind that `plan` takes it for. `None`: nothing was changed or counted.
    #[inline]
    fn splice<'n, R>(&mut self, spot: Spot, plan: impl FnOnce(Dense<'_>) -> Plan<'n, R>) -> Option<R> {
        let (now, touches, mut place, ample) =
            (self.now(), self.touches(), spot.place, self.store.is_ample());
        let shard = self.shard(spot.guard);
        let (splice, result) = plan(Dense::new(shard.item(place.handle).value()))?;
        if let Some(splice) = splice {
            place = shard.splice(place, &splice, (now, ample))?;
            shard.stats.dirty += 1;
        }
        if touches {
            shard.hit(place.handle, now);
        }
        Some(result)
    }

    /// The collection at `key` as it lies in the log, if it is a small one of this kind; its read counts. `None`: nothing was
    /// counted.
    #[inline]
    pub(crate) fn read_small(&mut self, key: &[u8], kind: Small) -> Option<Dense<'_>> {
        let spot = self.find(key)?;
        if self.shard(spot.guard).item(spot.place.handle).form() != kind.form() {
            return None;
        }
        self.note_read(spot);
        Some(Dense::new(self.shard(spot.guard).item(spot.place.handle).value()))
    }
}

impl Shard {
    /// Changes a small collection; its place from now on. `None` if it would grow too large.
    #[inline]
    fn splice(&mut self, place: Place, splice: &Splice<'_>, (now, ample): (u64, bool)) -> Option<Place> {
        let (room, used) = (self.item(place.handle).value().len(), splice.used());
        let most = self.longest_value().min(LONGEST_EDITED);
        // One that shrinks is never left to the value, as what it says may have been told by now.
        if used <= room && (room <= 2 * used + MOST_ROOM || used > most) {
            splice.apply(self.log.item_mut(place.handle).value_mut());
            return Some(place);
        }
        if used > most { None } else { Some(self.splice_anew(place, splice, most, (now, ample))) }
    }

    fn splice_anew(
        &mut self,
        place: Place,
        splice: &Splice<'_>,
        most: usize,
        (now, ample): (u64, bool),
    ) -> Place {
        let (room, used) = (self.item(place.handle).value().len(), splice.used());
        let more = if ample { (used / AMPLE_ROOM_SHARE).max(splice.added()) } else { used / ROOM_SHARE };
        let len = if used > room { (used + more + ROOM).min(most) } else { used };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(len, 0);
        let item = self.item(place.handle);
        splice.write(item.value(), &mut buffer);
        let (form, expires_at) = (item.form(), item.expires_at());
        let place = self.rewrite(place, Stored::Inline(form, &buffer), expires_at, now);
        self.buffer = buffer;
        place
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, VecDeque};

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use crate::command::testing::Core;

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    /// Collections that grow and shrink around the sizes at which they leave the log and get room to grow answer as maps, sets
    /// and deques do, and every byte is accounted for.
    #[test]
    fn collections_change_where_they_lie_as_their_values_would() {
        let mut random = StdRng::seed_from_u64(9);
        let mut core = Core::new();
        let mut hashes = [(); 4].map(|()| BTreeMap::<String, String>::new());
        let mut sets = [(); 4].map(|()| BTreeSet::<String>::new());
        let mut zsets = [(); 4].map(|()| BTreeMap::<String, i64>::new());
        let mut lists = [(); 4].map(|()| VecDeque::<String>::new());
        for step in 0..20_000 {
            if step == 10_000 {
                // From here on it is known that memory is not short.
                core.store.unneeded();
            }
            let k = random.random_range(0..4);
            // One key of each kind stays small, one grows long.
            let names = [3, 12, 40, 90][k];
            let name = match random.random_range(0..3) {
                0 => format!("field:{:08}", random.random_range(0..names)),
                1 => random.random_range(0..names).to_string(),
                _ => "x".repeat(random.random_range(1..names + 1)),
            };
            let value = "v".repeat(random.random_range(1..70));
            let removes = random.random_range(0..100) < if step / 2000 % 2 == 0 { 40 } else { 60 };
            let (command, expected) = match (random.random_range(0..5), removes) {
                (0, false) => {
                    let new = hashes[k].insert(name.clone(), value.clone()).is_none();
                    (format!("HSET h{k} {name} {value}"), format!(":{}\r\n", u8::from(new)))
                }
                (0, true) => {
                    let there = hashes[k].remove(&name).is_some();
                    (format!("HDEL h{k} {name}"), format!(":{}\r\n", u8::from(there)))
                }
                (1, false) => {
                    (format!("SADD s{k} {name}"), format!(":{}\r\n", u8::from(sets[k].insert(name.clone()))))
                }
                (1, true) => {
                    (format!("SREM s{k} {name}"), format!(":{}\r\n", u8::from(sets[k].remove(&name))))
                }
                (4, false) => {
                    let score = random.random_range(-4..4) * 50;
                    let new = zsets[k].insert(name.clone(), score).is_none();
                    (format!("ZADD z{k} {score} {name}"), format!(":{}\r\n", u8::from(new)))
                }
                (4, true) => {
                    let there = zsets[k].remove(&name).is_some();
                    (format!("ZREM z{k} {name}"), format!(":{}\r\n", u8::from(there)))
                }
                (2, false) => {
                    lists[k].push_front(name.clone());
                    (format!("LPUSH l{k} {name}"), format!(":{}\r\n", lists[k].len()))
                }
                (2, true) => {
                    let gone = lists[k].pop_front();
                    (format!("LPOP l{k}"), gone.map_or("$-1\r\n".to_owned(), |gone| bulk(&gone)))
                }
                (_, false) => {
                    lists[k].push_back(name.clone());
                    (format!("RPUSH l{k} {name}"), format!(":{}\r\n", lists[k].len()))
                }
                (_, true) => {
                    let gone = lists[k].pop_back();
                    (format!("RPOP l{k}"), gone.map_or("$-1\r\n".to_owned(), |gone| bulk(&gone)))
                }
            };
            assert_eq!(core.run(&command), expected, "step {step}: {command}");
            let held = hashes[k].get(&name).map_or("$-1\r\n".to_owned(), |value| bulk(value));
            assert_eq!(core.run(&format!("HGET h{k} {name}")), held);
            let there = u8::from(sets[k].contains(&name));
            assert_eq!(core.run(&format!("SISMEMBER s{k} {name}")), format!(":{there}\r\n"));
            let score = zsets[k].get(&name).map_or("$-1\r\n".to_owned(), |score| bulk(&score.to_string()));
            assert_eq!(core.run(&format!("ZSCORE z{k} {name}")), score);
            if step % 100 == 0 {
                core.store.audit();
                let mut pairs: Vec<(i64, &String)> =
                    zsets[k].iter().map(|(name, score)| (*score, name)).collect();
                pairs.sort();
                let all: String = pairs.iter().map(|(_, name)| bulk(name)).collect();
                assert_eq!(core.run(&format!("ZRANGE z{k} 0 -1")), format!("*{}\r\n{all}", pairs.len()));
                let all: String = lists[k].iter().map(|element| bulk(element)).collect();
                let all = format!("*{}\r\n{all}", lists[k].len());
                assert_eq!(core.run(&format!("LRANGE l{k} 0 -1")), all);
                assert_eq!(core.run(&format!("HLEN h{k}")), format!(":{}\r\n", hashes[k].len()));
                assert_eq!(core.run(&format!("SCARD s{k}")), format!(":{}\r\n", sets[k].len()));
            }
        }
    }

    /// How often a hash is written anew until it has ten fields that came one by one.
    fn moves(core: &mut Core) -> u64 {
        for i in 0..10 {
            assert_eq!(core.run(&format!("HSET hash field:{i:012} 0123456789abcdef")), ":1\r\n");
        }
        core.store.audit();
        core.store.shards.iter().map(|shard| shard.lock().log.gone()).sum()
    }

    #[test]
    fn what_grows_moves_less_often_where_memory_is_not_short() {
        let mut core = Core::new();
        assert_eq!(moves(&mut core), 5);
        core = Core::new();
        core.store.unneeded();
        assert_eq!(moves(&mut core), 3);
    }
}
