//! Which nodes reads go to, by what all nodes of a shard said when they were last asked. Pure; `watch` asks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::nearest::{RoundTrip, is_near};
use super::replication::{Replication, Standing};
use super::slot_map::{Endpoint, SlotMap};
use crate::config::settings::ReadFrom;

/// The nodes that reads go to: usable replicas, or the nearest nodes of each shard. A shard of which none is
/// here is read from at its primary.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Readers(HashSet<Endpoint>);

impl Readers {
    /// Whether this node is one.
    #[must_use]
    pub fn has(&self, node: &Endpoint) -> bool {
        self.0.contains(node)
    }
}

impl FromIterator<Endpoint> for Readers {
    fn from_iter<T: IntoIterator<Item = Endpoint>>(nodes: T) -> Self {
        Self(nodes.into_iter().collect())
    }
}

/// What a node answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// What it said of itself.
    pub replication: Replication,
    /// How long it took.
    pub round_trip: Duration,
}

/// How many replicas there are of each [`Standing`] that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// May be read from.
    pub usable: u64,
    /// Do not answer.
    pub unreachable: u64,
    /// Have lost their primary.
    pub unlinked: u64,
    /// Lack too much.
    pub lagging: u64,
    /// Their primary gives keys away.
    pub moving: u64,
}

/// All nodes as they were found.
#[derive(Debug)]
pub struct Survey {
    read_from: ReadFrom,
    max_lag: Option<u64>,
    nodes: HashMap<Endpoint, Found>,
}

/// A node as it was found.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    trip: RoundTrip,
    standing: Standing,
    is_replica: bool,
    /// Whether it is one of the nearest of its shard.
    near: bool,
}

impl Survey {
    /// Nobody was asked yet.
    #[must_use]
    pub fn new(read_from: ReadFrom, max_lag: Option<u64>) -> Self {
        Self { read_from, max_lag, nodes: HashMap::new() }
    }

    /// Forgets nodes that are in the slot map no more.
    pub fn follow(&mut self, map: &SlotMap) {
        let known: HashSet<_> = map.nodes().iter().map(|node| &node.endpoint).collect();
        self.nodes.retain(|endpoint, _| known.contains(endpoint));
    }

    /// The nodes of a shard were asked, its primary first. Gives the replicas whose standing changed.
    pub fn on_shard(&mut self, answers: &[(Endpoint, Option<Heard>)]) -> Vec<(Endpoint, Standing)> {
        let mut changed = Vec::new();
        let said = |heard: &Option<Heard>| heard.map(|heard| heard.replication);
        let Some(((primary, heard), replicas)) = answers.split_first() else { return changed };
        let written = said(heard);
        let standing = if written.is_some() { Standing::Usable } else { Standing::Unreachable };
        self.note(primary, heard, |found| (found.is_replica, found.standing) = (false, standing));
        for (replica, heard) in replicas {
            let max_lag = self.max_lag;
            self.note(replica, heard, |found| {
                let before = if found.is_replica { found.standing } else { Standing::Unknown };
                found.is_replica = true;
                found.standing = before.next(written, said(heard), max_lag);
                if found.standing != before {
                    changed.push((replica.clone(), found.standing));
                }
            });
        }
        self.find_nearest(answers.iter().map(|(endpoint, _)| endpoint));
        changed
    }

