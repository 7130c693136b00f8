//! Lists.

use super::row::{counted, key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    list("blmove", 6, "6.2.0", "write denyoom blocking")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout")
        .about("Moves an element between lists, waiting until there is one.", "O(1)")
        .planned(),
    list("blmpop", -5, "7.0.0", "write blocking")
        .keys(&[counted(2, "rw access delete")])
        .syntax("timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .about(
            "Takes elements from the first list that has any, waiting for one.",
            "O(N+M), N keys, M elements",
        )
        .planned(),
    list("blpop", -3, "2.0.0", "write blocking")
        .keys(&[keys(1, -2, 1, "rw access delete")])
        .syntax("key [key ...] timeout")
        .about("Takes the first element of the first list that has one, waiting for it.", "O(N), N keys")
        .planned(),
    list("brpop", -3, "2.0.0", "write blocking")
        .keys(&[keys(1, -2, 1, "rw access delete")])
        .syntax("key [key ...] timeout")
        .about("Takes the last element of the first list that has one, waiting for it.", "O(N), N keys")
        .planned(),
    list("brpoplpush", 4, "2.2.0", "write denyoom blocking")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination timeout")
        .about("Moves the last element to the front of another list, waiting until there is one.", "O(1)")
        .deprecated("6.2.0", "BLMOVE with RIGHT and LEFT")
        .planned(),
    list("lindex", 3, "1.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key index")
        .about("Reads the element at a position.", "O(N), N elements on the way"),
    list("linsert", 5, "2.2.0", "write denyoom")
        .keys(&[key(1, "rw insert")])
        .syntax("key <BEFORE | AFTER> pivot element")
        .about("Inserts an element beside another one.", "O(N), N elements on the way"),
    list("llen", 2, "1.0.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key")
        .about("Counts the elements.", "O(1)"),
    list("lmove", 5, "6.2.0", "write denyoom")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT>")
        .about("Moves an element from one list's end to another's.", "O(1)"),
    list("lmpop", -4, "7.0.0", "write")
        .keys(&[counted(1, "rw access delete")])
        .syntax("numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .about("Takes elements from the first list that has any.", "O(N+M), N keys, M elements"),
    list("lpop", -2, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("Takes elements from the front.", "O(N), N elements"),
    list("lpos", -3, "6.0.6", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key element [RANK rank] [COUNT num-matches] [MAXLEN len]")
        .about("Finds where an element is.", "O(N), N elements"),
    list("lpush", -3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key element [element ...]")
        .about("Puts elements at the front.", "O(N), N elements"),
    list("lpushx", -3, "2.2.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key element [element ...]")
        .about("Puts elements at the front of a list that exists.", "O(N), N elements"),
    list("lrange", 4, "1.0.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start stop")
        .about("Reads a range of elements.", "O(S+N), S elements to the start, N returned"),
    list("lrem", 4, "1.0.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key count element")
        .about("Removes elements equal to a given one.", "O(N+M), N elements, M removed"),
    list("lset", 4, "1.0.0", "write denyoom")
        .keys(&[key(1, "rw update")])
        .syntax("key index element")
        .about("Replaces the element at a position.", "O(N), N elements on the way"),
    list("ltrim", 4, "1.0.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key start stop")
        .about("Keeps a range of elements and removes the others.", "O(N), N elements removed"),
    list("rpop", -2, "1.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("Takes elements from the end.", "O(N), N elements"),
    list("rpoplpush", 3, "1.2.0", "write denyoom")
        .keys(&[key(1, "rw access delete"), key(2, "rw insert")])
        .syntax("source destination")
        .about("Moves the last element to the front of another list.", "O(1)")
        .deprecated("6.2.0", "LMOVE with RIGHT and LEFT"),
    list("rpush", -3, "1.0.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key element [element ...]")
        .about("Puts elements at the end.", "O(N), N elements"),
    list("rpushx", -3, "2.2.0", "write denyoom fast")
        .keys(&[key(1, "rw insert")])
        .syntax("key element [element ...]")
        .about("Puts elements at the end of a list that exists.", "O(N), N elements"),
];

/// A row of this family.
const fn list(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::List, name, arity, since, flags)
}
