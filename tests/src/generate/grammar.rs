//! The rows of `tests/grammar/`: what can be said of every data command, and how its replies are compared.

use std::fs;
use std::path::{Path, PathBuf};

use super::pattern::Pattern;
use crate::mark::Mark;

/// One row: a form of a command.
#[derive(Clone, Debug)]
pub struct Row {
    /// The command in small letters, `object|freq` where it has a subcommand.
    pub name: String,
    /// How its replies are compared.
    pub mark: Mark,
    /// How often it is drawn beside others.
    pub weight: usize,
    /// What stands in the row, the command's name included.
    pub pattern: Pattern,
    /// `[alone]`: not between MULTI and EXEC.
    pub alone: bool,
    /// `[together]`: its keys are in one slot.
    pub together: bool,
    /// `[strict]`: arguments are not spoiled.
    pub strict: bool,
    /// `[refused]`: said to the proxy alone, which has to refuse it.
    pub refused: bool,
}

/// Of a row without a mark that says how often.
const USUAL: usize = 4;

/// All rows.
///
/// # Panics
/// Where a row cannot be read; names the file and the line.
#[must_use]
pub fn rows() -> Vec<Row> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .expect("tests/grammar")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt") && !path.ends_with("excused.txt"))
        .collect();
    // The order of a directory is not that of another machine, and a seed has to mean the same.
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        for (number, line) in lines(&file) {
            let row =
                Row::parse(&line).unwrap_or_else(|error| panic!("{}:{number}: {error}", file.display()));
            rows.push(row);
        }
    }
    rows
}

/// The lines of a grammar file that say something, with their numbers.
///
/// # Panics
/// Where there is no such file.
#[must_use]
pub fn lines(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(index, line)| (index + 1, line.to_owned())).collect()
}

/// Where the grammars are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar")
}

impl Row {
    fn parse(line: &str) -> Result<Self, String> {
        let (mut text, reason) = line.split_once(" ; ").map_or((line, None), |(row, why)| (row, Some(why)));
        let mut row = Self {
            name: String::new(),
            mark: Mark::Exact,
            weight: USUAL,
            pattern: Pattern::All(Vec::new()),
            alone: false,
            together: false,
            strict: false,
            refused: false,
        };
        while let Some((word, rest)) = text.strip_prefix('[').and_then(|text| text.split_once("] ")) {
            row.flag(word)?;
            text = rest;
        }
        let differs = matches!(row.mark, Mark::Shape | Mark::ErrorCode);
        if reason.is_none() && (row.alone || row.refused || row.together || differs) {
            return Err("such a mark needs a reason behind \" ; \"".to_owned());
        }
        row.pattern = Pattern::parse(text)?;
        row.name = name(text);
        Ok(row)
    }

    fn flag(&mut self, word: &str) -> Result<(), String> {
        match word {
            "often" => self.weight = 14,
            "rare" => self.weight = 1,
            "alone" => self.alone = true,
            "together" => self.together = true,
            "strict" => self.strict = true,
            "refused" => self.refused = true,
            _ => self.mark = Mark::named(word).ok_or_else(|| format!("no mark {word:?}"))?,
        }
        Ok(())
    }
}

/// Commands whose second word is part of their name.
const CONTAINERS: &[&str] = &["function", "object", "script", "xgroup", "xinfo"];

/// The name of the command in a row's text.
fn name(text: &str) -> String {
    let mut words = text.split_ascii_whitespace().map(str::to_ascii_lowercase);
    let first = words.next().unwrap_or_default();
    if !CONTAINERS.contains(&first.as_str()) {
        return first;
    }
    words.next().map_or_else(|| first.clone(), |second| format!("{first}|{second}"))
}

#[cfg(test)]
mod tests {
    use super::super::universe::Universe;
    use super::*;

    #[test]
    fn every_kind_that_a_row_names_is_in_the_universe() {
        for row in rows() {
            let unknown: Vec<_> =
                row.pattern.kinds().into_iter().filter(|kind| !Universe::knows(kind)).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", row.name);
        }
    }

    #[test]
    fn a_difference_without_a_reason_is_no_row() {
        assert!(Row::parse("[shape] RANDOMKEY").is_err());
        assert!(Row::parse("[shape] RANDOMKEY ; random").is_ok());
        assert!(Row::parse("[odd] GET <string>").is_err());
        assert_eq!(Row::parse("OBJECT FREQ <any>").expect("a row").name, "object|freq");
    }
}
