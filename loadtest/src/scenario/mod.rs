//! Faults on purpose: a list of steps over time, acting on servers that the scenario itself has started, while a load
//! runs and its figures are held against what was claimed.
//!
//! [`mod@file`] reads and checks a scenario; [`engine`] does its steps, one after the other, on the main thread.
//! [`cluster`] holds the processes ([`process`]) and the [`network`] between them; [`load`] runs [`crate::run`] and
//! the checker on threads beside the steps and fills a [`record`] from which [`claim`]s are judged. Nothing here
//! acts on a process that the scenario has not started.

pub mod claim;
pub mod cluster;
pub mod command_line;
pub mod condition;
pub mod delay;
pub mod engine;
pub mod file;
pub mod guard;
pub mod load;
pub mod network;
pub mod outcome;
pub mod process;
pub mod record;
pub mod step;
