//! What the end-to-end tests stand on: real servers and clusters, the proxy's real process, a client that
//! sees raw bytes, and scripted backends for the faults that no real server can be made to show.
//!
//! Everything started here is stopped by its own process id when its value is dropped; a failed start or a
//! missed deadline panics with the logs of what was started.

pub mod poll;

pub mod dir;

pub mod ports;

pub mod value;

pub mod argv;

pub mod raw;

pub mod certs;

pub mod tls;
pub mod tls_entry;

pub mod process;

pub mod server;

pub mod topology;

pub mod cluster;

pub mod nameserver;
pub mod namespace;

pub mod proxy;

pub mod fake;

pub mod keys;
pub mod resharding;

pub mod limited;
pub mod load;

pub mod member;
pub mod page;
pub mod play;

pub mod secret;
pub mod storm;
pub mod subscriber;

pub mod installed;

pub mod tool;

pub mod fuzzed;
pub mod mark;

pub mod generate;

pub mod door;
pub mod duel;
