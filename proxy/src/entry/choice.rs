//! Which groups of clients move where: the heaviest first, no more than is too much, never more than the target can take.
//! Pure.

use super::group::Group;

/// An entry that others can move to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its place in the settings.
    pub entry: usize,
    /// Bytes a second that it can take.
    pub headroom: u64,
}

/// What is to leave an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// So many bytes a second.
    Bytes {
        /// Those that are this proxy's to move.
        own: u64,
        /// Those of all proxies.
        all: u64,
    },
    /// Everybody.
    All,
}

/// A group is moved though it carries more than is too much, if it is by no more than this part: the entry would be a
/// little too empty, and not another one as full as this one was. Where it carries more than this proxy is to move, it
/// is moved as often as that makes right on average: pools can't be divided among proxies.
const OVER: u64 = 2;

/// The groups that move, by their place in `groups`, and the entries they go to: `most` at most. `groups` carry so many
/// bytes a second; `random` gives a number below the one it gets. What is given to a target is taken off its headroom, `times` so
/// much: others give it as much at the same time.
pub fn choose(
    groups: &[(&Group, u64)],
    wanted: Wanted,
    most: usize,
    (targets, times): (&mut [Target], u64),
    mut random: impl FnMut(u64) -> u64,
) -> Vec<(usize, usize)> {
    let mut heaviest: Vec<usize> =
        (0..groups.len()).filter(|place| groups[*place].0.teller.is_some()).collect();
    heaviest.sort_by_key(|place| std::cmp::Reverse(groups[*place].1));
    let (mut left, mut all) = match wanted {
        Wanted::Bytes { own, all } => (own, all),
        Wanted::All => (u64::MAX, u64::MAX),
    };
    let mut moves = Vec::new();
    for place in heaviest {
        let rate = groups[place].1;
        if moves.len() >= most || left == 0 || (rate == 0 && wanted != Wanted::All) {
            break;
        }
        if rate > all.saturating_mul(OVER) || (rate > left.saturating_mul(OVER) && random(rate) >= left) {
            continue;
        }
        let Some(target) = target(rate, wanted, targets, &mut random) else { continue };
        targets[target].headroom = targets[target].headroom.saturating_sub(rate.saturating_mul(times));
        left = left.saturating_sub(rate);
        all = all.saturating_sub(rate);
        moves.push((place, targets[target].entry));
    }
    moves
}

/// One of those that can take so much, the more likely the more it can take. Who has to leave goes to the one with most
/// room where none has enough.
fn target(
    rate: u64,
    wanted: Wanted,
    targets: &[Target],
    random: &mut impl FnMut(u64) -> u64,
) -> Option<usize> {
    let room = |target: &Target| if target.headroom >= rate.max(1) { target.headroom } else { 0 };
    let sum: u64 = targets.iter().map(room).fold(0, u64::saturating_add);
    if sum == 0 {
        let roomiest = (0..targets.len()).max_by_key(|place| targets[*place].headroom);
        return roomiest.filter(|_| wanted == Wanted::All);
    }
    let mut at = random(sum);
    targets.iter().position(|target| {
        let room = room(target);
        let hit = at < room;
        at = at.saturating_sub(room);
        hit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::group::{Named, Teller};

    fn group(tells: bool) -> Group {
        let teller = tells.then_some(Teller { key: 0, generation: 0, named: Named::Address });
        Group { teller, ..Group::new(("a".into(), [10, 0, 0, 1].into(), "lib".into(), None)) }
    }

    fn chosen(
        rates: &[u64],
        wanted: Wanted,
        most: usize,
        headrooms: &[u64],
    ) -> (Vec<(usize, usize)>, Vec<u64>) {
        let (group, mut seed) = (group(true), 7_u64);
        let groups: Vec<_> = rates.iter().map(|rate| (&group, *rate)).collect();
        let target = |(entry, headroom): (usize, &u64)| Target { entry, headroom: *headroom };
        let mut targets: Vec<_> = headrooms.iter().enumerate().map(target).collect();
        let random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let moves = choose(&groups, wanted, most, (&mut targets, 1), random);
        (moves, targets.iter().map(|target| target.headroom).collect())
    }

    fn bytes(all: u64) -> Wanted {
        Wanted::Bytes { own: all, all }
    }

    #[test]
    fn the_heaviest_move_first_until_enough_does() {
        let (moves, left) = chosen(&[10, 50, 30, 20], bytes(75), 10, &[1_000]);
        assert_eq!(moves, [(1, 0), (2, 0)]);
        assert_eq!(left, [920]);
    }

    #[test]
    fn who_carries_far_more_than_is_too_much_stays() {
        let (moves, _) = chosen(&[500, 20], bytes(20), 10, &[1_000]);
        assert_eq!(moves, [(1, 0)]);
    }

    #[test]
    fn what_is_more_than_a_proxys_part_moves_as_often_as_is_right() {
        let wanted = Wanted::Bytes { own: 20, all: 80 };
        let moved = |rate: u64| {
            let group = group(true);
            let draw =
                |random| choose(&[(&group, rate)], wanted, 1, (&mut [ROOMY], 4), |_| random).len() as u64;
            (0..rate).map(draw).sum::<u64>()
        };
        assert_eq!([moved(40), moved(100), moved(160), moved(161)], [40, 20, 20, 0]);
    }

    const ROOMY: Target = Target { entry: 0, headroom: u64::MAX };

    #[test]
    fn no_target_gets_more_than_it_can_take_and_no_more_move_than_may() {
        let (moves, left) = chosen(&[40; 20], bytes(10_000), 100, &[100, 90, 0]);
        assert_eq!(moves.len(), 4);
        assert_eq!(left, [20, 10, 0]);
        assert_eq!(chosen(&[40; 20], bytes(10_000), 3, &[10_000]).0.len(), 3);
    }

    #[test]
    fn targets_are_chosen_by_what_they_can_take() {
        let (moves, _) = chosen(&[1; 3_000], bytes(3_000), 3_000, &[1_000_000, 3_000_000]);
        let first = moves.iter().filter(|(_, entry)| *entry == 0).count();
        assert!((650..850).contains(&first), "{first}");
    }

    #[test]
    fn everybody_leaves_an_entry_that_is_to_be_left() {
        let (moves, _) = chosen(&[0, 0, 100], Wanted::All, 10, &[0, 50]);
        assert_eq!(moves.len(), 3);
        assert!(moves.iter().all(|(_, entry)| *entry == 1));
        assert_eq!(chosen(&[0; 3], Wanted::All, 10, &[]).0, []);
    }

    #[test]
    fn who_can_not_be_told_does_not_move() {
        let (silent, mut targets) = (group(false), [Target { entry: 0, headroom: 100 }]);
        assert_eq!(choose(&[(&silent, 5)], Wanted::All, 10, (&mut targets, 1), |_| 0), []);
    }
}
