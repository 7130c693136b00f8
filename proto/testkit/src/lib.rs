//! What the tests of every crate share. Only ever a dev-dependency.
