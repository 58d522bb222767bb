//! The newest generation of what all share. Whoever is on the path of a request holds one and hears of the next;
//! everybody else asks here.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::shared::Shared;

/// The newest [`Shared`], for all threads.
#[derive(Clone)]
pub struct Latest(Arc<watch::Sender<Arc<Shared>>>);

impl Latest {
    /// The first generation.
    #[must_use]
    pub fn new(first: Shared) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(first))))
    }

    /// The newest one. Takes a lock for a moment: not for the path of a request.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        self.0.borrow().clone()
    }

    /// Tells of each new one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Shared>> {
        self.0.subscribe()
    }

    /// A new generation. One thread calls this.
    pub fn publish(&self, next: Shared) -> Arc<Shared> {
        next.take_over();
        let next = Arc::new(next);
        self.0.send_replace(Arc::clone(&next));
        next
    }
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Latest").field(&self.0.borrow().generation).finish()
    }
}
