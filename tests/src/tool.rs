//! Programs of other people, run to their end with files of the workspace; what they said is kept.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a program said, and whether it was content.
#[derive(Debug)]
pub struct Said {
    /// Whether its exit status was 0.
    pub well: bool,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

impl Said {
    /// Its output, where it was content.
    ///
    /// # Panics
    /// Where it was not.
    #[track_caller]
    #[must_use]
    pub fn output(self) -> String {
        assert!(self.well, "{}{}", self.output, self.errors);
        self.output
    }

    /// All that it said, where it was not content.
    ///
    /// # Panics
    /// Where it was.
    #[track_caller]
    #[must_use]
    pub fn complaint(self) -> String {
        assert!(!self.well, "nothing was wrong: {}{}", self.output, self.errors);
        self.output + &self.errors
    }
}

/// Runs `program` to its end.
///
/// # Panics
/// Where it cannot be started.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = A>) -> Said {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { well: output.status.success(), output: text(&output.stdout), errors: text(&output.stderr) }
}

/// The file at `path`, from the workspace's folder.
///
/// # Panics
/// Where it cannot be read.
#[track_caller]
#[must_use]
pub fn source(path: &str) -> String {
    let path = source_path(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Where `path`, from the workspace's folder, is.
///
/// # Panics
/// Never: the workspace has a folder.
#[must_use]
pub fn source_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join(path)
}

/// Copies the file `from` of the workspace to `to`, with each of `changes` made.
///
/// # Panics
/// As [`adapted`], and where the file cannot be written.
#[track_caller]
pub fn adapt(from: &str, to: &Path, changes: &[(&str, &str)]) {
    let text = adapted(from, changes);
    fs::write(to, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", to.display()));
}

/// The file `from` of the workspace with each of `changes` made: what an operator would do who has other folders, ports
/// and addresses.
///
/// # Panics
/// Where a text that is to be changed is not in the file, or it cannot be read.
#[track_caller]
#[must_use]
pub fn adapted(from: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(source(from), |text, (old, new)| {
        assert!(text.contains(old), "{from} has no {old}");
        text.replace(old, new)
    })
}
