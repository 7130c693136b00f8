//! Sequences of commands against a naive model: what the fuzz target `commands` does, with random input of proptest's.

use proptest::{collection::vec, prelude::*};

#[path = "../../proto/fuzz/checks/commands.rs"]
mod commands;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_store_answers_as_a_naive_map(data in vec(any::<u8>(), 1..1500)) {
        commands::check(&data);
    }
}
