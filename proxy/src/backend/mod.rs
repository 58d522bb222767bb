//! Connections to backends.

pub mod handshake;
