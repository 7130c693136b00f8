//! Looking at a [`Value`] as one type.

use super::{Hash, List, Set, Str, Value, Zset};

/// A data type that a [`Value`] can hold.
pub trait Typed: Sized {
    /// The name `TYPE` gives.
    const NAME: &'static str;
    /// The value as this type, if it is one.
    fn of(value: &Value) -> Option<&Self>;
    /// The same, to change it.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// Into a value.
    fn into_value(self) -> Value;
}

macro_rules! typed {
    ($($kind:ident $name:literal),* $(,)?) => {$(
        impl Typed for $kind {
            const NAME: &'static str = $name;
            fn of(value: &Value) -> Option<&Self> {
                match value { Value::$kind(v) => Some(v), _ => None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                match value { Value::$kind(v) => Some(v), _ => None }
            }
            fn into_value(self) -> Value { Value::$kind(self) }
        }
        impl From<$kind> for Value {
            fn from(v: $kind) -> Value { Value::$kind(v) }
        }
    )*};
}

typed!(Hash "hash", List "list", Set "set", Str "string", Zset "zset");
