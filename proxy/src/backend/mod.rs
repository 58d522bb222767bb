//! The way to the backends: multiplexed connections, what is in flight on them, and how they come up and
//! go down. Knows bytes and tickets; knows no client, tenant or command.

pub mod framing;
pub mod handshake;
pub mod in_flight;
pub mod incoming;
pub mod lane;
pub mod link;
pub mod logins;
pub mod owner;
pub mod pool;
pub mod prefer;
mod replicas;
pub mod told;

pub mod connect;
pub mod dial;
pub mod task;
