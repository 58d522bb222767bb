//! The slot map: our immutable picture of which node serves which slot. A new one replaces the old whole.

use std::fmt;
use std::sync::Arc;

use super::slot::{SLOT_COUNT, Slot};

/// Where a node listens: a host name or an address, and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Endpoint {
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: Arc<str>,
    /// The TCP port.
    pub port: u16,
}

/// Counts the slot maps a process made; a higher one is newer. Ours, unlike the cluster's epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u32);

/// A node of a [`SlotMap`], by its place in [`SlotMap::nodes`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeIndex(pub u16);

/// A node that clients' commands may be sent to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Whether it owns slots itself or follows a primary.
    pub role: Role,
}

/// What a node is in its shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Owns the shard's slots.
    Primary,
    /// Follows this primary.
    Replica(NodeIndex),
}

/// Which primary serves each slot, and all nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotMap {
    generation: Generation,
    /// Primaries first (each at least one slot), then replicas.
    nodes: Box<[Node]>,
    primaries: u16,
    /// Behind the last replica of each primary in `nodes`: they stand in the order of their primaries.
    replica_ends: Box<[u16]>,
    /// One node index a slot; [`UNSERVED`] where no node serves it.
    owners: Box<[u16]>,
    /// The lowest slot of each primary that serves any, ascending.
    shard_slots: Box<[Slot]>,
    /// The highest slot of each, ascending.
    highest_slots: Box<[Slot]>,
}

const UNSERVED: u16 = u16::MAX;

impl SlotMap {
    /// A map of shards in which `shards[i]` is the primary's endpoint, its replicas', and the slot ranges
    /// (both ends included) that it serves. Where ranges overlap the later shard wins.
    #[must_use]
    pub fn new(generation: Generation, shards: &[Shard]) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        let mut owners = vec![UNSERVED; usize::from(SLOT_COUNT)].into_boxed_slice();
        for (index, shard) in shards.iter().enumerate() {
            nodes.push(Node { endpoint: shard.primary.clone(), role: Role::Primary });
            for &(first, last) in &shard.slots {
                owners[usize::from(first.number())..=usize::from(last.number())].fill(index as u16);
            }
        }
        let mut replica_ends = Vec::with_capacity(shards.len());
        for (index, shard) in shards.iter().enumerate() {
            let role = Role::Replica(NodeIndex(index as u16));
            nodes.extend(shard.replicas.iter().map(|endpoint| Node { endpoint: endpoint.clone(), role }));
            replica_ends.push(nodes.len() as u16);
        }
        let slots = owners.iter().enumerate();
        let shard_slots = firsts(slots.clone(), shards.len()).into();
        let mut highest_slots = firsts(slots.rev(), shards.len());
        highest_slots.reverse();
        Self {
            generation,
            nodes: nodes.into_boxed_slice(),
            primaries: shards.len() as u16,
            replica_ends: replica_ends.into_boxed_slice(),
            owners,
            shard_slots,
            highest_slots: highest_slots.into(),
        }
    }

    /// A map that knows no node: what there is before the first answer of a seed.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Generation(0), &[])
    }

    /// This map's number.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The primary that serves `slot`, or `None` where the cluster serves it nowhere.
    #[must_use]
    pub fn owner(&self, slot: Slot) -> Option<NodeIndex> {
        let index = self.owners[usize::from(slot.number())];
        (index != UNSERVED).then_some(NodeIndex(index))
    }

    /// The replicas of a primary.
    pub fn replicas(&self, primary: NodeIndex) -> impl Iterator<Item = NodeIndex> + Clone + use<> {
        let end = |index: u16| self.replica_ends.get(usize::from(index)).copied();
        let last = end(primary.0).unwrap_or_default();
        let first = primary.0.checked_sub(1).map_or(Some(self.primaries), end).unwrap_or(last);
        (first..last).map(NodeIndex)
    }

    /// Where the primary that serves `slot` listens.
    #[must_use]
    pub fn owner_endpoint(&self, slot: Slot) -> Option<&Endpoint> {
        self.owner(slot).map(|index| &self.nodes[usize::from(index.0)].endpoint)
    }

    /// Where the primaries that serve slots listen, in the order of their lowest slots.
    pub fn serving(&self) -> impl Iterator<Item = &Endpoint> {
        self.shard_slots.iter().filter_map(|slot| self.owner_endpoint(*slot))
    }

    /// The slot of what has no key: always the same shard's, that of the lowest slot that is served.
    #[must_use]
    pub fn fixed_slot(&self) -> Slot {
        self.shard_slots.first().copied().unwrap_or(Slot::FIXED)
    }

    /// All nodes, primaries first.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The primaries, in a stable order: `primaries()[i]` is `NodeIndex(i)`.
    #[must_use]
    pub fn primaries(&self) -> &[Node] {
        &self.nodes[..usize::from(self.primaries)]
    }

    /// Whether one of them listens there.
    #[must_use]
    pub fn is_primary(&self, endpoint: &Endpoint) -> bool {
        self.primaries().iter().any(|primary| primary.endpoint == *endpoint)
    }

    /// One slot of each primary that serves any, its lowest; in ascending order.
    #[must_use]
    pub fn shard_slots(&self) -> &[Slot] {
        &self.shard_slots
    }

    /// One slot of each primary that serves any, its highest; in ascending order. Tools move the lowest ones first, so
    /// this one stays as long as any does.
    #[must_use]
    pub fn highest_slots(&self) -> &[Slot] {
        &self.highest_slots
    }

    /// The slots of a primary, as first and last of each range; those that nobody serves for `None`. Looks at every
    /// slot: not for the path of a command.
    #[must_use]
    pub fn ranges(&self, owner: Option<NodeIndex>) -> Vec<(Slot, Slot)> {
        let wanted = owner.map_or(UNSERVED, |owner| owner.0);
        let mut ranges: Vec<(Slot, Slot)> = Vec::new();
        for slot in (0..SLOT_COUNT).filter_map(Slot::new) {
            if self.owners[usize::from(slot.number())] != wanted {
                continue;
            }
            match ranges.last_mut() {
                Some((_, last)) if last.number() + 1 == slot.number() => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }

    /// Whether every slot has a primary.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.owners.contains(&UNSERVED)
    }
}

