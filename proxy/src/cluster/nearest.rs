//! Which of a shard's nodes answer soonest: round trips, smoothed, and a choice that does not flap. Pure.

use std::time::Duration;

/// How long a node takes to answer: the median of its last answers. One that was held up says nothing of a node,
/// three of five do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoundTrip {
    /// Microseconds, the last answers in turn.
    samples: [u32; SAMPLES],
    /// How many there were.
    count: usize,
}

const SAMPLES: usize = 5;

impl RoundTrip {
    /// One more answer came, after this time.
    pub fn add(&mut self, sample: Duration) {
        self.samples[self.count % SAMPLES] = sample.as_micros().try_into().unwrap_or(u32::MAX);
        self.count += 1;
    }

    /// Microseconds; `None` before the first answer.
    #[must_use]
    pub fn median(&self) -> Option<u32> {
        let mut samples = self.samples;
        let known = &mut samples[..self.count.min(SAMPLES)];
        known.sort_unstable();
        known.get(known.len().saturating_sub(1) / 2).copied()
    }
}

/// Microseconds that do not count: what scheduling alone makes of round trips in one rack. Between zones of a
/// region there are 500 and more.
const SLACK: u32 = 200;

/// Whether a node that takes `trip` microseconds is one of the nearest, where the nearest takes `best`. Those
/// that differ by little are equally near, and share the clients; one that is among them stays until it
/// differs by twice as much, so that nobody is taken in and left out by turns.
#[must_use]
pub fn is_near(trip: u32, best: u32, was_near: bool) -> bool {
    let margin = best / 4 + SLACK;
    trip <= best.saturating_add(if was_near { margin.saturating_mul(2) } else { margin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: &[u64]) -> Option<u32> {
        let mut trip = RoundTrip::default();
        for sample in samples {
            trip.add(Duration::from_micros(*sample));
        }
        trip.median()
    }

    #[test]
    fn one_slow_answer_says_nothing_and_three_do() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[300]), Some(300));
        assert_eq!(of(&[300, 90_000]), Some(300));
        assert_eq!(of(&[300, 310, 290, 300, 90_000]), Some(300));
        assert_eq!(of(&[300, 310, 290, 300, 90_000, 90_000]), Some(310));
        assert_eq!(of(&[300, 310, 290, 300, 9_000, 9_000, 9_000]), Some(9_000));
        assert_eq!(of(&[9_000, 9_000, 9_000, 9_000, 9_000, 300, 300, 300]), Some(300), "and back");
        assert_eq!(of(&[u64::MAX]), Some(u32::MAX));
    }

    #[test]
    fn what_differs_by_little_is_equally_near() {
        let near = |trip, best| is_near(trip, best, false);
        assert!(near(100, 100) && near(310, 100) && !near(400, 100), "one rack");
        assert!(near(1_400, 1_000) && !near(1_500, 1_000), "one zone");
        assert!(!near(40_000, 2_000), "another region");
    }

    #[test]
    fn a_node_at_the_edge_is_not_taken_in_and_left_out_by_turns() {
        let mut near = false;
        let mut changes = 0;
        // Swings by a tenth around the edge of 1,450.
        for trip in [1_300, 1_600, 1_300, 1_600, 1_300, 1_600] {
            let now = is_near(trip, 1_000, near);
            changes += u32::from(now != near);
            near = now;
        }
        assert_eq!((near, changes), (true, 1));
        assert!(!is_near(1_901, 1_000, true), "but one that is clearly slower is left");
    }
}
