//! How many answers a network gets: what comes by UDP may be from anybody in anybody's name, and answers are larger than
//! queries. Pure.

use std::net::IpAddr;

/// Answers a second for each network. The networks share a table of fixed size: two that fall on the same place share its
/// rate, which takes nothing from anybody who asks at a sensible rate.
#[derive(Debug)]
pub struct Limiter {
    rate: u32,
    buckets: Vec<Bucket>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Bucket {
    /// What is left, in thousandths of an answer.
    left: u32,
    /// When that was, in milliseconds.
    at: u64,
    /// How many were left out since one was answered.
    dropped: u32,
}

/// What becomes of a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is answered.
    Answer,
    /// It gets a word that sends an honest asker to TCP.
    Slip,
    /// Nothing.
    Drop,
}

const BUCKETS: usize = 1 << 14;
// One in so many of those that are too many gets a word: BIND's and Knot's default.
const SLIP: u32 = 2;

impl Limiter {
    /// So many a second; a second's may come at once.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self { rate, buckets: vec![Bucket { left: u32::MAX, ..Bucket::default() }; BUCKETS] }
    }

    /// A query that says it is from this address; `now` in milliseconds.
    pub fn admit(&mut self, from: IpAddr, now: u64) -> Verdict {
        let full = self.rate.saturating_mul(1_000);
        let rate = u64::from(self.rate);
        let bucket = &mut self.buckets[place(from)];
        let gained = now.saturating_sub(bucket.at).saturating_mul(rate).min(u64::from(full)) as u32;
        (bucket.left, bucket.at) = (bucket.left.saturating_add(gained).min(full), now);
        if bucket.left >= 1_000 {
            (bucket.left, bucket.dropped) = (bucket.left - 1_000, 0);
            return Verdict::Answer;
        }
        bucket.dropped = bucket.dropped.wrapping_add(1);
        if bucket.dropped.is_multiple_of(SLIP) { Verdict::Slip } else { Verdict::Drop }
    }
}

/// The place of the network: 24 bits of IPv4, 56 of IPv6, which is what one customer has.
fn place(address: IpAddr) -> usize {
    let network = match address.to_canonical() {
        IpAddr::V4(address) => u64::from(u32::from(address) >> 8),
        IpAddr::V6(address) => (u128::from(address) >> 72) as u64 | 1 << 63,
    };
    // Fibonacci hashing.
    (network.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BUCKETS.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(limiter: &mut Limiter, from: &str, now: u64, queries: usize) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..queries {
            counts[limiter.admit(from.parse().unwrap(), now) as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_network_gets_so_many_answers_a_second_and_others_their_own() {
        let mut limiter = Limiter::new(10);
        assert_eq!(counted(&mut limiter, "192.0.2.1", 0, 30), [10, 10, 10]);
        assert_eq!(counted(&mut limiter, "192.0.2.200", 0, 2), [0, 1, 1], "the same network");
        assert_eq!(counted(&mut limiter, "198.51.100.1", 0, 5), [5, 0, 0]);
        assert_eq!(counted(&mut limiter, "2001:db8::1", 0, 20)[0], 10);
        assert_eq!(counted(&mut limiter, "2001:db8:0:ff::1", 0, 5)[0], 0, "the same /56");
        assert_eq!(counted(&mut limiter, "192.0.2.1", 500, 10)[0], 5);
        assert_eq!(counted(&mut limiter, "192.0.2.1", 1_000_000, 30)[0], 10, "never more than a second's");
    }
}
