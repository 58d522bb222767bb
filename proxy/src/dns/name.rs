//! A host name's place in the cache: its last good answer, and when to ask DNS about it again.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A name that was asked for.
///
/// A good answer is used until its time is over, and beyond it until a newer good answer is there: an old
/// address that may still work is worth more than none. So a look-up waits only while there has never been
/// a good answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// The last good answer; empty: never had one.
    addresses: Vec<IpAddr>,
    question: Question,
    /// Counts the look-ups, so that each begins at another address.
    turn: usize,
}

/// Whether DNS is being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    /// To be asked at the first look-up from then on.
    Due(Instant),
    /// Under way since then.
    Open(Instant),
}

/// The bounds of what a TTL may say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TtlLimits {
    /// Shortest time an answer is used.
    pub min: Duration,
    /// Longest time an answer is used; not below `min`.
    pub max: Duration,
}

/// How soon DNS is asked again after it failed, or said that there is no such name.
pub const RETRY: Duration = Duration::from_secs(1);

impl Name {
    /// A name that DNS is to be asked about at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { addresses: Vec::new(), question: Question::Due(now), turn: 0 }
    }

    /// Whether the caller must ask DNS now, and report with [`Self::on_answer`] or [`Self::on_failure`];
    /// true once for each question.
    pub fn begin_question(&mut self, now: Instant) -> bool {
        let due = matches!(self.question, Question::Due(due) if due <= now);
        if due {
            self.question = Question::Open(now);
        }
        due
    }

    /// Whether DNS is being asked.
    #[must_use]
    pub fn is_being_asked(&self) -> bool {
        matches!(self.question, Question::Open(_))
    }

    /// When the last question was or the next will be asked: the least of all names is the one least used.
    #[must_use]
    pub fn asked_at(&self) -> Instant {
        match self.question {
            Question::Due(at) | Question::Open(at) => at,
        }
    }

    /// The last good answer, each time beginning at another address; IPv4 before IPv6, since of a name
    /// with both the former is what works more often. `None`: there has never been one.
    pub fn addresses(&mut self) -> Option<Vec<IpAddr>> {
        if self.addresses.is_empty() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        let mut addresses = self.addresses.clone();
        let fours = addresses.iter().filter(|address| address.is_ipv4()).count();
        let (fours, sixes) = addresses.split_at_mut(fours);
        for family in [fours, sixes].into_iter().filter(|family| !family.is_empty()) {
            family.rotate_left(self.turn % family.len());
        }
        Some(addresses)
    }

    /// DNS answered. `start` (a random number) is where look-ups begin, so that the proxies of a fleet do
    /// not all begin at the first address. An answer without addresses is a failure.
    pub fn on_answer(
        &mut self,
        now: Instant,
        mut addresses: Vec<IpAddr>,
        ttl: Duration,
        limits: TtlLimits,
        start: usize,
    ) {
        if addresses.is_empty() {
            return self.on_failure(now);
        }
        // IPv4 sorts first; equal answers in another order are equal.
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        if self.addresses != addresses {
            self.turn = start;
        }
        self.addresses = addresses;
        self.question = Question::Due(now + ttl.min(limits.max).max(limits.min));
    }

    /// DNS did not answer, or said that there is no such name.
    pub fn on_failure(&mut self, now: Instant) {
        self.question = Question::Due(now + RETRY);
    }
}

/// Most addresses kept of a name; a DNS answer over TCP may hold 4,000.
const MAX_ADDRESSES: usize = 64;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for the tests' instants, which are all arguments")]
mod tests {
    use super::*;

    const LIMITS: TtlLimits = TtlLimits { min: Duration::from_secs(5), max: Duration::from_secs(60) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ips(ips: &[&str]) -> Vec<IpAddr> {
        ips.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn answered(now: Instant, addresses: &[&str], ttl: u64) -> Name {
        let mut name = Name::new(now);
        assert!(name.begin_question(now));
        name.on_answer(now, ips(addresses), seconds(ttl), LIMITS, 0);
        name
    }

    #[test]
    fn one_question_at_a_time_and_the_next_after_the_ttl() {
        let now = Instant::now();
        let mut name = Name::new(now);
        assert!(name.begin_question(now));
        assert!(!name.begin_question(now), "already under way");
        assert!(name.is_being_asked());
        assert_eq!(name.addresses(), None);
        name.on_answer(now, ips(&["1.1.1.1"]), seconds(30), LIMITS, 0);
        assert!(!name.begin_question(now + seconds(29)));
        assert!(name.begin_question(now + seconds(30)));
        assert_eq!(name.addresses(), Some(ips(&["1.1.1.1"])), "the old answer meanwhile");
    }

    #[test]
    fn a_ttl_is_kept_within_its_bounds() {
        let now = Instant::now();
        for (ttl, used) in [(0, 5), (4, 5), (59, 59), (86_400, 60)] {
            let mut name = answered(now, &["1.1.1.1"], ttl);
            assert!(!name.begin_question(now + seconds(used) - Duration::from_millis(1)), "{ttl}");
            assert!(name.begin_question(now + seconds(used)), "{ttl}");
        }
    }

    #[test]
    fn the_last_good_answer_outlives_failures() {
        let now = Instant::now();
        let mut name = answered(now, &["1.1.1.1"], 10);
        for minute in 1..5 {
            let later = now + seconds(60 * minute);
            assert!(name.begin_question(later));
            name.on_failure(later);
            assert_eq!(name.addresses(), Some(ips(&["1.1.1.1"])));
            assert!(name.begin_question(later + RETRY), "asked again soon");
            name.on_answer(later + RETRY, Vec::new(), seconds(3600), LIMITS, 0);
            assert_eq!(name.addresses(), Some(ips(&["1.1.1.1"])), "an empty answer is a failure");
        }
    }

    #[test]
    fn look_ups_take_turns_within_each_family_and_ipv4_comes_first() {
        let mut name = answered(Instant::now(), &["::2", "1.1.1.2", "::1", "1.1.1.1", "1.1.1.1"], 10);
        assert_eq!(name.addresses(), Some(ips(&["1.1.1.2", "1.1.1.1", "::2", "::1"])));
        assert_eq!(name.addresses(), Some(ips(&["1.1.1.1", "1.1.1.2", "::1", "::2"])));
        assert_eq!(name.addresses(), Some(ips(&["1.1.1.2", "1.1.1.1", "::2", "::1"])));
    }

    #[test]
    fn a_flood_of_addresses_is_cut() {
        let many: Vec<IpAddr> = (0..4000u32).map(|ip| IpAddr::V4(ip.into())).collect();
        let now = Instant::now();
        let mut name = Name::new(now);
        name.on_answer(now, many, seconds(10), LIMITS, usize::MAX);
        assert_eq!(name.addresses().map(|addresses| addresses.len()), Some(MAX_ADDRESSES));
    }
}
