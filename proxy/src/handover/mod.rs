//! A running process hands its listening sockets to the one that replaces it, over a Unix socket, so that a restart on
//! one host refuses no connection: the sockets, with who waits in them, never close.
//!
//! ```text
//! new                          old
//! hello 1 PID            ──▶
//!                        ◀──   sockets PID COUNT, and each with its descriptor
//! (starts, knows its clusters)
//! ready                  ──▶   (accepts no more)
//!                        ◀──   yours
//! (accepts)
//! serving                ──▶   (ends as at SIGTERM)
//! ```
//!
//! Whoever fails says `failed WHY` or hangs up. Until `serving` is heard the old process goes on as if nothing had been,
//! accepting again if it had stopped.

pub mod door;
pub mod error;
pub mod line;
pub mod place;
pub mod taker;
pub mod words;
