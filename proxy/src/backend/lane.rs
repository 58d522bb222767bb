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
    /// What its connections are for.
    pub purpose: Purpose,
    /// Whom its connections log in as.
    pub login: LoginId,
}

/// A user of the backends, by the number that [`super::logins::Logins`] gave it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LoginId(pub(super) u16);

impl LoginId {
    /// The proxy's own, if it has one.
    pub const PROXY: Self = Self(0);
}

/// What the connections of a lane are for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Purpose {
    /// Requests of clients, to primaries.
    #[default]
    Requests,
    /// Reads, to replicas: a cluster's replica answers only on a connection that said READONLY. What is lost
    /// here may be asked again elsewhere.
    Reads,
    /// Subscriptions: pushes are passed on, replies are markers between batches of commands. No request of a
    /// client goes over such a connection.
    Subscriptions,
}

impl Lane {
    /// The connections that subscriptions are made over, one a node.
    pub const SUBSCRIPTIONS: Self = Self {
        protocol: Protocol::Resp3,
        database: 0,
        number: 0,
        purpose: Purpose::Subscriptions,
        login: LoginId::PROXY,
    };

    /// The same connections, to replicas.
    #[must_use]
    pub fn to_replicas(self) -> Self {
        Self { purpose: Purpose::Reads, ..self }
    }

    /// The same connections, to primaries.
    #[must_use]
    pub fn to_primaries(self) -> Self {
        Self { purpose: Purpose::Requests, ..self }
    }

    /// The same connections, of another user.
    #[must_use]
    pub fn of(self, login: LoginId) -> Self {
        Self { login, ..self }
    }

    /// Whether its requests are reads at replicas.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.purpose == Purpose::Reads
    }

    /// Whether subscriptions are made over it.
    #[must_use]
    pub fn subscribes(&self) -> bool {
        self.purpose == Purpose::Subscriptions
    }
}
