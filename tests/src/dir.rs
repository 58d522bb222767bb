//! A directory of a test's own, gone when the test is.

use std::env::temp_dir;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

static MADE: AtomicU32 = AtomicU32::new(0);

/// An empty directory that is removed, with all in it, on drop.
#[derive(Debug)]
pub struct Dir(PathBuf);

impl Dir {
    /// Makes one; `name` tells a person what it belongs to.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = temp_dir().join(format!("slotway-test-{}-{number}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a file there in the place of what has its name: whoever reads it sees one or the other, whole.
    ///
    /// # Panics
    /// Where it can't be written.
    #[track_caller]
    pub fn put(&self, name: &str, text: &str) {
        let new = self.0.join("new");
        fs::write(&new, text).expect("a writable directory");
        fs::rename(new, self.0.join(name)).expect("a writable directory");
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // A directory left behind harms nobody; a panic in drop would hide the test's own.
        let _ = fs::remove_dir_all(&self.0);
    }
}
