//! How far the process is in ending. Pure: what was asked, and the time, decide.
//!
//! ```text
//! Serves ──SIGTERM──▶ Leaves ──time──▶ Drains ──time or asked again──▶ Ends
//!    │   handed over    │  ╰──asked again──▶╯
//!    ╰──SIGINT──────────┴──────────────────▶╯
//! ```

use std::time::{Duration, Instant};

/// Where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nobody asked it to end.
    Serves,
    /// It says everywhere that it leaves, and serves on, new clients too, where its ports are still its own.
    Leaves {
        /// When it begins to drain.
        until: Instant,
    },
    /// New clients are refused; those it has are answered what they asked, and closed. The workers know the time.
    Drains,
    /// Whoever is left is closed.
    Ends,
}

/// What may happen to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// SIGTERM.
    Terminate,
    /// SIGINT: somebody waits at a terminal.
    Interrupt,
    /// Another process serves in its place.
    HandedOver,
    /// Nothing but time.
    Time,
}

/// Those who had just connected when another process took over want an answer to what they are about to ask; most
/// connections that are not kept are over within it.
const AFTER_HANDOVER: Duration = Duration::from_secs(1);

impl Stage {
    /// Where it is after `event`, with the setting `leave_delay`.
    #[must_use]
    pub(super) fn after(self, event: Event, leave_delay: Duration, now: Instant) -> Self {
        match (self, event) {
            (Self::Serves, Event::Terminate) if leave_delay.is_zero() => Self::Drains,
            (Self::Serves, Event::Terminate) => Self::Leaves { until: now + leave_delay },
            (Self::Serves, Event::HandedOver) => {
                Self::Leaves { until: now + leave_delay.max(AFTER_HANDOVER) }
            }
            // Its ports are gone, its time is what it was.
            (Self::Leaves { .. }, Event::HandedOver) => self,
            (Self::Serves, Event::Interrupt) => Self::Drains,
            (Self::Leaves { .. }, Event::Terminate | Event::Interrupt) => Self::Drains,
            (Self::Leaves { until }, Event::Time) if until <= now => Self::Drains,
            (Self::Drains, Event::Terminate | Event::Interrupt) => Self::Ends,
            (_, Event::Time | Event::HandedOver) | (Self::Ends, _) => self,
        }
    }

    /// When [`Event::Time`] is due.
    #[must_use]
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Leaves { until } => Some(until),
            Self::Serves | Self::Drains | Self::Ends => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(6);

    fn after(stage: Stage, events: &[Event], delay: Duration, now: Instant) -> Stage {
        events.iter().fold(stage, |stage, event| stage.after(*event, delay, now))
    }

    #[test]
    fn sigterm_leaves_then_drains() {
        let now = Instant::now();
        let leaves = after(Stage::Serves, &[Event::Terminate], DELAY, now);
        assert_eq!(leaves, Stage::Leaves { until: now + DELAY });
        assert_eq!(leaves.deadline(), Some(now + DELAY));
        assert_eq!(leaves.after(Event::Time, DELAY, now + DELAY / 2), leaves);
        assert_eq!(leaves.after(Event::Time, DELAY, now + DELAY), Stage::Drains);
        assert_eq!(after(Stage::Serves, &[Event::Terminate], Duration::ZERO, now), Stage::Drains);
    }

    #[test]
    fn whoever_asks_again_is_in_a_hurry() {
        let now = Instant::now();
        for hurry in [Event::Terminate, Event::Interrupt] {
            assert_eq!(after(Stage::Serves, &[Event::Terminate, hurry], DELAY, now), Stage::Drains);
            assert_eq!(after(Stage::Serves, &[Event::Terminate, hurry, hurry], DELAY, now), Stage::Ends);
            assert_eq!(after(Stage::Ends, &[hurry, hurry], DELAY, now), Stage::Ends);
        }
        assert_eq!(after(Stage::Serves, &[Event::Interrupt], DELAY, now), Stage::Drains);
    }

    #[test]
    fn after_a_handover_there_is_time_for_those_who_had_just_come() {
        let now = Instant::now();
        let leaves = after(Stage::Serves, &[Event::HandedOver], Duration::ZERO, now);
        assert_eq!(leaves, Stage::Leaves { until: now + AFTER_HANDOVER });
        let leaves = after(Stage::Serves, &[Event::Terminate], DELAY, now);
        assert_eq!(leaves.after(Event::HandedOver, DELAY, now + DELAY / 2), leaves);
        assert_eq!(after(Stage::Drains, &[Event::HandedOver], DELAY, now), Stage::Drains);
    }

    #[test]
    fn time_alone_ends_nothing_that_was_not_asked_to() {
        let now = Instant::now();
        for stage in [Stage::Serves, Stage::Drains, Stage::Ends] {
            assert_eq!((stage.after(Event::Time, DELAY, now + DELAY), stage.deadline()), (stage, None));
        }
    }
}
