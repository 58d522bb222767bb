//! What was found. Pure.

use std::fmt::Display;

/// Lines for the operator.
#[derive(Default, Debug)]
pub struct Report {
    /// What was found, in order.
    pub lines: Vec<String>,
    /// How many of them say that something is wrong.
    pub problems: usize,
}

/// How many names a line shows.
const SHOWN: usize = 12;

impl Report {
    /// Something is as it should be, or nobody could look.
    pub(super) fn note(&mut self, place: impl Display, what: impl Display) {
        self.lines.push(format!("{place}: {what}"));
    }

    /// Something is wrong.
    pub(super) fn problem(&mut self, place: impl Display, what: impl Display) {
        self.problems += 1;
        self.lines.push(format!("{place}: PROBLEM: {what}"));
    }

    /// The same of several names, if there are any.
    pub(super) fn problem_of(&mut self, place: impl Display, what: &str, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let more = names.len().saturating_sub(SHOWN);
        let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.problem(place, format_args!("{what}: {shown}{more}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_an_empty_one_is_no_problem() {
        let mut report = Report::default();
        report.problem_of("a:1", "may not say", &[]);
        assert_eq!((report.lines.len(), report.problems), (0, 0));
        let names: Vec<_> = (0..20).map(|number| number.to_string()).collect();
        report.problem_of("a:1", "may not say", &names);
        let line = "a:1: PROBLEM: may not say: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more";
        assert_eq!((report.lines[0].as_str(), report.problems), (line, 1));
    }
}
