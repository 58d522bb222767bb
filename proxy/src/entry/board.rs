//! Where the newest plan hangs: one puts it up, publishers and movers look.

use std::sync::Arc;

use tokio::sync::watch;

use super::plan::Plan;

/// The newest plan.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<watch::Sender<Arc<Plan>>>);

impl Board {
    /// The newest plan; one without entries before there was any. Takes a lock for a moment: not for the path of a
    /// request.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        self.0.borrow().clone()
    }

    /// Tells of each new plan.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Plan>> {
        self.0.subscribe()
    }

    /// Puts up a new plan.
    pub fn put_up(&self, plan: Plan) {
        self.0.send_replace(Arc::new(plan));
    }
}
