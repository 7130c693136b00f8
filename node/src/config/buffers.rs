//! The text of `client-output-buffer-limit`: for each class of clients a hard limit, a soft limit and how many
//! seconds a client may exceed the soft one.

use super::parameters::memory;

/// No limit for normal clients; Redis's for the others, which do not exist here.
pub(super) const DEFAULT: &str = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";

const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

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
        let new = change(DEFAULT, "replica 1mb 2k 3").expect("well formed");
        assert_eq!(new, "normal 0 0 0 slave 1048576 2000 3 pubsub 33554432 8388608 60");
        assert_eq!(change(&new, "").as_deref(), Ok(new.as_str()));
        for (text, word) in
            [("wrong number", "Wrong"), ("master 1 1 1", "Invalid"), ("normal 1 x 1", "Error")]
        {
            assert!(change(DEFAULT, text).is_err_and(|why| why.starts_with(word)), "{text}");
        }
    }
}
