//! What the publisher of RFC 2136 does next. Pure; times are since it began.
//!
//! ```text
//!   ┌────────── differs from what was seen, it is time to look again ────┐
//!   ▼                                                                    │
//!  read ──▶ is it what is wanted? ──yes──▶ wait ─────────────────────────┤
//!   ▲                └─no──▶ may it be changed now? ──yes──▶ write ──────┘
//!   └─ failure: a pause that grows
//! ```

use std::time::Duration;

use super::records::Records;
use super::wanted::Wanted;
use crate::backoff::Backoff;

/// Where the publisher is.
#[derive(Debug)]
pub struct Course {
    pace: Pace,
    /// What the name resolved to, and when that was read or written.
    seen: Option<(Records, Duration)>,
    /// When something was published last, and what.
    written: Option<(Duration, Wanted)>,
    /// Since when the name has not been what is wanted, without a pause.
    differs_since: Option<Duration>,
    /// Nothing is tried before.
    not_before: Option<Duration>,
    /// How long to pause after what did not work, as long as the name is not what is wanted.
    backoff: Backoff,
    /// Addresses as they were published, and as they are served: with another TTL, which the server has set a limit to.
    limited: Option<(Records, Records)>,
}

/// How fast things go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Shortest pause between two changes, other than for an entry's health.
    pub between: Duration,
    /// How often the name is looked at, in case somebody else has changed it.
    pub look: Duration,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Ask what the name resolves to.
    Read,
    /// Have it resolve to this, if it still resolves to the first.
    Write {
        /// As it was read.
        seen: Records,
        /// As it is to be; not empty.
        wanted: Records,
    },
    /// Nothing, until then or until there is another plan.
    Wait(Duration),
}

/// A plan without reports may only say that this proxy has just begun: what the name resolves to is better
/// founded then. Some reports' time.
const HESITATION: Duration = Duration::from_secs(10);
/// How long one that does not lead leaves it to the leader to publish, who may want something a little different:
/// as long as the leader may take in all, and no more than that where clients are led to nowhere.
const DEFERENCE: Duration = Duration::from_secs(30);
const SHORT_DEFERENCE: Duration = Duration::from_secs(5);
/// What was read longer ago is read again by one that does not lead before it changes it.
const FRESH: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LARGEST_PAUSE: Duration = Duration::from_secs(30);

