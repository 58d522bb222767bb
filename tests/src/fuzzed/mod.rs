//! What must hold for any bytes that the network sends, as functions that panic where it does not: fuzzers in `proxy/fuzz`
//! feed them, and an ordinary test feeds them the seeds.

mod fleet;
mod names;
mod wire;

pub use fleet::{proxy_header, report, responder};
pub use names::rewrite;
pub use wire::{reply, request};

/// A target's name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("responder", responder),
    ("rewrite", rewrite),
    ("proxy_header", proxy_header),
    ("request", request),
    ("reply", reply),
    ("report", report),
];
