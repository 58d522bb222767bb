//! The load generator: what is asked (`workload`), over what (`lane`), by whom (`generator`), and how long it
//! took (`histogram`).

pub mod generator;
pub mod histogram;
mod lane;
pub mod workload;
