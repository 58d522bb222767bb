//! Which entries one answer names: each by its weight, whatever order clients take them in. Pure.
//!
//! An answer names an entry with the probability that its weight is of the highest weight (gdnsd's *weighted multi*), so
//! weights do not depend on the order of records, which resolvers change; the one with the highest weight is always there,
//! so no answer is empty. Where more are named than an answer may have, some are left out, each as likely.

use super::plan::Plan;

/// Places of entries in the plan, in a random order, `most` at most; none only where the plan has none. `random` gives a
/// number below the one it gets.
pub fn choose(plan: &Plan, most: usize, mut random: impl FnMut(u32) -> u32) -> Vec<usize> {
    let highest = plan.highest_weight();
    let mut chosen: Vec<usize> = if highest == 0 {
        (0..plan.entries.len()).collect()
    } else {
        let is_named = |place: &usize| {
            let weight = plan.entries[*place].weight;
            weight >= highest || (weight > 0 && random(highest) < weight)
        };
        (0..plan.entries.len()).filter(is_named).collect()
    };
    // Fisher and Yates.
    for last in (1..chosen.len()).rev() {
        chosen.swap(last, random(last as u32 + 1) as usize);
    }
    chosen.truncate(most.max(1));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::plan::Planned;

    fn plan(weights: &[u32]) -> Plan {
        let entry = |weight: &u32| Planned { weight: *weight, ..Planned::default() };
        Plan { entries: weights.iter().map(entry).collect(), ..Plan::default() }
    }

    fn counted(weights: &[u32], most: usize) -> Vec<usize> {
        let (plan, mut seed) = (plan(weights), 1_u64);
        let mut counts = vec![0; weights.len()];
        for _ in 0..10_000 {
            let chosen = choose(&plan, most, |below| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((seed >> 33) % u64::from(below)) as u32
            });
            assert!(!chosen.is_empty() && chosen.len() <= most);
            chosen.into_iter().for_each(|place| counts[place] += 1);
        }
        counts
    }

    #[test]
    fn an_entry_is_named_as_often_as_its_weight_says() {
        let counts = counted(&[1_000, 500, 100, 0], 4);
        assert_eq!((counts[0], counts[3]), (10_000, 0));
        assert!((4_700..5_300).contains(&counts[1]) && (850..1_150).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn where_there_are_too_many_each_is_as_likely() {
        let counts = counted(&[1_000; 16], 4);
        assert!(counts.iter().all(|count| (2_300..2_700).contains(count)), "{counts:?}");
    }

    #[test]
    fn no_answer_is_empty_unless_there_is_no_entry() {
        assert_eq!(counted(&[0, 0], 4), [10_000, 10_000]);
        assert_eq!(counted(&[0, 1], 4), [0, 10_000]);
        assert!(choose(&plan(&[]), 4, |_| 0).is_empty());
    }
}
