//! What a person or another program gets to see of a run: numbers, tables, progress, JSON, HTML.

pub mod figures;
pub mod file;
pub mod hlog;
pub mod html;
pub mod json;
pub mod known;
pub mod moments;
pub mod number;
pub mod origin;
pub mod progress;
pub mod read;
pub mod recorder;
pub mod runs;
pub mod scenario;
pub mod side_by_side;
pub mod steps;
pub mod table;
pub mod ticker;
pub mod verify;
mod warnings;
