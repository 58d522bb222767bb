//! Who reports: the newest words of every proxy, and since when they are known here. Pure.
//!
//! Clocks of different machines differ. So a report is as old as the time since it last *changed*, by the clock of the
//! one who reads it; a proxy writes the time into each.

use std::collections::HashMap;

use super::report::Health;
use super::report::Report;

/// The proxies of the fleet, as far as they report.
#[derive(Default, Debug)]
pub struct Roster {
    known: HashMap<String, Heard>,
}

#[derive(Debug)]
struct Heard {
    words: Vec<u8>,
    /// When they changed, in milliseconds of this process's clock.
    at: u64,
    /// `None`: they are no report.
    report: Option<Report>,
}

// In milliseconds: five reports. Whoever is silent for longer has ended or is cut off, and carries nothing.
const STALE: u64 = 5_000;
// Somebody takes what nobody writes any more out of the hash.
const FORGOTTEN: u64 = 60_000;
/// More proxies than one fleet has.
pub const MOST_PROXIES: usize = 4_096;

impl Roster {
    /// Takes what stands in the hash now; `now` in milliseconds.
    pub fn take(&mut self, fields: Vec<(String, Vec<u8>)>, now: u64) {
        let mut known = HashMap::new();
        for (proxy, words) in fields.into_iter().take(MOST_PROXIES) {
            let heard = match self.known.remove(&proxy) {
                Some(heard) if heard.words == words => heard,
                _ => Heard { report: Report::decode(&proxy, &words), words, at: now },
            };
            known.insert(proxy, heard);
        }
        self.known = known;
    }

    /// The fresh reports of everybody but `own`.
    #[must_use]
    pub fn fresh(&self, own: &str, now: u64) -> Vec<Report> {
        let heard = self.known.values().filter(|heard| now.saturating_sub(heard.at) <= STALE);
        Self::others(heard, own)
    }

    /// What everybody but `own` said last, while the hash can't be read: loads that are known no better. Of health they
    /// say nothing any more.
    #[must_use]
    pub fn last_words(&self, own: &str) -> Vec<Report> {
        let mut reports = Self::others(self.known.values(), own);
        for (_, load) in reports.iter_mut().flat_map(|report| &mut report.entries) {
            load.health = Health::Unknown;
        }
        reports
    }

    fn others<'a>(heard: impl Iterator<Item = &'a Heard>, own: &str) -> Vec<Report> {
        let reports = heard.filter_map(|heard| heard.report.as_ref());
        let mut reports: Vec<_> = reports.filter(|report| report.proxy != own).cloned().collect();
        // The same order in every proxy.
        reports.sort_by(|a, b| a.proxy.cmp(&b.proxy));
        reports
    }

    /// Whose words may be taken out of the hash.
    #[must_use]
    pub fn forgotten(&self, now: u64) -> Vec<String> {
        let old = self.known.iter().filter(|(_, heard)| now.saturating_sub(heard.at) > FORGOTTEN);
        old.map(|(proxy, _)| proxy.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::fixtures::report;

    fn words(at: u64) -> Vec<u8> {
        let report = Report { at, ..report("", &[(5, Health::Up)]) };
        report.encode().into_bytes()
    }

    fn proxies(reports: &[Report]) -> Vec<&str> {
        reports.iter().map(|report| report.proxy.as_str()).collect()
    }

    #[test]
    fn who_says_nothing_new_is_ignored_and_in_the_end_forgotten() {
        let mut roster = Roster::default();
        for second in 0..70 {
            // The clock of `b` is years ahead, and it stops after ten seconds.
            let b = words(u64::MAX / 2 + second.min(10));
            roster.take(vec![("a".to_owned(), words(second)), ("b".to_owned(), b)], second * 1_000);
            let fresh = roster.fresh("me", second * 1_000);
            assert_eq!(proxies(&fresh) == ["a", "b"], second <= 15, "{second}");
        }
        assert_eq!(roster.forgotten(70_001), ["b"]);
        assert_eq!(roster.forgotten(70_000), [""; 0]);
    }

    #[test]
    fn ones_own_words_and_what_is_no_report_do_not_count() {
        let mut roster = Roster::default();
        roster.take(vec![("me".to_owned(), words(1)), ("x".to_owned(), b"garbage".to_vec())], 0);
        assert_eq!(roster.fresh("me", 0), []);
        assert_eq!(roster.forgotten(60_001).len(), 2, "garbage too is taken out in the end");
    }

    #[test]
    fn last_words_keep_loads_and_say_nothing_of_health() {
        let mut roster = Roster::default();
        roster.take(vec![("a".to_owned(), words(1))], 0);
        let last = roster.last_words("me");
        assert_eq!((last[0].entries[0].1.sent, last[0].entries[0].1.health), (5, Health::Unknown));
    }

    #[test]
    fn a_hash_that_was_deleted_is_an_empty_fleet() {
        let mut roster = Roster::default();
        roster.take(vec![("a".to_owned(), words(1))], 0);
        roster.take(Vec::new(), 1_000);
        assert_eq!(roster.fresh("me", 1_000), []);
    }
}
