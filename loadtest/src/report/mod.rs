//! What a person or another program gets to see of a run: numbers, tables, progress, JSON.

pub mod figures;
pub mod json;
pub mod number;
pub mod progress;
pub mod table;
