//! From reports to weights: the same function in every proxy, from the same reports. Pure.
//!
//! * An entry near its cap *sheds* new clients: none up to the low watermark, all from the high one on, in between in
//!   proportion (NS1's "shed load" filter). Going down it begins [`RELIEF`] lower, so that it does not flutter.
//! * What is left is shared by *headroom*: an entry's weight is the part it does not shed times what its cap leaves.
//! * Who is down, by the majority of the proxies that have tried, or to be left gets nothing, at once. Every other change
//!   is bounded ([`STEP`]).
//! * *Fail open*: where less than half of what the entries can carry is up, the proxies' view is doubted and all count as
//!   up (gdnsd's `up_thresh` of 0.5). Somebody always has a weight: the name never resolves to nothing.

use super::merge::{self, Sum};
use super::plan::{Basis, MAX_WEIGHT, Plan, Planned};
use super::relief;
use super::report::{Health, Report};
use crate::config::fleet::{EntrySettings, FleetSettings};

// Time constants of what is averaged, in milliseconds: a rise is believed sooner than a fall, since an entry at its cap
// hurts, and one that is avoided for some seconds too long does not.
const RISE: f64 = 3_000.0;
const FALL: f64 = 10_000.0;
// By how much less than what made it shed an entry has to carry before it sheds less, as a part of its cap.
const RELIEF: f64 = 0.05;
// What a full entry has to give nevertheless, as a part of its cap: somebody must be answered.
const LEAST_HEADROOM: f64 = 0.02;
// Most that a weight changes within a second, of [`MAX_WEIGHT`].
const STEP: f64 = 100.0;
// A pause is no reason to jump: so many milliseconds count at most.
const LONGEST_STEP: u64 = 5_000;
// For so long the last plan is good without reports, in milliseconds; then nothing is known.
const LAST_KNOWN: u64 = 600_000;
// Of what all entries can carry so much has to be up, else it is doubted.
const BELIEVED: f64 = 0.5;

/// The next plan, from the one before and from fresh reports; `now` in milliseconds since 1970.
#[must_use]
pub fn step(fleet: &FleetSettings, previous: &Plan, reports: &[Report], now: u64) -> Plan {
    if reports.is_empty() {
        return without_reports(fleet, previous, now);
    }
    let passed = now.saturating_sub(previous.at).min(LONGEST_STEP);
    let mut entries: Vec<_> = fleet
        .entries
        .iter()
        .map(|entry| {
            observe(fleet, entry, previous.entry(&entry.id), &merge::sum(reports, &entry.id), passed)
        })
        .collect();
    let (usable, basis) = usable(&entries);
    let wanted = wanted(&entries, &usable);
    for ((entry, wanted), usable) in entries.iter_mut().zip(wanted).zip(&usable) {
        entry.weight = bounded(previous.entry(&entry.id), entry, wanted, *usable, passed);
    }
    keep_somebody(&mut entries, &usable);
    relief::plan(&mut entries, &usable, f64::from(fleet.low_watermark) / 100.0);
    let mut proxies: Vec<_> = reports.iter().map(|report| report.proxy.clone()).collect();
    proxies.sort();
    Plan { at: now, reported_at: now, basis, proxies, entries }
}

/// What is known of one entry now, without a weight yet.
fn observe(
    fleet: &FleetSettings,
    entry: &EntrySettings,
    before: Option<&Planned>,
    sum: &Sum,
    passed: u64,
) -> Planned {
    let load = before.map_or(sum.load, |before| averaged(before.load, sum.load, passed));
    let cap = entry.bytes().max(1);
    let by_connections =
        entry.max_connections.map_or(0.0, |most| sum.connections as f64 / most.max(1) as f64);
    let utilisation = (load as f64 / cap as f64).max(by_connections);
    Planned {
        id: entry.id.clone(),
        weight: 0,
        load,
        cap,
        connections: sum.connections,
        shed: shed(fleet, utilisation, before.map_or(0.0, |before| before.shed)),
        health: sum.health,
        drain: entry.drain,
        excess: 0,
        headroom: 0,
    }
}

fn averaged(before: u64, now: u64, passed: u64) -> u64 {
    let (before, now) = (before as f64, now as f64);
    let constant = if now > before { RISE } else { FALL };
    (now + (before - now) * (-(passed as f64) / constant).exp()).round() as u64
}