/// The first slot of each owner that has any, of `slots` with their owners.
fn firsts<'a>(slots: impl Iterator<Item = (usize, &'a u16)>, shards: usize) -> Vec<Slot> {
    let mut seen = vec![false; shards];
    let mut is_first =
        |owner: u16| seen.get_mut(usize::from(owner)).is_some_and(|seen| !std::mem::replace(seen, true));
    slots.filter(|(_, owner)| is_first(**owner)).filter_map(|(slot, _)| Slot::new(slot as u16)).collect()
}

/// One shard as a node told us of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shard {
    /// The node that owns the slots.
    pub primary: Endpoint,
    /// The nodes that follow it.
    pub replicas: Vec<Endpoint>,
    /// First and last slot of each range.
    pub slots: Vec<(Slot, Slot)>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_knows_its_replicas() {
        let endpoint = |port| Endpoint { host: "h".into(), port };
        let shard = |port, replicas: &[u16], slot| Shard {
            primary: endpoint(port),
            replicas: replicas.iter().copied().map(endpoint).collect(),
            slots: vec![(Slot::new(slot).unwrap(), Slot::new(slot).unwrap())],
        };
        let map = SlotMap::new(
            Generation(1),
            &[shard(1, &[11, 12], 0), shard(2, &[], 1), shard(3, &[31], 2), shard(4, &[], 3)],
        );
        let ports = |primary| -> Vec<u16> {
            let replicas = map.replicas(NodeIndex(primary));
            replicas.map(|index| map.nodes()[usize::from(index.0)].endpoint.port).collect()
        };
        assert_eq!([0, 1, 2, 3, 4, 9].map(ports), [vec![11, 12], vec![], vec![31], vec![], vec![], vec![]]);
        assert_eq!(SlotMap::empty().replicas(NodeIndex(0)).count(), 0);
    }
}
