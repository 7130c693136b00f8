//! The hash slot of a key, as every Redis Cluster client computes it: CRC16 (XMODEM) of the key or of its `{tag}`.
//!
//! Kept apart from the code of Shoal's servers, so that a mistake in one shows against the other.

/// How many slots there are.
pub const SLOTS: usize = 16384;

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The part of a key that is hashed: between the first `{` and the next `}`, if there is something.
pub fn hashed(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let tag = &key[open + 1..];
    match memchr::memchr(b'}', tag) {
        None | Some(0) => key,
        Some(close) => &tag[..close],
    }
}

/// The slot of a key.
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    let crc =
        hashed(key).iter().fold(0u16, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]);
    crc % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From `redis-cli CLUSTER KEYSLOT`.
        for (key, expected) in [
            ("", 0),
            ("123456789", 12739),
            ("foo", 12182),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
    }
}
