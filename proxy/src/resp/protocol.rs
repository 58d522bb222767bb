//! Which version of the protocol a connection speaks.

/// A protocol version; RESP2 until HELLO says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Protocol {
    /// What every server and client speaks.
    #[default]
    Resp2,
    /// Maps, sets, nulls, pushes: since Redis 6, after `HELLO 3`.
    Resp3,
}
