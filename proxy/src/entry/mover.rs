//! Who is moved now: from what the workers found of the groups at each entry that is to be relieved or left. Pure but for
//! the numbers it remembers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::choice::{self, Target, Wanted};
use super::group::{Group, Name, Teller, endpoint, moving};
use super::pace::Pace;
use super::plan::{Plan, Planned};
use crate::config::fleet::FleetSettings;

/// What was done, and to whom.
#[derive(Default, Debug)]
pub struct Mover {
    paces: HashMap<Arc<str>, Paces>,
    /// When each group was told last: it needs time to do it, and others to see that it did.
    told: HashMap<Name, u64>,
    /// What each entry was given of late.
    given: HashMap<Arc<str>, Lately>,
    /// Pushes have numbers that grow.
    number: u64,
}

#[derive(Default, Debug)]
struct Paces {
    told: Pace,
    retired: Pace,
    /// What was moved away of late.
    moved: Lately,
    /// Since when the entry is to be left.
    left_since: Option<u64>,
}

/// Bytes a second that were moved so lately that loads do not show it yet.
#[derive(Default, Debug)]
struct Lately(VecDeque<(u64, u64)>);

impl Lately {
    fn sum(&mut self, now: u64) -> u64 {
        while self.0.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= SETTLING) {
            self.0.pop_front();
        }
        self.0.iter().map(|(_, rate)| rate).fold(0, |sum, rate| sum.saturating_add(*rate))
    }

    fn note(&mut self, rate: u64, now: u64) {
        self.0.push_back((now, rate));
    }
}

/// A group of all workers together.
#[derive(Debug)]
struct Whole {
    group: Group,
    /// The worker of its teller.
    worker: usize,
    /// Bytes a second, of all proxies.
    rate: u64,
}

/// What the workers are to do.
#[derive(Default, Debug)]
pub struct Orders {
    /// Worker, client, and what it is told.
    pub tell: Vec<(usize, Teller, Vec<u8>)>,
    /// Whose clients are closed.
    pub retire: Vec<Retirement>,
}

/// Clients of an entry that are closed between two requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retirement {
    /// The entry.
    pub entry: Arc<str>,
    /// How many at most, of all workers together.
    pub most: usize,
    /// Whether those too that can be told to move: they were, and are there still.
    pub told_too: bool,
}

// Percent of an entry's connections within ten seconds: where it is only to be relieved, and where it is to be left.
const RELIEVED: usize = 5;
const LEFT: usize = 25;
/// For how long clients go where they are told, in seconds: then DNS has to say the same, which takes it a time to live.
pub const SECONDS: u64 = 30;
// A client moves when its request is answered, loads are averaged over up to ten seconds: in milliseconds.
const SETTLING: u64 = 12_000;
// A group is told once in so many milliseconds: twice the time to live that resolvers keep an answer for. At an entry that is
// to be left whoever is still there after [`SETTLING`] is told again: several processes of a host are one group, and a push
// moves one of them.
const COOLDOWN: u64 = 2 * 15_000;
// Who is still at an entry that is to be left so many milliseconds later was told, or has come back by an old answer.
const PATIENCE: u64 = COOLDOWN + 5_000;

/// The entries whose clients have to be looked at.
#[must_use]
pub fn concerned(plan: &Plan) -> Vec<Arc<str>> {
    let is_concerned = |entry: &&Planned| entry.excess > 0 || is_left(entry, plan);
    plan.entries.iter().filter(is_concerned).map(|entry| entry.id.as_str().into()).collect()
}

/// Whether clients are to leave an entry: by will, while another one stays.
fn is_left(entry: &Planned, plan: &Plan) -> bool {
    entry.drain && plan.entries.iter().any(|entry| !entry.drain)
}

