//! A lane: what must not mix on a shared connection.

use crate::resp::protocol::Protocol;

/// Connections of one lane are alike for every request sent over them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Lane {
    /// Replies come in this protocol's shapes.
    pub protocol: Protocol,
    /// The numbered database that requests act on.
    pub database: u16,
    /// Which of the equal connections to the node this is: a client always uses the same one, which keeps
    /// its requests in order.
    pub number: u16,
}
