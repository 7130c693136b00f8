//! The version of everything that processes of a cluster say to each other: requests, datagrams, streams.
//!
//! A process understands its own version and the ones next to it, so a cluster is updated node by node, one version at a
//! time. That works because what is said only grows, at its end: what a newer version adds there is left out, and what
//! an older one lacks is zero, `false`, none or empty, so a new field must mean that it is not there by that. A kind of
//! message that is not known is counted and otherwise ignored, if it comes from a newer version. Members, views and gossip's
//! identities have their length in front wherever they are part of something, so they grow by the same rule.
//!
//! With the feature `adjacent` a thread, or a whole process, can be made to speak the next version, which has one more field
//! everywhere.

use serde::de::DeserializeOwned;

/// What this code speaks.
pub const VERSION: u32 = 3;

/// The first version of which these rules hold. Nothing older was ever released.
pub const OLDEST: u32 = 3;

/// Fields that a newer version may have that an older one lacks, in bytes of zeros.
const ROOM: usize = 64;

/// What this process speaks.
#[cfg(not(feature = "adjacent"))]
#[inline]
pub const fn own() -> u32 {
    VERSION
}

#[cfg(feature = "adjacent")]
pub use adjacent::{all_speak, own, speak};

/// Whether a process that speaks `own` understands one that speaks `other`.
pub fn understands(own: u32, other: u32) -> bool {
    other >= OLDEST && own.abs_diff(other) <= 1
}

/// Writes something that grows.
///
/// # Errors
/// When it holds something that postcard cannot write.
pub fn write(what: &impl serde::Serialize) -> postcard::Result<Vec<u8>> {
    #[cfg(feature = "adjacent")]
    return adjacent::write(what);
    #[cfg(not(feature = "adjacent"))]
    postcard::to_stdvec(what)
}

/// Reads something that grows, from all of `bytes`. `theirs`: the version of who wrote it, if that is known; else both
/// more and less than is known here will do.
pub fn read<T: DeserializeOwned>(bytes: &[u8], theirs: Option<u32>) -> Option<T> {
    #[cfg(feature = "adjacent")]
    return adjacent::read(bytes, theirs);
    #[cfg(not(feature = "adjacent"))]
    read_as(bytes, own(), theirs)
}

fn read_as<T: DeserializeOwned>(bytes: &[u8], own: u32, theirs: Option<u32>) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((what, rest)) => (rest.is_empty() || theirs.is_none_or(|theirs| theirs > own)).then_some(what),
        Err(postcard::Error::DeserializeUnexpectedEnd) if theirs.is_none_or(|theirs| theirs < own) => {
            let filled = [bytes, &[0; ROOM]].concat();
            postcard::take_from_bytes(&filled).ok().map(|(what, _)| what)
        }
        Err(_) => None,
    }
}

/// Has a type with `#[serde(remote = "Self")]` written behind its length, so that it may grow.
macro_rules! growing {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                struct Fields<'a>(&'a $type);
                impl serde::Serialize for Fields<'_> {
                    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                        <$type>::serialize(self.0, serializer)
                    }
                }
                let bytes = $crate::version::write(&Fields(self)).map_err(serde::ser::Error::custom)?;
                serializer.serialize_bytes(&bytes)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields($type);
                impl<'de> serde::Deserialize<'de> for Fields {
                    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        <$type>::deserialize(deserializer).map(Self)
                    }
                }
                let bytes = <&[u8] as serde::Deserialize>::deserialize(deserializer)?;
                let fields: Option<Fields> = $crate::version::read(bytes, None);
                fields.map(|fields| fields.0).ok_or_else(|| serde::de::Error::custom("malformed record"))
            }
        }
    };
}
pub(crate) use growing;

/// A next version for tests: everything has one more field.
#[cfg(feature = "adjacent")]
mod adjacent {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{VERSION, read_as};

    /// What the next version's field says.
    const FIELD: u32 = 0xfeed;

    /// What threads speak that were not told otherwise.
    static ALL: AtomicU32 = AtomicU32::new(VERSION);

    thread_local! {
        static OWN: Cell<u32> = Cell::new(ALL.load(Relaxed));
    }

    /// What this thread speaks.
    pub fn own() -> u32 {
        OWN.get()
    }

    /// Makes this thread speak [`VERSION`] or the one after it.
    pub fn speak(version: u32) {
        assert!(version == VERSION || version == VERSION + 1);
        OWN.set(version);
    }

    /// The same for this thread and all that begin from now on.
    pub fn all_speak(version: u32) {
        speak(version);
        ALL.store(version, Relaxed);
    }

    pub(super) fn write(what: &impl Serialize) -> postcard::Result<Vec<u8>> {
        if own() > VERSION { postcard::to_stdvec(&(what, FIELD)) } else { postcard::to_stdvec(what) }
    }

    pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], theirs: Option<u32>) -> Option<T> {
        if own() == VERSION {
            return read_as(bytes, own(), theirs);
        }
        let (what, field) = read_as::<(T, u32)>(bytes, own(), theirs)?;
        let right = match theirs {
            Some(theirs) => field == if theirs > VERSION { FIELD } else { 0 },
            None => field == FIELD || field == 0,
        };
        assert!(right, "a field of the next version came as {field:#x} from {theirs:?}");
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Old {
        number: u32,
        text: String,
    }

    /// The same, two versions of fields later.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct New {
        number: u32,
        text: String,
        list: Vec<u16>,
        choice: Option<u64>,
    }

    fn old() -> Old {
        Old { number: 300, text: "text".to_owned() }
    }

    fn new(list: Vec<u16>, choice: Option<u64>) -> New {
        New { number: 300, text: "text".to_owned(), list, choice }
    }

    #[test]
    fn adjacent_versions_understand_each_other_and_no_others() {
        assert!(understands(7, 6) && understands(7, 7) && understands(7, 8));
        assert!(!understands(7, 5) && !understands(7, 9));
        assert!(!understands(OLDEST, OLDEST - 1), "it did not keep to the rules");
    }

    #[test]
    fn what_a_newer_version_adds_is_left_out() {
        let bytes = postcard::to_stdvec(&new(vec![7, 8], Some(9))).unwrap();
        assert_eq!(read_as::<Old>(&bytes, 7, Some(8)), Some(old()));
        assert_eq!(read_as::<Old>(&bytes, 7, None), Some(old()));
        assert_eq!(read_as::<Old>(&bytes, 7, Some(7)), None, "the same version has no more fields");
        assert_eq!(read_as::<Old>(&bytes, 7, Some(6)), None);
    }

    #[test]
    fn what_an_older_version_lacks_is_empty() {
        let bytes = postcard::to_stdvec(&old()).unwrap();
        assert_eq!(read_as::<New>(&bytes, 7, Some(6)), Some(new(Vec::new(), None)));
        assert_eq!(read_as::<New>(&bytes, 7, None), Some(new(Vec::new(), None)));
        assert_eq!(read_as::<New>(&bytes, 7, Some(7)), None, "the same version has all fields");
        assert_eq!(read_as::<New>(&bytes, 7, Some(8)), None);
    }
}
