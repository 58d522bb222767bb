//! Token buckets as GCRA: one number says when everything that was taken so far would have been due at the rate, and
//! more is to be had as long as that is not further ahead of the clock than a burst.
//!
//! Of our own, and not the crate `governor`, which counts whole nanoseconds a cell (600 MB/s would be 1 GB/s), at most
//! 2^32 cells, refuses what is larger than its burst (a reply may be), and brings its own clock. What is needed here:
//! bytes at any rate, cells that are charged because they came anyway, and `now` as an argument.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many cells a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate(u64);

/// What was taken of a rate, by all threads together: no lock, one addition. Threads whose clocks differ by a little
/// see bursts that differ by as much, and the same rate.
#[derive(Default, Debug)]
pub struct Bucket(AtomicU64);

// Of a second: exact to a tenth of a percent for some 16 bytes at 1 GB/s; a clock of 36 years.
const TICKS: u64 = 16_000_000_000;
const TICKS_PER_MS: u64 = TICKS / 1_000;

// What may come at once after a pause: a fortieth of what 10 s give. So long a thread may be held up without loss.
const BURST: u64 = TICKS / 4;

// A thread takes so much of a second in advance: 1,000 threads that leave it unused lose a quarter of a second.
const ADVANCE: u64 = 4_096;
const MOST_ADVANCE: u64 = 64 * 1024;

impl Rate {
    /// So many cells a second; at least one.
    #[must_use]
    pub fn new(per_second: u64) -> Self {
        Self(per_second.max(1))
    }

    /// How many cells a thread may take in advance, to leave the shared number alone meanwhile.
    #[must_use]
    pub fn advance(self) -> u64 {
        (self.0 / ADVANCE).min(MOST_ADVANCE)
    }

    /// The time that cells take, rounded up: the rate is never exceeded for it.
    fn cost(self, cells: u64) -> u64 {
        let ticks = (u128::from(cells) * u128::from(TICKS)).div_ceil(u128::from(self.0));
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// A slow rate gives one cell at once.
    fn burst(self) -> u64 {
        BURST.max(self.cost(1))
    }
}

impl Bucket {
    /// How many cells are to be had, at `now` in milliseconds.
    #[must_use]
    pub fn available(&self, rate: Rate, now: u64) -> u64 {
        let ahead = self.0.load(Ordering::Relaxed).saturating_sub(ticks(now));
        let left = rate.burst().saturating_sub(ahead);
        (u128::from(left) * u128::from(rate.0) / u128::from(TICKS)) as u64
    }

    /// Takes cells, whether there are any or not: what is too much has to be waited for by whoever comes next.
    pub fn charge(&self, rate: Rate, cells: u64, now: u64) {
        let (cost, now) = (rate.cost(cells), ticks(now));
        let add = |due: u64| Some(due.max(now).saturating_add(cost));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

fn ticks(now: u64) -> u64 {
    now.saturating_mul(TICKS_PER_MS)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// Takes one cell where there is one.
    fn take(bucket: &Bucket, rate: Rate, cells: u64, now: u64) -> bool {
        let open = bucket.available(rate, now) > 0;
        if open {
            bucket.charge(rate, cells, now);
        }
        open
    }

    #[test]
    fn at_ten_times_the_rate_a_fortieth_is_above_it_in_ten_seconds() {
        for per_second in [10, 1_000, 4_999, 20_000] {
            let (bucket, rate) = (Bucket::default(), Rate::new(per_second));
            let attempts = per_second * 100;
            let taken =
                (0..attempts).filter(|n| take(&bucket, rate, 1, n * 10_000 / attempts)).count() as u64;
            let allowed = per_second * 10;
            assert!((allowed..=allowed + allowed / 40 + 1).contains(&taken), "{taken} of {allowed}");
        }
    }

    #[test]
    fn large_rates_are_kept_as_exactly_as_small_ones() {
        for (per_second, cells) in [(600_000_000, 4_096), (3_000_000_001, 16_384), (1 << 40, 1 << 24)] {
            let (bucket, rate) = (Bucket::default(), Rate::new(per_second));
            let mut taken = 0u64;
            for now in 0..1_000 {
                while take(&bucket, rate, cells, now) {
                    taken += cells;
                }
            }
            let off = taken as f64 / (per_second + per_second / 4) as f64;
            assert!((0.998..1.002).contains(&off), "{off} of {per_second}");
        }
    }

    #[test]
    fn what_is_larger_than_a_burst_is_waited_for_afterwards() {
        let (bucket, rate) = (Bucket::default(), Rate::new(1_000));
        assert!(take(&bucket, rate, 5_000, 0));
        assert!(!take(&bucket, rate, 1, 4_749));
        assert!(take(&bucket, rate, 1, 4_752));
    }

    #[test]
    fn threads_share_one_rate() {
        let (bucket, rate) = (Bucket::default(), Rate::new(50_000));
        let advance = rate.advance();
        let taken: u64 = thread::scope(|scope| {
            let worker = || {
                let mut taken = 0;
                for now in 0..400 {
                    for _ in 0..20 {
                        taken += u64::from(take(&bucket, rate, advance, now)) * advance;
                    }
                    thread::yield_now();
                }
                taken
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
        });
        // The time, a burst, and what four threads may take beyond that at the same moment.
        assert!((19_000..=20_000 + 12_500 + 4 * advance).contains(&taken), "{taken}");
    }

    proptest! {
        #[test]
        fn no_window_gives_more_than_its_rate_a_burst_and_one_that_was_too_large(
            per_second in 1u64..10_000_000,
            asked in prop::collection::vec((0u64..50, 1u64..100_000), 1..200),
        ) {
            let (bucket, rate) = (Bucket::default(), Rate::new(per_second));
            let mut now = 0;
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for (pause, cells) in asked {
                now += pause;
                if take(&bucket, rate, cells, now) {
                    taken.push((now, cells));
                }
            }
            for first in 0..taken.len() {
                let mut sum = 0u128;
                for (at, cells) in &taken[first..] {
                    let window = u128::from(at - taken[first].0) + 250;
                    let allowed = window * u128::from(per_second) / 1_000 + 1;
                    // The last one may be larger than what was left.
                    prop_assert!(sum <= allowed, "{sum} of {allowed}");
                    sum += u128::from(*cells);
                }
            }
        }

        #[test]
        fn after_a_pause_there_is_a_burst_and_no_more(per_second in 1u64..1 << 40, pause in 0u64..1 << 40) {
            let (bucket, rate) = (Bucket::default(), Rate::new(per_second));
            let burst = (per_second / 4).max(1);
            prop_assert_eq!(bucket.available(rate, pause), burst);
            bucket.charge(rate, burst, pause);
            prop_assert!(bucket.available(rate, pause) == 0);
            prop_assert_eq!(bucket.available(rate, pause + 1_250), burst);
        }
    }
}
