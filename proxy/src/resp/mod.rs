//! The wire format, RESP2 and RESP3: where frames end and what is in them. Knows no command.

pub mod protocol;

pub mod command;
pub mod elements;
pub mod inline;
pub mod reply;
pub mod reply_writer;
pub mod request;
pub mod scan;
pub mod value;
