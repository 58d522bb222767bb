//! What the proxy knows of scripts and functions, so that no client has to notice that a server forgot them.

pub mod store;

pub mod known;

pub mod libraries;

pub mod repairs;
