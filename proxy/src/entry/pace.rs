//! How many clients may be moved, so that those who come back do not come all at once. Pure.

use std::collections::VecDeque;

/// What was done within the last [`WINDOW`].
#[derive(Default, Debug)]
pub struct Pace {
    /// When, in milliseconds, and how many.
    done: VecDeque<(u64, usize)>,
}

/// Milliseconds.
pub const WINDOW: u64 = 10_000;

impl Pace {
    /// How many may be moved now where `percent` of `all` may within a window: one at least, so that few move too.
    pub fn left(&mut self, all: usize, percent: usize, now: u64) -> usize {
        while self.done.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.done.pop_front();
        }
        let done: usize = self.done.iter().map(|(_, count)| count).sum();
        (all * percent).div_ceil(100).max(1).saturating_sub(done)
    }

    /// So many were moved.
    pub fn note(&mut self, count: usize, now: u64) {
        if count > 0 {
            self.done.push_back((now, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_window_no_more_are_moved_than_may_be() {
        let mut pace = Pace::default();
        assert_eq!(pace.left(200, 5, 0), 10);
        pace.note(4, 0);
        pace.note(0, 1);
        pace.note(6, 2_000);
        assert_eq!(pace.left(200, 5, 9_999), 0);
        assert_eq!(pace.left(200, 5, 10_000), 4);
        assert_eq!(pace.left(200, 5, 12_000), 10);
        assert_eq!(pace.left(3, 5, 12_000), 1);
    }
}
