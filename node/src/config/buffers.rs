//! `client-output-buffer-limit`: for each class of clients a hard limit, a soft limit and how many seconds a client may
//! exceed the soft one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::parameters::memory;

/// For normal clients: no reply beyond 1 GB, and nobody leaves 1 MB unread for five minutes. Redis's for the others, which
/// do not exist here.
pub(super) const DEFAULT: &str =
    "normal 1073741824 1048576 300 slave 268435456 67108864 60 pubsub 33554432 8388608 60";

const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

/// What one client may leave unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutputLimit {
    /// Bytes at which it is closed at once; `usize::MAX`: never.
    pub(crate) hard: usize,
    /// Bytes at which it is closed after a while; `usize::MAX`: never.
    pub(crate) soft: usize,
    /// That while, in ms.
    pub(crate) soft_ms: u64,
}

/// The limit of normal clients, for workers to read.
#[derive(Debug)]
pub(super) struct Normal {
    hard: AtomicUsize,
    soft: AtomicUsize,
    soft_ms: AtomicU64,
}

impl Default for Normal {
    fn default() -> Self {
        let normal = Self { hard: 0.into(), soft: 0.into(), soft_ms: 0.into() };
        normal.set(DEFAULT);
        normal
    }
}

impl Normal {
    /// Takes the limit from the whole setting's text, which was checked.
    pub(super) fn set(&self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |i: usize| words.get(i).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let bytes = |i| match number(i) {
            0 => usize::MAX,
            n => usize::try_from(n).unwrap_or(usize::MAX),
        };
        self.hard.store(bytes(1), Relaxed);
        self.soft.store(bytes(2), Relaxed);
        self.soft_ms.store(number(3).saturating_mul(1000), Relaxed);
    }

    pub(super) fn get(&self) -> OutputLimit {
        OutputLimit {
            hard: self.hard.load(Relaxed),
            soft: self.soft.load(Relaxed),
            soft_ms: self.soft_ms.load(Relaxed),
        }
    }
}

/// The limits `old` after the change that `text` asks for: it names one class or several.
///
/// # Errors
/// Redis's sentence when `text` is malformed.
pub(super) fn change(old: &str, text: &str) -> Result<String, &'static str> {
    let words = |text: &'_ str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (mut limits, asked) = (words(old), words(text));
    if !asked.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.");
    }
    for limit in asked.chunks_exact(4) {
        let class = if limit[0].eq_ignore_ascii_case("replica") { "slave" } else { limit[0].as_str() };
        let class = CLASSES.iter().position(|c| c.eq_ignore_ascii_case(class));
        let class = class.ok_or("Invalid client class specified in buffer limit configuration.")?;
        let seconds = limit[3].parse::<i64>().ok().filter(|n| *n >= 0);
        let (Some(hard), Some(soft), Some(seconds)) = (memory(&limit[1]), memory(&limit[2]), seconds) else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        };
        let [_, a, b, c] = &mut limits[4 * class..4 * class + 4] else { continue };
        (*a, *b, *c) = (hard.to_string(), soft.to_string(), seconds.to_string());
    }
    Ok(limits.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_changes_and_the_others_stay() {
        let old = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        let new = change(old, "replica 1mb 2k 3").expect("well formed");
        assert_eq!(new, "normal 0 0 0 slave 1048576 2000 3 pubsub 33554432 8388608 60");
        assert_eq!(change(&new, "").as_deref(), Ok(new.as_str()));
        for (text, word) in
            [("wrong number", "Wrong"), ("master 1 1 1", "Invalid"), ("normal 1 x 1", "Error")]
        {
            assert!(change(old, text).is_err_and(|why| why.starts_with(word)), "{text}");
        }
    }

    #[test]
    fn the_limit_of_normal_clients_is_taken_from_the_text() {
        let normal = Normal::default();
        assert_eq!(normal.get(), OutputLimit { hard: 1 << 30, soft: 1 << 20, soft_ms: 300_000 });
        normal.set(&change(DEFAULT, "normal 0 10 5 pubsub 1 1 1").expect("well formed"));
        assert_eq!(normal.get(), OutputLimit { hard: usize::MAX, soft: 10, soft_ms: 5000 });
        normal.set(&change(DEFAULT, "normal 7 0 0").expect("well formed"));
        assert_eq!(normal.get(), OutputLimit { hard: 7, soft: usize::MAX, soft_ms: 0 });
    }
}
