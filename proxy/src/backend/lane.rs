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
    /// Whether subscriptions are made over it: its pushes are passed on, its replies are markers between
    /// batches of commands. No request of a client goes over such a connection.
    pub subscribes: bool,
}

impl Lane {
    /// The connections that subscriptions are made over, one a node.
    pub const SUBSCRIPTIONS: Self =
        Self { protocol: Protocol::Resp3, database: 0, number: 0, subscribes: true };
}
