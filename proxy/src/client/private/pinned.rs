//! What a client's own connections remember for it: watched keys, tracked reads. Few clients have any of it, so it
//! takes the room of a pointer. Pure.

use super::tracking::Tracking;
use super::watch::Watch;

/// See the module.
#[derive(Default, Debug)]
pub struct Pinned(Option<Box<Both>>);

#[derive(Default, Debug)]
struct Both {
    watch: Option<Watch>,
    tracking: Option<Tracking>,
}

impl Pinned {
    /// The keys that are watched.
    #[must_use]
    pub fn watch(&self) -> Option<&Watch> {
        self.0.as_ref()?.watch.as_ref()
    }

    /// The same, to be changed.
    pub fn watch_mut(&mut self) -> Option<&mut Watch> {
        self.0.as_mut()?.watch.as_mut()
    }

    /// The same, `new` where there is none.
    pub fn watch_or(&mut self, new: Watch) -> &mut Watch {
        self.0.get_or_insert_default().watch.get_or_insert(new)
    }

    /// No keys are watched any more.
    pub fn take_watch(&mut self) -> Option<Watch> {
        let watch = self.0.as_mut()?.watch.take();
        self.drop_empty();
        watch
    }

    /// How reads are tracked.
    #[must_use]
    pub fn tracking(&self) -> Option<&Tracking> {
        self.0.as_ref()?.tracking.as_ref()
    }

    /// The same, to be changed.
    pub fn tracking_mut(&mut self) -> Option<&mut Tracking> {
        self.0.as_mut()?.tracking.as_mut()
    }

    /// Reads are tracked from here on.
    pub fn track(&mut self, tracking: Tracking) {
        self.0.get_or_insert_default().tracking = Some(tracking);
    }

    /// No reads are tracked any more.
    pub fn take_tracking(&mut self) -> Option<Tracking> {
        let tracking = self.0.as_mut()?.tracking.take();
        self.drop_empty();
        tracking
    }

    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn drop_empty(&mut self) {
        if self.0.as_ref().is_some_and(|both| both.watch.is_none() && both.tracking.is_none()) {
            self.0 = None;
        }
    }
}
