//! The admin port: what operators and their systems look at. Not for clients.

pub mod ask;
pub mod fleet;
pub mod http;
pub mod pages;
