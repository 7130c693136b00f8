//! Bitmaps: strings seen as bits and small integers.

use super::row::{key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    bitmap("bitcount", -2, "2.6.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key [start end [BYTE | BIT]]")
        .about("Counts the ones in a string or a part of it.", "O(N), N bytes"),
    bitmap("bitfield", -2, "3.2.0", "write denyoom")
        .keys(&[key(1, "rw update access variable_flags")])
        .syntax(
            "key [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset \
            value | INCRBY encoding offset increment>> ...]",
        )
        .about("Reads, sets and increments integers of any width inside a string.", "O(N), N operations"),
    bitmap("bitfield_ro", -2, "6.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key [GET encoding offset [GET encoding offset ...]]")
        .about("Reads integers of any width inside a string.", "O(N), N operations"),
    bitmap("bitop", -4, "2.6.0", "write denyoom")
        .keys(&[key(2, "ow update"), keys(3, -1, 1, "ro access")])
        .syntax("<AND | OR | XOR | NOT> destination key [key ...]")
        .about("Combines strings bit by bit and stores the result.", "O(N), N bytes of the longest string"),
    bitmap("bitpos", -3, "2.8.7", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key bit [start [end [BYTE | BIT]]]")
        .about("Finds the first one or zero in a string.", "O(N), N bytes"),
    bitmap("getbit", 3, "2.2.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key offset")
        .about("Reads one bit.", "O(1)"),
    bitmap("setbit", 4, "2.2.0", "write denyoom")
        .keys(&[key(1, "rw access update")])
        .syntax("key offset value")
        .about("Writes one bit and returns what it was.", "O(1)"),
];

/// A row of this family.
const fn bitmap(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Bitmap, name, arity, since, flags)
}
