//! From sums that only grow to what comes in a second. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::report::{Health, Load};
use super::traffic::Totals;

/// What was counted when it was looked at last.
#[derive(Default, Debug)]
pub struct Rates {
    before: BTreeMap<Arc<str>, Totals>,
    /// In milliseconds; 0 before the first look.
    at: u64,
}

impl Rates {
    /// What came through each of `entries` in a second, since the last look; nothing at the first one. `health` is what
    /// is known of each.
    pub fn look<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a str>,
        totals: BTreeMap<Arc<str>, Totals>,
        health: impl Fn(&str) -> Health,
        now: u64,
    ) -> Vec<(String, Load)> {
        let passed = if self.at == 0 { 0 } else { now.saturating_sub(self.at) };
        let load = |id: &str| {
            let total = totals.get(id).copied().unwrap_or_default();
            // An entry that was not there before began with nothing.
            let before = self.before.get(id).copied().unwrap_or_default();
            let rate = |now: u64, before: u64| match passed {
                0 => 0,
                passed => (u128::from(now.wrapping_sub(before)) * 1_000 / u128::from(passed)) as u64,
            };
            Load {
                received: rate(total.received, before.received),
                sent: rate(total.sent, before.sent),
                connections: total.connections,
                accepted: rate(total.accepted, before.accepted),
                health: health(id),
            }
        };
        let loads = entries.map(|id| (id.to_owned(), load(id))).collect();
        (self.before, self.at) = (totals, now.max(1));
        loads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_become_rates() {
        let totals = |received, accepted| {
            let total = Totals { received, accepted, sent: 7, connections: 2 };
            BTreeMap::from([("a".into(), total), ("gone".into(), total)])
        };
        let mut rates = Rates::default();
        let mut look = |totals, now| {
            let loads = rates.look(["a", "b"].into_iter(), totals, |_| Health::Up, now);
            assert_eq!((loads[0].0.as_str(), loads[1].0.as_str(), loads.len()), ("a", "b", 2));
            assert_eq!(loads[1].1, Load { health: Health::Up, ..Load::default() }, "nobody came by it");
            loads[0].1
        };
        let first = look(totals(1_000, 5), 500);
        assert_eq!((first.received, first.connections), (0, 2));
        let next = look(totals(3_000, 6), 2_500);
        assert_eq!((next.received, next.sent, next.accepted), (1_000, 0, 0));
        assert_eq!(look(totals(3_000, 6), 2_500).received, 0, "no time has passed");
    }
}
