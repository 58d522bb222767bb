//! Publishers at work: each hands the newest plan to an existing DNS engine, as [`crate::entry::publish`] decides.

pub mod agent;
mod exchange;
mod rfc2136;
pub mod task;
mod writer;
