//! Whether files have changed: by what the system says of them, looked at now and then. That finds a file that was
//! written, replaced, or whose link was swapped, as Kubernetes does it, on every file system.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files and what they were like.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stamps(BTreeMap<PathBuf, Stamp>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stamp {
    /// Not there, or not to be looked at.
    Missing,
    /// Not a file that gives the same bytes each time: a pipe, a terminal.
    Unrepeatable,
    /// Of what the name leads to, links followed. Times in seconds and nanoseconds; the second is that of its last
    /// change of any kind, which no program can set.
    There { modified: (i64, i64), changed: (i64, i64), length: u64, place: (u64, u64) },
}

/// Files that are looked at again and again.
#[derive(Debug, Default)]
pub struct Watched {
    /// As they were when they were read.
    read: Stamps,
    /// As they were at the last look, where that was different.
    changing: Option<Stamps>,
}

impl Stamps {
    /// What these files are like now.
    #[must_use]
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), Stamp::of(&file))).collect())
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// The first that can't be read again.
    #[must_use]
    pub fn unrepeatable(&self) -> Option<&PathBuf> {
        self.0.iter().find(|(_, stamp)| **stamp == Stamp::Unrepeatable).map(|(file, _)| file)
    }

    /// Forgets all but these.
    pub fn keep(&mut self, files: &[PathBuf]) {
        self.0.retain(|file, _| files.contains(file));
    }

    /// Whether all of these are among them.
    #[must_use]
    pub fn cover(&self, files: &[PathBuf]) -> bool {
        files.iter().all(|file| self.0.contains_key(file))
    }
}

impl Stamp {
    fn of(file: &Path) -> Self {
        match fs::metadata(file) {
            Err(_) => Self::Missing,
            Ok(file) if !file.is_file() => Self::Unrepeatable,
            Ok(file) => Self::There {
                modified: (file.mtime(), file.mtime_nsec()),
                changed: (file.ctime(), file.ctime_nsec()),
                length: file.len(),
                place: (file.dev(), file.ino()),
            },
        }
    }
}

impl Watched {
    /// The files were read, and were like this just before.
    pub fn on_read(&mut self, stamps: Stamps) {
        self.read = stamps;
        self.changing = None;
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.read.files()
    }

    /// The files are like this now. True where they are not as they were read, and have not changed since the last
    /// look: one that is being written is not read half.
    #[must_use]
    pub fn on_look(&mut self, now: Stamps) -> bool {
        let settled = self.changing.as_ref() == Some(&now);
        self.changing = (now != self.read).then_some(now);
        settled && self.changing.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of its own for each test.
    fn dir(name: &str) -> PathBuf {
        let dir = env::temp_dir().join(format!("slotway-watched-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Looks until there is news, at most a few times.
    fn news(watched: &mut Watched, file: &Path) -> bool {
        (0..3).any(|_| watched.on_look(Stamps::of([file.to_owned()])))
    }

    fn read(watched: &mut Watched, file: &Path) {
        watched.on_read(Stamps::of([file.to_owned()]));
    }

    #[test]
    fn whatever_happens_to_a_file_is_news_once_it_is_settled() {
        let dir = dir("file");
        let file = dir.join("f");
        let mut watched = Watched::default();
        read(&mut watched, &file);
        assert!(!news(&mut watched, &file), "still not there");
        fs::write(&file, "a").unwrap();
        assert!(!watched.on_look(Stamps::of([file.clone()])), "it may still be being written");
        assert!(watched.on_look(Stamps::of([file.clone()])));
        read(&mut watched, &file);
        assert!(!news(&mut watched, &file));
        // The same length, put in its place.
        fs::write(dir.join("g"), "b").unwrap();
        fs::rename(dir.join("g"), &file).unwrap();
        assert!(news(&mut watched, &file));
        read(&mut watched, &file);
        fs::remove_file(&file).unwrap();
        assert!(news(&mut watched, &file));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_link_that_is_swapped_is_news() {
        let dir = dir("link");
        for version in ["one", "two"] {
            fs::create_dir(dir.join(version)).unwrap();
            fs::write(dir.join(version).join("f"), version).unwrap();
        }
        symlink("one", dir.join("..data")).unwrap();
        symlink("..data/f", dir.join("f")).unwrap();
        let (file, mut watched) = (dir.join("f"), Watched::default());
        read(&mut watched, &file);
        symlink("two", dir.join("..new")).unwrap();
        fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
        assert!(news(&mut watched, &file));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_goes_back_to_what_it_was_is_no_news() {
        let file = PathBuf::from("f");
        let stamps = |stamp| Stamps([(file.clone(), stamp)].into());
        let there = Stamp::There { modified: (1, 0), changed: (1, 0), length: 1, place: (1, 1) };
        let mut watched = Watched::default();
        watched.on_read(stamps(there));
        assert!(!watched.on_look(stamps(Stamp::Missing)));
        assert!(!watched.on_look(stamps(there)));
        assert!(!watched.on_look(stamps(Stamp::Missing)));
        assert!(watched.on_look(stamps(Stamp::Missing)));
    }
}
