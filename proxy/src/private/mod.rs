//! Private connections: backend connections that belong to one client for a while, because a command waits on
//! them or because they remember something for the client.

pub mod caps;
pub mod connection;
pub mod open;
pub mod pool;
pub mod table;