/// The part of its new clients that an entry gives away. What it gave away before stays while it is within what a rise
/// and a fall would make of it.
fn shed(fleet: &FleetSettings, utilisation: f64, before: f64) -> f64 {
    let (low, high) = (f64::from(fleet.low_watermark) / 100.0, f64::from(fleet.high_watermark) / 100.0);
    let at = |utilisation: f64| ((utilisation - low) / (high - low).max(0.01)).clamp(0.0, 1.0);
    before.clamp(at(utilisation), at(utilisation + RELIEF))
}

/// Which entries may have clients, and whether that is what the reports say.
fn usable(entries: &[Planned]) -> (Vec<bool>, Basis) {
    let stays = |entry: &Planned| !entry.drain;
    // Everybody is to be left: by whom would clients come?
    let any_stays = entries.iter().any(stays);
    let may = |entry: &Planned| stays(entry) || !any_stays;
    let cap = |of: &dyn Fn(&Planned) -> bool| -> f64 {
        entries.iter().filter(|entry| of(entry)).map(|entry| entry.cap as f64).sum()
    };
    let is_up = |entry: &Planned| may(entry) && entry.health != Health::Down;
    if cap(&is_up) < BELIEVED * cap(&may) {
        return (entries.iter().map(may).collect(), Basis::FailOpen);
    }
    (entries.iter().map(is_up).collect(), Basis::Reports)
}

/// The weights that there should be, the highest of them [`MAX_WEIGHT`].
fn wanted(entries: &[Planned], usable: &[bool]) -> Vec<f64> {
    let headroom = |entry: &Planned| {
        let cap = entry.cap as f64;
        (cap - entry.load as f64).max(cap * LEAST_HEADROOM)
    };
    let mut wanted: Vec<f64> = entries
        .iter()
        .zip(usable)
        .map(|(entry, usable)| if *usable { (1.0 - entry.shed) * headroom(entry) } else { 0.0 })
        .collect();
    if wanted.iter().all(|wanted| *wanted <= 0.0) {
        // All are full: by what little is left.
        let left =
            entries.iter().zip(usable).map(|(entry, usable)| if *usable { headroom(entry) } else { 0.0 });
        wanted = left.collect();
    }
    let most = wanted.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    wanted.iter().map(|wanted| wanted / most * f64::from(MAX_WEIGHT)).collect()
}

/// The weight on the way to the one that is wanted.
fn bounded(before: Option<&Planned>, entry: &Planned, wanted: f64, usable: bool, passed: u64) -> u32 {
    let is_flip = |before: &Planned| {
        let was = before.weight > 0 || before.shed >= 1.0;
        was != usable || before.drain != entry.drain || is_down(before) != is_down(entry)
    };
    let weight = match before {
        Some(before) if !is_flip(before) => {
            let most = STEP * passed as f64 / 1_000.0;
            let before = f64::from(before.weight);
            wanted.clamp(before - most, before + most)
        }
        _ => wanted,
    };
    weight.round().clamp(0.0, f64::from(MAX_WEIGHT)) as u32
}

fn is_down(entry: &Planned) -> bool {
    entry.health == Health::Down
}

/// Where rounding or the bound on changes left nobody, those that may have clients have the least there is.
fn keep_somebody(entries: &mut [Planned], usable: &[bool]) {
    if entries.iter().any(|entry| entry.weight > 0) {
        return;
    }
    for (entry, _) in entries.iter_mut().zip(usable).filter(|(_, usable)| **usable) {
        entry.weight = 1;
    }
}