impl Mover {
    /// What this proxy, `me`, is to do after its workers found `groups` within `millis`; `now` in milliseconds.
    pub fn decide(
        &mut self,
        (fleet, me): (&FleetSettings, &str),
        plan: &Plan,
        groups: Vec<Vec<Group>>,
        millis: u64,
        now: u64,
        mut random: impl FnMut(u64) -> u64,
    ) -> Orders {
        self.told.retain(|_, at| now.saturating_sub(*at) < COOLDOWN);
        let proxies = plan.proxies.len().max(1) as u64;
        let wholes = merge(groups, millis, proxies);
        let mut orders = Orders::default();
        let mut targets: Vec<_> = (plan.entries.iter().enumerate())
            .map(|(entry, planned)| {
                // The others have given as much, as far as anybody can tell.
                let given = self.given.get_mut(planned.id.as_str()).map_or(0, |given| given.sum(now));
                Target { entry, headroom: planned.headroom.saturating_sub(given.saturating_mul(proxies)) }
            })
            .filter(|target| target.headroom > 0 || plan.entries[target.entry].weight > 0)
            .collect();
        for planned in plan.entries.iter().filter(|entry| entry.excess > 0 || is_left(entry, plan)) {
            let own: Vec<_> = wholes.iter().filter(|whole| *whole.group.name.0 == *planned.id).collect();
            self.relieve((fleet, me), (plan, planned), &own, &mut targets, now, &mut random, &mut orders);
        }
        orders
    }

    #[expect(clippy::too_many_arguments, reason = "one entry's part of `decide`")]
    fn relieve(
        &mut self,
        (fleet, me): (&FleetSettings, &str),
        (plan, planned): (&Plan, &Planned),
        own: &[&Whole],
        targets: &mut [Target],
        now: u64,
        random: &mut impl FnMut(u64) -> u64,
        orders: &mut Orders,
    ) {
        let left = is_left(planned, plan);
        let connections: usize = own.iter().map(|whole| whole.group.connections).sum();
        let paces = self.paces.entry(planned.id.as_str().into()).or_default();
        let since = if left { *paces.left_since.get_or_insert(now) } else { now };
        if !left {
            paces.left_since = None;
        }
        let told_too = now.saturating_sub(since) >= PATIENCE;
        let percent = if left { LEFT } else { RELIEVED };
        let most = paces.told.left(connections, percent, now);
        let proxies = plan.proxies.len().max(1) as u64;
        // Where all are to leave, nobody waits for another.
        let is_mine = |whole: &&&Whole| left || whole.group.is_moved_by(me, &plan.proxies);
        let moved = paces.moved.sum(now);
        let wanted = match left {
            true => Wanted::All,
            false => Wanted::Bytes {
                own: (planned.excess / proxies).saturating_sub(moved),
                all: planned.excess.saturating_sub(moved.saturating_mul(proxies)),
            },
        };
        let cooldown = if left { SETTLING } else { COOLDOWN };
        let is_fresh = |whole: &&&Whole| {
            self.told.get(&whole.group.name).is_none_or(|at| now.saturating_sub(*at) >= cooldown)
        };
        let fresh: Vec<_> = own.iter().filter(is_mine).filter(is_fresh).collect();
        let groups: Vec<_> = fresh.iter().map(|whole| (&whole.group, whole.rate)).collect();
        // Not to itself, nor to one that is to be left.
        let mut others: Vec<_> = (targets.iter().copied())
            .filter(|target| {
                plan.entries[target.entry].id != planned.id && !is_left(&plan.entries[target.entry], plan)
            })
            .collect();
        let moves = choice::choose(&groups, wanted, most, (&mut others, proxies), random);
        for target in targets.iter_mut() {
            if let Some(other) = others.iter().find(|other| other.entry == target.entry) {
                *target = *other;
            }
        }
        paces.told.note(moves.len(), now);
        for (place, entry) in moves {
            let whole = fresh[place];
            paces.moved.note(whole.rate, now);
            self.given.entry(plan.entries[entry].id.as_str().into()).or_default().note(whole.rate, now);
            let Some(teller) = whole.group.teller else { continue };
            let Some(target) = fleet.entries.iter().find(|other| other.id == plan.entries[entry].id) else {
                continue;
            };
            self.number += 1;
            let endpoint = endpoint(fleet, target, teller.named);
            orders.tell.push((whole.worker, teller, moving(self.number, SECONDS, endpoint.as_deref())));
            self.told.insert(whole.group.name.clone(), now);
        }
        if left {
            let silent = own.iter().filter(|whole| told_too || whole.group.teller.is_none());
            let silent: usize = silent.map(|whole| whole.group.connections).sum();
            let most = paces.retired.left(connections, LEFT, now).min(silent);
            if most > 0 {
                orders.retire.push(Retirement { entry: planned.id.as_str().into(), most, told_too });
                paces.retired.note(most, now);
            }
        }
    }
}

