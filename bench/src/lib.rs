//! What the benchmarks share: a load generator that is cheap, closed-loop and checks every reply.

pub mod load;

pub mod failure;
