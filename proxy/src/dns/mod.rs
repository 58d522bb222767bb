//! Host names: resolved off the path of commands, kept by their TTL, and kept beyond it while DNS fails.

pub mod name;
pub mod resolver;
