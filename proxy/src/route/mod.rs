//! Where a request goes: cutting it by shards, merging what comes back, following redirects. Pure.

pub mod cursor;
pub mod keyspace;
pub mod merge;
pub mod parts;
pub mod plan;
pub mod redirect;
pub mod search;
pub mod split;
