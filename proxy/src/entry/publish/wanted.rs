//! What the service's name is to resolve to, by a plan. A plain set of records has no weights: an entry is in it or not.
//! Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::records::Records;
use crate::config::fleet::{EntrySettings, FleetSettings};
use crate::entry::plan::{Basis, Plan, Planned};
use crate::entry::report::Health;

/// What is to be published, and how much it matters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Never empty.
    pub records: Records,
    /// The entries that are down or to be left, by id: where these change, nobody waits.
    pub unusable: BTreeSet<String>,
    /// The addresses of those that are down, where that is believed.
    pub dead: Vec<IpAddr>,
    /// Whether it rests on what proxies reported; if not, all entries are alike for want of better knowledge.
    pub is_known: bool,
    /// When the plan was made, in milliseconds since 1970.
    pub plan_at: u64,
}

/// Whoever is in gets alike of what is asked, so that an entry is in or not by how many of its new clients are to go
/// elsewhere, not by how much it can carry: it is let in where less than this part are ...
const JOINS: f64 = 0.5;
/// ... and stays in up to this part, so that one near the border does not come and go.
const STAYS: f64 = 0.75;

/// What `plan` wants the name to resolve to that resolves to `now`. `None` where the plan says nothing of any entry of
/// the settings.
#[must_use]
pub fn wanted(plan: &Plan, fleet: &FleetSettings, now: &Records, ttl: u32) -> Option<Wanted> {
    let known: Vec<_> =
        fleet.entries.iter().filter_map(|entry| Some((entry, plan.entry(&entry.id)?))).collect();
    let heaviest = known.iter().map(|(_, planned)| planned.weight).max().filter(|weight| *weight > 0)?;
    let is_in = |(entry, planned): &&(&EntrySettings, &Planned)| {
        let was_in = entry.addresses.iter().all(|address| now.has(address));
        planned.weight > 0 && planned.shed <= if was_in { STAYS } else { JOINS }
    };
    let mut included: Vec<_> = known.iter().filter(is_in).collect();
    if included.is_empty() {
        // All are near their caps: those that are best off.
        included = known.iter().filter(|(_, planned)| planned.weight >= heaviest.div_ceil(2)).collect();
    }
    let addresses = included.into_iter().flat_map(|(entry, _)| entry.addresses.iter().copied());
    let is_unusable = |planned: &Planned| planned.drain || planned.health == Health::Down;
    let unusable = known.iter().filter(|(_, planned)| is_unusable(planned));
    let is_dead = |planned: &Planned| planned.health == Health::Down && planned.weight == 0;
    let dead = known.iter().filter(|(_, planned)| is_dead(planned));
    Some(Wanted {
        dead: dead.flat_map(|(entry, _)| entry.addresses.iter().copied()).collect(),
        records: Records::new(addresses, ttl),
        unusable: unusable.map(|(entry, _)| entry.id.clone()).collect(),
        is_known: plan.basis != Basis::Nothing,
        plan_at: plan.at,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::entry::fixtures;

    /// Entries a, b, ... with these addresses.
    pub(in crate::entry::publish) fn fleet(addresses: &[&[&str]]) -> FleetSettings {
        let entries = ('a'..).zip(addresses).map(|(id, addresses)| EntrySettings {
            id: id.to_string(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            host: None,
            cap: 8_000_000,
            max_connections: None,
            drain: false,
            listen: Vec::new(),
        });
        FleetSettings { entries: entries.collect(), ..fixtures::fleet(&[]) }
    }

    /// A plan that rests on reports, with these weights of a, b, ...
    pub(in crate::entry::publish) fn plan(weights: &[u32]) -> Plan {
        let entries = ('a'..).zip(weights).map(|(id, weight)| Planned {
            id: id.to_string(),
            weight: *weight,
            ..Planned::default()
        });
        Plan { at: 7, basis: Basis::Reports, entries: entries.collect(), ..Plan::default() }
    }

    fn records(addresses: &[&str]) -> Records {
        Records::new(addresses.iter().map(|address| address.parse().unwrap()), 15)
    }

    #[test]
    fn an_entry_is_in_by_what_it_sheds_and_stays_longer_than_it_needs_to_join() {
        let fleet = fleet(&[&["192.0.2.1", "2001:db8::1"], &["192.0.2.2"], &["192.0.2.3"]]);
        let none = Records::default();
        let records_of = |sheds: [f64; 3], now: &Records| {
            let mut plan = plan(&[1_000, 100, 10]);
            plan.entries.iter_mut().zip(sheds).for_each(|(planned, shed)| planned.shed = shed);
            wanted(&plan, &fleet, now, 15).map(|wanted| wanted.records)
        };
        let all = records(&["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]);
        let first = records(&["192.0.2.1", "2001:db8::1"]);
        assert_eq!(
            records_of([0.0, 0.0, 0.5], &none),
            Some(all.clone()),
            "a small one is as good as a large one"
        );
        assert_eq!(records_of([0.0, 0.6, 1.0], &none), Some(first.clone()));
        assert_eq!(records_of([0.0, 0.6, 0.75], &all), Some(all.clone()), "they were in");
        assert_eq!(records_of([0.0, 0.8, 1.0], &all), Some(first.clone()));
        assert_eq!(records_of([0.9, 0.9, 1.0], &all), Some(first), "one of them is best off");
    }

    #[test]
    fn who_has_no_weight_is_out() {
        let fleet = fleet(&[&["192.0.2.1"], &["192.0.2.2"]]);
        let records = |weights: &[u32]| {
            wanted(&plan(weights), &fleet, &Records::default(), 15).map(|wanted| wanted.records.to_string())
        };
        assert_eq!(records(&[1, 0]).as_deref(), Some("192.0.2.1"));
        assert_eq!(records(&[0, 900]).as_deref(), Some("192.0.2.2"));
    }

    #[test]
    fn nothing_is_wanted_where_a_plan_says_nothing() {
        let fleet = fleet(&[&["192.0.2.1"]]);
        let none = Records::default();
        assert_eq!(wanted(&Plan::default(), &fleet, &none, 15), None);
        assert_eq!(wanted(&plan(&[0]), &fleet, &none, 15), None);
        let mut strange = plan(&[5]);
        strange.entries[0].id = "z".to_owned();
        assert_eq!(wanted(&strange, &fleet, &none, 15), None);
    }

    #[test]
    fn who_is_down_or_drained_is_told() {
        let fleet = fleet(&[&["192.0.2.1"], &["192.0.2.2"], &["192.0.2.3"]]);
        let mut plan = plan(&[1_000, 0, 0]);
        plan.entries[1].health = Health::Down;
        plan.entries[2].drain = true;
        let wanted = wanted(&plan, &fleet, &Records::default(), 15).unwrap();
        assert_eq!(wanted.unusable, ["b".to_owned(), "c".to_owned()].into());
        assert!(wanted.is_known);
    }
}
