//! ◆ Opens private connections, a bounded number at a time.

use super::connection::PrivateConnection;
use super::pool::Opening;
use crate::backend::connect::{ConnectError, Connector};

/// Opens the connection that was asked for.
///
/// # Errors
/// Why it did not come up; its place is given back.
pub async fn open(connector: &Connector, opening: Opening) -> Result<Box<PrivateConnection>, ConnectError> {
    let Opening { endpoint, node, lane, place, .. } = opening;
    let (stream, id) = connector.open_numbered(&endpoint, lane).await?;
    Ok(Box::new(PrivateConnection::new(stream, node, lane, id, place)))
}
