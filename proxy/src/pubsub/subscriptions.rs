//! What one client has subscribed to: a short list of numbers. Clients without subscriptions have none of this.

use crate::command::spec::TopicKind;
use crate::moment::Moment;

/// One client's subscriptions, and what only a subscriber needs.
#[derive(Default, Debug)]
pub struct Subscriptions {
    /// The numbers of its topics, in no order.
    topics: Vec<u32>,
    counts: Counts,
    /// Bytes of the topics' names.
    name_bytes: usize,
    /// Since when there is any, in milliseconds of the worker's clock.
    pub since: u64,
    /// It said MONITOR.
    pub monitors: bool,
    /// Pushes that came while a reply was being written in pieces: they go out behind it.
    pub held: Vec<u8>,
    /// Since when more than the soft limit waits to be written.
    pub above_soft_since: Option<Moment>,
}

// The allocator's class of 96 bytes; the next one is of 112.
const _: () = assert!(size_of::<Subscriptions>() <= 96);

/// How many subscriptions of each kind a client has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// SUBSCRIBE
    pub channels: u32,
    /// PSUBSCRIBE
    pub patterns: u32,
    /// SSUBSCRIBE
    pub shards: u32,
    /// MONITOR
    pub monitors: bool,
}

impl Counts {
    /// Whether there is any; MONITOR is none.
    #[must_use]
    pub fn any(&self) -> bool {
        self.channels + self.patterns + self.shards > 0
    }

    fn of_mut(&mut self, kind: TopicKind) -> &mut u32 {
        match kind {
            TopicKind::Channel => &mut self.channels,
            TopicKind::Pattern => &mut self.patterns,
            TopicKind::Shard => &mut self.shards,
        }
    }
}

// What a topic costs beside its name: its record, its place in the tables.
const TOPIC_BYTES: usize = 150;

impl Subscriptions {
    /// None yet, `now`.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// How many of each kind.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { monitors: self.monitors, ..self.counts }
    }

    /// The number that a confirmation tells: channels and patterns together, shard channels apart.
    #[must_use]
    pub fn told(&self, kind: TopicKind) -> u32 {
        match kind {
            TopicKind::Channel | TopicKind::Pattern => self.counts.channels + self.counts.patterns,
            TopicKind::Shard => self.counts.shards,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Memory that it stands for; shared names are counted with each who uses them.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.capacity() + self.name_bytes + self.topics.len() * TOPIC_BYTES
    }

    /// The numbers of its topics.
    pub(super) fn topics(&self) -> &[u32] {
        &self.topics
    }

    /// Adds a topic; returns its place in the list.
    pub(super) fn add(&mut self, topic: u32, kind: TopicKind, name_bytes: usize) -> u32 {
        self.topics.push(topic);
        *self.counts.of_mut(kind) += 1;
        self.name_bytes += name_bytes;
        self.topics.len() as u32 - 1
    }

    /// Takes out the topic at `place`; returns the one that stands there now, if any.
    pub(super) fn remove(&mut self, place: u32, kind: TopicKind, name_bytes: usize) -> Option<u32> {
        self.topics.swap_remove(place as usize);
        *self.counts.of_mut(kind) -= 1;
        self.name_bytes -= name_bytes;
        if self.topics.len() < self.topics.capacity() / 4 {
            self.topics.shrink_to(self.topics.len() * 2);
        }
        self.topics.get(place as usize).copied()
    }

    /// Takes out all.
    pub(super) fn take(&mut self) -> Vec<u32> {
        (self.counts, self.name_bytes) = (Counts::default(), 0);
        std::mem::take(&mut self.topics)
    }
}

#[cfg(test)]
mod tests {
    use super::super::subscribers::Subscriber;
    use super::*;

    #[test]
    fn a_subscriber_costs_little() {
        assert!(size_of::<Subscriptions>() <= 112, "{}", size_of::<Subscriptions>());
        assert!(size_of::<Subscriber>() <= 16, "{}", size_of::<Subscriber>());
    }

    #[test]
    fn the_last_topic_takes_the_place_of_one_that_leaves() {
        let mut own = Subscriptions::default();
        let kinds = [TopicKind::Channel, TopicKind::Pattern, TopicKind::Shard];
        let places: Vec<u32> = (10..).zip(kinds).map(|(topic, kind)| own.add(topic, kind, 5)).collect();
        assert_eq!(places, [0, 1, 2]);
        assert_eq!((own.told(TopicKind::Channel), own.told(TopicKind::Shard)), (2, 1));
        assert_eq!(own.remove(0, TopicKind::Channel, 5), Some(12));
        assert_eq!(own.remove(1, TopicKind::Pattern, 5), None);
        assert_eq!(own.topics(), [12]);
        assert_eq!(own.counts(), Counts { shards: 1, ..Counts::default() });
    }
}
