//! Hash slots: the unit of placement, handoff, replication and heat.
//!
//! A key's slot is CRC16 (XMODEM) of the key, or of its `{tag}`, modulo 16384: the Redis Cluster
//! specification's function, so that cluster-aware clients find the owner themselves.

/// How many slots there are.
pub const SLOTS: u16 = 16384;

/// The part of `key` that decides its slot: between the first `{` and the next `}` if that is not empty.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    if has_brace(key) { tag_in_braces(key) } else { key }
}

/// Whether there is a `{`: sixteen bytes at once, without a call.
#[inline]
fn has_brace(key: &[u8]) -> bool {
    let (chunks, rest) = key.as_chunks::<16>();
    let in_chunks = chunks
        .iter()
        .fold(false, |found, chunk| found | chunk.iter().fold(false, |found, byte| found | (*byte == b'{')));
    in_chunks || rest.contains(&b'{')
}

fn tag_in_braces(key: &[u8]) -> &[u8] {
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

/// CRC16/XMODEM tables: `TABLES[0]` is the usual one, `TABLES[k]` that of a byte with `k` more behind it. Eight bytes are
/// eight independent look-ups instead of eight that wait for each other.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut t = [[0u16; 256]; 8];
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
    let mut k = 1;
    while k < 8 {
        i = 0;
        while i < 256 {
            let c = t[k - 1][i];
            t[k][i] = (c << 8) ^ t[0][(c >> 8) as usize];
            i += 1;
        }
        k += 1;
    }
    t
}

#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (eights, rest) = bytes.as_chunks::<8>();
    for b in eights {
        let x = crc ^ u16::from_be_bytes([b[0], b[1]]);
        crc = TABLES[7][usize::from(x >> 8)]
            ^ TABLES[6][usize::from(x & 0xff)]
            ^ TABLES[5][usize::from(b[2])]
            ^ TABLES[4][usize::from(b[3])]
            ^ TABLES[3][usize::from(b[4])]
            ^ TABLES[2][usize::from(b[5])]
            ^ TABLES[1][usize::from(b[6])]
            ^ TABLES[0][usize::from(b[7])];
    }
    for byte in rest {
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
