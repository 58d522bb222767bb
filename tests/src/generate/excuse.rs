//! What the differential test does not ask, each with its reason: `tests/grammar/excused.txt`.

use std::collections::BTreeMap;

use super::grammar::{folder, lines};

/// The rows of `excused.txt`.
#[derive(Clone, Debug, Default)]
pub struct Excuses {
    /// Commands that no grammar has, with the reasons.
    pub never: BTreeMap<String, String>,
    /// Commands whose keys have to be in one slot, with the reasons.
    pub one_slot: BTreeMap<String, String>,
    /// Commands of transactions, as `one_slot`.
    pub queued: BTreeMap<String, String>,
    /// Commands whose arguments are not spoiled, with the reasons.
    pub unspoiled: BTreeMap<String, String>,
}

impl Excuses {
    /// Reads them: `VERB NAME ; reason`.
    ///
    /// # Panics
    /// Where a row is neither.
    #[must_use]
    pub fn read() -> Self {
        let mut excuses = Self::default();
        for (number, line) in lines(&folder().join("excused.txt")) {
            let (what, reason) = line.split_once(" ; ").unwrap_or_else(|| panic!("line {number}: no reason"));
            let (verb, name) = what.split_once(' ').unwrap_or_else(|| panic!("line {number}: no command"));
            let rows = match verb {
                "never" => &mut excuses.never,
                "one_slot" => &mut excuses.one_slot,
                "queued" => &mut excuses.queued,
                "unspoiled" => &mut excuses.unspoiled,
                _ => panic!("line {number}: {verb} is no excuse"),
            };
            rows.insert(name.trim().to_ascii_lowercase(), reason.to_owned());
        }
        excuses
    }
}
