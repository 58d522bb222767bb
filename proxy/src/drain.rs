//! Whether the process is ending: said once, seen by everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that is never taken back.
#[derive(Clone, Default, Debug)]
pub struct Drain(Arc<AtomicBool>);

impl Drain {
    /// The process begins to end.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has begun to.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
