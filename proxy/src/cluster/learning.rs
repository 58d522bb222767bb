//! Learning: when to ask a node what commands it has.

use std::time::{Duration, Instant};

use super::slot_map::{Endpoint, Shard};
use crate::backend::handshake::ServerIdentity;

/// How often in any case, for modules that are loaded while all runs.
const INTERVAL: Duration = Duration::from_secs(60);
/// The shortest pause, since clients may say what nobody knows all the time, and nodes of several versions may be asked
/// in turn.
const MIN_INTERVAL: Duration = Duration::from_secs(2);

/// When to ask.
#[derive(Debug, Default)]
pub struct Learning {
    /// When the last question went out.
    asked: Option<Instant>,
    /// Whom it went to, as far as that says which commands there are.
    servers: Servers,
    /// Whether a client said an unknown command since then.
    wanted: bool,
    /// Whether the last question had no answer: that is told once.
    failed: bool,
}

/// What makes a new question worth while when it changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Servers {
    identity: ServerIdentity,
    primaries: Vec<Endpoint>,
}

impl Learning {
    /// A client said an unknown command.
    pub fn on_request(&mut self) {
        self.wanted = true;
    }

    /// When to ask for an unknown command's sake.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.asked.filter(|_| self.wanted).map(|asked| asked + MIN_INTERVAL)
    }

    /// Whether to ask now, where the servers are these; the answer `true` counts as a question.
    pub fn begins(&mut self, now: Instant, identity: &ServerIdentity, shards: &[Shard]) -> bool {
        let mut primaries: Vec<_> = shards.iter().map(|shard| shard.primary.clone()).collect();
        primaries.sort_unstable();
        let servers = Servers { identity: identity.clone(), primaries };
        let passed = self.asked.map(|asked| now.saturating_duration_since(asked));
        let has_reason = self.wanted || servers != self.servers;
        if passed.is_some_and(|passed| passed < if has_reason { MIN_INTERVAL } else { INTERVAL }) {
            return false;
        }
        (self.asked, self.servers, self.wanted) = (Some(now), servers, false);
        true
    }

    /// How the question ended; true where that is worth a word: a failure, the first time.
    pub fn on_answer(&mut self, succeeded: bool) -> bool {
        let news = !succeeded && !self.failed;
        self.failed = !succeeded;
        news
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for the tests' instants, which are all arguments")]
mod tests {
    use super::*;
    use crate::cluster::topology::static_map;

    fn shards(port: u16) -> Vec<Shard> {
        static_map(&[Endpoint { host: "h".into(), port }])
    }

    fn redis(version: &str) -> ServerIdentity {
        ServerIdentity { name: "redis".into(), version: version.into() }
    }

    #[test]
    fn it_is_asked_first_then_each_minute_and_when_the_servers_change() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut learning = Learning::default();
        assert!(learning.begins(at(0), &redis("7"), &shards(1)));
        assert!(!learning.begins(at(59), &redis("7"), &shards(1)));
        assert!(learning.begins(at(60), &redis("7"), &shards(1)));
        assert!(!learning.begins(at(61), &redis("8"), &shards(1)), "too soon");
        assert!(learning.begins(at(62), &redis("8"), &shards(1)), "another version");
        assert!(learning.begins(at(64), &redis("8"), &shards(2)), "another primary");
        assert!(!learning.begins(at(66), &redis("8"), &shards(2)));
    }

    #[test]
    fn unknown_commands_lead_to_one_question_each_two_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut learning = Learning::default();
        learning.on_request();
        assert_eq!(learning.next_deadline(), None, "the first question comes anyway");
        assert!(learning.begins(at(0), &redis("7"), &shards(1)));
        assert_eq!(learning.next_deadline(), None);
        learning.on_request();
        assert_eq!(learning.next_deadline(), Some(at(2)));
        assert!(!learning.begins(at(1), &redis("7"), &shards(1)));
        assert!(learning.begins(at(2), &redis("7"), &shards(1)));
        assert!(!learning.begins(at(11), &redis("7"), &shards(1)), "nobody asked");
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut learning = Learning::default();
        assert_eq!([false, false, true, false].map(|it| learning.on_answer(it)), [true, false, false, true]);
    }
}
