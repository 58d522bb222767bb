//! How much is to move from which entry, and how much each can take: new clients go where there is room, but those that
//! are there stay for days. Pure.

use super::plan::Planned;

// An entry may carry so much more than the average, as a part of its cap; half of what the average leaves free where that
// is less, and this at least.
const MARGIN: f64 = 0.03;
const LEAST_MARGIN: f64 = 0.005;

/// Fills in excess and headroom. Entries that carry less than the low watermark are well; above it the aim is that all
/// carry about the same part of their caps: who carries too much gives away what is above the average, and nobody is given
/// more than he may have. Together no more is to move than the others can take.
pub(super) fn plan(entries: &mut [Planned], usable: &[bool], low: f64) {
    let kept = || entries.iter().zip(usable).filter(|(_, usable)| **usable).map(|(entry, _)| entry);
    let cap: f64 = kept().map(|entry| entry.cap as f64).sum();
    // Also what comes by entries that are to be left will be carried by the others.
    let load: f64 = entries.iter().map(|entry| entry.load as f64).sum();
    let mean = if cap > 0.0 { load / cap } else { 0.0 };
    let margin = ((1.0 - mean) / 2.0).clamp(LEAST_MARGIN, MARGIN);
    let mut excess = Vec::with_capacity(entries.len());
    let mut headroom = Vec::with_capacity(entries.len());
    for (entry, usable) in entries.iter().zip(usable) {
        let (load, cap) = (entry.load as f64, entry.cap as f64);
        let part = load / cap;
        let is_heavy = part > low && part > mean + margin;
        excess.push(match *usable {
            false => load,
            true if is_heavy => load - mean * cap,
            true => 0.0,
        });
        headroom.push(if *usable { ((mean + margin).max(low) * cap - load).max(0.0) } else { 0.0 });
    }
    let (wanted, room): (f64, f64) = (excess.iter().sum(), headroom.iter().sum());
    let part = if wanted > room { room / wanted } else { 1.0 };
    for (entry, (excess, headroom)) in entries.iter_mut().zip(excess.into_iter().zip(headroom)) {
        // Whoever is to be left is left, by connections that carry nothing too.
        let part = if entry.drain { 1.0 } else { part };
        (entry.excess, entry.headroom) = ((excess * part) as u64, headroom as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(load: u64, drain: bool) -> Planned {
        Planned { load, cap: 1_000, drain, ..Planned::default() }
    }

    fn planned(loads: &[u64], usable: &[bool]) -> Vec<(u64, u64)> {
        let mut entries: Vec<_> =
            loads.iter().zip(usable).map(|(load, usable)| entry(*load, !usable)).collect();
        plan(&mut entries, usable, 0.7);
        entries.iter().map(|entry| (entry.excess, entry.headroom)).collect()
    }

    #[test]
    fn who_carries_much_more_than_the_others_gives_away_what_is_above_the_average() {
        assert_eq!(planned(&[1_000, 0, 0, 0], &[true; 4]), [(750, 0), (0, 700), (0, 700), (0, 700)]);
        assert_eq!(planned(&[950, 750, 850, 850], &[true; 4]), [(100, 0), (0, 130), (0, 30), (0, 30)]);
    }

    #[test]
    fn nobody_moves_below_the_watermark_or_where_all_carry_about_the_same() {
        assert_eq!(planned(&[690, 0], &[true; 2])[0].0, 0);
        assert!(planned(&[920, 900, 880], &[true; 3]).iter().all(|(excess, _)| *excess == 0));
        assert!(planned(&[1_000, 1_000], &[true; 2]).iter().all(|(excess, _)| *excess == 0));
    }

    #[test]
    fn where_little_is_free_nobody_may_have_much_more_than_the_others() {
        assert_eq!(planned(&[1_000, 960, 960, 960], &[true; 4]), [(30, 0), (0, 25), (0, 25), (0, 25)]);
        assert_eq!(planned(&[984, 964, 966, 966], &[true; 4])[0], (0, 1));
        assert_eq!(planned(&[1_000, 980], &[true; 2])[0], (10, 0));
    }

    #[test]
    fn who_is_to_be_left_gives_away_everything() {
        assert_eq!(planned(&[400, 100, 100], &[false, true, true]), [(400, 0), (0, 600), (0, 600)]);
        assert_eq!(planned(&[0, 100], &[false, true])[0], (0, 0));
    }

    #[test]
    fn no_more_moves_than_the_others_can_take() {
        let moved = planned(&[3_000, 690, 700], &[true; 3]);
        assert!(moved[0].0 <= moved[1].1 + moved[2].1, "{moved:?}");
    }
}
