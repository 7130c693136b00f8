//! Placement: the sticky, contiguous rule.
