//! Sorted sets.

use super::row::{counted, key, keys, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    zset("bzmpop", -5, "7.0.0", "write blocking")
        .keys(&[counted(2, "rw access delete")])
        .syntax("timeout numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .about(
            "Takes members with the lowest or highest scores from the first sorted set that has \
            any, waiting for one.",
            "O(K)+O(M*log(N)), K keys, M taken of N",
        )
        .planned(),
    zset("bzpopmax", -3, "5.0.0", "write fast blocking")
        .keys(&[keys(1, -2, 1, "rw access delete")])
        .syntax("key [key ...] timeout")
        .about("Takes the member with the highest score, waiting until there is one.", "O(log(N)), N members")
        .planned(),
    zset("bzpopmin", -3, "5.0.0", "write fast blocking")
        .keys(&[keys(1, -2, 1, "rw access delete")])
        .syntax("key [key ...] timeout")
        .about("Takes the member with the lowest score, waiting until there is one.", "O(log(N)), N members")
        .planned(),
    zset("zadd", -4, "1.2.0", "write denyoom fast")
        .keys(&[key(1, "rw update")])
        .syntax("key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]")
        .about("Adds members or changes their scores.", "O(log(N)) per member, N members"),
    zset("zcard", 2, "1.2.0", "readonly fast")
        .keys(&[key(1, "ro")])
        .syntax("key")
        .about("Counts the members.", "O(1)"),
    zset("zcount", 4, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key min max")
        .about("Counts the members within a range of scores.", "O(log(N)), N members"),
    zset("zdiff", -3, "6.2.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax("numkeys key [key ...] [WITHSCORES]")
        .about(
            "Lists the members of the first sorted set that no other has.",
            "O(L+(N-K)*log(N)), L all members, N of the first set, K of the result",
        ),
    zset("zdiffstore", -4, "6.2.0", "write denyoom")
        .keys(&[key(1, "ow update"), counted(2, "ro access")])
        .syntax("destination numkeys key [key ...]")
        .about(
            "Stores the members of the first sorted set that no other has.",
            "O(L+(N-K)*log(N)), L all members, N of the first set, K of the result",
        ),
    zset("zincrby", 4, "1.2.0", "write denyoom fast")
        .keys(&[key(1, "rw access update")])
        .syntax("key increment member")
        .about("Adds to a member's score.", "O(log(N)), N members"),
    zset("zinter", -3, "6.2.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] \
            [WITHSCORES]",
        )
        .about(
            "Lists the members that all sorted sets have.",
            "O(N*K)+O(M*log(M)), N in the smallest of K sets, M in the result",
        ),
    zset("zintercard", -3, "7.0.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .about("Counts the members that all sorted sets have.", "O(N*K), N in the smallest of K sets"),
    zset("zinterstore", -4, "2.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), counted(2, "ro access")])
        .syntax(
            "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | \
            MIN | MAX>]",
        )
        .about(
            "Stores the members that all sorted sets have.",
            "O(N*K)+O(M*log(M)), N in the smallest of K sets, M in the result",
        ),
    zset("zlexcount", 4, "2.8.9", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key min max")
        .about("Counts the members within a range of names.", "O(log(N)), N members"),
    zset("zmpop", -4, "7.0.0", "write")
        .keys(&[counted(1, "rw access delete")])
        .syntax("numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .about(
            "Takes members with the lowest or highest scores from the first sorted set that has any.",
            "O(K)+O(M*log(N)), K keys, M taken of N",
        ),
    zset("zmscore", -3, "6.2.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member [member ...]")
        .about("Reads the scores of several members.", "O(N), N members asked for"),
    zset("zpopmax", -2, "5.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("Takes the members with the highest scores.", "O(log(N)*M), M taken of N"),
    zset("zpopmin", -2, "5.0.0", "write fast")
        .keys(&[key(1, "rw access delete")])
        .syntax("key [count]")
        .about("Takes the members with the lowest scores.", "O(log(N)*M), M taken of N"),
    zset("zrandmember", -2, "6.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key [count [WITHSCORES]]")
        .about("Picks random members.", "O(N), N members returned")
        .tips(&["nondeterministic_output"]),
    zset("zrange", -4, "1.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]")
        .about("Lists a range by rank, score or name.", "O(log(N)+M), M returned of N"),
    zset("zrangebylex", -4, "2.8.9", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key min max [LIMIT offset count]")
        .about("Lists a range of names.", "O(log(N)+M), M returned of N")
        .deprecated("6.2.0", "ZRANGE with BYLEX"),
    zset("zrangebyscore", -4, "1.0.5", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key min max [WITHSCORES] [LIMIT offset count]")
        .about("Lists a range of scores.", "O(log(N)+M), M returned of N")
        .deprecated("6.2.0", "ZRANGE with BYSCORE"),
    zset("zrangestore", -5, "6.2.0", "write denyoom")
        .keys(&[key(1, "ow update"), key(2, "ro access")])
        .syntax("destination source min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]")
        .about("Stores a range by rank, score or name.", "O(log(N)+M), M stored of N"),
    zset("zrank", -3, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member [WITHSCORE]")
        .about("Tells a member's place, lowest score first.", "O(log(N)), N members"),
    zset("zrem", -3, "1.2.0", "write fast")
        .keys(&[key(1, "rw delete")])
        .syntax("key member [member ...]")
        .about("Removes members.", "O(M*log(N)), M removed of N"),
    zset("zremrangebylex", 4, "2.8.9", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key min max")
        .about("Removes a range of names.", "O(log(N)+M), M removed of N"),
    zset("zremrangebyrank", 4, "2.0.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key start stop")
        .about("Removes a range of places.", "O(log(N)+M), M removed of N"),
    zset("zremrangebyscore", 4, "1.2.0", "write")
        .keys(&[key(1, "rw delete")])
        .syntax("key min max")
        .about("Removes a range of scores.", "O(log(N)+M), M removed of N"),
    zset("zrevrange", -4, "1.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key start stop [WITHSCORES]")
        .about("Lists a range of places, highest score first.", "O(log(N)+M), M returned of N")
        .deprecated("6.2.0", "ZRANGE with REV"),
    zset("zrevrangebylex", -4, "2.8.9", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key max min [LIMIT offset count]")
        .about("Lists a range of names from the last to the first.", "O(log(N)+M), M returned of N")
        .deprecated("6.2.0", "ZRANGE with REV and BYLEX"),
    zset("zrevrangebyscore", -4, "2.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key max min [WITHSCORES] [LIMIT offset count]")
        .about("Lists a range of scores, highest first.", "O(log(N)+M), M returned of N")
        .deprecated("6.2.0", "ZRANGE with REV and BYSCORE"),
    zset("zrevrank", -3, "2.0.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member [WITHSCORE]")
        .about("Tells a member's place, highest score first.", "O(log(N)), N members"),
    zset("zscan", -3, "2.8.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key cursor [MATCH pattern] [COUNT count] [NOSCORES]")
        .about(
            "Walks through the members with their scores, a step per call.",
            "O(1) per call, O(N) for all N members",
        )
        .tips(&["nondeterministic_output"]),
    zset("zscore", 3, "1.2.0", "readonly fast")
        .keys(&[key(1, "ro access")])
        .syntax("key member")
        .about("Reads a member's score.", "O(1)"),
    zset("zunion", -3, "6.2.0", "readonly")
        .keys(&[counted(1, "ro access")])
        .syntax(
            "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] \
            [WITHSCORES]",
        )
        .about(
            "Lists the members that any sorted set has.",
            "O(N)+O(M*log(M)), N members of all sets, M in the result",
        ),
    zset("zunionstore", -4, "2.0.0", "write denyoom")
        .keys(&[key(1, "ow update"), counted(2, "ro access")])
        .syntax(
            "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | \
            MIN | MAX>]",
        )
        .about(
            "Stores the members that any sorted set has.",
            "O(N)+O(M*log(M)), N members of all sets, M in the result",
        ),
];

/// A row of this family.
const fn zset(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::SortedSet, name, arity, since, flags)
}
