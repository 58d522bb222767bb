//! Commands as data: what each is, where its keys stand, and what the proxy does with it.

pub mod spec;

pub mod facts;

pub mod table;

pub mod learned;

mod modules;

pub mod treatment;

mod reads;

mod search;

pub mod reviewed;

pub mod keys;

pub mod key_count;

mod options;

pub mod blocking;

pub mod twin;

pub mod groups;

pub mod promise;

pub mod digest;
pub mod scripted;

pub mod access;
pub mod glob;

pub mod local;
