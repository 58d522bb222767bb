//! `slotway check --live`: whether the servers are what the settings take them for, and let each tenant do what the
//! plan of its rights says and nothing else. Findings are lines for the operator; no secret is in any.

pub mod survey;

mod expected;
mod node;
mod report;

pub use report::Report;