/// Nobody reports: what was known, for a while; then every entry by its cap, as none is known to be worse than another.
fn without_reports(fleet: &FleetSettings, previous: &Plan, now: u64) -> Plan {
    let is_known = previous.reported_at > 0 && now.saturating_sub(previous.reported_at) <= LAST_KNOWN;
    let largest = fleet.entries.iter().map(EntrySettings::bytes).max().unwrap_or(1).max(1);
    let any_stays = fleet.entries.iter().any(|entry| !entry.drain);
    let planned = |entry: &EntrySettings| {
        let leaves = entry.drain && any_stays;
        let fresh = Planned {
            id: entry.id.clone(),
            weight: (entry.bytes() as f64 / largest as f64 * f64::from(MAX_WEIGHT)).round().max(1.0) as u32,
            cap: entry.bytes().max(1),
            ..Planned::default()
        };
        let known = previous.entry(&entry.id).filter(|_| is_known).cloned().unwrap_or(fresh);
        let weight = if leaves { 0 } else { known.weight };
        Planned { weight, drain: entry.drain, excess: 0, headroom: 0, ..known }
    };
    let mut entries: Vec<_> = fleet.entries.iter().map(planned).collect();
    let usable: Vec<_> = fleet.entries.iter().map(|entry| !entry.drain || !any_stays).collect();
    keep_somebody(&mut entries, &usable);
    let basis = if is_known { Basis::LastKnown } else { Basis::Nothing };
    Plan { at: now, reported_at: previous.reported_at, basis, proxies: previous.proxies.clone(), entries }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::fixtures::{fleet, report};

    const CAP: u64 = 1_000_000;

    /// The plan after so many seconds of the same loads, in percent of the cap.
    fn settled(fleet: &FleetSettings, loads: &[u64], seconds: u64) -> Plan {
        let mut plan = Plan::default();
        for second in 1..=seconds {
            let loads: Vec<_> = loads.iter().map(|load| (load * CAP / 100, Health::Up)).collect();
            plan = step(fleet, &plan, &[report("p", &loads)], second * 1_000);
        }
        plan
    }

    fn weights(plan: &Plan) -> Vec<u32> {
        plan.entries.iter().map(|entry| entry.weight).collect()
    }

    #[test]
    fn weights_are_by_what_is_left() {
        let plan = settled(&fleet(&[CAP; 3]), &[20, 60, 20], 60);
        assert_eq!(weights(&plan), [1_000, 500, 1_000]);
        assert_eq!(plan.basis, Basis::Reports);
    }

    #[test]
    fn between_the_watermarks_an_entry_sheds_and_above_it_has_nothing() {
        let plan = settled(&fleet(&[CAP; 3]), &[20, 80, 95], 120);
        // A quarter of the headroom, half of which is shed.
        assert_eq!(weights(&plan), [1_000, 125, 0]);
    }

    #[test]
    fn going_down_an_entry_sheds_less_only_once_it_carries_so_much_less() {
        let fleet = fleet(&[CAP; 2]);
        let mut plan = settled(&fleet, &[20, 80], 120);
        let mut shed = |percent: u64| {
            for second in 1..=120 {
                let loads = [(200_000, Health::Up), (percent * CAP / 100, Health::Up)];
                plan = step(&fleet, &plan, &[report("p", &loads)], plan.at + second * 1_000);
            }
            (plan.entries[1].shed * 100.0).round() as u32
        };
        assert_eq!([shed(80), shed(76), shed(70), shed(76), shed(82)], [50, 50, 25, 30, 60]);
    }

    /// The one that had all of them dies before another's weight could grow.
    #[test]
    fn whatever_changes_are_bounded_to_somebody_is_told() {
        let fleet = fleet(&[CAP; 2]);
        let both = |first| [(500_000, first), (950_000, Health::Up)];
        let plan = settled(&fleet, &[50, 95], 120);
        assert_eq!(weights(&plan)[1], 0);
        let next = step(&fleet, &plan, &[report("p", &both(Health::Down))], plan.at);
        assert_eq!((next.basis, weights(&next)), (Basis::Reports, vec![0, 1]));
    }

    #[test]
    fn who_is_full_with_all_others_still_answers() {
        let plan = settled(&fleet(&[CAP; 2]), &[98, 99], 60);
        assert!(weights(&plan).iter().any(|weight| *weight > 0), "{plan:?}");
        let plan = settled(&fleet(&[CAP; 2]), &[1_000, 1_000], 60);
        assert_eq!(weights(&plan), [1_000, 1_000]);
    }

    #[test]
    fn who_is_down_or_to_be_left_has_nothing_at_once() {
        let fleet = fleet(&[CAP; 4]);
        let plan = settled(&fleet, &[20; 4], 10);
        let down = [(200_000, Health::Down), (200_000, Health::Up), (0, Health::Up), (0, Health::Up)];
        let next = step(&fleet, &plan, &[report("p", &down)], 11_000);
        assert_eq!(next.entries[0].weight, 0);
        let mut left = fleet.clone();
        left.entries[1].drain = true;
        let next = step(&left, &next, &[report("p", &down)], 12_000);
        assert_eq!((next.entries[0].weight, next.entries[1].weight), (0, 0));
        let up = [(200_000, Health::Up); 4];
        let back = step(&fleet, &next, &[report("p", &up)], 13_000);
        assert!(back.entries[0].weight > 500 && back.entries[1].weight > 500, "{back:?}");
    }

    #[test]
    fn the_majority_of_those_who_tried_says_who_is_down() {
        use Health::{Down, Unknown, Up};
        let fleet = fleet(&[CAP; 3]);
        let of = |health| report("p", &[(0, health), (0, Up), (0, Up)]);
        let plan = |votes: &[Health]| {
            let reports: Vec<_> = votes.iter().map(|vote| of(*vote)).collect();
            step(&fleet, &Plan::default(), &reports, 1_000).entries[0].health
        };
        assert_eq!(plan(&[Down, Down, Up]), Down);
        assert_eq!(plan(&[Down, Up]), Up);
        assert_eq!(plan(&[Down, Unknown, Unknown]), Down);
        assert_eq!(plan(&[Unknown]), Unknown);
    }

    #[test]
    fn where_too_little_is_up_all_are_believed_to_be() {
        let fleet = fleet(&[CAP; 3]);
        let down = [(0, Health::Down), (0, Health::Down), (0, Health::Up)];
        let plan = step(&fleet, &Plan::default(), &[report("p", &down)], 1_000);
        assert_eq!((weights(&plan), plan.basis), (vec![1_000; 3], Basis::FailOpen));
    }

    #[test]
    fn a_change_is_bounded_in_time() {
        let fleet = fleet(&[CAP; 2]);
        let plan = settled(&fleet, &[20, 20], 60);
        let next = step(&fleet, &plan, &[report("p", &[(20_000_000, Health::Up), (0, Health::Up)])], 61_000);
        assert_eq!(next.entries[0].weight, plan.entries[0].weight - 100);
    }

    #[test]
    fn small_changes_near_a_watermark_do_not_flutter() {
        let fleet = fleet(&[CAP; 2]);
        let mut plan = settled(&fleet, &[80, 20], 120);
        let shed = plan.entries[0].shed;
        for second in 121..200 {
            let load = if second % 2 == 0 { 790_000 } else { 801_000 };
            let reports = [report("p", &[(load, Health::Up), (200_000, Health::Up)])];
            plan = step(&fleet, &plan, &reports, second * 1_000);
            assert!((plan.entries[0].shed - shed).abs() < 0.01, "{plan:?}");
        }
    }

    #[test]
    fn without_reports_the_last_plan_holds_and_then_all_are_alike() {
        let fleet = fleet(&[CAP; 3]);
        let known = settled(&fleet, &[20, 60, 20], 60);
        let later = step(&fleet, &known, &[], 300_000);
        assert_eq!((weights(&later), later.basis), (weights(&known), Basis::LastKnown));
        let much_later = step(&fleet, &later, &[], 60_000 + LAST_KNOWN + 1);
        assert_eq!((weights(&much_later), much_later.basis), (vec![1_000; 3], Basis::Nothing));
        assert_eq!(weights(&step(&fleet, &Plan::default(), &[], 1)), [1_000; 3]);
    }

    #[test]
    fn when_everybody_is_to_be_left_nobody_is() {
        let mut fleet = fleet(&[CAP; 2]);
        fleet.entries.iter_mut().for_each(|entry| entry.drain = true);
        assert!(settled(&fleet, &[10, 10], 5).highest_weight() > 0);
        assert!(step(&fleet, &Plan::default(), &[], 1).highest_weight() > 0);
    }

    #[test]
    fn too_many_connections_are_a_load_too() {
        let mut fleet = fleet(&[CAP; 2]);
        fleet.entries[0].max_connections = Some(100);
        let mut report = report("p", &[(0, Health::Up), (0, Health::Up)]);
        report.entries[0].1.connections = 95;
        let mut plan = Plan::default();
        for second in 1..60 {
            plan = step(&fleet, &plan, std::slice::from_ref(&report), second * 1_000);
        }
        assert_eq!(weights(&plan), [0, 1_000]);
    }
}