/// The groups of all workers, each as one: told is the busiest one that can be.
fn merge(groups: Vec<Vec<Group>>, millis: u64, proxies: u64) -> Vec<Whole> {
    let mut wholes: HashMap<Name, (Whole, u64)> = HashMap::new();
    for (worker, groups) in groups.into_iter().enumerate() {
        for group in groups {
            let bytes = group.bytes;
            let (whole, most) = wholes
                .entry(group.name.clone())
                .or_insert_with(|| (Whole { group: Group::new(group.name.clone()), worker, rate: 0 }, 0));
            whole.group.connections += group.connections;
            whole.group.bytes += bytes;
            if group.teller.is_some() && (whole.group.teller.is_none() || bytes > *most) {
                (whole.group.teller, whole.worker, *most) = (group.teller, worker, bytes);
            }
        }
    }
    let mut wholes: Vec<_> = wholes.into_values().map(|(whole, _)| whole).collect();
    for whole in &mut wholes {
        // Balancers spread the connections of a pool evenly.
        let times = if whole.group.is_spread() { proxies } else { 1 };
        whole.rate = whole.group.bytes * 1_000 / millis.max(1) * times;
    }
    wholes.sort_by(|a, b| a.group.name.cmp(&b.group.name));
    wholes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::fixtures::fleet;
    use crate::entry::group::Named;

    fn group(entry: &str, client: u8, connections: usize, bytes: u64, tells: bool) -> Group {
        let name = (entry.into(), [10, 0, 0, client].into(), "lib".into(), None);
        let teller = tells.then_some(Teller { key: client.into(), generation: 1, named: Named::Address });
        Group { name, connections, bytes, teller }
    }

    fn plan(of: &[(u64, u64, bool)]) -> Plan {
        let entry = |(number, (excess, headroom, drain)): (usize, &(u64, u64, bool))| Planned {
            id: number.to_string(),
            weight: 1_000 * u32::from(!drain),
            load: 10_000,
            cap: 10_000,
            excess: *excess,
            headroom: *headroom,
            drain: *drain,
            ..Planned::default()
        };
        Plan { entries: of.iter().enumerate().map(entry).collect(), ..Plan::default() }
    }

    #[test]
    fn one_of_a_pool_is_told_and_not_again_before_it_could_obey() {
        let (fleet, plan, mut mover) =
            (fleet(&[10_000; 2]), plan(&[(5_000, 0, false), (0, 9_000, false)]), Mover::default());
        // Two workers have a part of the same pool; it carries 5,000 bytes a second.
        let groups = || vec![vec![group("0", 1, 50, 4_000, true)], vec![group("0", 1, 50, 6_000, true)]];
        let orders = mover.decide((&fleet, "p"), &plan, groups(), 2_000, 1, |_| 0);
        assert_eq!(orders.tell.len(), 1);
        let (worker, teller, push) = &orders.tell[0];
        assert_eq!((*worker, teller.key), (1, 1), "the busier one");
        assert!(String::from_utf8_lossy(push).contains("192.0.2.2:6379"), "{push:?}");
        assert!(mover.decide((&fleet, "p"), &plan, groups(), 2_000, 20_000, |_| 0).tell.is_empty());
        assert_eq!(mover.decide((&fleet, "p"), &plan, groups(), 2_000, 40_000, |_| 0).tell.len(), 1);
    }

    #[test]
    fn a_twentieth_is_told_in_ten_seconds_and_a_quarter_where_all_are_to_leave() {
        let fleet = fleet(&[10_000; 2]);
        let groups = || vec![(0..200).map(|client| group("0", client, 1, 200, true)).collect::<Vec<_>>()];
        let told = |plan: &Plan| {
            let mut mover = Mover::default();
            let mut told = |now| mover.decide((&fleet, "p"), plan, groups(), 1_000, now, |_| 0).tell.len();
            [told(0), told(1_000), told(10_000)]
        };
        assert_eq!(told(&plan(&[(9_000, 0, false), (0, 9_000, false)])), [10, 0, 10]);
        assert_eq!(told(&plan(&[(10_000, 0, true), (0, 9_000, false)])), [50, 0, 50]);
    }

    #[test]
    fn a_proxy_moves_its_own_part_only() {
        let fleet = fleet(&[10_000; 2]);
        let plan = Plan {
            proxies: (0..5).map(|number| format!("p{number}")).collect(),
            ..plan(&[(5_000, 0, false), (0, 9_000, false)])
        };
        // Pools carry 50 bytes here, 250 everywhere; a fifth of them is this proxy's to move: 1,000 of 5,000 bytes.
        let groups = vec![(0..100).map(|client| group("0", client, 20, 50, true)).collect::<Vec<_>>()];
        let orders = Mover::default().decide((&fleet, "p2"), &plan, groups, 1_000, 0, |_| 0);
        assert_eq!(orders.tell.len(), 4);
    }

    #[test]
    fn what_was_moved_is_not_moved_again_while_loads_do_not_show_it() {
        let (fleet, mut mover) = (fleet(&[10_000; 2]), Mover::default());
        let plan = plan(&[(1_000, 0, false), (0, 9_000, false)]);
        let mut told = |now| {
            let groups = vec![(0..200).map(|client| group("0", client, 1, 500, true)).collect::<Vec<_>>()];
            mover.decide((&fleet, "p"), &plan, groups, 1_000, now, |_| 0).tell.len()
        };
        assert_eq!([told(0), told(3_000), told(11_000), told(12_000)], [2, 0, 0, 2]);
    }

    #[test]
    fn what_is_left_of_a_group_is_told_again_where_all_are_to_leave() {
        let (fleet, mut mover) = (fleet(&[10_000; 2]), Mover::default());
        let plan = plan(&[(0, 0, true), (0, 9_000, false)]);
        let mut told = |now| {
            let groups = vec![vec![group("0", 1, 40, 100, true)]];
            mover.decide((&fleet, "p"), &plan, groups, 1_000, now, |_| 0).tell.len()
        };
        assert_eq!([told(0), told(11_999), told(12_000), told(13_000), told(24_000)], [1, 0, 1, 0, 1]);
    }

    #[test]
    fn who_can_not_be_told_is_closed_where_all_are_to_leave() {
        let fleet = fleet(&[10_000; 2]);
        let groups = || vec![vec![group("0", 1, 40, 0, false)]];
        let mut mover = Mover::default();
        let orders =
            mover.decide((&fleet, "p"), &plan(&[(0, 0, true), (0, 9_000, false)]), groups(), 1_000, 0, |_| 0);
        let retired = |told_too| vec![Retirement { entry: "0".into(), most: 10, told_too }];
        assert_eq!((orders.tell.len(), orders.retire), (0, retired(false)));
        let told = || vec![vec![group("0", 1, 40, 0, true)]];
        let drained = plan(&[(0, 0, true), (0, 9_000, false)]);
        assert!(mover.decide((&fleet, "p"), &drained, told(), 1_000, 30_000, |_| 0).retire.is_empty());
        let orders = mover.decide((&fleet, "p"), &drained, told(), 1_000, 36_000, |_| 0);
        assert_eq!(orders.retire, retired(true), "those too that were told, and are still there");
        let orders = mover.decide(
            (&fleet, "p"),
            &plan(&[(9_000, 0, false), (0, 9_000, false)]),
            groups(),
            1_000,
            0,
            |_| 0,
        );
        assert!(orders.retire.is_empty(), "age is enough where it is only relieved");
        let all = plan(&[(0, 0, true), (0, 0, true)]);
        assert!(concerned(&all).is_empty(), "nobody can leave where nobody stays");
    }
}
