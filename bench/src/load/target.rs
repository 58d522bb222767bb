//! Who is asked: one address, or the nodes of a cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use super::codec::Codec;

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Target {
    /// Something that takes any key: a proxy or a single server.
    One(SocketAddr),
    /// The nodes of a cluster, each client connected to all of them, as a cluster-aware client is.
    Nodes {
        /// Where they listen.
        nodes: Vec<SocketAddr>,
        /// For each key number the index of the node that serves it.
        owners: Arc<[u8]>,
    },
}

impl Target {
    /// Connections of each client.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Nodes { nodes, .. } => nodes.len(),
        }
    }

    pub(super) fn owner(&self, key: u32) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Nodes { owners, .. } => usize::from(owners[key as usize]),
        }
    }

    /// Each node with a key that it serves.
    pub(super) fn greetings(&self) -> Vec<(SocketAddr, u32)> {
        match self {
            Self::One(node) => vec![(*node, 0)],
            Self::Nodes { nodes, owners } => {
                let first_key = |index| owners.iter().position(|&owner| usize::from(owner) == index);
                let keyed = nodes.iter().enumerate();
                keyed.map(|(index, node)| (*node, first_key(index).unwrap_or(0) as u32)).collect()
            }
        }
    }

    /// Each node with what it calls the index of the vectors.
    #[must_use]
    pub fn indexes(&self, codec: &Codec) -> Vec<(SocketAddr, Vec<u8>)> {
        let is_node = matches!(self, Self::Nodes { .. });
        let greetings = self.greetings().into_iter();
        greetings.map(|(node, key)| (node, codec.index(is_node.then_some(key)))).collect()
    }
}
