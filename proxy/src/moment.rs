//! A point in time in half the room, for what each client keeps.

/// A time of the worker's clock, to 64 milliseconds. Rounded up: what has waited since then is never taken to
/// have waited longer than it has. It holds for eight years of the clock, and stands still then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment(u32);

const SHIFT: u32 = 6;

impl Moment {
    /// The moment at or right after `now`, in milliseconds of the worker's clock.
    #[inline]
    #[must_use]
    pub fn of(now: u64) -> Self {
        let ticks = now.div_ceil(1 << SHIFT).min(u64::from(u32::MAX));
        Self(ticks as u32)
    }

    /// Milliseconds from then to `now`.
    #[must_use]
    pub fn until(self, now: u64) -> u64 {
        now.saturating_sub(u64::from(self.0) << SHIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_a_tick_is_lost_and_nothing_is_added() {
        let eight_years = 8 * 365 * 24 * 3_600_000;
        for then in [0, 1, 63, 64, 65, 1_000, 12_345_678, eight_years] {
            let moment = Moment::of(then);
            assert_eq!(moment.until(then), 0);
            let waited = moment.until(then + 10_000);
            assert!((10_000 - 63..=10_000).contains(&waited), "{waited} ms since {then}");
        }
    }

    #[test]
    fn the_end_of_the_clock_does_not_come_round() {
        assert_eq!(Moment::of(u64::MAX), Moment::of(u64::MAX - 1_000_000));
        assert!(Moment::of(u64::MAX).until(u64::MAX) > 0);
    }
}
