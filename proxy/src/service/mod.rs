//! The service manager (systemd): what it is told, and the sockets that it bound for us.

pub mod activated;
pub mod notify;
