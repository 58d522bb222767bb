//! Reading the settings again while the proxy runs: from where, when, and what became of it. `server/reload.rs` does
//! it.

pub mod origin;
pub mod status;
pub mod watched;
