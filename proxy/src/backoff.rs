//! Backoff: how long to pause before the next try of something that failed. Doubles, up to a largest
//! pause, and is jittered so that many who lost the same server do not come back at the same moment.

use std::time::Duration;

/// The pauses of one thing that is tried again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    first: Duration,
    largest: Duration,
    /// Failures since the last success.
    failures: u32,
}

impl Backoff {
    /// Pauses from `first` to `largest`; a `largest` below `first` counts as `first`.
    #[must_use]
    pub fn new(first: Duration, largest: Duration) -> Self {
        Self { first, largest: largest.max(first), failures: 0 }
    }

    /// Counts a failure and says how long to pause: between half and all of the doubled pause, by
    /// `random` (from 0 to 1).
    pub fn on_failure(&mut self, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(2u32.saturating_pow(self.failures)).min(self.largest);
        self.failures = self.failures.saturating_add(1);
        doubled.div_f64(2.0) + doubled.div_f64(2.0).mul_f64(random.clamp(0.0, 1.0))
    }

    /// Starts over: the next failure pauses shortly.
    pub fn on_success(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pauses_double_up_to_the_largest_and_start_over() {
        let mut backoff = Backoff::new(ms(100), ms(1000));
        let pauses: Vec<_> = (0..6).map(|_| backoff.on_failure(1.0)).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000].map(ms));
        assert_eq!(backoff.failures(), 6);
        backoff.on_success();
        assert_eq!(backoff.on_failure(1.0), ms(100));
    }

    #[test]
    fn jitter_takes_up_to_half_of_a_pause() {
        assert_eq!(Backoff::new(ms(100), ms(1000)).on_failure(0.0), ms(50));
        assert_eq!(Backoff::new(ms(100), ms(1000)).on_failure(0.5), ms(75));
        assert_eq!(Backoff::new(ms(100), ms(1000)).on_failure(f64::INFINITY), ms(100));
    }

    #[test]
    fn a_server_that_never_comes_back_overflows_nothing() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX);
        for _ in 0..100 {
            backoff.on_failure(0.9);
        }
        assert_eq!(Backoff::new(ms(9), ms(1)).on_failure(1.0), ms(9));
    }
}
