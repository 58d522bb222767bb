//! ◆ What a worker does by the clock: deadlines, pauses that are over, and what is looked at now and then.

#![expect(clippy::disallowed_methods, reason = "I/O: the timer of one worker")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Worker;
use crate::backend::owner::Owner;
use crate::cluster::id::ClusterId;

// How often deadlines are looked at while requests are under way, otherwise, and where there is no client: of many
// clusters most may be unused.
pub(super) const TICK: Duration = Duration::from_millis(10);
const IDLE_TICK: Duration = Duration::from_millis(100);
const UNUSED_TICK: Duration = Duration::from_secs(1);
// How often idle and unauthenticated clients are looked for.
const SWEEP: u64 = 1_000;
// How often a node that we have only subscribed at is asked for a sign of life.
const PULSE: u64 = 2_000;

/// Ticks for as long as the worker is there: the more is under way the more often.
pub(super) async fn tick(worker: Rc<RefCell<Worker>>) {
    let (wake, siblings) = (worker.borrow().wake_tick.clone(), worker.borrow().siblings.clone());
    loop {
        let excess = worker.borrow().shared.process.memory_excess();
        siblings.shed(excess);
        let pause = worker.borrow_mut().on_tick();
        if pause == TICK {
            sleep(TICK).await;
        } else {
            // Over or woken: either way it is time to look.
            let _ = timeout(pause, wake.notified()).await;
        }
    }
}

impl Worker {
    /// Looks at deadlines; tells when to look again.
    fn on_tick(&mut self) -> Duration {
        let now = self.now();
        if self.shared.reads_leave_primary {
            self.pool.follow_readers(self.shared.topology.readers());
        }
        self.pool.tick(now);
        self.clients.tick_shares(self.shared.process.tenants.tenants().len(), now);
        let due = self.clients.retries.take_due(now);
        self.resend(due);
        self.clients.tick_subscriptions(now);
        if now >= self.next_pulse {
            self.next_pulse = now + PULSE;
            self.feel_pulse();
        }
        self.clients.sweep(now, SWEEP, &self.shared);
        let stuck = self.clients.relent(now);
        for asker in self.limits.tick(now) {
            self.clients.let_go(asker);
        }
        if self.limits.look_for_stalled(now) {
            self.clients.close_stalled(now);
        }
        let limited = self.limits.is_waiting();
        let waiting = self.private.is_waiting();
        for asker in self.private.tick(now) {
            self.clients.wake(asker);
        }
        if waiting || now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            self.private.sweep(now);
        }
        self.settle();
        // The memory of a thread's clients is looked after by one of its workers.
        let measures = self.shared.id == ClusterId::default()
            && self.shared.process.settings.clients.memory_limit.is_some();
        if stuck
            || waiting
            || limited
            || measures
            || !self.clients.retries.is_empty()
            || self.clients.pubsub.is_waiting()
            || self.pool.links().any(|link| !link.in_flight.is_empty())
        {
            TICK
        } else if self.clients.is_empty() && self.clients.plans.is_empty() {
            UNUSED_TICK
        } else {
            IDLE_TICK
        }
    }
}
