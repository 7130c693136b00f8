//! Sorted sets.

use super::row::{counted, key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    zset("bzmpop", -5, "7.0.0", "write blocking")
        .keys(&[counted(2, "rw access delete")])
        .syntax("timeout numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .about("", "O(K)")
        .planned(),
    zset("bzpopmax", -3, "5.0.0", "write fast blocking")
        .keys(&[keys(1, -2, 1, "rw access delete")])
        .syntax("key [key ...] timeout")
        .about("", "O(log(N))")
        .planned(),
    zset("bzpopmin", -3, "5.0.0", "write fast blocking")
        .keys(&[keys(1, -2, 1, "rw access delete")])
        .syntax("key [key ...] timeout")
        .about("", "O(log(N))")
        .planned(),
    zset("zadd", -4, "1.2.0", "write denyoom fast")
        .keys(&[key(1, "rw update")])
        .syntax("key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]")
        .about("", "O(log(N))"),
    zset("zcard", 2, "1.2.0", "readonly fast").keys(&[key(1, "ro")]).syntax("key").about("", "O(1)"),
    zset("zcount", 4, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key min max")
        .about("", "O(log(N))"),
    zset("zdiff", -3, "6.2.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax("numkeys key [key ...] [WITHSCORES]")
        .about("", "O(1)"),
    zset("zdiffstore", -4, "6.2.0", "write denyoom")
        .keys(&[key(1, "ow update"), counted(2, "ro access")])
        .syntax("destination numkeys key [key ...]")
        .about("", "O(1)"),
    zset("zincrby", 4, "1.2.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key increment member")
        .about("", "O(log(N))"),
    zset("zinter", -3, "6.2.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] \
            [WITHSCORES]",
        )
        .about("", "O(N*K)+O(M*log(M))"),
    zset("zintercard", -3, "7.0.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .about("", "O(N*K)"),
    zset("zinterstore", -4, "2.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), counted(2, "ro access")])
        .syntax(
            "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | \
            MIN | MAX>]",
        )
        .about("", "O(N*K)+O(M*log(M))"),
    zset("zlexcount", 4, "2.8.9", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key min max")
        .about("", "O(log(N))"),
    zset("zmpop", -4, "7.0.0", "write")
        .keys(&[counted(1, "rw access delete")])
        .syntax("numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .about("", "O(K)"),
    zset("zmscore", -3, "6.2.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member [member ...]")
        .about("", "O(N)"),
    zset("zpopmax", -2, "5.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("", "O(log(N)*M)"),
    zset("zpopmin", -2, "5.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("", "O(log(N)*M)"),
    zset("zrandmember", -2, "6.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key [count [WITHSCORES]]")
        .about("", "O(N)")
        .tips(&["nondeterministic_output"]),
    zset("zrange", -4, "1.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]")
        .about("", "O(log(N)+M)"),
    zset("zrangebylex", -4, "2.8.9", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key min max [LIMIT offset count]")
        .about("", "O(log(N)+M)")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    zset("zrangebyscore", -4, "1.0.5", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key min max [WITHSCORES] [LIMIT offset count]")
        .about("", "O(log(N)+M)")
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    zset("zrangestore", -5, "6.2.0", "write denyoom")
        .keys(&[key(1, "ow update"), key(2, "ro access")])
        .syntax("destination source min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]")
        .about("", "O(log(N)+M)"),
    zset("zrank", -3, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member [WITHSCORE]")
        .about("", "O(log(N))"),
    zset("zrem", -3, "1.2.0", "write fast")
        .keys(&[key(1, "rw delete")])
        .syntax("key member [member ...]")
        .about("", "O(M*log(N))"),
    zset("zremrangebylex", 4, "2.8.9", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key min max")
        .about("", "O(log(N)+M)"),
    zset("zremrangebyrank", 4, "2.0.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key start stop")
        .about("", "O(log(N)+M)"),
    zset("zremrangebyscore", 4, "1.2.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key min max")
        .about("", "O(log(N)+M)"),
    zset("zrevrange", -4, "1.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start stop [WITHSCORES]")
        .about("", "O(log(N)+M)")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    zset("zrevrangebylex", -4, "2.8.9", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key max min [LIMIT offset count]")
        .about("", "O(log(N)+M)")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    zset("zrevrangebyscore", -4, "2.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key max min [WITHSCORES] [LIMIT offset count]")
        .about("", "O(log(N)+M)")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    zset("zrevrank", -3, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member [WITHSCORE]")
        .about("", "O(log(N))"),
    zset("zscan", -3, "2.8.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key cursor [MATCH pattern] [COUNT count] [NOSCORES]")
        .about("", "O(1)")
        .tips(&["nondeterministic_output"]),
    zset("zscore", 3, "1.2.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member")
        .about("", "O(1)"),
    zset("zunion", -3, "6.2.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] \
            [WITHSCORES]",
        )
        .about("", "O(N)+O(M*log(M))"),
    zset("zunionstore", -4, "2.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), counted(2, "ro access")])
        .syntax(
            "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | \
            MIN | MAX>]",
        )
        .about("", "O(N)"),
];

/// A row of this family.
const fn zset(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::SortedSet, name, arity, since, flags)
}
