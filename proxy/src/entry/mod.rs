//! Entries: the balancers through which clients come. What each carries is measured here and shared by all proxies
//! ([`report`]); a pure controller makes weights of it ([`plan`]), which publishers hand to DNS, and by which clients are
//! moved.

pub mod answer;
pub mod board;
pub mod choice;
pub mod controller;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod group;
pub mod header;
pub mod health;
pub mod merge;
pub mod mover;
pub mod pace;
pub mod plan;
pub mod publish;
pub mod rates;
mod relief;
pub mod report;
pub mod roster;
pub mod traffic;
