//! Waiting for something to become true: by asking again, never by sleeping and hoping.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Pause between two probes: short beside what is waited for, long beside what a probe costs.
const PAUSE: Duration = Duration::from_millis(10);

/// What `probe` finds, asked again until it finds something.
///
/// # Panics
/// Where it found nothing `within` that time; `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, probe: impl FnMut() -> Option<T>) -> T {
    let found = try_eventually(within, probe);
    found.unwrap_or_else(|| panic!("waited {within:?} in vain: {what}"))
}

/// What `probe` finds, or `None` where it found nothing in time. It is asked at least once.
pub fn try_eventually<T>(within: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(PAUSE);
    }
}
