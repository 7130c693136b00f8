use proptest::prelude::*;

use super::{super::testing::Core, slice};

#[test]
fn a_missing_key_is_nil() {
    assert_eq!(Core::new().run("GET nothing"), "$-1\r\n");
}
