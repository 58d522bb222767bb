//! A client's own table of private connections, by node: tiny, and allocated at first need. A client that uses
//! no private connection has none, one that blocks uses one entry.

use hashbrown::HashTable;

use super::connection::PrivateConnection;
use super::pool::NodeId;

/// Private connections of one client, at most one to each node.
#[derive(Default, Debug)]
pub struct Table {
    // A pointer a bucket: sixteen empty buckets cost 160 bytes, and the benchmark's 16,384 what such tables cost.
    connections: HashTable<Box<PrivateConnection>>,
}

impl Table {
    /// Adds a connection; the table is allocated with so many buckets when it is the first.
    pub fn insert(&mut self, connection: Box<PrivateConnection>, buckets: usize) {
        if self.connections.capacity() == 0 {
            // A table is filled up to seven eighths of its buckets.
            self.connections = HashTable::with_capacity(buckets / 8 * 7);
        }
        self.connections.insert_unique(hash(connection.node), connection, |it| hash(it.node));
    }

    /// The connection to `node`.
    pub fn get_mut(&mut self, node: NodeId) -> Option<&mut PrivateConnection> {
        self.connections.find_mut(hash(node), |it| it.node == node).map(|it| &mut **it)
    }

    /// Takes the connection to `node` out.
    pub fn remove(&mut self, node: NodeId) -> Option<Box<PrivateConnection>> {
        let entry = self.connections.find_entry(hash(node), |it| it.node == node).ok()?;
        Some(entry.remove().0)
    }

    /// Takes out all but the one to `node`.
    pub fn remove_all_but(&mut self, node: Option<NodeId>) -> impl Iterator<Item = Box<PrivateConnection>> {
        self.connections.extract_if(move |it| Some(it.node) != node)
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// All connections.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut PrivateConnection> {
        self.connections.iter_mut().map(|it| &mut **it)
    }
}

/// Node numbers count up from 0: spread over all bits, of which the table uses both ends (Fibonacci hashing).
fn hash(node: NodeId) -> u64 {
    u64::from(node.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
