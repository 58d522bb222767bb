//! Commands as data: what each is, where its keys stand, and what the proxy does with it.

pub mod spec;
