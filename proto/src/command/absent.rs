//! What a read is answered about keys that are not there: what a cache may say of keys that nobody can serve now.
//!
//! An alternative to an error for applications that treat both alike: a miss sends them to their database. It never tells
//! an old value, and says nothing about arguments that a node would find wrong.

use super::Entry;
use crate::resp::{Args, Reply};

/// Appends the reply to a command that reads, as if none of its keys was there. `false`, and nothing is appended, for one that
/// writes, that is about more than its keys, or whose reply depends on more than them.
pub fn reply(entry: &Entry, args: Args<'_>, out: &mut Reply<'_>) -> bool {
    let len = args.len();
    match entry.name.as_str() {
        "get" | "hget" | "lindex" | "zscore" | "object|encoding" | "object|freq" | "object|idletime"
        | "object|refcount" => out.null(),
        "hrandfield" | "srandmember" | "zrandmember" if len == 2 => out.null(),
        "lpos" if !has(args, 3, "COUNT") => out.null(),
        "zrank" | "zrevrank" if len == 3 => out.null(),
        "zrank" | "zrevrank" => out.null_array(),
        "exists" | "touch" | "strlen" | "getbit" | "bitcount" | "hlen" | "hexists" | "hstrlen" | "llen"
        | "scard" | "sismember" | "sintercard" | "zcard" | "zcount" | "zlexcount" | "zintercard" => {
            out.int(0)
        }
        "bitpos" => out.int(if args.get(2) == Some(b"1") { -1 } else { 0 }),
        "ttl" | "pttl" | "expiretime" | "pexpiretime" => out.int(-2),
        "type" => out.simple("none"),
        "getrange" | "substr" => out.bulk(b""),
        "hgetall" => out.map(0),
        "smembers" | "sinter" | "sunion" | "sdiff" => out.set(0),
        "hkeys" | "hvals" | "hrandfield" | "lpos" | "lrange" | "srandmember" | "zrandmember" | "sort_ro"
        | "zrange" | "zrangebylex" | "zrangebyscore" | "zrevrange" | "zrevrangebylex"
        | "zrevrangebyscore" | "zdiff" | "zinter" | "zunion" => out.array(0),
        "mget" => each(out, len - 1, |out| out.null()),
        "hmget" | "zmscore" => each(out, len - 2, |out| out.null()),
        "smismember" => each(out, len - 2, |out| out.int(0)),
        "hscan" | "sscan" | "zscan" => {
            out.array(2);
            out.bulk(b"0");
            out.array(0);
        }
        _ => return false,
    }
    true
}

/// Whether a word stands among the arguments from `from` on.
fn has(args: Args<'_>, from: usize, word: &str) -> bool {
    (from..args.len()).any(|at| args.is(at, word))
}

fn each(out: &mut Reply<'_>, n: usize, mut element: impl FnMut(&mut Reply<'_>)) {
    out.array(n);
    (0..n).for_each(|_| element(out));
}
