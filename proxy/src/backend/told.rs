//! What the node behind a connection is known to remember: names of what it was told over it. As long as the
//! connection lives, so does the process behind it, and what it was told.

use std::collections::HashMap;

/// The names, and when it was last noted of each that somebody asked for it.
#[derive(Default, Debug)]
pub struct Told {
    /// The era that the names are of: with another they mean nothing.
    era: u64,
    names: HashMap<[u8; 20], u64>,
    /// A request that asked whether the node knows what it has to know was answered well.
    pub proven: bool,
}

/// How long ago it was noted that a name is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Just now.
    Again,
    /// A while ago; from now on just now.
    AfterAWhile,
}

// Milliseconds for which one note is enough.
const NOTED_EVERY: u64 = 1_000;
// Beyond this many it begins anew: telling again costs little.
const MOST_NAMES: usize = 4_096;

impl Told {
    /// Whether the node was told this name in this era; where so, whether that is worth a note: it was not noted
    /// for a while that somebody asks.
    pub fn ask(&mut self, era: u64, name: &[u8; 20], now: u64) -> Option<Asked> {
        let noted = self.names.get_mut(name).filter(|_| self.era == era)?;
        if now.saturating_sub(*noted) < NOTED_EVERY {
            return Some(Asked::Again);
        }
        *noted = now;
        Some(Asked::AfterAWhile)
    }

    /// The node is told this name.
    pub fn add(&mut self, era: u64, name: [u8; 20], now: u64) {
        if self.era != era || self.names.len() >= MOST_NAMES {
            self.names.clear();
            self.era = era;
        }
        self.names.insert(name, now);
    }

    /// The node does not know it, or not any more.
    pub fn forget(&mut self, name: &[u8; 20]) {
        self.names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_their_era() {
        let mut told = Told::default();
        told.add(1, [1; 20], 10);
        assert_eq!(told.ask(1, &[1; 20], 15), Some(Asked::Again));
        assert_eq!(told.ask(1, &[2; 20], 20), None);
        assert_eq!(told.ask(2, &[1; 20], 20), None);
        told.add(2, [2; 20], 30);
        assert_eq!(told.ask(2, &[1; 20], 30), None, "of the era before");
        told.forget(&[2; 20]);
        assert_eq!(told.ask(2, &[2; 20], 30), None);
    }

    #[test]
    fn a_name_that_is_asked_for_all_the_time_is_noted_once_a_second() {
        let mut told = Told::default();
        told.add(1, [1; 20], 0);
        let noted = (0..10_000).filter(|now| told.ask(1, &[1; 20], *now) == Some(Asked::AfterAWhile));
        assert_eq!(noted.collect::<Vec<_>>(), (1..10).map(|second| second * 1_000).collect::<Vec<_>>());
    }

    #[test]
    fn names_are_not_kept_without_end() {
        let mut told = Told::default();
        for number in 0..10 * MOST_NAMES as u32 {
            let mut name = [0; 20];
            name[..4].copy_from_slice(&number.to_be_bytes());
            told.add(1, name, 0);
            assert!(told.names.len() <= MOST_NAMES);
        }
    }
}
