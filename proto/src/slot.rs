//! Hash slots: the unit of placement, handoff, replication and heat.
//!
//! A key's slot is CRC16 (XMODEM) of the key, or of its `{tag}`, modulo 16384: the Redis Cluster
//! specification's function, so that cluster-aware clients find the owner themselves.

/// How many slots there are.
pub const SLOTS: u16 = 16384;

/// The part of `key` that decides its slot: between the first `{` and the next `}` if that is not empty.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    if let Some(open) = memchr::memchr(b'{', key) {
        let rest = &key[open + 1..];
        if let Some(len @ 1..) = memchr::memchr(b'}', rest) {
            return &rest[..len];
        }
    }
    key
}

/// The slot of `key`, 0..=16383.
#[inline]
pub fn key_slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

/// CRC16/XMODEM tables for two bytes at a time: `TABLES[0]` is the usual table, `TABLES[1]` one byte further.
static TABLES: [[u16; 256]; 2] = tables();

const fn tables() -> [[u16; 256]; 2] {
    let mut t = [[0u16; 256]; 2];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        t[0][i] = crc;
        i += 1;
    }
    i = 0;
    while i < 256 {
        let c = t[0][i];
        t[1][i] = (c << 8) ^ t[0][(c >> 8) as usize];
        i += 1;
    }
    t
}

#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        let x = crc ^ u16::from_be_bytes([pair[0], pair[1]]);
        crc = TABLES[1][usize::from(x >> 8)] ^ TABLES[0][usize::from(x & 0xff)];
    }
    for byte in pairs.remainder() {
        crc = (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_slots() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b"{foo}bar"), 12182);
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hash_tag(b"foo{{bar}}"), b"{bar");
        assert_eq!(key_slot(b""), 0);
    }

    proptest! {
        #[test]
        fn agrees_with_redis_protocol(key in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(key_slot(&key), redis_protocol::redis_keyslot(&key));
        }
    }
}
