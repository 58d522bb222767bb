//! Latencies in log-linear buckets: constant memory, about 1.6 % resolution, one addition a request.

use std::time::Duration;

/// Sub-buckets of each power of two; the relative error of a bucket's bound is at most 1/64.
const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
const BUCKETS: usize = ((64 - SUB_BITS + 1) as usize) << SUB_BITS;

/// Counts of latencies in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0 }
    }
}

impl Histogram {
    /// Counts `times` requests that took `latency`.
    pub fn add(&mut self, latency: Duration, times: u64) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += times;
        self.total += times;
    }

    /// How many requests were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency that this share (0 to 1) of the requests did not exceed; zero where none was counted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(index));
            }
        }
        Duration::ZERO
    }
}

/// Values below [`SUB`] have a bucket each; above, a power of two is cut into [`SUB`] buckets.
fn bucket(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - SUB_BITS;
    (((u64::from(shift) + 1) << SUB_BITS) + ((value >> shift) - SUB)) as usize
}

/// The largest value that falls into `bucket`.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let first = (SUB + (bucket & (SUB - 1))) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_within_the_resolution() {
        for value in (0..64).map(|bit| 1u64 << bit).chain([0, 3, 63, 64, 65, 127, 129, 12_345, u64::MAX]) {
            let upper = upper_bound(bucket(value));
            assert!(upper >= value, "{value} above its bound {upper}");
            assert!(upper - value <= value / SUB, "{value} far below its bound {upper}");
        }
    }

    #[test]
    fn quantiles_are_ranks_of_what_was_added() {
        let mut histogram = Histogram::default();
        histogram.add(Duration::from_nanos(10), 98);
        histogram.add(Duration::from_nanos(20), 1);
        histogram.add(Duration::from_nanos(30), 1);
        assert_eq!(histogram.quantile(0.5), Duration::from_nanos(10));
        assert_eq!(histogram.quantile(0.99), Duration::from_nanos(20));
        assert_eq!(histogram.quantile(1.0), Duration::from_nanos(30));
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }
}
