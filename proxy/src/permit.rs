//! How many clients a worker has, and one client's share of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A worker's clients, counted from their being accepted to their record's end.
#[derive(Clone, Default, Debug)]
pub struct Load(Arc<AtomicUsize>);

/// A client's place under the client limit and in its worker's load; given back when dropped.
#[derive(Debug)]
pub struct Permit(Load);

impl Load {
    /// How many clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more.
    #[must_use]
    pub fn admit(&self) -> Permit {
        self.0.fetch_add(1, Ordering::Relaxed);
        Permit(self.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
