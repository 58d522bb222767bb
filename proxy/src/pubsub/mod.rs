//! Subscriptions: who of a worker's clients listens to what, and what the worker itself has to subscribe to at
//! its backends for that. Pure: bytes of pushes in, steps to take and answers to give out.

pub mod registry;

pub mod subscriptions;

pub mod push;

mod expected;
pub mod subscribers;
pub mod topic;
pub mod waiting;

#[cfg(test)]
mod tests;
