//! What a worker has of the limits of all tenants, and which of their clients may go on now. Pure.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::quota::Quota;
use crate::private::pool::Asker;
use crate::tenant::limits::Limits;

/// What this worker has of all tenants with limits, and the clients that wait for a time.
#[derive(Debug)]
pub struct Quotas {
    by_tenant: HashMap<usize, Rc<Quota>>,
    /// Clients whose next login is looked at later.
    timers: BTreeSet<(u64, Asker)>,
    /// See [`Self::look_for_stalled`].
    next_look: u64,
    /// Makes the worker's next tick come soon.
    wake_tick: Rc<Notify>,
}

// Milliseconds between looks for clients that hold up others.
const LOOK: u64 = 1_000;

impl Quotas {
    /// No tenant's yet.
    #[must_use]
    pub fn new(wake_tick: Rc<Notify>) -> Self {
        Self { by_tenant: HashMap::new(), timers: BTreeSet::new(), next_look: 0, wake_tick }
    }

    /// What this worker has of these limits, the same for all its clients.
    pub(super) fn of(&mut self, limits: &Arc<Limits>) -> Rc<Quota> {
        // A quota holds the limits, so that no others can come to stand there.
        let quota = self.by_tenant.entry(Arc::as_ptr(limits) as usize);
        quota.or_insert_with(|| Rc::new(Quota::new(limits.clone()))).clone()
    }

    /// Lets a client go on at this time.
    pub(super) fn set_timer(&mut self, at: u64, asker: Asker) {
        self.timers.insert((at, asker));
        self.hurry();
    }

    /// Somebody waits: ticks must not come too seldom for it.
    pub(super) fn hurry(&self) {
        self.wake_tick.notify_one();
    }

    /// Whether [`Self::tick`] has anybody to look at.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.timers.is_empty() || self.by_tenant.values().any(|quota| quota.is_waiting())
    }

    /// Whether clients are to be looked for that hold up others with half a request. Asked often, true once a second.
    pub fn look_for_stalled(&mut self, now: u64) -> bool {
        let is_due = now >= self.next_look;
        if is_due {
            self.next_look = now + LOOK;
        }
        is_due && self.by_tenant.values().any(|quota| quota.is_full(now))
    }

    /// Who may go on at `now`. No more clients than there is room for: none is woken in vain.
    pub fn tick(&mut self, now: u64) -> Vec<Asker> {
        let mut woken = Vec::new();
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            woken.extend(self.timers.pop_first().map(|(_, asker)| asker));
        }
        self.by_tenant.retain(|_, quota| {
            quota.settle(now);
            quota.wake(now, &mut woken);
            Rc::strong_count(quota) > 1
        });
        woken
    }
}
