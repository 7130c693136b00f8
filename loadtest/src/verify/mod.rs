//! Does the server tell the truth? Unique values are written and read by many connections, and every answer is
//! checked afterwards against what a single, atomic copy of the data could have answered (linearizability per
//! key).
//!
//! [`driver`] makes the load and writes down each operation with the time it was sent and answered; [`register`]
//! and [`counter`] check the history of one key, by pure functions, and [`order`] what was sent together on one
//! connection; [`check`] deals a history out to them. What
//! is reported is wrong for certain; a clean report means that nothing was found. A server that loses
//! acknowledged writes in a failover by design is reported as losing them.

pub mod check;
pub mod counter;
pub mod driver;
pub mod history;
pub mod order;
mod read_back;
pub mod register;
mod steps;
mod value;
mod way;

pub use value::new_run;
