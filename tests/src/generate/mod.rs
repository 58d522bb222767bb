//! Random commands for the differential test: grammars of every data command (`tests/grammar/`), a small universe
//! of words to fill them with, and scripts of both with transactions in between. Pure: a seed decides everything.

pub mod excuse;
pub mod grammar;
pub mod pattern;
pub mod scripts;
pub mod shrink;
pub mod unit;
pub mod universe;
pub mod writer;
