//! Arguments that are no numbers, where numbers have to be.

/// What nobody can take for a number, a cursor or a range: somewhere in it is a character that is not ASCII.
pub(crate) fn no_number(mut byte: impl FnMut() -> u8) -> Vec<u8> {
    const STARTS: [&str; 12] = ["", "1", "-", "+", "0", "0x", "0X1", "1e", "(", "inf", "0x1p", " "];
    const ODD: [&[u8]; 4] = ["€".as_bytes(), "ü".as_bytes(), "𝟙".as_bytes(), b"\xff"];
    let start = STARTS[usize::from(byte()) % STARTS.len()].as_bytes();
    let odd = ODD[usize::from(byte()) % ODD.len()];
    let rest: Vec<u8> = (0..byte() % 4).map(|_| byte()).collect();
    [start, odd, &rest].concat()
}

/// Commands whose `?` has to be a number (or a range of numbers, or a cursor): a range of texts may begin with any
/// character.
pub(crate) const WITH_NUMBERS: &[&str] = &[
    "ZADD k ? m",
    "ZADD k 1 m ? n",
    "ZADD k INCR ? m",
    "ZINCRBY k ? m",
    "ZCOUNT k ? +inf",
    "ZCOUNT k -inf ?",
    "ZRANGEBYSCORE k ? +inf",
    "ZREVRANGEBYSCORE k +inf ?",
    "ZREMRANGEBYSCORE k -inf ?",
    "ZREMRANGEBYRANK k ? 1",
    "ZRANGE k ? 1",
    "ZRANGE k ? 1 BYSCORE",
    "ZRANGE k 0 1 BYSCORE LIMIT ? 1",
    "ZRANGESTORE k k 0 ?",
    "ZPOPMIN k ?",
    "ZRANDMEMBER k ?",
    "ZMPOP ? k MIN",
    "ZUNION 1 k WEIGHTS ?",
    "ZUNIONSTORE k ? k",
    "ZINTERCARD 1 k LIMIT ?",
    "ZSCAN k ?",
    "INCRBY k ?",
    "DECRBY k ?",
    "INCRBYFLOAT k ?",
    "SETRANGE k ? v",
    "GETRANGE k ? 1",
    "SETEX k ? v",
    "SET k v EX ?",
    "GETEX k PX ?",
    "SETBIT k ? 1",
    "SETBIT k 1 ?",
    "GETBIT k ?",
    "BITCOUNT k ? 1",
    "BITPOS k ?",
    "BITFIELD k GET u8 ?",
    "BITFIELD k GET ? 1",
    "BITFIELD k INCRBY u8 1 ?",
    "LCS k k MINMATCHLEN ?",
    "EXPIRE k ?",
    "PEXPIREAT k ?",
    "COPY k {k}2 DB ?",
    "MOVE k ?",
    "SCAN ?",
    "SCAN 0 COUNT ?",
    "OBJECT FREQ ? k",
    "SORT k LIMIT ? 1",
    "SORT_RO k LIMIT 0 ?",
    "HINCRBY k f ?",
    "HINCRBYFLOAT k f ?",
    "HRANDFIELD k ?",
    "HSCAN k ?",
    "LRANGE k ? 1",
    "LINDEX k ?",
    "LSET k ? v",
    "LREM k ? v",
    "LTRIM k 0 ?",
    "LPOP k ?",
    "LPOS k v RANK ?",
    "LMPOP ? k LEFT",
    "SPOP k ?",
    "SRANDMEMBER k ?",
    "SINTERCARD ? k",
    "SSCAN k ?",
];
