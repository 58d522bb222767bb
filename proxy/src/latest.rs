//! The newest generation of what all share. Whoever is on the path of a request holds one and hears of the next;
//! everybody else asks here.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::settings::Settings;
use crate::shared::Shared;

/// The newest [`Shared`] of each cluster, for all threads; all of one [`crate::process::Process`].
#[derive(Clone)]
pub struct Latest(Arc<watch::Sender<Arc<[Arc<Shared>]>>>);

impl Latest {
    /// The first generation: every cluster of the process, at least one.
    #[must_use]
    pub fn new(first: Vec<Arc<Shared>>) -> Self {
        Self(Arc::new(watch::Sender::new(first.into())))
    }

    /// All clusters. Takes a lock for a moment, as [`Self::home`]: not for the path of a request.
    #[must_use]
    pub fn clusters(&self) -> Arc<[Arc<Shared>]> {
        self.0.borrow().clone()
    }

    /// The first cluster, by which the process is reached.
    #[must_use]
    pub fn home(&self) -> Arc<Shared> {
        self.0.borrow()[0].clone()
    }

    /// Tells of each new generation.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<[Arc<Shared>]>> {
        self.0.subscribe()
    }

    /// Makes these the settings of all, as the next generation. One thread calls this.
    pub fn publish(&self, settings: Settings) {
        let now = self.clusters();
        let process = Arc::new(now[0].process.next(settings));
        process.take_over();
        let next = now.iter().map(|shared| Arc::new(shared.next(process.clone())));
        self.0.send_replace(next.collect());
    }
}
