//! Settings: the file as written, and what it means once checked.

pub mod settings;
