//! Settings: what the operator wrote (a file, flags), and what it means once checked.
//!
//! [`written`] gathers every source into a `File` and hands it to the check; only [`settings`],
//! [`tenants`], [`fleet`] and [`limits`] leave this folder for the rest of the proxy. Mistakes are collected, never stopped at: the operator sees them all.

pub mod written;

mod backend_user;
mod file;
mod fleet_file;
mod limit_file;
mod publishers_file;
mod responder_file;
mod tenant_file;
mod tls;

mod item;
mod value;

pub mod quantity;
pub mod url;

mod check;
mod cluster_check;
pub mod fleet;
pub mod limits;
pub mod publishers;
pub mod settings;

pub mod changes;
pub mod reading;
pub mod tenants;

pub mod error;

#[cfg(test)]
mod tests;
