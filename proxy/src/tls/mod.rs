//! TLS on both sides. Sockets are read into a buffer of the thread and decrypted there, so that an idle connection
//! holds its keys and no buffer.

pub mod acceptor;
pub mod certificates;
pub mod connector;
pub mod credentials;
pub mod error;
pub mod failure;
pub mod handshake;
pub mod hello;
pub mod identity;
mod session;
pub mod stream;
