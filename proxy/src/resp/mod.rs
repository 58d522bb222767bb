//! The wire format, RESP2 and RESP3: where frames end and what is in them. Knows no command.

pub mod protocol;
pub mod request;
pub mod value;
