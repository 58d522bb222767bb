//! A client's private side: the connections that are its own for now, the one job that is under way on them,
//! and what they remember for it.

pub mod pinned;
pub mod state;
pub mod watch;

pub mod job;
pub mod start;
pub mod tried;

pub mod tracked;
pub mod tracking;

pub mod drive;
pub mod handover;
pub mod outcome;
pub mod search;
pub mod seek;
pub mod several;
