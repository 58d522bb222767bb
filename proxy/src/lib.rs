//! Slotway: a multi-tenant RESP proxy. Applications point any Redis client at it as if it were one big
//! Redis; behind it stand Redis, Valkey or Tair clusters. `proxy/ARCHITECTURE.md` tells the life of a command.

pub mod resp;

pub mod command;

pub mod cluster;

pub mod backend;

pub mod dns;

pub mod config;

pub mod backoff;
