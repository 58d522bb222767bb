//! Tenants: who uses the proxy, what each may say, and where its keys stand.

pub mod directory;

pub mod namespace;

pub mod channels;
pub mod messages;
pub mod rewrite;
pub mod translation;

pub mod shares;
pub mod window;
