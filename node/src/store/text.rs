//! Reading strings: where the bytes of one are, and that it was used.

use bytes::Bytes;
use shoal_proto::{Error, error::Result};

use super::{
    Db,
    db::Spot,
    eviction::FULL_CREDIT,
    item::{Form, Item, clock},
    log::Handle,
    prepared::LEAST_PREPARED,
    shard::{Boxed, Shard, box_of},
};
use crate::value::{Str, Value};

/// A string to be read.
#[derive(Debug, Clone, Copy)]
pub enum Text<'a> {
    /// Only while the lock is held.
    Bytes(&'a [u8]),
    /// Or for as long as somebody holds a reference.
    Shared(&'a Bytes),
}

impl<'a> Text<'a> {
    /// The string.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Of a string outside the log.
    fn of(string: &'a Str) -> Self {
        match string.shared() {
            Some(bytes) => Self::Shared(bytes),
            None => Self::Bytes(string.bytes()),
        }
    }
}

/// The string outside the log, such that it can be held without a copy if it is long; `None` if it is another type.
fn sharable(boxed: &mut Boxed) -> Option<&Str> {
    let Value::Str(string) = &mut boxed.value else { return None };
    if string.bytes().len() > LEAST_PREPARED {
        string.share();
    }
    Some(string)
}

impl Db<'_> {
    /// The string at `key`, for a reply: a long one can be held beyond the lock, without a copy. Counts as
    /// [`read`](Self::read) does.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it is something else.
    #[inline]
    pub fn read_text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>> {
        let Some(Spot { guard, place }) = self.find_counted(key) else { return Ok(None) };
        let used = self.touches().then_some(self.now());
        self.shard(guard).text(place.handle, used).map(Some)
    }

    /// A copy of the value of `key`, without counting at all. The bytes of a long string are not copied but shared.
    pub fn duplicate(&mut self, key: &[u8]) -> Option<Value> {
        let spot = self.find(key)?;
        let shard = self.shard(spot.guard);
        let item = shard.item(spot.place.handle);
        if item.form() == Form::Boxed {
            let id = box_of(item);
            if let Some(string) = sharable(&mut shard.boxes[id]) {
                return Some(string.clone().into());
            }
        }
        Some(self.value(spot).clone())
    }
}

impl Shard {
    /// The string that an item holds; it is used at that time, if one is given (ms since 1970).
    #[inline]
    fn text(&mut self, handle: Handle, used: Option<u64>) -> Result<Text<'_>> {
        if used.is_some() && self.hand.counts() {
            self.earn(handle);
        }
        let mut item = self.log.item_mut(handle);
        if let Some(now) = used {
            item.set_accessed(clock(now));
        }
        let item = Item(item.0);
        match item.form() {
            Form::Whole | Form::Text | Form::Raw => Ok(Text::Bytes(item.value())),
            Form::Boxed => {
                let id = box_of(item);
                sharable(&mut self.boxes[id]).map(Text::of).ok_or(Error::WrongType)
            }
            _ => Err(Error::WrongType),
        }
    }

    /// An item is used.
    #[inline]
    pub(super) fn hit(&mut self, handle: Handle, now: u64) {
        self.log.item_mut(handle).set_accessed(clock(now));
        if self.hand.counts() {
            self.earn(handle);
        }
    }

    /// An item that is used is kept longer.
    fn earn(&mut self, handle: Handle) {
        let credit = self.log.item(handle).credit();
        if credit < FULL_CREDIT {
            let earned = self.hand.earned(self.charge(handle));
            if earned > credit {
                self.log.item_mut(handle).set_credit(earned);
            }
        }
    }
}
