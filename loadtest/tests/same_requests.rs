//! The same seed makes the same requests: in two runs of one program, and in programs of different versions.

use std::hash::Hasher;

use shoal_loadtest::requests::Requests;
use shoal_loadtest::workload::{BUILT_IN, Workload};

/// How many requests are compared; fewer where values are large.
fn count(name: &str) -> usize {
    if name == "large-values" { 2_000 } else { 100_000 }
}

/// FNV-1a over 64-bit words: a program's own hasher may change with its next version.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        }
    }
}

/// The hash of the first requests of a thread, follow-ups included.
fn hash(workload: &Workload, part: u64) -> u64 {
    let mut requests = Requests::new(workload, part, 2).expect("a right workload");
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    let mut out = Vec::new();
    for index in 0..count(&workload.name) {
        out.clear();
        let about = requests.next(&mut out);
        if index % 3 == 0 {
            requests.follow_up(about, &mut out);
        }
        hasher.write_usize(out.len());
        hasher.write(&out);
    }
    hasher.finish()
}

#[test]
fn the_same_seed_makes_the_same_requests() {
    for (name, _) in BUILT_IN {
        let workload = Workload::find(name).unwrap();
        let first = hash(&workload, 0);
        assert_eq!(first, hash(&Workload::find(name).unwrap(), 0), "{name}");
        assert_ne!(first, hash(&workload, 1), "{name}: two threads do the same");
        let other = Workload { seed: workload.seed + 1, ..workload };
        assert_ne!(first, hash(&other, 0), "{name}: the seed changes nothing");
    }
}

#[test]
fn requests_are_those_of_earlier_versions() {
    // A change of these numbers means that figures of earlier versions were measured with other requests: it has
    // to be meant, and told in the change log. Logarithms are the C library's, so another one may differ.
    for (name, pinned) in [
        ("all-types", 0x15aa2b7d1af74b8c),
        ("cache-aside", 0xfb8053971f163a27),
        ("multi-set", 0xc1cae9c69a692fe1),
        ("queue", 0x4cda69d72918fcd),
        ("ycsb-a", 0x3b030299d8a53389),
        ("ycsb-d", 0xd322a93384bc1ec9),
    ] {
        let found = hash(&Workload::find(name).unwrap(), 0);
        assert_eq!(found, pinned, "{name}: {found:#x}");
    }
}
