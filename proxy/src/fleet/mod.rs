//! What a fleet's proxy does beside serving clients, on the control thread: it tries entries, exchanges reports, plans,
//! publishes the plan and moves clients. What is decided stands in [`crate::entry`].

pub mod moving;
pub mod planning;
pub mod publish;

mod probe;
mod store;
