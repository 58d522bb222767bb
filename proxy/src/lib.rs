//! Slotway: a multi-tenant RESP proxy. Applications point any Redis client at it as if it were one big
//! Redis; behind it stand Redis, Valkey or Tair clusters. `proxy/ARCHITECTURE.md` tells the life of a command.
//!
//! The modules stand in the order that a command meets them.

pub mod server;

pub mod listener;
pub mod worker;

pub mod client;
pub mod pubsub;
pub mod resp;

pub mod command;
pub mod route;

pub mod cluster;

pub mod backend;
pub mod private;

pub mod scripts;

pub mod tenant;

pub mod entry;
pub mod fleet;
pub mod responder;

pub mod live;

pub mod dns;

pub mod config;
pub mod latest;
pub mod process;
pub mod shared;

pub mod reload;

pub mod admin;
pub mod metrics;
pub mod monitors;
pub mod permit;

pub mod backoff;
pub mod drain;
pub mod handover;
pub mod moment;
pub mod receive;
pub mod refusal;
pub mod service;
pub mod socket;
pub mod stream;
pub mod tls;