impl Course {
    /// One that begins.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        let backoff = Backoff::new(FIRST_PAUSE, LARGEST_PAUSE);
        Self {
            pace,
            seen: None,
            written: None,
            differs_since: None,
            not_before: None,
            backoff,
            limited: None,
        }
    }

    /// What the name resolves to, as far as is known.
    #[must_use]
    pub fn seen(&self) -> Records {
        self.seen.as_ref().map(|(records, _)| records.clone()).unwrap_or_default()
    }

    /// What to do now; `leads`: whether it is this proxy that publishes.
    #[must_use]
    pub fn next(&mut self, now: Duration, wanted: Option<&Wanted>, leads: bool) -> Step {
        if let Some(not_before) = self.not_before.filter(|not_before| *not_before > now) {
            return Step::Wait(not_before);
        }
        let Some((seen, at)) = &self.seen else { return Step::Read };
        let look = *at + self.pace.look;
        if look <= now {
            return Step::Read;
        }
        let Some(wanted) = wanted else { return Step::Wait(look) };
        if self.is_as_good_as(seen, &wanted.records) {
            self.differs_since = None;
            self.backoff.on_success();
            return Step::Wait(look);
        }
        let since = *self.differs_since.get_or_insert(now);
        let mut allowed = self.allowed(seen, wanted);
        if !leads {
            let leads_nowhere = seen.is_empty() || wanted.dead.iter().any(|address| seen.has(address));
            allowed = allowed.max(since + if leads_nowhere { SHORT_DEFERENCE } else { DEFERENCE });
        }
        if allowed > now {
            return Step::Wait(allowed.min(look));
        }
        if !leads && *at + FRESH < now {
            return Step::Read;
        }
        Step::Write { seen: seen.clone(), wanted: wanted.records.clone() }
    }

    /// Whether the name resolves to what is wanted, or to what becomes of that.
    #[must_use]
    pub fn is_as_good_as(&self, seen: &Records, wanted: &Records) -> bool {
        let becomes = |(published, served): &(Records, Records)| published == wanted && served == seen;
        seen == wanted || self.limited.as_ref().is_some_and(becomes)
    }

    /// From when on the name may be changed from `seen` to what is wanted.
    fn allowed(&self, seen: &Records, wanted: &Wanted) -> Duration {
        // The name never resolves to nothing.
        if seen.is_empty() {
            return Duration::ZERO;
        }
        let known = if wanted.is_known { Duration::ZERO } else { HESITATION };
        let paused = self.written.as_ref().map_or(Duration::ZERO, |(at, before)| {
            if before.unusable == wanted.unusable { *at + self.pace.between } else { *at }
        });
        known.max(paused)
    }

    /// The name was read.
    pub fn on_read(&mut self, now: Duration, records: Records) {
        if let Some((_, before)) = &self.written
            && before.records != records
            && before.records.has_addresses_of(&records)
        {
            self.limited = Some((before.records.clone(), records.clone()));
        }
        self.seen = Some((records, now));
        self.not_before = None;
    }

    /// The name resolves to what was wanted.
    pub fn on_published(&mut self, now: Duration, wanted: &Wanted) {
        self.seen = Some((wanted.records.clone(), now));
        self.differs_since = None;
        self.written = Some((now, wanted.clone()));
        self.not_before = None;
        self.backoff.on_success();
    }

    /// Something failed, or the name was not what had been seen: all is tried anew after a pause, see [`Backoff::on_failure`] for `random`.
    pub fn on_failure(&mut self, now: Duration, random: f64) {
        self.seen = None;
        self.not_before = Some(now + self.backoff.on_failure(random));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(15);
    const LOOK: Duration = Duration::from_secs(20);

    fn records(addresses: &[&str]) -> Records {
        Records::new(addresses.iter().map(|address| address.parse().unwrap()), 15)
    }

    fn wanted(addresses: &[&str], unusable: &[&str]) -> Wanted {
        let unusable = unusable.iter().map(|id| (*id).to_owned()).collect();
        Wanted { records: records(addresses), unusable, dead: Vec::new(), is_known: true, plan_at: 1 }
    }

    fn course(now: Duration, seen: &[&str]) -> Course {
        let mut course = Course::new(Pace { between: TTL, look: LOOK });
        assert_eq!(course.next(now, None, true), Step::Read);
        course.on_read(now, records(seen));
        course
    }

    fn write(seen: &[&str], wanted: &[&str]) -> Step {
        Step::Write { seen: records(seen), wanted: records(wanted) }
    }

    #[test]
    fn what_is_as_wanted_is_left_alone_and_looked_at_again() {
        let now = Duration::ZERO;
        let mut course = course(now, &["192.0.2.1"]);
        let wanted = wanted(&["192.0.2.1"], &[]);
        assert_eq!(course.next(now, Some(&wanted), true), Step::Wait(now + LOOK));
        assert_eq!(course.next(now, None, true), Step::Wait(now + LOOK));
        assert_eq!(course.next(now + LOOK, Some(&wanted), true), Step::Read);
    }

    #[test]
    fn changes_are_a_ttl_apart_but_for_health() {
        let now = Duration::ZERO;
        let mut course = course(now, &["192.0.2.1"]);
        let both = wanted(&["192.0.2.1", "192.0.2.2"], &[]);
        assert_eq!(course.next(now, Some(&both), true), write(&["192.0.2.1"], &["192.0.2.1", "192.0.2.2"]));
        course.on_published(now, &both);
        let second = now + Duration::from_secs(1);
        assert_eq!(course.next(second, Some(&wanted(&["192.0.2.1"], &[])), true), Step::Wait(now + TTL));
        let down = wanted(&["192.0.2.1"], &["b"]);
        assert_eq!(
            course.next(second, Some(&down), true),
            write(&["192.0.2.1", "192.0.2.2"], &["192.0.2.1"])
        );
    }

    #[test]
    fn a_name_that_resolves_to_nothing_waits_for_nothing() {
        let now = Duration::ZERO;
        let mut course = course(now, &["192.0.2.1"]);
        let mut wanted = wanted(&["192.0.2.1"], &[]);
        wanted.is_known = false;
        course.on_published(now, &wanted);
        course.on_read(now, Records::default());
        assert_eq!(course.next(now, Some(&wanted), true), write(&[], &["192.0.2.1"]));
    }

    #[test]
    fn a_plan_without_reports_waits_before_it_changes_a_name() {
        let now = Duration::ZERO;
        let mut course = course(now, &["192.0.2.1"]);
        let mut wanted = wanted(&["192.0.2.1", "192.0.2.2"], &[]);
        wanted.is_known = false;
        assert_eq!(course.next(now, Some(&wanted), true), Step::Wait(now + HESITATION));
        let later = now + HESITATION;
        course.on_read(later, records(&["192.0.2.1"]));
        assert!(matches!(course.next(later, Some(&wanted), true), Step::Write { .. }));
    }

    #[test]
    fn a_failure_waits_longer_each_time_until_the_name_is_what_is_wanted() {
        let mut now = Duration::ZERO;
        let mut course = course(now, &["192.0.2.1"]);
        let wanted = wanted(&["192.0.2.2"], &[]);
        for pause in [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE] {
            assert!(matches!(course.next(now, Some(&wanted), true), Step::Write { .. }));
            course.on_failure(now, 1.0);
            assert_eq!(course.next(now, Some(&wanted), true), Step::Wait(now + pause));
            now += pause;
            // That the name can be read does not mean that it can be written.
            assert_eq!(course.next(now, Some(&wanted), true), Step::Read);
            course.on_read(now, records(&["192.0.2.1"]));
        }
        course.on_read(now, records(&["192.0.2.2"]));
        assert_eq!(course.next(now, Some(&wanted), true), Step::Wait(now + LOOK));
        course.on_failure(now, 1.0);
        assert_eq!(course.next(now, Some(&wanted), true), Step::Wait(now + FIRST_PAUSE));
    }

    #[test]
    fn a_server_that_limits_ttls_is_not_fought() {
        let now = Duration::ZERO;
        let mut course = course(now, &[]);
        let wanted = wanted(&["192.0.2.1"], &[]);
        course.on_published(now, &wanted);
        let address = "192.0.2.1".parse().unwrap();
        course.on_read(LOOK, Records::new([address], 60));
        assert_eq!(course.next(LOOK, Some(&wanted), true), Step::Wait(2 * LOOK));
        course.on_read(LOOK, records(&["192.0.2.1", "192.0.2.2"]));
        assert!(matches!(course.next(LOOK, Some(&wanted), true), Step::Write { .. }));
    }

    #[test]
    fn one_that_does_not_lead_steps_in_when_nobody_else_does() {
        let now = Duration::ZERO;
        let mut course = Course::new(Pace { between: TTL, look: 10 * LOOK });
        course.on_read(now, records(&["192.0.2.1"]));
        let mut wanted = wanted(&["192.0.2.2"], &["a"]);
        assert_eq!(course.next(now, Some(&wanted), false), Step::Wait(now + DEFERENCE));
        wanted.dead = vec!["192.0.2.1".parse().unwrap()];
        let soon = now + SHORT_DEFERENCE;
        assert_eq!(course.next(now, Some(&wanted), false), Step::Wait(soon), "clients are led to nowhere");
        assert_eq!(course.next(soon, Some(&wanted), false), Step::Read, "the leader may have been there");
        course.on_read(soon, records(&["192.0.2.1"]));
        assert_eq!(course.next(soon, Some(&wanted), false), write(&["192.0.2.1"], &["192.0.2.2"]));
    }
}
