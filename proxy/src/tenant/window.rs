//! How much may be under way at the backends of a worker while tenants compete: enough to keep them busy, and no
//! queue beyond that. Pure.
//!
//! What keeps a path full is its rate times its round trip. The rate is what was answered of late; the round trip is
//! the shortest one seen, since longer ones have a queue in them. Twice that lets the queue be as long as the round trip
//! itself: the rate can still grow, and the window with it. Once in a while the window is closed for a tick, so that a
//! round trip without a queue is seen.

/// The window of a worker.
#[derive(Debug)]
pub struct Window {
    /// How much may be under way.
    units: u64,
    /// The shortest round trip of this epoch and of the one before, in microseconds.
    shortest: [u64; 2],
    /// What it was before it was closed for this tick.
    before: Option<u64>,
    /// When the next epoch begins.
    next_epoch: u64,
    /// What was answered since the last tick, in units, and when that was.
    delivered: u64,
    since: u64,
}

/// Bytes of a unit of cost. A request costs 65,535 of them at most, 4 MiB.
pub const UNIT: u64 = 64;
// What may be under way in any case, in units: with less of it the one who wants more loses more than the others gain
// (`bench/isolation` on two cores: of 256, 320, 384 and 512 KiB this one served both).
const LEAST: u64 = 384 * 1024 / UNIT;
// What may be under way while the shortest round trip is looked for.
const CLOSED: u64 = 16 * 1024 / UNIT;
// No queue is worth more than this.
const MOST: u64 = 64 * 1024 * 1024 / UNIT;
// Round trips of what may be under way.
const ROUND_TRIPS: u64 = 2;
// Milliseconds. A path that became longer is believed after two.
const EPOCH: u64 = 5_000;
// Longer round trips tell of a path no more than this does.
const LONGEST: u64 = 1_000_000;

impl Default for Window {
    fn default() -> Self {
        Self { units: LEAST, shortest: [LONGEST; 2], before: None, next_epoch: 0, delivered: 0, since: 0 }
    }
}

impl Window {
    /// How much may be under way, in units of cost.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The same in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.units * UNIT
    }

    /// Several tenants ask from here on.
    pub fn begin(&mut self) {
        (self.units, self.before, self.delivered) = (LEAST, None, 0);
    }

    /// So much was answered.
    pub fn delivered(&mut self, units: u64) {
        self.delivered += units;
    }

    /// What was sent then was answered after so many microseconds.
    pub fn on_round_trip(&mut self, micros: u64) {
        self.shortest[0] = self.shortest[0].min(micros);
    }

    /// Once in some milliseconds.
    pub fn tick(&mut self, now: u64) {
        let millis = now.saturating_sub(std::mem::replace(&mut self.since, now)).max(1);
        let delivered = std::mem::take(&mut self.delivered);
        if now >= self.next_epoch {
            self.next_epoch = now + EPOCH;
            self.shortest = [LONGEST, self.shortest[0]];
            self.before = Some(std::mem::replace(&mut self.units, CLOSED));
            return;
        }
        if let Some(before) = self.before.take() {
            self.units = before;
            return;
        }
        let shortest = self.shortest[0].min(self.shortest[1]);
        if shortest == LONGEST {
            return;
        }
        let wanted = delivered * ROUND_TRIPS * shortest / (millis * 1_000);
        // One tick in which the machine did something else must not close it, nor one after a pause open it.
        self.units = wanted.clamp(self.units / 2, self.units * 2).clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Milliseconds between ticks.
    const TICK: u64 = 10;

    /// Fills the window of a path of this round trip (microseconds) and rate (units a millisecond) for `ticks`.
    fn run(window: &mut Window, start: u64, ticks: u64, (round_trip, rate): (u64, u64)) {
        for tick in 1..=ticks {
            let queue = (window.units() * 1_000 / rate).max(round_trip);
            window.on_round_trip(queue);
            window.delivered(window.units() * 1_000 * TICK / queue);
            window.tick(start + tick * TICK);
        }
    }

    #[test]
    fn a_long_path_is_kept_full() {
        let mut window = Window::default();
        window.begin();
        // 2 ms at 1 GB/s: 2 MB.
        run(&mut window, 0, 60, (2_000, 16_000));
        assert!(window.units() >= 32_000, "{}", window.units());
        assert!(window.units() <= 64_000 * 11 / 10, "no longer a queue than the path: {}", window.units());
    }

    #[test]
    fn a_short_path_has_no_more_than_the_least() {
        let mut window = Window::default();
        run(&mut window, 0, 60, (50, 8_000));
        assert_eq!(window.units(), LEAST);
    }

    #[test]
    fn a_queue_that_stays_is_not_taken_for_a_long_path() {
        let mut window = Window::default();
        run(&mut window, 0, 20_000, (2_000, 16_000));
        assert!(window.units() <= 64_000 * 11 / 10, "{}", window.units());
    }

    #[test]
    fn a_path_that_became_longer_is_believed_in_the_end() {
        let mut window = Window::default();
        run(&mut window, 0, 600, (1_000, 16_000));
        let before = window.units();
        run(&mut window, 6_000, 1_600, (4_000, 16_000));
        assert!(window.units() > before * 2, "{} from {before}", window.units());
    }
}
