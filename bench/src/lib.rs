//! What the benchmarks share. Around a run: its guards, programs and scratch files. Then the servers and the
//! proxies it starts, a load generator that is cheap, closed-loop and checks every reply, and the system's
//! accounts of what all that cost.

pub mod failure;
pub mod scratch;
pub mod stop;
pub mod terminal;

pub mod machine;
pub mod peer;
pub mod programs;

pub mod process;

pub mod ask;

pub mod backends;
pub mod peer_files;
pub mod proxies;

pub mod load;

pub mod accounting;
