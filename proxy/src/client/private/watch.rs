//! The keys that a client watches: where, and which. Pure.

use hashbrown::HashSet;

use crate::cluster::slot::Slot;
use crate::private::pool::NodeId;
use crate::resp::request::Request;

/// Keys that a client watches, each on its node's connection.
#[derive(Debug)]
pub struct Watch {
    places: Vec<Place>,
    /// Since when, in milliseconds of the worker's clock.
    pub(super) since: u64,
    /// How many keys WATCH named.
    pub(super) named: u32,
    /// Bytes of the keys.
    pub(super) bytes: usize,
    /// A connection that watched is gone: nobody knows whether the keys were changed.
    pub(in super::super) broken: bool,
}

/// What is watched of one slot on one node; of one node where slots mean nothing.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) slot: Slot,
    /// As they stand in a request.
    keys: HashSet<Box<[u8]>>,
}

impl Watch {
    /// Nothing yet.
    #[must_use]
    pub(super) fn new(now: u64) -> Self {
        Self { places: Vec::new(), since: now, named: 0, bytes: 0, broken: false }
    }

    /// The keys of a WATCH, which `node` answered, are watched; `slot` is that of all, or of the first where
    /// `together` says that slots mean nothing.
    pub(super) fn add(&mut self, node: NodeId, slot: Slot, together: bool, request: &Request<'_>) {
        let is_same = |place: &Place| place.node == node && (together || place.slot == slot);
        let index = self.places.iter().position(is_same).unwrap_or_else(|| {
            self.places.push(Place { node, slot, keys: HashSet::new() });
            self.places.len() - 1
        });
        for argument in 1..request.len() {
            let key = request.raw_arg(argument);
            if !self.places[index].keys.contains(key) {
                self.places[index].keys.insert(key.into());
                self.bytes += key.len();
            }
        }
        self.named = self.named.saturating_add(u32::try_from(request.len() - 1).unwrap_or(u32::MAX));
    }

    /// Whether keys are watched on this node's connection.
    #[must_use]
    pub(super) fn is_at(&self, node: NodeId) -> bool {
        self.places.iter().any(|place| place.node == node)
    }

    /// The nodes, each once.
    #[must_use]
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        let mut nodes: Vec<_> = self.places.iter().map(|place| place.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The node, where it is only one.
    #[must_use]
    pub(in super::super) fn only_node(&self) -> Option<NodeId> {
        let first = self.places.first()?.node;
        self.places.iter().all(|place| place.node == first).then_some(first)
    }

    /// What is watched, by place.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Slots of watched keys, each with the node that watches.
    pub(in super::super) fn slots(&self) -> impl Iterator<Item = (Slot, NodeId)> {
        self.places.iter().map(|place| (place.slot, place.node))
    }
}

impl Place {
    /// A request of these keys.
    pub(super) fn frame(&self, name: &str) -> Vec<u8> {
        let mut frame = format!("*{}\r\n${}\r\n{name}\r\n", 1 + self.keys.len(), name.len()).into_bytes();
        self.keys.iter().for_each(|key| frame.extend_from_slice(key));
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::groups::with_request;

    fn add(watch: &mut Watch, node: u32, key: &str) {
        let frame = format!("*2\r\n$5\r\nWATCH\r\n${}\r\n{key}\r\n", key.len());
        with_request(frame.as_bytes(), |request| {
            watch.add(NodeId(node), Slot::of(key.as_bytes()), false, request);
            Some(())
        });
    }

    #[test]
    fn a_key_is_kept_once_with_its_slot_and_node() {
        let mut watch = Watch::new(0);
        add(&mut watch, 1, "a");
        add(&mut watch, 1, "a");
        assert_eq!(watch.only_node(), Some(NodeId(1)));
        add(&mut watch, 1, "b");
        add(&mut watch, 2, "c");
        assert_eq!((watch.named, watch.bytes, watch.only_node()), (4, 21, None));
        assert_eq!(watch.nodes(), [NodeId(1), NodeId(2)]);
        assert_eq!(watch.places()[0].frame("EXISTS"), b"*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n");
    }
}
