//! Where the newest plan hangs: one puts it up, publishers and movers look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::plan::Plan;

/// The newest plan, and whether this proxy is the one to publish it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Hung>);

#[derive(Debug, Default)]
struct Hung {
    plan: watch::Sender<Arc<Plan>>,
    leads: AtomicBool,
}

impl Board {
    /// The newest plan; one without entries before there was any. Takes a lock for a moment: not for the path of a
    /// request.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        self.0.plan.borrow().clone()
    }

    /// Tells of each new plan.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Plan>> {
        self.0.plan.subscribe()
    }

    /// Puts up a new plan.
    pub fn put_up(&self, plan: Plan) {
        self.0.plan.send_replace(Arc::new(plan));
    }

    /// Whether this proxy publishes for the fleet. Two may believe so for some seconds, or all while nobody can tell.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.0.leads.load(Ordering::Relaxed)
    }

    /// From here on this proxy leads, or does not.
    pub fn lead(&self, leads: bool) {
        self.0.leads.store(leads, Ordering::Relaxed);
    }
}
