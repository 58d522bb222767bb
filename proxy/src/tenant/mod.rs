//! Tenants: who uses the proxy, what each may say, where its keys stand, and how much of everything it may have.

pub mod directory;
pub mod limits;
pub mod logins;
pub mod proof;
pub mod rate;
pub mod succession;

pub mod namespace;
pub mod rights;

pub mod channels;
pub mod messages;
pub mod rewrite;
pub mod script;
pub mod slow_log;
pub mod translation;

mod book;
pub mod shares;
pub mod window;
