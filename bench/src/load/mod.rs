//! The load generator: what is asked (`workload`), as which bytes (`codec`; `sets` and `vectors` of what is no plain
//! value), of whom (`target`), over what (`lane`), by whom (`generator`), and how long it took (`histogram`).

pub mod codec;
pub mod generator;
pub mod histogram;
mod lane;
mod sets;
pub mod target;
pub mod vectors;
pub mod workload;
