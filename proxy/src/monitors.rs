//! Which workers have clients that said MONITOR, and how much each still has to take of what the others' clients
//! say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

/// All workers' monitors. Read by every request, changed by few.
#[derive(Debug)]
pub struct Monitors {
    /// Of all workers.
    all: AtomicUsize,
    /// The tenants that have any.
    tenants: ArcSwap<Vec<Arc<str>>>,
    workers: Box<[Watching]>,
    /// Bytes that may be on their way to a worker.
    limit: AtomicUsize,
}

#[derive(Default, Debug)]
struct Watching {
    monitors: AtomicUsize,
    /// Whose they are.
    tenants: ArcSwap<Vec<Arc<str>>>,
    /// Bytes on their way to it.
    backlog: AtomicUsize,
    /// Something was not sent since it was above the limit.
    missed: AtomicBool,
}

impl Monitors {
    /// Nobody watches.
    #[must_use]
    pub fn new(workers: usize, limit: usize) -> Self {
        let (all, tenants, limit) = (AtomicUsize::new(0), ArcSwap::default(), AtomicUsize::new(limit));
        Self { all, tenants, workers: (0..workers).map(|_| Watching::default()).collect(), limit }
    }

    /// From here on so many bytes may be on their way to a worker.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Whether anybody watches: one load, for every request.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        self.all.load(Ordering::Relaxed) > 0
    }

    /// Whether anybody of this tenant watches.
    #[must_use]
    pub fn watches(&self, tenant: &Arc<str>) -> bool {
        self.tenants.load().contains(tenant)
    }

    /// A worker has one more, of this tenant. Said before the client is told so: all that is said from then on is to be
    /// shown to it, whichever worker hears it.
    pub fn add(&self, worker: usize, tenant: Arc<str>) {
        let Some(watching) = self.workers.get(worker) else { return };
        let mut tenants = watching.tenants.load().to_vec();
        tenants.push(tenant);
        self.set(worker, tenants);
    }

    /// Tells whose monitors a worker has: a tenant's name for each.
    pub fn set(&self, worker: usize, tenants: Vec<Arc<str>>) {
        let Some(watching) = self.workers.get(worker) else { return };
        let count = tenants.len();
        watching.tenants.store(Arc::new(tenants));
        // Made of all again and again, so that of two workers that do this at once the last one is right.
        let everyone = || self.workers.iter().flat_map(|worker| worker.tenants.load().to_vec());
        self.tenants.rcu(|_| everyone().collect::<Vec<_>>());
        let before = watching.monitors.swap(count, Ordering::Relaxed);
        self.all.fetch_add(count, Ordering::Relaxed);
        self.all.fetch_sub(before, Ordering::Relaxed);
    }

    /// Whether `bytes` are to be sent to a worker; it has to say [`Self::take`] of them.
    #[must_use]
    pub fn offer(&self, worker: usize, bytes: usize) -> bool {
        let Some(watching) = self.workers.get(worker) else { return false };
        if watching.monitors.load(Ordering::Relaxed) == 0 {
            return false;
        }
        if watching.backlog.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit.load(Ordering::Relaxed) {
            watching.backlog.fetch_sub(bytes, Ordering::Relaxed);
            watching.missed.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// A worker took `bytes` that were sent to it. False where it was not sent others: its monitors miss some.
    #[must_use]
    pub fn take(&self, worker: usize, bytes: usize) -> bool {
        let Some(watching) = self.workers.get(worker) else { return true };
        watching.backlog.fetch_sub(bytes, Ordering::Relaxed);
        !watching.missed.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_offered_what_it_can_take() {
        let monitors = Monitors::new(2, 100);
        assert!(!monitors.any() && !monitors.offer(1, 10), "nobody watches");
        monitors.add(1, "a".into());
        assert!(monitors.watches(&"a".into()) && !monitors.watches(&"b".into()));
        assert!(monitors.any() && monitors.offer(1, 60) && !monitors.offer(0, 60));
        assert!(!monitors.offer(1, 60), "above the limit");
        assert!(!monitors.take(1, 60), "it is told that it missed some");
        assert!(monitors.offer(1, 60) && monitors.take(1, 60));
        monitors.set(1, Vec::new());
        assert!(!monitors.any() && !monitors.watches(&"a".into()));
    }
}
