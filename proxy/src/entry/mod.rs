//! Entries: the balancers through which clients come. What each carries is measured here and shared by all proxies
//! ([`report`]); a pure controller makes weights of it ([`plan`]), which publishers hand to DNS, and by which clients are
//! moved.

pub mod board;
pub mod controller;
#[cfg(test)]
mod fixtures;
pub mod header;
pub mod health;
pub mod merge;
pub mod plan;
mod probe;
pub mod rates;
mod relief;
pub mod report;
pub mod roster;
mod store;
pub(crate) mod task;
pub mod traffic;