    /// Who is to be read from by now.
    #[must_use]
    pub fn readers(&self) -> Readers {
        let reads = |found: &Found| match self.read_from {
            ReadFrom::Primary => false,
            ReadFrom::Replica => found.is_replica && found.standing == Standing::Usable,
            ReadFrom::Nearest => found.near,
        };
        self.nodes.iter().filter(|(_, found)| reads(found)).map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// How the replicas are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for found in self.nodes.values().filter(|found| found.is_replica) {
            match found.standing {
                Standing::Unknown => {}
                Standing::Usable => counts.usable += 1,
                Standing::Unreachable => counts.unreachable += 1,
                Standing::Unlinked => counts.unlinked += 1,
                Standing::Lagging => counts.lagging += 1,
                Standing::Moving => counts.moving += 1,
            }
        }
        counts
    }

    fn note(&mut self, endpoint: &Endpoint, heard: &Option<Heard>, change: impl FnOnce(&mut Found)) {
        let found = self.nodes.entry(endpoint.clone()).or_default();
        match heard {
            Some(heard) => found.trip.add(heard.round_trip),
            // Whoever comes back may do so at another place.
            None => found.trip = RoundTrip::default(),
        }
        change(found);
    }

    fn find_nearest<'a>(&mut self, shard: impl Iterator<Item = &'a Endpoint> + Clone) {
        let trip = |found: &Found| found.trip.median().filter(|_| found.standing == Standing::Usable);
        let best = shard.clone().filter_map(|node| trip(self.nodes.get(node)?)).min();
        for node in shard {
            if let Some(found) = self.nodes.get_mut(node) {
                let near = trip(found).zip(best).map(|(trip, best)| is_near(trip, best, found.near));
                found.near = near.unwrap_or(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot::Slot;
    use super::super::slot_map::{Generation, Shard};
    use super::*;

    fn node(port: u16) -> Endpoint {
        Endpoint { host: "h".into(), port }
    }

    fn primary(port: u16, micros: u64) -> (Endpoint, Option<Heard>) {
        let replication = Replication::Primary { offset: 1_000, gives: false };
        (node(port), Some(Heard { replication, round_trip: Duration::from_micros(micros) }))
    }

    fn replica(port: u16, offset: u64, linked: bool, micros: u64) -> (Endpoint, Option<Heard>) {
        let replication = Replication::Replica { offset, linked };
        (node(port), Some(Heard { replication, round_trip: Duration::from_micros(micros) }))
    }

    fn readers(survey: &Survey) -> Vec<u16> {
        let mut ports: Vec<u16> = survey.readers().0.iter().map(|node| node.port).collect();
        ports.sort_unstable();
        ports
    }

    #[test]
    fn replicas_that_are_well_are_read_from_and_the_others_are_counted() {
        let mut survey = Survey::new(ReadFrom::Replica, Some(100));
        assert!(readers(&survey).is_empty());
        survey.on_shard(&[
            primary(1, 100),
            replica(11, 990, true, 100),
            replica(12, 10, true, 100),
            replica(13, 1_000, false, 100),
            (node(14), None),
        ]);
        assert_eq!(readers(&survey), [11]);
        let same = [primary(1, 100), replica(11, 990, true, 100), replica(12, 1_000, true, 100)];
        assert_eq!(survey.on_shard(&same), [(node(12), Standing::Usable)], "what changed is told");
        survey.on_shard(&[primary(1, 100), replica(12, 10, true, 100)]);
        assert_eq!(survey.counts(), Counts { usable: 1, unreachable: 1, unlinked: 1, lagging: 1, moving: 0 });
        survey.on_shard(&[primary(1, 100), replica(11, 10, true, 100), replica(14, 1_000, true, 100)]);
        assert_eq!(readers(&survey), [14], "of another round");
    }

    #[test]
    fn the_nearest_is_read_from_be_it_the_primary_or_not() {
        let mut survey = Survey::new(ReadFrom::Nearest, Some(100));
        let far = [primary(1, 9_000), replica(11, 1_000, true, 300), replica(12, 1_000, true, 350)];
        survey.on_shard(&far);
        assert_eq!(readers(&survey), [11, 12]);
        // The near ones are not usable: of the rest the nearest.
        survey.on_shard(&[primary(1, 9_000), replica(11, 10, true, 300), (node(12), None)]);
        assert_eq!(readers(&survey), [1]);
        survey.on_shard(&[(node(1), None), replica(11, 1_000, true, 300), replica(12, 1_000, true, 9_000)]);
        assert_eq!(
            readers(&survey),
            [12],
            "the primary is gone, and what lagged is not known to have caught up"
        );
        survey.on_shard(&[primary(1, 300), replica(11, 1_000, true, 300), replica(12, 1_000, true, 9_000)]);
        assert_eq!(readers(&survey), [1, 11]);
    }

    #[test]
    fn who_changes_sides_is_judged_anew_and_who_leaves_is_forgotten() {
        let mut survey = Survey::new(ReadFrom::Replica, Some(100));
        survey.on_shard(&[primary(1, 100), replica(11, 1_000, true, 100)]);
        // 11 takes over while 1 is away, then 1 follows it but has not been given the data yet.
        survey.on_shard(&[primary(11, 100), (node(1), None)]);
        assert!(readers(&survey).is_empty());
        survey.on_shard(&[(node(11), None), replica(1, 1_000, false, 100)]);
        assert!(readers(&survey).is_empty());
        survey.on_shard(&[primary(11, 100), replica(1, 1_000, true, 100)]);
        assert_eq!(readers(&survey), [1]);
        let slots = vec![(Slot::new(0).unwrap(), Slot::new(9).unwrap())];
        let shard = Shard { primary: node(11), replicas: Vec::new(), slots };
        survey.follow(&SlotMap::new(Generation(2), &[shard]));
        assert_eq!((readers(&survey), survey.counts()), (Vec::new(), Counts::default()));
    }
}
